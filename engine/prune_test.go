package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/engine"
	"pipectl.dev/engine/lock"
	"pipectl.dev/steps"
)

const afterwards = head + `  stages:
    - {name: a, step: make-thing, with: {name: ta}}
    - {name: off, step: make-thing, when: "false", with: {name: off}}
`

// belongings are things of a world as their owner tags tell them: each with a part of its own, which goes with it.
func belongings(w *world) func(context.Context, steps.Identity) ([]engine.Thing, error) {
	return func(context.Context, steps.Identity) ([]engine.Thing, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		price := 2.4
		var out []engine.Thing
		for _, name := range []string{"disk", "left", "off", "ta"} {
			if _, ok := w.things[name]; !ok {
				continue
			}
			if name == "disk" {
				out = append(out, engine.Thing{Kind: "data", Name: name, ID: "id-" + name, Data: true})
				continue
			}
			out = append(out, engine.Thing{Kind: "thing", Name: name, ID: "id-" + name, DailyUSD: &price}, engine.Thing{Kind: "thing", Name: name + "/part"})
		}
		return append(out, engine.Thing{Kind: "unknown", Name: "x"}), nil
	}
}

func TestWhatLeftTheFileIsListedAndRemovedOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	later := afterwards + "    - {name: b, step: make-thing, with: {name: \"${{ stages.a.outputs.urls.home }}\"}}\n"
	for name, c := range map[string]struct {
		src      string
		opts     engine.RunOptions
		no       bool // the question is answered by no
		fail     bool // release fails
		exit     int
		asked    string // things that the question says go
		released string
		deleted  string
		left     string
	}{
		"a run without --prune looks for nothing": {left: "disk left off"},
		"--prune":                           {opts: engine.RunOptions{Prune: true}, asked: "left left/part", released: "release left", deleted: "delete left", left: "disk off"},
		"--prune --yes":                     {opts: engine.RunOptions{Prune: true, Yes: true}, released: "release left", deleted: "delete left", left: "disk off"},
		"declined":                          {opts: engine.RunOptions{Prune: true}, no: true, exit: 13, asked: "left left/part", left: "disk left off"},
		"what cannot let go is not removed": {opts: engine.RunOptions{Prune: true, Yes: true}, fail: true, exit: 14, released: "release left", left: "disk left off"},
		"a stage of the step whose name is known later may own it": {src: later, opts: engine.RunOptions{Prune: true, Yes: true}, left: "disk left off"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.things["disk"], w.things["left"], w.things["off"] = 1, 1, 1
			if c.fail {
				w.on["release left"] = func(context.Context, steps.Env) error {
					return &steps.Error{Code: "Busy", Category: steps.Transient, Message: "busy"}
				}
			}
			if c.src == "" {
				c.src = afterwards
			}
			r := runner(newMemory())
			r.Belongings, r.Locker = belongings(w), lock.NewMemory()
			asked := ""
			r.Confirm = func(_ context.Context, q engine.Question) (bool, error) {
				for _, f := range q.Plan.Forgotten {
					for _, x := range f.Things {
						if f.Kept == "" && q.Plan.Prune {
							asked += " " + x.Name
						}
					}
				}
				return !c.no, nil
			}
			res := r.Run(t.Context(), load(t, w, c.src), c.opts)
			if res.ExitCode() != c.exit {
				t.Errorf("exit %d, want %d: %+v", res.ExitCode(), c.exit, res.Errors)
			}
			var left []string
			for _, name := range []string{"disk", "left", "off"} {
				if _, ok := w.things[name]; ok {
					left = append(left, name)
				}
			}
			got := []string{strings.TrimSpace(asked), strings.Join(w.did("release"), " "), strings.Join(w.did("delete"), " "), strings.Join(left, " ")}
			if d := cmp.Diff([]string{c.asked, c.released, c.deleted, c.left}, got); d != "" {
				t.Errorf("asked, released, deleted, left (-want +got):\n%s", d)
			}
			if n := len(res.Pruned); (n == 1) != (c.deleted != "") {
				t.Errorf("pruned %+v", res.Pruned)
			}
		})
	}
}

func TestPlanAndStatusTellWhatLeftTheFile(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.things["disk"], w.things["left"], w.things["off"] = 1, 1, 1
	r := runner(newMemory())
	r.Belongings = belongings(w)
	p := load(t, w, afterwards)
	want := []string{"keep-data disk: it holds data", "make-thing left: ", "make-thing left/part: "}
	tell := func(all []engine.Forgotten) (out []string) {
		for _, f := range all {
			for _, x := range f.Things {
				out = append(out, f.Step+" "+x.Name+": "+f.Kept)
			}
		}
		return out
	}
	if d := cmp.Diff(want, tell(r.Plan(t.Context(), p, engine.RunOptions{}).Forgotten)); d != "" {
		t.Errorf("plan (-want +got):\n%s", d)
	}
	st := r.Status(t.Context(), p)
	if d := cmp.Diff(want, tell(st.Forgotten)); d != "" {
		t.Errorf("status (-want +got):\n%s", d)
	}
	holdings := []engine.Holding{{Kind: "thing", Name: "left/part"}, {Kind: "thing", Name: "ta"}, {Kind: "data", Name: "disk", Data: true}, {Kind: "unknown", Name: "x"}}
	st.Judge(holdings)
	var left []engine.Left
	for _, h := range holdings {
		left = append(left, h.Left)
	}
	if d := cmp.Diff([]engine.Left{engine.LeftByStage, engine.LeftOver, "", ""}, left); d != "" {
		t.Errorf("left (-want +got):\n%s", d)
	}
	for _, s := range st.Stages {
		if want := s.Stage == "a"; s.Partial != want {
			t.Errorf("stage %s: partial is %v, want %v", s.Stage, s.Partial, want)
		}
	}
	r.Belongings = func(context.Context, steps.Identity) ([]engine.Thing, error) {
		return nil, errors.New("iam:ListRoles is not allowed")
	}
	if rep := r.Plan(t.Context(), p, engine.RunOptions{}); rep.ExitCode() != 0 || len(rep.Warnings) != 1 {
		t.Errorf("exit %d, warnings %q", rep.ExitCode(), rep.Warnings)
	}
}

func TestDownIsNotDoneWhileThingsOfFormerStagesCost(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.things["disk"], w.things["left"] = 1, 1
	r := runner(newMemory())
	r.Belongings = belongings(w)
	res := r.Down(t.Context(), load(t, w, afterwards), engine.DownOptions{})
	if res.ExitCode() != 16 || w.things["left"] != 1 || !strings.Contains(res.Errors[0].Message, "thing/left (id-left, 2.40 USD a day)") {
		t.Errorf("exit %d, left %v: %+v", res.ExitCode(), w.things, res.Errors)
	}
}

// Steps keep what they would let go only with --prune, such as node groups that left a stage.
func TestStepsKnowWhetherARunPrunes(t *testing.T) {
	t.Parallel()
	for _, prune := range []bool{false, true} {
		w := newWorld()
		told := map[string]bool{}
		for _, verb := range []string{"plan", "apply"} {
			w.on[verb+" ta"] = func(_ context.Context, env steps.Env) error {
				told[verb] = env.Prune
				return nil
			}
		}
		r := runner(newMemory())
		r.Belongings = belongings(w)
		if res := r.Run(t.Context(), load(t, w, afterwards), engine.RunOptions{Prune: prune, Yes: true}); res.ExitCode() != 0 {
			t.Errorf("exit %d: %+v", res.ExitCode(), res.Errors)
		}
		if d := cmp.Diff(map[string]bool{"plan": prune, "apply": prune}, told); d != "" {
			t.Errorf("--prune %v (-want +got):\n%s", prune, d)
		}
	}
}
