package jenkinshome

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/steps"
)

func TestRouteIsChosenAndExplained(t *testing.T) {
	zone := &steps.Error{Code: "OtherZone", Category: steps.Precondition, Message: "volume v is in c, the old node in a", Hints: []string{"make it in a"}}
	disk := &steps.Error{Code: "NotEBS", Category: steps.Precondition, Message: "the home is on no EBS volume"}
	none := &steps.Error{Code: "NoCopier", Category: steps.Precondition, Message: "no ready node"}
	all := ground{Claim: "ebs", Node: "n1", Instance: "i-1", Disk: "vol-1", Worker: "n2"}
	for name, c := range map[string]struct {
		asked string
		ground
		want  string
		code  string
		lines []string // beginnings
	}{
		"a claim goes before all":            {"auto", all, routeSameNode, "", []string{"route sameNode: home and claim ebs", "not route attach: it could", "not route snapshot: it could", "not route stream: it could"}},
		"no claim: the volume is attached":   {"auto", ground{Node: "n1", Instance: "i-1", Snapshot: errNoNeed, Stream: errNoStream}, routeAttach, "", []string{"route attach: the old node n1", "not route sameNode: no claim", "not route snapshot: the volume can be attached", "not route stream: the home can be had"}},
		"another zone: snapshots":            {"auto", ground{Node: "n1", Attach: zone, Disk: "vol-1", Worker: "n2", Stream: errNoStream}, routeSnapshot, "", []string{"route snapshot: the home is on vol-1", "not route sameNode: no claim", "not route attach: volume v is in c, the old node in a; make it in a", "not route stream: the home"}},
		"asked for, though another is first": {routeSnapshot, all, routeSnapshot, "", []string{"route snapshot: the home is on vol-1: node n2 in the volume's zone copies from snapshots of it, the old node is left alone (asked for)", "not route sameNode: snapshot was asked for", "not route attach: snapshot was asked for", "not route stream: it could"}},
		"outside of EC2: a stream":           {"auto", ground{Node: "n1", Attach: zone, Snapshot: disk, Worker: "n2"}, routeStream, "", []string{"route stream: a mover on the old node n1 serves the home to one on node n2", "not route sameNode: no claim", "not route attach: volume v", "not route snapshot: the home is on no EBS volume"}},
		"asked for in vain":                  {routeAttach, ground{Attach: zone, Disk: "vol-1"}, "", "OtherZone", nil},
		"none":                               {"auto", ground{Attach: zone, Snapshot: disk, Stream: none}, "", "OtherZone", nil},
	} {
		t.Run(name, func(t *testing.T) {
			options := weigh(c.ground)
			o, err := pick(c.asked, options)
			if code(err) != c.code || (err == nil) != (c.want != "") || err == nil && o.Route != c.want {
				t.Fatalf("got %q, %v", o.Route, err)
			}
			if err != nil {
				if hints := strings.Join(steps.Classify(err).Hints, "; "); c.asked == "auto" && !strings.Contains(hints, "route snapshot: the home is on no EBS volume") {
					t.Errorf("hints: %s", hints)
				}
				return
			}
			got := explain(o.Route, c.asked, options)
			for i, want := range c.lines {
				if i < len(got) && strings.HasPrefix(got[i], want) {
					got[i] = want
				}
			}
			if diff := cmp.Diff(c.lines, got); diff != "" {
				t.Errorf("explained (-want +got):\n%s", diff)
			}
		})
	}
}

func TestThePlanExplainsTheRoute(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		p, err := precopyStep{s.base()}.Plan(t.Context(), s.env("run-1"), s.precopySpec())
		if err != nil {
			t.Fatal(err)
		}
		if n := p.Forecast.Notes; len(n) != 4 || !strings.HasPrefix(n[0], "route attach: the old node node-1") || !strings.HasPrefix(n[1], "not route sameNode: ") || !strings.HasPrefix(n[2], "not route snapshot: ") {
			t.Errorf("notes: %q", n)
		}
	})
}
