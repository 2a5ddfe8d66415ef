package aws

import (
	"slices"
	"strings"
	"time"
)

// Bound is the least time that any client could have taken for what a run made, by the durations that this Cloud drew.
// It counts no API latency and no polling.
type Bound struct {
	Create, Delete         time.Duration
	CreatePath, DeletePath []string // names and ids of the spans on the longest way
}

// LowerBound computes the bound for what calls after a mark started. Creations follow the dependencies that AWS itself
// enforces. For deletions node groups come before the NAT gateway and the cluster: a drain without egress loses volumes.
func (c *Cloud) LowerBound(mark int) Bound {
	c.mu.Lock()
	defer c.mu.Unlock()
	var creates, deletes []Span
	for _, s := range c.spans {
		_, action, _ := strings.Cut(s.Name, ":")
		switch {
		case s.Call <= mark:
		case strings.HasPrefix(action, "Delete"):
			deletes = append(deletes, s)
		case strings.HasPrefix(action, "Create"), action == "propagation":
			creates = append(creates, s)
		}
	}
	var b Bound
	b.Create, b.CreatePath = longest(creates)
	b.Delete, b.DeletePath = longestDelete(deletes)
	return b
}

// longest is the critical path through spans whose After names ids of other spans.
func longest(spans []Span) (time.Duration, []string) {
	memo := map[string]*way{}
	byID := map[string][]Span{}
	for _, s := range spans {
		byID[s.ID] = append(byID[s.ID], s)
	}
	var finish func(id string) *way
	finish = func(id string) *way {
		if w, ok := memo[id]; ok {
			return w
		}
		best := &way{}
		memo[id] = best // an id that waits for itself would end here
		for _, s := range byID[id] {
			before := &way{}
			for _, dep := range s.After {
				if w := finish(dep); w.took > before.took {
					before = w
				}
			}
			if took := before.took + s.Took; took >= best.took {
				*best = way{took, append(slices.Clone(before.path), s.Name+" "+s.ID)}
			}
		}
		return best
	}
	best := &way{}
	for _, s := range spans {
		if w := finish(s.ID); w.took > best.took {
			best = w
		}
	}
	return best.took, best.path
}

type way struct {
	took time.Duration
	path []string
}

func longestDelete(spans []Span) (time.Duration, []string) {
	most := func(names ...string) way {
		var w way
		for _, s := range spans {
			if slices.Contains(names, s.Name) && s.Took > w.took {
				w = way{s.Took, []string{s.Name + " " + s.ID}}
			}
		}
		return w
	}
	nodes, rest := most("eks:DeleteNodegroup"), most("eks:DeleteCluster", "ec2:DeleteNatGateway")
	chain := way{nodes.took + rest.took, append(nodes.path, rest.path...)}
	if other := most("eks:DeleteAddon", "ec2:DeleteVolume"); other.took > chain.took {
		chain = other
	}
	return chain.took, chain.path
}

// Spans is the work that AWS did on its own so far, in the order it started.
func (c *Cloud) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}
