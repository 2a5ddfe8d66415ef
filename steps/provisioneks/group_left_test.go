package provisioneks_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/provisioneks"
	"pipectl.dev/steps/reconcile"
)

// groupsYAML is a cluster with node groups of these names, the second pinned to a zone of its own.
func groupsYAML(names ...string) string {
	var groups []string
	for i, n := range names {
		groups = append(groups, fmt.Sprintf("{name: %s, instanceTypes: [t3.small], desired: 2%s}", n, []string{"", ", zones: [ap-northeast-2a]"}[i%2]))
	}
	return "{name: blog, network: {nat: none}, nodeGroups: [" + strings.Join(groups, ", ") + "]}"
}

func groupsOf(t *testing.T, s *cloud.Session) []string {
	t.Helper()
	o, err := cloud.EKS(s).ListNodegroups(t.Context(), &eks.ListNodegroupsInput{ClusterName: aws.String("blog")})
	if err != nil {
		t.Fatal(err)
	}
	return o.Nodegroups
}

func TestNodeGroupThatLeftTheFileStaysUntilAPrune(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 131})
		d, s := provisioneks.New(w.Open, nil), session(t, w)
		if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, groupsYAML("old", "pinned"))); err != nil {
			t.Fatal(err)
		}
		in := cloudtest.Input(t, groupsYAML("new", "pinned"))
		if _, err := w.Apply(t.Context(), d, in); err != nil {
			t.Fatal(err)
		}
		if got := groupsOf(t, s); !slices.Equal(got, []string{"new", "old", "pinned"}) {
			t.Fatalf("after a plain run: %v", got)
		}
		mark := w.Mark()
		p, err := d.Plan(t.Context(), w.Env(), in)
		if err != nil || p.Outputs == nil {
			t.Errorf("plain plan: %v, %v, want nothing to do", p.Changes, err)
		}
		notes := strings.Join(w.Notes(), "\n")
		if want := "node group old is no longer under `nodeGroups`: its 2 nodes (t3.small, 1.25 USD a day) stay until `pipectl run --prune`"; !strings.Contains(notes, want) || strings.Contains(notes, "pinned") {
			t.Errorf("want %q and no other group, got %s", want, notes)
		}
		if reads, writes := w.Count(mark); writes != 0 || reads > 40 {
			t.Errorf("%d reads, %d writes", reads, writes)
		}
		env := w.Env()
		env.Prune = true
		p, err = d.Plan(t.Context(), env, in)
		if err != nil || deleted(p.Changes) != "ec2:LaunchTemplate/blog/old eks:Nodegroup/blog/old" || p.Forecast.Seconds < 380 {
			t.Errorf("plan of a prune: %v, %v seconds, %v", p.Changes, p.Forecast.Seconds, err)
		}
		if notes := strings.Join(w.Notes(), "\n"); !strings.Contains(notes, "once those of the file are ready its 2 nodes (t3.small, 1.25 USD a day) are drained") || strings.Contains(notes, "will find no node") {
			t.Errorf("not told that nodes are drained: %s", notes)
		}
		if _, err := d.Apply(t.Context(), env, in); err != nil {
			t.Fatal(err)
		}
		if got := groupsOf(t, s); !slices.Equal(got, []string{"new", "pinned"}) {
			t.Errorf("after the prune: %v", got)
		}
		if owned := strings.Join(w.Owned(), "\n"); strings.Contains(owned, "blog/old") {
			t.Errorf("left behind: %s", owned)
		}
	})
}

func deleted(changes []steps.Change) string {
	var out []string
	for _, c := range changes {
		if c.Action == reconcile.Delete {
			out = append(out, reconcile.ID(c.Kind, c.Name))
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// Nodes are drained only when those in their place are there: a group that fails keeps the old one.
func TestOldNodeGroupGoesOnlyOnceTheNewOneIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 132})
		d, s := provisioneks.New(w.Open, nil), session(t, w)
		if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, groupsYAML("old"))); err != nil {
			t.Fatal(err)
		}
		in := cloudtest.Input(t, groupsYAML("new"))
		env := w.Env()
		env.Prune = true
		var standing []string
		w.OnCall("eks", "DeleteNodegroup", func() {
			for _, r := range w.Resources() {
				if strings.Contains(r.ID, "nodegroup/blog/new") {
					standing = append(standing, r.State)
				}
			}
		})
		w.AddFault(emulator.Fault{Service: "eks", Action: "CreateNodegroup", Kind: "access-denied"})
		if _, err := d.Apply(t.Context(), env, in); err == nil {
			t.Fatal("want a refusal of the new group")
		}
		if got := groupsOf(t, s); !slices.Equal(got, []string{"old"}) || len(standing) > 0 {
			t.Fatalf("after a run that failed: %v, %v", got, standing)
		}
		if _, err := d.Apply(t.Context(), env, in); err != nil {
			t.Fatal(err)
		}
		if got := groupsOf(t, s); !slices.Equal(got, []string{"new"}) || !slices.Equal(standing, []string{"ACTIVE"}) {
			t.Errorf("got %v; the new group was %v when the old one went", got, standing)
		}
	})
}

func TestNodeGroupOfSomebodyElseIsNotPruned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 133})
		d, s := provisioneks.New(w.Open, nil), session(t, w)
		if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, groupsYAML("main"))); err != nil {
			t.Fatal(err)
		}
		main, err := cloud.EKS(s).DescribeNodegroup(t.Context(), &eks.DescribeNodegroupInput{ClusterName: aws.String("blog"), NodegroupName: aws.String("main")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cloud.EKS(s).CreateNodegroup(t.Context(), &eks.CreateNodegroupInput{ClusterName: aws.String("blog"), NodegroupName: aws.String("theirs"), NodeRole: main.Nodegroup.NodeRole,
			Subnets: main.Nodegroup.Subnets, Tags: map[string]string{cloud.TagIdentity: "another", cloud.TagKind: "eks:Nodegroup", cloud.TagName: "blog/theirs"}}); err != nil {
			t.Fatal(err)
		}
		in, env := cloudtest.Input(t, groupsYAML("main")), w.Env()
		env.Prune = true
		if p, err := d.Plan(t.Context(), env, in); err != nil || deleted(p.Changes) != "" {
			t.Errorf("plan: %v, %v", p.Changes, err)
		}
		if _, err := d.Apply(t.Context(), env, in); err != nil {
			t.Fatal(err)
		}
		if got := groupsOf(t, s); !slices.Equal(got, []string{"main", "theirs"}) {
			t.Errorf("got %v", got)
		}
		if notes := strings.Join(w.Notes(), "\n"); strings.Contains(notes, "theirs") {
			t.Errorf("told of as ours: %s", notes)
		}
	})
}

// A volume does not follow its pod into another zone.
func TestPruneTellsOfZonesThatKeepNoNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 134})
		d := provisioneks.New(w.Open, nil)
		if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, groupsYAML("everywhere", "pinned"))); err != nil {
			t.Fatal(err)
		}
		env := w.Env()
		env.Prune = true
		in := cloudtest.Input(t, "{name: blog, network: {nat: none}, nodeGroups: [{name: pinned, instanceTypes: [t3.small], desired: 2, zones: [ap-northeast-2a]}]}")
		if _, err := d.Plan(t.Context(), env, in); err != nil {
			t.Fatal(err)
		}
		if notes := strings.Join(w.Notes(), "\n"); !strings.Contains(notes, "no other is in ap-northeast-2b, ap-northeast-2c: pods with volumes there will find no node") {
			t.Errorf("got %s", notes)
		}
	})
}
