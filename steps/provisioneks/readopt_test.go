package provisioneks_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	"pipectl.dev/steps"
	"pipectl.dev/steps/provisioneks"
)

// volumeOf is the volume that db/data-0 has in exposed, as the driver's PersistentVolume shows it.
func volumeOf(t *testing.T, w *cloudtest.World) (string, *corev1.PersistentVolume) {
	t.Helper()
	o, err := cloud.EC2(session(t, w)).DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range o.Volumes {
		if cloud.EC2TagMap(v.Tags)["kubernetes.io/created-for/pvc/name"] == "data-0" {
			id := aws.ToString(v.VolumeId)
			return id, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pvc-1"}, Spec: corev1.PersistentVolumeSpec{
				StorageClassName: "fast", AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "ebs.csi.aws.com", VolumeHandle: id, FSType: "xfs"}},
			}}
		}
	}
	t.Fatal("exposed has no volume of a claim")
	return "", nil
}

func TestTheClusterThatReturnsGivesClaimsTheirVolumesBack(t *testing.T) {
	for name, c := range map[string]struct {
		known  bool             // the old cluster tells what the claim asked for
		inside []runtime.Object // of the cluster that returns
		want   string           // PersistentVolumes of it
		notes  string
	}{
		"with what the claim asked for": {known: true, want: "db/data-0 fast xfs ReadWriteOnce 8Gi ap-northeast-2a Retain"},
		"as far as is known":            {want: "db/data-0   ReadWriteOnce 8Gi ap-northeast-2a Retain"},
		"but not to a claim that has another by now": {known: true, inside: []runtime.Object{&corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: "db", Name: "data-0"}, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pvc-2"}}}, notes: "claim db/data-0 has another volume by now"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, old := exposed(t)
				id, pv := volumeOf(t, w)
				if c.known {
					if err := old.Tracker().Add(pv); err != nil {
						t.Fatal(err)
					}
				}
				// In the cluster that never went, its own PersistentVolume is there.
				in := cloudtest.Input(t, post)
				if err := w.Down(t.Context(), provisioneks.New(w.Open, old.Open), in, false); err != nil {
					t.Fatal(err)
				}
				k := w.Kube("blog", c.inside...)
				early := true
				k.PrependReactor("create", "persistentvolumes", func(clienttesting.Action) (bool, runtime.Object, error) {
					for _, r := range w.Resources() {
						early = early && (r.Kind != "eks:nodegroup" || r.State != "ACTIVE")
					}
					return false, nil, nil
				})
				d := provisioneks.New(w.Open, k.Open)
				if _, err := w.Apply(t.Context(), d, in); err != nil {
					t.Fatal(err)
				}
				if got := volumesIn(t, k, id); got != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
				if !early {
					t.Error("a node was there before: its pods may have been given an empty volume")
				}
				mark := w.Mark()
				p, err := d.Plan(t.Context(), w.Env(), in)
				if _, writes := w.Count(mark); err != nil || p.Outputs == nil || writes > 0 {
					t.Errorf("again: %v, %d writes, %+v", err, writes, p.Changes)
				}
				if notes := strings.Join(w.Notes(), "\n"); !strings.Contains(notes, c.notes) {
					t.Errorf("notes %q, want %q", notes, c.notes)
				}
			})
		})
	}
}

// volumesIn writes the PersistentVolumes of a cluster; all must be of the volume id.
func volumesIn(t *testing.T, k *cloudtest.Kube, id string) string {
	t.Helper()
	list, err := k.CoreV1().PersistentVolumes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, pv := range list.Items {
		sp := pv.Spec
		if sp.CSI.VolumeHandle != id {
			t.Errorf("volume %s, want %s", sp.CSI.VolumeHandle, id)
		}
		size, zone := sp.Capacity[corev1.ResourceStorage], sp.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values[0]
		out = append(out, strings.Join([]string{sp.ClaimRef.Namespace + "/" + sp.ClaimRef.Name, sp.StorageClassName, sp.CSI.FSType, string(sp.AccessModes[0]), size.String(), zone, string(sp.PersistentVolumeReclaimPolicy)}, " "))
	}
	return strings.Join(out, "; ")
}

func TestAnInterruptedDownLeavesTheClustersOwnPersistentVolume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, k := exposed(t)
		_, pv := volumeOf(t, w)
		if err := k.Tracker().Add(pv); err != nil {
			t.Fatal(err)
		}
		d, in := provisioneks.New(w.Open, k.Open), cloudtest.Input(t, post)
		if err := d.Release(t.Context(), w.Env(), in); err != nil { // tags the volume; the cluster stays
			t.Fatal(err)
		}
		p, err := d.Plan(t.Context(), w.Env(), in)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]steps.Verb{}
		for _, c := range p.Changes {
			if c.Kind == "k8s:PersistentVolume" {
				got[c.Name] = c.Action
			}
		}
		if d := cmp.Diff(map[string]steps.Verb{"db/data-0": "keep"}, got); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
	})
}
