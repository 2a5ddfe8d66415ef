package provisioneks_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/provisioneks"
)

func session(t *testing.T, w *cloudtest.World) *cloud.Session {
	t.Helper()
	s, err := w.Open(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMakespanStaysNearTheLowerBoundWhateverAWSTakes(t *testing.T) {
	var up, down, n float64
	for seed := range int64(12) {
		synctest.Test(t, func(t *testing.T) {
			w := cloudtest.New(t, emulator.Options{Seed: seed, Jitter: true})
			d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, post)
			start, mark := time.Now(), w.Mark()
			if _, err := w.Apply(t.Context(), d, in); err != nil {
				t.Fatal(err)
			}
			created := time.Since(start).Seconds() / w.LowerBound(mark).Create.Seconds()
			start, mark = time.Now(), w.Mark()
			if err := w.Down(t.Context(), d, in, false); err != nil {
				t.Fatal(err)
			}
			removed := time.Since(start).Seconds() / w.LowerBound(mark).Delete.Seconds()
			if created > 1.06 || removed > 1.08 {
				t.Errorf("seed %d: create %.3f, down %.3f times the lower bound", seed, created, removed)
			}
			up, down, n = up+created, down+removed, n+1
		})
	}
	t.Logf("durations +-20 %%, %v seeds: create %.3f, down %.3f times the lower bound on average", n, up/n, down/n)
	if up/n > 1.03 || down/n > 1.05 {
		t.Errorf("averages exceed 1.03 and 1.05")
	}
}

func TestInterruptedWhileTheClusterIsMadeCarriesOn(t *testing.T) {
	for _, after := range []time.Duration{time.Second, 8 * time.Second, 20 * time.Second, 5 * time.Minute, 9 * time.Minute} {
		t.Run(after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 41})
				d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, post)
				ctx, cancel := context.WithTimeout(t.Context(), after)
				defer cancel()
				if _, err := w.Apply(ctx, d, in); err == nil {
					t.Fatal("want an interrupt")
				}
				raw, err := w.Apply(t.Context(), d, in)
				if err != nil {
					t.Fatal(err)
				}
				var out provisioneks.Outputs
				if err := json.Unmarshal(raw, &out); err != nil || len(out.NodeGroups) != 2 {
					t.Errorf("outputs %s, %v", raw, err)
				}
				w.NoDuplicates(t)
			})
		})
	}
}

func TestPlanTellsThatAClusterIsStillComing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 42})
		d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, "{name: blog, network: {nat: none}}")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, _ = w.Apply(ctx, d, in)
		p, err := d.Plan(t.Context(), w.Env(), in)
		if err != nil || p.Outputs != nil || !strings.Contains(fmt.Sprint(p.Changes), "CREATING") {
			t.Errorf("got %v, %v, want a plan that is not done", p.Changes, err)
		}
	})
}

const rehearsalUser = "arn:aws:iam::111122223333:user/rehearsal"

func TestOtherShapesOfNetworkLiveAndGo(t *testing.T) {
	for name, text := range map[string]string{
		"a NAT gateway in each zone": "{name: blog, network: {nat: per-az}, nodeGroups: [{name: n, instanceTypes: [t3.small]}]}",
		"no NAT gateway":             "{name: blog, network: {nat: none}, nodeGroups: [{name: n, instanceTypes: [t3.small]}]}",
		"spot, taints and an image":  "{name: blog, nodeGroups: [{name: n, instanceTypes: [t4g.small, t4g.medium], capacityType: SPOT, taints: [{key: a, value: b, effect: NoSchedule}]}, {name: own, instanceTypes: [t3.small], launchTemplate: {imageId: ami-0123456789abcdef0}}]}",
		"access for another role":    "{name: blog, network: {nat: none}, access: [{principalArn: 'arn:aws:iam::111122223333:role/dev', policy: view, namespaces: [web]}]}",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 46})
				dev := w.SeedRole("dev", `{"Version":"2012-10-17","Statement":[]}`)
				d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, text)
				raw, err := w.Apply(t.Context(), d, in)
				if err != nil {
					t.Fatal(err)
				}
				mark := w.Mark()
				again, err := w.Apply(t.Context(), d, in)
				if _, writes := w.Count(mark); err != nil || writes != 0 || string(again) != string(raw) {
					t.Errorf("second run: %v, %d writes", err, writes)
				}
				if err := w.Down(t.Context(), d, in, false); err != nil {
					t.Fatal(err)
				}
				if left := w.Leftovers(func(r emulator.Resource) bool { return r.ID == dev || strings.Contains(r.ID, "aws-service-role") }); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			})
		})
	}
}

func TestNodeGroupWithoutCapacityFailsAtOnceAndIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 51, Faults: []emulator.Fault{{Service: "eks", Action: "CreateNodegroup", Kind: "capacity"}}})
		d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, post)
		start := time.Now()
		_, err := w.Apply(t.Context(), d, in)
		if e := steps.Classify(err); err == nil || e.Code != "NodegroupFailed" || e.Category.ExitCode() != 17 || len(e.Hints) == 0 {
			t.Fatalf("got %v, want the node group's own reason", err)
		}
		if took := time.Since(start); took > 15*time.Minute {
			t.Errorf("told only after %s", took)
		}
		if _, err := w.Apply(t.Context(), d, in); err != nil {
			t.Errorf("the next run does not replace it: %v", err)
		}
		w.NoDuplicates(t)
	})
}

func TestThrottledPollsAreNotYetAndNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 52, Faults: []emulator.Fault{{Service: "eks", Action: "DescribeCluster", Kind: "throttle", At: 4, Times: 40}}})
		if _, err := w.Apply(t.Context(), provisioneks.New(w.Open, nil), cloudtest.Input(t, post)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestForecastSaysTimeAndCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 53})
		p, err := provisioneks.New(w.Open, nil).Plan(t.Context(), w.Env(), cloudtest.Input(t, post))
		if err != nil {
			t.Fatal(err)
		}
		if f := p.Forecast; f.Seconds < 600 || f.Seconds > 700 || f.Cost == nil || f.Cost.HourlyUSD < 0.249 || f.Cost.HourlyUSD > 0.250 {
			t.Errorf("got %+v %+v", f, f.Cost)
		}
	})
}

// What has no price in the table stands in the plan by name, in no sum, and makes the sum one that says "at least".
func TestForecastNamesWhatHasNoPrice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 53})
		const yaml = "{name: blog, network: {nat: regional}, nodeGroups: [{name: main, instanceTypes: [t3.small], desired: 2, capacityType: SPOT}, {name: odd, instanceTypes: [t3.nano], desired: 1}]}"
		p, err := provisioneks.New(w.Open, nil).Plan(t.Context(), w.Env(), cloudtest.Input(t, yaml))
		if err != nil {
			t.Fatal(err)
		}
		c := p.Forecast.Cost
		if want := []string{"main: 2 x spot t3.small", "odd: 1 x t3.nano", "regional NAT gateway, by the zone"}; !slices.Equal(c.Unknown, want) {
			t.Errorf("unknown: %q, want %q", c.Unknown, want)
		}
		const plane, disks = 0.10, 3 * 20 * 0.0912 / 730
		if math.Abs(c.HourlyUSD-plane-disks) > 0.0001 {
			t.Errorf("%.4f USD an hour, want the control plane and the disks alone: %.4f", c.HourlyUSD, plane+disks)
		}
		if text := strings.Join(c.NotCounted, "; "); !strings.Contains(text, "load balancers that the cluster makes") || !strings.Contains(text, "snapshots") {
			t.Errorf("not counted: %q, want load balancers and snapshots among it", text)
		}
	})
}

func TestVolumesZoneComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 54})
		raw, err := w.Apply(t.Context(), provisioneks.New(w.Open, nil), cloudtest.Input(t, strings.Replace(post, "ap-northeast-2a", "ap-northeast-2d", 1)))
		var out provisioneks.Outputs
		if err != nil || json.Unmarshal(raw, &out) != nil || out.Zones[0] != "ap-northeast-2d" || out.NodeGroups[0].Zones[0] != "ap-northeast-2d" {
			t.Errorf("got %s, %v", raw, err)
		}
	})
}

func TestKubeconfigIsMergedAndHoldsNoToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 55})
		file := filepath.Join(t.TempDir(), "config")
		other := "apiVersion: v1\nkind: Config\ncurrent-context: old\ncontexts: [{name: old, context: {cluster: old, user: old}}]\nclusters: [{name: old, cluster: {server: 'https://old'}}]\nusers: [{name: old, user: {}}]\n"
		if err := os.WriteFile(file, []byte(other), 0o600); err != nil {
			t.Fatal(err)
		}
		d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, "{name: blog, network: {nat: none}, kubeconfig: {path: "+file+"}}")
		raw, err := w.Apply(t.Context(), d, in)
		if err != nil {
			t.Fatal(err)
		}
		if want := `"kubeconfig":"` + file + `"`; !strings.Contains(string(raw), want) {
			t.Errorf("outputs lack %s: %s", want, raw)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"current-context: old", "https://old", "command: pipectl", "- token", "https://blog.eks"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("kubeconfig lacks %q:\n%s", want, text)
			}
		}
		if strings.Contains(string(text), "k8s-aws-v1") {
			t.Error("a token was written")
		}
		if err := os.Remove(file); err != nil { // as on another machine
			t.Fatal(err)
		}
		raw, found, err := d.Observe(t.Context(), w.Env(), in)
		if err != nil || !found || strings.Contains(string(raw), "kubeconfig") {
			t.Errorf("without the file: %v, %v, %s", found, err, raw)
		}
	})
}

func TestKubeconfigOfAnExistingClusterIsAllThatIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 56})
		d, file := provisioneks.New(w.Open, nil), filepath.Join(t.TempDir(), "config")
		if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, "{name: blog, network: {nat: none}}")); err != nil {
			t.Fatal(err)
		}
		in, mark := cloudtest.Input(t, "{name: blog, existing: true, kubeconfig: {path: "+file+", exec: aws}}"), w.Mark()
		plan, err := d.Plan(t.Context(), w.Env(), in)
		if _, missing := os.Stat(file); err != nil || plan.Outputs != nil || len(plan.Changes) != 1 || !os.IsNotExist(missing) {
			t.Fatalf("plan: %v, %d changes, outputs %s, file %v; want the file planned and not written", err, len(plan.Changes), plan.Outputs, missing)
		}
		raw, err := w.Apply(t.Context(), d, in)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(text), "command: aws") || !strings.Contains(string(raw), `"kubeconfig":"`+file) {
			t.Errorf("%v, kubeconfig:\n%s\noutputs %s", err, text, raw)
		}
		if plan, err = d.Plan(t.Context(), w.Env(), in); err != nil || string(plan.Outputs) != string(raw) {
			t.Errorf("again: %v, outputs %s, want all kept", err, plan.Outputs)
		}
		if err := w.Down(t.Context(), d, in, true); err != nil {
			t.Error(err)
		}
		if _, writes := w.Count(mark); writes != 0 {
			t.Errorf("%d writes", writes)
		}
	})
}
