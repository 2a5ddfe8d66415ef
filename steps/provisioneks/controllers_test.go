package provisioneks_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/provisioneks"
)

// exposed is a cluster with a Service of type LoadBalancer, one of somebody else's in the same VPC, and a volume of a claim.
func exposed(t *testing.T) (*cloudtest.World, *cloudtest.Kube) {
	t.Helper()
	w := cloudtest.New(t, emulator.Options{Seed: 71})
	k := w.Kube("blog", &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "front"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "inner"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP}})
	raw, err := w.Apply(t.Context(), provisioneks.New(w.Open, k.Open), cloudtest.Input(t, post))
	var out provisioneks.Outputs
	if err != nil || json.Unmarshal(raw, &out) != nil {
		t.Fatalf("%s, %v", raw, err)
	}
	for _, kind := range []string{"classic", "network", "application"} {
		if err := w.SeedLoadBalancer(emulator.LoadBalancerSeed{Name: kind, Kind: kind, Subnets: out.SubnetIDs.Public[:2], Group: true,
			Tags: map[string]string{"kubernetes.io/cluster/blog": "owned", "kubernetes.io/service-name": "web/front"}}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = cloud.EC2(session(t, w)).CreateVolume(t.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String("ap-northeast-2a"), Size: aws.Int32(8), VolumeType: ec2types.VolumeTypeGp3,
		TagSpecifications: cloud.TagAtCreate(ec2types.ResourceTypeVolume, map[string]string{"kubernetes.io/cluster/blog": "owned",
			"kubernetes.io/created-for/pvc/name": "data-0", "kubernetes.io/created-for/pvc/namespace": "db"})})
	if err != nil {
		t.Fatal(err)
	}
	return w, k
}

func TestDownRemovesWhatControllersMadeAndKeepsTheVolumesOfClaims(t *testing.T) {
	for name, controllers := range map[string]bool{"the controllers do their part": true, "no controller is left to do it": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, k := exposed(t)
				k.PrependReactor("delete", "services", func(a clienttesting.Action) (bool, runtime.Object, error) {
					if a.(clienttesting.DeleteAction).GetName() == "inner" {
						t.Error("a Service without a load balancer was removed")
					}
					if controllers {
						time.AfterFunc(20*time.Second, func() {
							for _, name := range []string{"classic", "network", "application"} {
								w.RemoveLoadBalancer(name)
							}
						})
					}
					return false, nil, nil
				})
				d, in := provisioneks.New(w.Open, k.Open), cloudtest.Input(t, post)
				if err := w.Down(t.Context(), d, in, false); err != nil {
					t.Fatal(err)
				}
				left := w.Leftovers(nil)
				if len(left) != 1 || left[0].Kind != "volume" {
					t.Errorf("left are %v, want the volume of the claim alone", left)
				}
				if notes := strings.Join(w.Notes(), "\n"); !strings.Contains(notes, "of claim db/data-0, 8 GiB in ap-northeast-2a, 0.02 USD a day; `pipectl destroy --with-data blog`") {
					t.Errorf("the volume is not listed: %s", notes)
				}
				if done := w.Changed()["delete"]; !controllers && done == 0 {
					t.Error("no removal was reported")
				}
				if err := w.Down(t.Context(), d, in, true); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second)
				if left = w.Leftovers(nil); len(left) != 1 || left[0].Kind != "snapshot" {
					t.Errorf("after destroy with data: %v, want the last snapshot of the volume alone", left)
				}
				if notes := strings.Join(w.Notes(), "\n"); !strings.Contains(notes, "claim db/data-0: the last state is kept in snap-") {
					t.Errorf("the snapshot is not told: %s", notes)
				}
			})
		})
	}
}

func TestVolumesOfClaimsGoOnlyOnceTheirLastStateIsKept(t *testing.T) {
	kinds := func(w *cloudtest.World) (out []string) {
		time.Sleep(10 * time.Second)
		for _, r := range w.Leftovers(nil) {
			out = append(out, r.Kind)
		}
		return out
	}
	for name, c := range map[string]struct {
		with  string
		fault []emulator.Fault
		left  []string
		fails string
	}{
		"a snapshot may not be taken":     {fault: []emulator.Fault{{Service: "ec2", Action: "CreateSnapshot", Kind: "refuse", Code: "UnauthorizedOperation", Times: 9}}, left: []string{"volume"}, fails: "ec2:CreateSnapshot"},
		"too many snapshots":              {fault: []emulator.Fault{{Service: "ec2", Action: "CreateSnapshot", Kind: "refuse", Code: "SnapshotLimitExceeded", Times: 9}}, left: []string{"volume"}, fails: "db/data-0: last snapshot"},
		"the answer to the call was lost": {fault: []emulator.Fault{{Service: "ec2", Action: "CreateSnapshot", Kind: "lost-response", Times: 1}}, left: []string{"snapshot"}},
		"no snapshot is wanted":           {with: "finalSnapshots: false\n"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, k := exposed(t)
				for _, f := range c.fault {
					w.AddFault(f)
				}
				d := provisioneks.New(w.Open, k.Open)
				err := w.Down(t.Context(), d, cloudtest.Input(t, post+c.with), true)
				if (err != nil) != (c.fails != "") || err != nil && !strings.Contains(err.Error(), c.fails) {
					t.Errorf("got %v, want %q", err, c.fails)
				}
				if got := kinds(w); !slices.Equal(got, c.left) {
					t.Errorf("left are %v, want %v", got, c.left)
				}
				held, err := session(t, w).Belongings(t.Context(), w.Env().Identity.String())
				if err != nil || len(held) != len(c.left) {
					t.Errorf("belongings are %v, %v, want %v", held, err, c.left)
				}
				for _, h := range held {
					if _, ok := d.Least(h.Kind, h.Name); ok {
						t.Errorf("a prune would take %s %s, which holds data, for a cluster that left the file", h.Kind, h.Name)
					}
				}
			})
		})
	}
}

func TestLoadBalancersOfOthersAreLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 72})
		d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, post)
		raw, err := w.Apply(t.Context(), d, in)
		var out provisioneks.Outputs
		if err != nil || json.Unmarshal(raw, &out) != nil {
			t.Fatalf("%s, %v", raw, err)
		}
		if err := w.SeedLoadBalancer(emulator.LoadBalancerSeed{Name: "theirs", Kind: "network", Subnets: out.SubnetIDs.Public[:1], Tags: map[string]string{"kubernetes.io/cluster/other": "owned"}}); err != nil {
			t.Fatal(err)
		}
		err = w.Down(t.Context(), d, in, false)
		if e := steps.Classify(err); err == nil || e.Category.ExitCode() != 16 || !strings.Contains(err.Error(), "ELB net/theirs") {
			t.Errorf("got %v, want exit 16 and the load balancer of somebody else named", err)
		}
	})
}

func TestLogGroupIsRetainedForDaysAndGoesWithTheCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 73})
		d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, "{name: blog, network: {nat: none}, logging: [api], logRetentionDays: 7}")
		if _, err := w.Apply(t.Context(), d, in); err != nil {
			t.Fatal(err)
		}
		g, err := session(t, w).LogGroup(t.Context(), "/aws/eks/blog/cluster")
		if err != nil || g == nil || g.Retention != 7 {
			t.Errorf("got %+v, %v, want a group that keeps for 7 days", g, err)
		}
		if err := w.Down(t.Context(), d, in, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour) // a control plane that still logged would make it anew
		if left := w.Leftovers(nil); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}
