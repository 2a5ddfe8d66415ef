package reconcile_test

import (
	"testing"
	"time"

	"pipectl.dev/steps/reconcile"
)

func TestExpectedTimeIsThatOfTheLongestPathOfWhatChanges(t *testing.T) {
	c := newCloud()
	rs := []reconcile.Resource[state]{c.resource("vpc"), c.resource("nat", "vpc"), c.resource("cluster", "vpc"), c.resource("nodes", "nat", "cluster"), c.resource("aside")}
	old := c.resource("old", "nodes")
	old.Retired = true
	rs = append(rs, old)
	takes := map[string]time.Duration{"vpc": time.Second, "nat": 105 * time.Second, "cluster": 510 * time.Second, "nodes": 115 * time.Second, "aside": time.Minute}
	usual := func(r reconcile.Resource[state], v reconcile.Verb) time.Duration {
		if v == reconcile.Update {
			return 7 * time.Second
		}
		return takes[r.Name]
	}
	for name, x := range map[string]struct {
		verbs map[string]reconcile.Verb
		want  time.Duration
	}{
		"nothing":                        {nil, 0},
		"all of it":                      {map[string]reconcile.Verb{"vpc": reconcile.Create, "nat": reconcile.Create, "cluster": reconcile.Create, "nodes": reconcile.Create, "aside": reconcile.Create}, 626 * time.Second},
		"a NAT gateway for kept nodes":   {map[string]reconcile.Verb{"vpc": reconcile.Keep, "nat": reconcile.Create, "nodes": reconcile.Keep}, 105 * time.Second},
		"the update of nodes":            {map[string]reconcile.Verb{"nodes": reconcile.Update}, 7 * time.Second},
		"what is refused takes no time":  {map[string]reconcile.Verb{"cluster": reconcile.Refuse}, 0},
		"beside the path, and as long":   {map[string]reconcile.Verb{"aside": reconcile.Create, "nodes": reconcile.Update}, time.Minute},
		"old nodes after the new ones":   {map[string]reconcile.Verb{"nodes": reconcile.Create, "old": reconcile.Delete}, 115*time.Second + time.Minute},
		"a NAT gateway and then its use": {map[string]reconcile.Verb{"nat": reconcile.Create, "nodes": reconcile.Create}, 220 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			var changes []reconcile.Change
			for _, r := range rs {
				changes = append(changes, reconcile.Change{Kind: r.Kind, Name: r.Name, Action: x.verbs[r.Name]})
			}
			if got := reconcile.Expected(rs, changes, usual); got != x.want {
				t.Errorf("got %s, want %s", got, x.want)
			}
		})
	}
}
