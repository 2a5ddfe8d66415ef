package engine_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

const ahead = head + `  stages:
    - {name: a, step: make-thing, with: {name: ta, size: 3, items: [p]}}
    - {name: b, step: make-thing, with: {name: "t-${{ stages.a.outputs.id }}", size: "${{ stages.a.outputs.size }}"}}
    - {name: c, step: make-thing, with: {name: "c-${{ stages.a.outputs.id }}", items: "${{ stages.a.outputs.items }}"}}
    - {name: d, step: make-thing, with: {name: "${{ has(stages.a.outputs.note) ? 'noted' : 'bare' }}"}}
    - {name: e, step: make-thing, with: {name: te, cluster: "${{ stages.a.outputs.cluster }}"}}
`

// foreseeing is a world in which the plan of ta foresees its id and size.
func foreseeing(id string) *world {
	w := newWorld()
	w.foresee = map[string]map[string]any{"ta": {"id": id, "size": 3}}
	return w
}

func TestAPlanGoesOnWithWhatIsForeseenAndOnlyThat(t *testing.T) {
	t.Parallel()
	w := foreseeing("id-ta")
	rep := runner(newMemory()).Plan(t.Context(), load(t, w, ahead), engine.RunOptions{})
	if len(rep.Errors) > 0 {
		t.Fatalf("%+v", rep.Errors)
	}
	var got []string
	for _, s := range rep.Stages {
		line := s.Stage + " " + string(s.State)
		for _, d := range s.Deferred {
			line += " " + d.Path
			for _, n := range d.After {
				line += ">" + n
			}
		}
		got = append(got, line)
	}
	want := []string{"a changes", "b changes", "c deferred items>a", "d deferred name>a", "e deferred cluster>a"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("states (-want +got):\n%s", d)
	}
	if rep.Changes.Create != 2 || rep.Cost.HourlyUSD != 1 || rep.Seconds != 10+30 {
		t.Errorf("%+v, %+v, %v s", rep.Changes, rep.Cost, rep.Seconds)
	}
}

func TestWhatWasForeseenIsCheckedBeforeItIsUsed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		foreseen string
		have     map[string]int // things that exist
		plans    []string       // of b
		applied  int            // of b
		status   steps.Status
	}{
		"as foreseen: planned once":                       {foreseen: "id-ta", plans: []string{"plan t-id-ta"}, applied: 1, status: steps.Succeeded},
		"otherwise: planned again with the truth":         {foreseen: "id-x", plans: []string{"plan t-id-x", "plan t-id-ta"}, applied: 1, status: steps.Succeeded},
		"what was to be kept is made where it is not it":  {foreseen: "id-x", have: map[string]int{"t-id-x": 3}, plans: []string{"plan t-id-x", "plan t-id-ta"}, applied: 1, status: steps.Succeeded},
		"what was to be made is kept where it is there":   {foreseen: "id-x", have: map[string]int{"t-id-ta": 3}, plans: []string{"plan t-id-x", "plan t-id-ta"}, status: steps.Skipped},
		"kept things that were foreseen rightly are kept": {foreseen: "id-ta", have: map[string]int{"t-id-ta": 3}, plans: []string{"plan t-id-ta"}, status: steps.Skipped},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := foreseeing(c.foreseen)
			for k, v := range c.have {
				w.things[k] = v
			}
			res := runner(newMemory()).Run(t.Context(), load(t, w, ahead), engine.RunOptions{})
			if res.ExitCode() != 0 || res.Stages[1].Status != c.status {
				t.Errorf("exit %d, %s %+v", res.ExitCode(), statuses(res), res.Errors)
			}
			if d := cmp.Diff(c.plans, w.did("plan t-")); d != "" {
				t.Errorf("plans of b (-want +got):\n%s", d)
			}
			if w.count("apply t-id-ta") != c.applied || w.count("apply t-") != c.applied || w.things["t-id-ta"] != 3 {
				t.Errorf("applied %v, there is %v", w.did("apply"), w.things)
			}
		})
	}
}

func TestWhatAFailedStageForesawIsNotUsed(t *testing.T) {
	t.Parallel()
	w := foreseeing("id-ta")
	w.on["apply ta"] = func(context.Context, steps.Env) error {
		return &steps.Error{Code: "Broken", Category: steps.Unhealthy, Message: "it broke"}
	}
	src := head + `  stages:
    - {name: a, step: make-thing, continueOnError: true, with: {name: ta, size: 3}}
    - {name: b, step: make-thing, with: {name: "t-${{ stages.a.outputs.id }}"}}
`
	res := runner(newMemory()).Run(t.Context(), load(t, w, src), engine.RunOptions{})
	if statuses(res) != "a:Failed b:Blocked" || w.count("apply t-") != 0 {
		t.Errorf("%s, applied %v", statuses(res), w.did("apply"))
	}
}
