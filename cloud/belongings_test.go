package cloud_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/bindirsa"
	"pipectl.dev/steps/datavolume"
	"pipectl.dev/steps/installaddon"
	"pipectl.dev/steps/provisioneks"
)

const latency = 50 * time.Millisecond

// A look that is refused must say which action is missing, and one that fails for a moment must give the same list: a list that lacks
// something would be taken for the whole.
func TestBelongingsAreToldWholeOrNotAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 82, Latency: latency})
		w.SeedRole("theirs", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)
		k := w.Kube("blog", cloudtest.Node("ip-10-0-1-5"))
		for with, d := range map[string]steps.Definition{
			"{name: home, zone: ap-northeast-2a, size: 20Gi}":                              datavolume.New(w.Open),
			"{name: blog, nodeGroups: [{name: n, instanceTypes: [t3.small], desired: 1}]}": provisioneks.New(w.Open, nil),
		} {
			if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, with)); err != nil {
				t.Fatal(err)
			}
		}
		role := "{cluster: {eks: {name: blog, region: ap-northeast-2}}, roleName: csi, serviceAccounts: [{namespace: a, name: b}]}"
		if _, err := w.Apply(t.Context(), bindirsa.New(w.Open, k.Open), cloudtest.Input(t, role)); err != nil {
			t.Fatal(err)
		}
		s, err := w.Open(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		look := func() (string, error) {
			list, err := s.Belongings(t.Context(), w.Env().Identity.String())
			var names []string
			for _, h := range list {
				names = append(names, h.Kind+" "+h.Name)
			}
			return strings.Join(names, "\n"), err
		}
		mark, began := w.Mark(), time.Now()
		want, err := look()
		if took := time.Since(began); took > 5*latency {
			t.Errorf("it took %s, which is more than five calls one after the other", took)
		}
		if err != nil || !strings.Contains(want, "iam:Role csi") || strings.Contains(want, "theirs") {
			t.Fatalf("%v: %s", err, want)
		}
		seen := map[string]bool{}
		for _, c := range w.Since(mark) {
			if c.Action == "DescribeClusterVersions" || seen[c.Action] { // without it a price is not known, which the price says
				continue
			}
			seen[c.Action] = true
			for _, kind := range []string{"throttle", "reset", "access-denied"} {
				w.AddFault(emulator.Fault{Service: c.Service, Action: c.Action, Kind: kind, At: 1})
				got, err := look()
				if kind == "access-denied" {
					if e := steps.Classify(err); err == nil || e.Category != steps.Permission || !strings.Contains(e.Error(), c.Action) {
						t.Errorf("%s refused: %v", c.Action, err)
					}
				} else if d := cmp.Diff(want, got); err != nil || d != "" {
					t.Errorf("%s %s: %v (-want +got):\n%s", c.Action, kind, err, d)
				}
			}
		}
		if len(seen) < 10 {
			t.Errorf("only %d calls went wrong", len(seen))
		}
	})
}

// What our stages put into a cluster of somebody else's outlives them there: it must be found when they leave the file.
func TestBelongingsInClustersOfOthersAreFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 83})
		k := w.Kube("theirs", cloudtest.Node("ip-10-0-1-5"))
		theirs := w.Env()
		theirs.Identity.Pipeline = "platform"
		cluster := cloudtest.Input(t, "{name: theirs, nodeGroups: [{name: n, instanceTypes: [t3.small], desired: 1}]}")
		if _, err := provisioneks.New(w.Open, nil).Apply(t.Context(), theirs, cluster); err != nil {
			t.Fatal(err)
		}
		addon := cloudtest.Input(t, "{cluster: {eks: {name: theirs, region: ap-northeast-2}}, name: eks-pod-identity-agent}")
		if _, err := w.Apply(t.Context(), installaddon.New(w.Open, k.Open), addon); err != nil {
			t.Fatal(err)
		}
		pods := cloudtest.Input(t, "{cluster: {eks: {name: theirs, region: ap-northeast-2}}, podIdentity: true, roleName: runner, serviceAccounts: [{namespace: ci, name: runner}]}")
		if _, err := w.Apply(t.Context(), bindirsa.New(w.Open, k.Open), pods); err != nil {
			t.Fatal(err)
		}
		s, err := w.Open(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		found := func() []string {
			t.Helper()
			list, err := s.Belongings(t.Context(), w.Env().Identity.String())
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, h := range list {
				names = append(names, h.Kind+" "+h.Name)
			}
			slices.Sort(names)
			return names
		}
		want := []string{"eks:Addon theirs/eks-pod-identity-agent", "eks:PodIdentityAssociation theirs/ci/runner", "iam:Role runner"}
		if d := cmp.Diff(want, found()); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		w.AddFault(emulator.Fault{Service: "eks", Action: "ListAddons", Kind: "access-denied", Times: 1})
		if d := cmp.Diff(want[1:], found()); d != "" {
			t.Errorf("a cluster that we may not look into (-want +got):\n%s", d)
		}
	})
}
