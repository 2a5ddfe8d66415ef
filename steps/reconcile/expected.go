package reconcile

import "time"

// Expected is how long Apply should take for the planned changes: the longest path through what is not kept, where each resource takes
// what usual says of it.
func Expected[S any](rs []Resource[S], changes []Change, usual func(Resource[S], Verb) time.Duration) time.Duration {
	verbs := map[string]Verb{}
	for _, c := range changes {
		verbs[ID(c.Kind, c.Name)] = c.Action
	}
	byID := map[string]Resource[S]{}
	for _, r := range rs {
		byID[r.ID()] = r
	}
	ready, all := map[string]time.Duration{}, time.Duration(0)
	var visit func(id string) time.Duration
	visit = func(id string) time.Duration {
		if at, ok := ready[id]; ok {
			return at
		}
		ready[id] = 0 // a circle, which Apply refuses
		at := time.Duration(0)
		for _, n := range byID[id].Needs {
			at = max(at, visit(n))
		}
		switch v := verbs[id]; {
		case v == Create || v == Update:
			at += usual(byID[id], v)
		case v == Delete && byID[id].Retired:
			at += byID[id].Gone
		}
		ready[id] = at
		return at
	}
	for id := range byID {
		all = max(all, visit(id))
	}
	return all
}
