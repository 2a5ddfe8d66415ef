// Package steptest is the conformance suite that every step passes: what a pipeline may rely on whatever the step does.
//
// Static needs nothing but the Definition. Run also drives the step through its life in a world that the step's test brings. It knows no
// step, and is imported by tests only.
package steptest

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

// Harness brings worlds for a step.
type Harness struct {
	// World makes a fresh one; nil runs the static part only.
	World func(t *testing.T) World
	// Virtual runs each case in a testing/synctest bubble: worlds must then use no sockets.
	Virtual bool
}

// World is what a step works on, from nothing on.
type World struct {
	Step steps.Definition // bound to this world
	With string           // YAML of a `with:`; "": the step's example
	// Writes counts changes of managed resources so far; locks, tokens and marks that a look leaves behind are not counted.
	Writes func() int
	// Foreign puts something into the world that is like what the step makes but not ours; the function it returns says what is wrong
	// with it now, or "". nil: the step has nothing that could be foreign.
	Foreign  func(t *testing.T) (check func() string)
	Identity steps.Identity // zero: one of an account
	Dir      string         // directory of the pipeline file
}

// life is one stage in one world.
type life struct {
	World
	t  *testing.T
	in steps.Input

	mu      sync.Mutex
	changes []steps.Change // reported as done
}

// Run checks the step as Static does and, where there are worlds, its life.
func Run(t *testing.T, def steps.Definition, h Harness) {
	t.Helper()
	Static(t, def)
	if h.World == nil {
		return
	}
	for name, body := range map[string]func(*life){
		"a plan in an empty world changes nothing and finds nothing": (*life).empty,
		"what was applied is kept and observed":                      (*life).applied,
		"a cancelled context changes nothing":                        (*life).cancelled,
		"what was made is removed, once":                             (*life).removed,
		"what is not ours is left alone":                             (*life).foreign,
	} {
		run := func(t *testing.T) {
			w := h.World(t)
			l := &life{World: w, t: t, in: input(t, def, w.With)}
			body(l)
		}
		t.Run(name, func(t *testing.T) {
			if h.Virtual {
				synctest.Test(t, run)
				return
			}
			run(t)
		})
	}
}

func input(t *testing.T, def steps.Definition, with string) steps.Input {
	t.Helper()
	if with == "" {
		with = def.Example
	}
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(with), &n); err != nil || len(n.Content) == 0 {
		t.Fatalf("with: %v in\n%s", err, with)
	}
	return steps.Input{File: "steptest.yaml", With: n.Content[0]}
}

func (l *life) env() steps.Env {
	id := l.Identity
	if id == (steps.Identity{}) {
		id = steps.Identity{Account: "123456789012", Region: "ap-northeast-2", Pipeline: "conformance"}
	}
	return steps.Env{Identity: id, Stage: "stage", RunID: "run", Dir: l.Dir, Log: slog.New(slog.DiscardHandler), Record: l.record}
}

func (l *life) record(ev steps.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ev.Type == steps.ChangeDone && ev.Change != nil {
		l.changes = append(l.changes, *ev.Change)
	}
}

// apply applies and says what it reported to have changed.
func (l *life) apply() (json.RawMessage, []steps.Change) {
	l.t.Helper()
	l.changes = nil
	out, err := l.Step.Apply(l.t.Context(), l.env(), l.in)
	if err != nil {
		l.t.Fatalf("apply: %v", err)
	}
	return out, slices.DeleteFunc(slices.Clone(l.changes), func(c steps.Change) bool { return c.Action == reconcile.Keep })
}

// quiet fails if what it does changes the world.
func (l *life) quiet(what string, do func()) {
	l.t.Helper()
	before := l.Writes()
	do()
	if n := l.Writes() - before; n != 0 {
		l.t.Errorf("%s changed the world %d times", what, n)
	}
}

func (l *life) empty() {
	l.quiet("plan and observe", func() {
		p, err := l.Step.Plan(l.t.Context(), l.env(), l.in)
		if err != nil {
			l.t.Fatalf("plan: %v", err)
		}
		if l.Step.Deletes && (p.Outputs != nil || !changesAny(p.Changes)) {
			l.t.Errorf("nothing to do in an empty world: %+v, outputs %s", p.Changes, p.Outputs)
		}
		if _, found, err := l.Step.Observe(l.t.Context(), l.env(), l.in); err != nil || found && l.Step.Deletes {
			l.t.Errorf("observe: found %v, %v", found, err)
		}
	})
}

func changesAny(cs []steps.Change) bool {
	return slices.ContainsFunc(cs, func(c steps.Change) bool { return c.Action != reconcile.Keep })
}

func (l *life) applied() {
	before, err := l.Step.Plan(l.t.Context(), l.env(), l.in)
	if err != nil {
		l.t.Fatalf("plan: %v", err)
	}
	out, _ := l.apply()
	l.foreseen(before.Foreseen, out)
	l.quiet("plan and observe", func() {
		p, err := l.Step.Plan(l.t.Context(), l.env(), l.in)
		if err != nil {
			l.t.Fatalf("plan: %v", err)
		}
		if changesAny(p.Changes) || p.Outputs == nil {
			l.t.Errorf("a plan after apply is not all keep with outputs: %+v, outputs %s", p.Changes, p.Outputs)
		}
		l.same("plan", out, p.Outputs)
		seen, found, err := l.Step.Observe(l.t.Context(), l.env(), l.in)
		if err != nil || !found {
			l.t.Fatalf("observe: found %v, %v", found, err)
		}
		l.same("observe", out, seen)
	})
	l.quiet("a second apply", func() {
		again, changed := l.apply()
		if len(changed) > 0 {
			l.t.Errorf("a second apply reports %+v", changed)
		}
		l.same("a second apply", out, again)
	})
}

// foreseen fails unless what a plan foresaw came about.
func (l *life) foreseen(raw, out json.RawMessage) {
	l.t.Helper()
	var want, got map[string]json.RawMessage
	if len(raw) == 0 {
		return
	}
	if err := errors.Join(json.Unmarshal(raw, &want), json.Unmarshal(out, &got)); err != nil {
		l.t.Fatal(err)
	}
	for name := range want {
		l.same("a plan that foresaw "+name, got[name], want[name])
	}
}

func (l *life) same(what string, want, got json.RawMessage) {
	l.t.Helper()
	if d := cmp.Diff(string(want), string(got)); d != "" {
		l.t.Errorf("outputs of %s differ from those of apply (-apply +%s):\n%s", what, what, d)
	}
}

func (l *life) cancelled() {
	ctx, cancel := context.WithCancel(l.t.Context())
	cancel()
	l.quiet("a cancelled apply", func() {
		if _, err := l.Step.Apply(ctx, l.env(), l.in); err == nil {
			l.t.Error("a cancelled apply is no error")
		} else if !errors.Is(err, context.Canceled) && steps.Classify(err).Category != steps.Interrupted {
			l.t.Errorf("a cancelled apply says %v, not that it was cancelled", err)
		}
	})
}

func (l *life) remove() {
	l.t.Helper()
	if err := l.Step.Release(l.t.Context(), l.env(), l.in); err != nil {
		l.t.Fatalf("release: %v", err)
	}
	if err := l.Step.Delete(l.t.Context(), l.env(), l.in, steps.DeleteOptions{WithData: true}); err != nil {
		l.t.Fatalf("delete: %v", err)
	}
}

func (l *life) removed() {
	l.quiet("a removal in an empty world", l.remove)
	l.apply()
	if l.Step.Data {
		l.kept()
	}
	l.remove()
	if _, found, err := l.Step.Observe(l.t.Context(), l.env(), l.in); l.Step.Deletes && (err != nil || found) {
		l.t.Errorf("after delete: found %v, %v", found, err)
	}
	l.quiet("a second removal", l.remove)
}

// kept fails unless what holds data is there after a removal that is not to take data.
func (l *life) kept() {
	l.t.Helper()
	if err := l.Step.Release(l.t.Context(), l.env(), l.in); err != nil {
		l.t.Fatalf("release: %v", err)
	}
	if err := l.Step.Delete(l.t.Context(), l.env(), l.in, steps.DeleteOptions{}); err != nil {
		l.t.Fatalf("delete: %v", err)
	}
	if _, found, err := l.Step.Observe(l.t.Context(), l.env(), l.in); err != nil || !found {
		l.t.Errorf("a removal that is to keep data: found %v after it, %v", found, err)
	}
}

func (l *life) foreign() {
	if l.Foreign == nil {
		return
	}
	check := l.Foreign(l.t)
	_, err := l.Step.Apply(l.t.Context(), l.env(), l.in) // may go on beside it or refuse
	if err != nil && steps.Classify(err).Category == steps.Internal {
		l.t.Errorf("apply beside something foreign: %v is no error that a user can act on", err)
	}
	if wrong := check(); wrong != "" {
		l.t.Errorf("apply: %s", wrong)
	}
	l.remove()
	if wrong := check(); wrong != "" {
		l.t.Errorf("delete: %s", wrong)
	}
}
