package provisioneks_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/provisioneks"
)

// oneGroup is a cluster whose node group says what more tells.
func oneGroup(t *testing.T, more string) steps.Input {
	t.Helper()
	return cloudtest.Input(t, "{name: blog, network: {nat: none}, nodeGroups: [{name: n, instanceTypes: [t3.small]"+more+"}]}")
}

// grouped is a world with such a cluster.
func grouped(t *testing.T, o emulator.Options, more string) (*cloudtest.World, steps.Definition) {
	t.Helper()
	w := cloudtest.New(t, o)
	d := provisioneks.New(w.Open, nil)
	if _, err := w.Apply(t.Context(), d, oneGroup(t, more)); err != nil {
		t.Fatal(err)
	}
	return w, d
}

// nodes are the images that the running instances of the node group n were started from.
func nodes(t *testing.T, w *cloudtest.World) []string {
	t.Helper()
	o, err := cloud.EC2(session(t, w)).DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{Filters: append(
		[]ec2types.Filter{cloud.Filter("tag:eks:nodegroup-name", "n")}, cloud.Filter("instance-state-name", "running"))})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range o.Reservations {
		for _, i := range r.Instances {
			out = append(out, aws.ToString(i.ImageId))
		}
	}
	return out
}

func TestChangesToANodeGroupAreShownThenRolledOut(t *testing.T) {
	for name, c := range map[string]struct{ from, to, drift string }{
		"how many nodes may be away, in percent": {"", ", updateConfig: {maxUnavailablePercentage: 33}", "updateConfig.maxUnavailablePercentage: have 0, want 33"},
		"how many nodes may be away":             {", updateConfig: {maxUnavailablePercentage: 33}", ", updateConfig: {maxUnavailable: 2}", "updateConfig.maxUnavailable: have 0, want 2"},
		"another value of a taint":               {", taints: [{key: a, value: b, effect: NoSchedule}]", ", taints: [{key: a, value: c, effect: NoSchedule}]", "taints: have [a=b:NO_SCHEDULE], want [a=c:NO_SCHEDULE]"},
		"another effect of a taint":              {", taints: [{key: a, value: b, effect: NoSchedule}]", ", taints: [{key: a, value: b, effect: NoExecute}]", "want [a=b:NO_EXECUTE]"},
		"labels":                                 {", labels: {a: b, c: d}", ", labels: {a: x}", "labels: have [a=b c=d], want [a=x]"},
		"another image of one's own":             {", launchTemplate: {imageId: ami-0123456789abcdef0}", ", launchTemplate: {imageId: ami-0fedcba9876543210}", "launchTemplate.imageId: have ami-0123456789abcdef0, want ami-0fedcba9876543210"},
		"a larger disk":                          {"", ", diskSize: 40", "diskSize: have 20, want 40"},
		"more nodes at most":                     {"", ", max: 7", "max: have 1, want 7"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, d := grouped(t, emulator.Options{Seed: 76}, c.from)
				p, err := d.Plan(t.Context(), w.Env(), oneGroup(t, c.to))
				if err != nil || !strings.Contains(fmt.Sprint(p.Changes), c.drift) || strings.Contains(fmt.Sprint(p.Changes), "refuse") {
					t.Errorf("plan %v, %v, want %q", p.Changes, err, c.drift)
				}
				if _, err := w.Apply(t.Context(), d, oneGroup(t, c.to)); err != nil {
					t.Fatal(err)
				}
				mark := w.Mark()
				if p, err = d.Plan(t.Context(), w.Env(), oneGroup(t, c.to)); err != nil || p.Outputs == nil {
					t.Errorf("afterwards: %v, %v, want nothing to do", p.Changes, err)
				}
				if _, err := w.Apply(t.Context(), d, oneGroup(t, c.to)); err != nil {
					t.Fatal(err)
				}
				if _, writes := w.Count(mark); writes != 0 {
					t.Errorf("%d writes although all was mended", writes)
				}
			})
		})
	}
}

func TestImageOfOnesOwnIsRolledOutToTheNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 77})
		d := provisioneks.New(w.Open, nil)
		for _, image := range []string{"ami-0123456789abcdef0", "ami-0fedcba9876543210"} {
			if _, err := w.Apply(t.Context(), d, oneGroup(t, ", desired: 2, launchTemplate: {imageId: "+image+"}")); err != nil {
				t.Fatal(err)
			}
			g := group(t, w, "n")
			if got := aws.ToString(g.ReleaseVersion); got != image || g.AmiType != "CUSTOM" || len(nodes(t, w)) != 2 {
				t.Errorf("got %s %s with %d nodes, want %s", g.AmiType, got, len(nodes(t, w)), image)
			}
		}
	})
}

func TestWhatANodeGroupCannotChangeIsRefusedWithTheFieldNamed(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"from an image of EKS to one's own": {"", ", launchTemplate: {imageId: ami-0123456789abcdef0}", "launchTemplate.imageId: have none, want ami-0123456789abcdef0"},
		"from one's own image to EKS's":     {", launchTemplate: {imageId: ami-0123456789abcdef0}", "", "launchTemplate.imageId: have ami-0123456789abcdef0, want"},
		"the image family":                  {"", ", amiType: BOTTLEROCKET_x86_64", "amiType: have AL2023_x86_64_STANDARD, want BOTTLEROCKET_x86_64"},
		"spot":                              {"", ", capacityType: SPOT", "capacityType: have ON_DEMAND, want SPOT"},
		"the zones":                         {"", ", zones: [ap-northeast-2a]", "subnets: have"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, d := grouped(t, emulator.Options{Seed: 78}, c.from)
				mark := w.Mark()
				p, err := d.Plan(t.Context(), w.Env(), oneGroup(t, c.to))
				if err != nil || !strings.Contains(fmt.Sprint(p.Changes), c.want) || !strings.Contains(fmt.Sprint(p.Changes), "refuse") {
					t.Errorf("plan %v, %v, want a refusal that says %q", p.Changes, err, c.want)
				}
				_, err = w.Apply(t.Context(), d, oneGroup(t, c.to))
				field, _, _ := strings.Cut(c.want, ":")
				if e := steps.Classify(err); err == nil || e.Code != "Immutable" || !strings.Contains(err.Error(), field+": have") {
					t.Errorf("apply: got %v, want a refusal that names %s", err, field)
				}
				if _, writes := w.Count(mark); writes != 0 {
					t.Errorf("%d writes", writes)
				}
			})
		})
	}
}

func TestStoppedNodeGroupHasNoNodesAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 79})
		d := provisioneks.New(w.Open, nil)
		for _, c := range []struct {
			spec  string
			nodes int
		}{{", min: 0, desired: 2, max: 3", 2}, {", min: 0, desired: 2, max: 3, stopped: true", 0}, {", min: 0, desired: 2, max: 3", 2}, {", stopped: true", 0}, {", min: 1, max: 2", 1}} {
			if _, err := w.Apply(t.Context(), d, oneGroup(t, c.spec)); err != nil {
				t.Fatal(err)
			}
			if got := int(aws.ToInt32(group(t, w, "n").ScalingConfig.DesiredSize)); got != c.nodes {
				t.Errorf("%s: %d nodes wanted of AWS, want %d", c.spec, got, c.nodes)
			}
			if p, err := d.Plan(t.Context(), w.Env(), oneGroup(t, c.spec)); err != nil || p.Outputs == nil {
				t.Errorf("%s: afterwards: %v, %v, want nothing to do", c.spec, p.Changes, err)
			}
		}
	})
}

func TestGroupIsMadeWithoutAZoneThatIsFull(t *testing.T) {
	full := emulator.Fault{Service: "eks", Action: "CreateNodegroup", Kind: "capacity", Zone: "ap-northeast-2a", Times: -1}
	synctest.Test(t, func(t *testing.T) {
		w, d := grouped(t, emulator.Options{Seed: 80, Faults: []emulator.Fault{full}}, ", desired: 2")
		if notes := strings.Join(w.Notes(), "\n"); !strings.Contains(notes, "no room for its nodes in ap-northeast-2a; it is made again in ap-northeast-2b, ap-northeast-2c") {
			t.Errorf("not told: %s", notes)
		}
		if n := len(group(t, w, "n").Subnets); n != 2 {
			t.Errorf("it is in %d subnets, want 2", n)
		}
		w.NoDuplicates(t)
		mark := w.Mark()
		raw, err := w.Apply(t.Context(), d, oneGroup(t, ", desired: 2"))
		if _, writes := w.Count(mark); err != nil || writes != 0 || !strings.Contains(string(raw), `"zones":["ap-northeast-2b","ap-northeast-2c"]`) {
			t.Errorf("second run: %v, %d writes, %s", err, writes, raw)
		}
	})
	synctest.Test(t, func(t *testing.T) { // a volume does not move: neither does its node group
		w := cloudtest.New(t, emulator.Options{Seed: 81, Faults: []emulator.Fault{full}})
		_, err := w.Apply(t.Context(), provisioneks.New(w.Open, nil), oneGroup(t, ", zones: [ap-northeast-2a]"))
		if e := steps.Classify(err); err == nil || e.Code != "NodegroupFailed" {
			t.Errorf("got %v, want the failure told", err)
		}
	})
}

func TestControlPlaneIsMadeInTheZonesThatEKSNames(t *testing.T) {
	zones := func(list string) steps.Input {
		return cloudtest.Input(t, "{name: blog, network: {nat: none, zones: ["+list+"]}}")
	}
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 82, Region: "us-east-1"})
		d, in := provisioneks.New(w.Open, nil), zones("us-east-1a, us-east-1e, us-east-1b")
		raw, err := d.Apply(t.Context(), w.Env(), in) // without the preflight, which knows this zone
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(w.Notes(), func(n string) bool {
			return strings.Contains(n, "EKS makes no control plane in us-east-1e: it is made in the other zones")
		}) {
			t.Errorf("not told: %q", w.Notes())
		}
		again, err := d.Apply(t.Context(), w.Env(), in)
		if diff := cmp.Diff(string(raw), string(again)); err != nil || diff != "" {
			t.Errorf("second run: %v\n%s", err, diff)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 83, Region: "us-east-1"})
		_, err := provisioneks.New(w.Open, nil).Apply(t.Context(), w.Env(), zones("us-east-1a, us-east-1e"))
		if e := steps.Classify(err); err == nil || e.Code != "UnsupportedZone" || !strings.Contains(strings.Join(e.Hints, " "), "us-east-1a, us-east-1b") {
			t.Errorf("got %v, want the zones named that EKS takes", err)
		}
	})
}
