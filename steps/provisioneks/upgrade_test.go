package provisioneks_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/google/go-cmp/cmp"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/provisioneks"
)

const versioned = `
name: blog
version: "1.32"
network: {nat: none}
nodeGroups:
  - {name: main, instanceTypes: [t3.small], desired: 2, max: 3}
  - {name: more, instanceTypes: [t3.small]}
  - {name: own, instanceTypes: [t3.small], launchTemplate: {imageId: ami-0123456789abcdef0}}
`

func group(t *testing.T, w *cloudtest.World, name string) *ekstypes.Nodegroup {
	t.Helper()
	o, err := cloud.EKS(session(t, w)).DescribeNodegroup(t.Context(), &eks.DescribeNodegroupInput{ClusterName: aws.String("blog"), NodegroupName: &name})
	if err != nil {
		t.Fatal(err)
	}
	return o.Nodegroup
}

func TestUpgradeGoesMinorByMinorWithTheNodesBehindIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 71})
		d := provisioneks.New(w.Open, nil)
		if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, versioned)); err != nil {
			t.Fatal(err)
		}
		in := cloudtest.Input(t, strings.Replace(versioned, "1.32", "1.34", 1))
		p, err := d.Plan(t.Context(), w.Env(), in)
		if text := fmt.Sprint(p.Changes); err != nil || strings.Count(text, "version: have 1.32, want 1.34") != 3 {
			t.Errorf("plan %s, %v, want the cluster and two node groups", text, err)
		}
		var order []string
		for _, action := range []string{"UpdateClusterVersion", "UpdateNodegroupVersion"} {
			for range 5 {
				w.OnCall("eks", action, func() { order = append(order, action) })
			}
		}
		if err := d.Preflight(t.Context(), w.Env(), in); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Apply(t.Context(), d, in); err != nil {
			t.Fatal(err)
		}
		nodes := []string{"UpdateNodegroupVersion", "UpdateNodegroupVersion"}
		want := append(append([]string{"UpdateClusterVersion"}, nodes...), append([]string{"UpdateClusterVersion"}, nodes...)...)
		if diff := cmp.Diff(want, order); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		for name, want := range map[string]string{"main": "1.34", "more": "1.34"} {
			if got := aws.ToString(group(t, w, name).Version); got != want {
				t.Errorf("node group %s has %s, want %s", name, got, want)
			}
		}
		mark := w.Mark()
		if _, err := w.Apply(t.Context(), d, in); err != nil {
			t.Fatal(err)
		}
		if _, writes := w.Count(mark); writes != 0 {
			t.Errorf("%d writes although all is upgraded", writes)
		}
	})
}

func TestUpgradeCutOffCarriesOn(t *testing.T) {
	for _, after := range []time.Duration{time.Second, 5 * time.Minute, 12 * time.Minute, 20 * time.Minute} {
		t.Run(after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 72})
				d := provisioneks.New(w.Open, nil)
				if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, versioned)); err != nil {
					t.Fatal(err)
				}
				in := cloudtest.Input(t, strings.Replace(versioned, "1.32", "1.34", 1))
				ctx, cancel := context.WithTimeout(t.Context(), after)
				defer cancel()
				if _, err := w.Apply(ctx, d, in); err == nil {
					t.Fatal("want an interrupt")
				}
				if _, err := w.Apply(t.Context(), d, in); err != nil {
					t.Fatal(err)
				}
				if got := aws.ToString(group(t, w, "main").Version); got != "1.34" {
					t.Errorf("got %s", got)
				}
			})
		})
	}
}

func TestNothingIsUpgradedUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 73})
		d := provisioneks.New(w.Open, nil)
		if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, versioned)); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"the same version": versioned, "no version": strings.Replace(versioned, "version: \"1.32\"\n", "", 1)} {
			mark := w.Mark()
			if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, text)); err != nil {
				t.Fatal(err)
			}
			if _, writes := w.Count(mark); writes != 0 {
				t.Errorf("%s: %d writes", name, writes)
			}
		}
	})
}

func TestPreflightOfAnUpgrade(t *testing.T) {
	old := strings.NewReplacer("desired: 2, max: 3", "amiType: AL2_x86_64").Replace(versioned)
	for name, c := range map[string]struct{ from, to, code, want string }{
		"back":                            {versioned, "1.31", "Downgrade", "version: the cluster runs 1.32, and EKS never goes back to 1.31"},
		"to a version that is not there":  {versioned, "1.77", "UnsupportedVersion", "1.77"},
		"past the end of an image family": {old, "1.33", "AMITypeTooOld", "node group main: AL2_x86_64 ended with Kubernetes 1.32"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 74})
				d := provisioneks.New(w.Open, nil)
				if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, c.from)); err != nil {
					t.Fatal(err)
				}
				mark := w.Mark()
				err := d.Preflight(t.Context(), w.Env(), cloudtest.Input(t, strings.Replace(c.from, "1.32", c.to, 1)))
				var all []string
				for _, one := range flatten(err) {
					all = append(all, fmt.Sprint(one))
				}
				if err == nil || !strings.Contains(strings.Join(all, "\n"), c.want) || steps.Classify(flatten(err)[0]).Code != c.code {
					t.Errorf("got %v, want %s: %s", all, c.code, c.want)
				}
				if _, writes := w.Count(mark); writes != 0 {
					t.Errorf("%d writes", writes)
				}
			})
		})
	}
}

func TestCallerIsNotShutOutByAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 75})
		d := provisioneks.New(w.Open, nil)
		small := "{name: blog, network: {nat: none}%s}"
		if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, fmt.Sprintf(small, ""))); err != nil {
			t.Fatal(err)
		}
		err := d.Preflight(t.Context(), w.Env(), cloudtest.Input(t, fmt.Sprintf(small, ", endpoint: {publicCIDRs: [203.0.113.0/24]}")))
		if err == nil || steps.Classify(flatten(err)[0]).Code != "CallerOutside" {
			t.Errorf("got %v, want the caller's own address named", err)
		}
		if err := d.Preflight(t.Context(), w.Env(), cloudtest.Input(t, fmt.Sprintf(small, ", endpoint: {publicCIDRs: [198.51.100.0/24]}"))); err != nil {
			t.Errorf("from inside: %v", err)
		}
	})
}

// A group that left the file stays until a prune, and EKS takes no control plane two minor versions beyond it.
func TestUpgradeBringsNodeGroupsAlongThatLeftTheFile(t *testing.T) {
	const was = `{name: blog, version: "1.32", network: {nat: none}, nodeGroups: [{name: main, instanceTypes: [t3.small]}, {name: old, instanceTypes: [t3.small]}]}`
	now := strings.NewReplacer("1.32", "1.34", ", {name: old, instanceTypes: [t3.small]}", "").Replace(was)
	for name, c := range map[string]struct {
		prune   bool
		before  func(*testing.T, *cloudtest.World)
		version string // of old afterwards; "": it is gone
	}{
		"it stays":                       {false, nil, "1.33"},
		"a prune takes it away":          {true, nil, ""},
		"it is on its way out by itself": {false, deleteOld, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 76})
				d := provisioneks.New(w.Open, nil)
				if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, was)); err != nil {
					t.Fatal(err)
				}
				if c.before != nil {
					c.before(t, w)
				}
				env := w.Env()
				env.Prune = c.prune
				if _, err := d.Plan(t.Context(), env, cloudtest.Input(t, now)); err != nil {
					t.Fatal(err)
				}
				if told := strings.Contains(strings.Join(w.Notes(), "\n"), "they are upgraded too"); told != (c.version != "") {
					t.Errorf("told: %v, in %s", told, w.Notes())
				}
				if _, err := d.Apply(t.Context(), env, cloudtest.Input(t, now)); err != nil {
					t.Fatal(err)
				}
				if got := aws.ToString(group(t, w, "main").Version); got != "1.34" {
					t.Errorf("main has %s", got)
				}
				switch left := slices.Contains(groupsOf(t, session(t, w)), "old"); {
				case left != (c.version != ""):
					t.Errorf("old is there: %v", left)
				case left && aws.ToString(group(t, w, "old").Version) != c.version:
					t.Errorf("old has %s, want %s", aws.ToString(group(t, w, "old").Version), c.version)
				}
			})
		})
	}
}

func deleteOld(t *testing.T, w *cloudtest.World) {
	_, err := cloud.EKS(session(t, w)).DeleteNodegroup(t.Context(), &eks.DeleteNodegroupInput{ClusterName: aws.String("blog"), NodegroupName: aws.String("old")})
	if err != nil {
		t.Fatal(err)
	}
}

// Node groups of others are not ours to upgrade: what EKS would say after the first minor version is said before it.
func TestUpgradePastANodeGroupOfOthersIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 77})
		d, s := provisioneks.New(w.Open, nil), session(t, w)
		text := `{name: blog, version: "1.32", network: {nat: none}, nodeGroups: [{name: main, instanceTypes: [t3.small]}]}`
		if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, text)); err != nil {
			t.Fatal(err)
		}
		main := group(t, w, "main")
		_, err := cloud.EKS(s).CreateNodegroup(t.Context(), &eks.CreateNodegroupInput{ClusterName: aws.String("blog"), NodegroupName: aws.String("theirs"), NodeRole: main.NodeRole, Subnets: main.Subnets})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute) // of virtual time, until it is ready
		err = d.Preflight(t.Context(), w.Env(), cloudtest.Input(t, strings.Replace(text, "1.32", "1.34", 1)))
		if e := steps.Classify(flatten(err)[0]); err == nil || e.Code != "NodegroupBehind" || !strings.Contains(strings.Join(e.Hints, ""), `version: "1.33"`) {
			t.Errorf("two minor versions: %v", err)
		}
		if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, strings.Replace(text, "1.32", "1.33", 1))); err != nil {
			t.Errorf("one minor version: %v", err)
		}
	})
}
