package engine_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
	"pipectl.dev/steps/wait"
)

// stopped is the cause of a context that a signal ended.
type stopped struct{}

func (stopped) Error() string        { return "stopped by SIGTERM" }
func (stopped) Is(target error) bool { return target == context.Canceled }
func (stopped) ExitCode() int        { return 143 }

func making(name string) steps.Change {
	return steps.Change{Kind: "thing", Name: name, ID: "id-" + name, Action: "create"}
}

func TestARunThatIsStoppedTellsWhatIsBeingMade(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, store := newWorld(), newMemory()
		ctx, cancel := context.WithCancelCause(t.Context())
		w.on["apply ta"] = func(ctx context.Context, env steps.Env) error {
			made, refused := making("cluster"), making("vpc")
			env.Report(steps.Progress{Change: refused, Phase: "start"})
			env.Report(steps.Progress{Change: refused, Phase: "failed"})
			back := making("cut-over")
			env.Report(steps.Progress{Change: back, Phase: "start"})
			env.Report(steps.Progress{Change: back, Phase: "wait"})
			env.Report(steps.Progress{Change: back, Phase: "failed", Undone: true}) // taken back: nothing of it is there
			env.Report(steps.Progress{Change: made, Phase: "start"})
			env.Report(steps.Progress{Change: made, Phase: "wait"})
			<-ctx.Done()
			env.Report(steps.Progress{Change: made, Phase: "failed"})
			return ctx.Err()
		}
		time.AfterFunc(time.Minute, func() { cancel(stopped{}) })
		res := runner(store).Run(ctx, load(t, w, three), engine.RunOptions{})
		if res.Status != steps.Canceled || res.ExitCode() != 143 || res.Untouched {
			t.Errorf("%s, exit %d, untouched %v", res.Status, res.ExitCode(), res.Untouched)
		}
		being := making("cluster")
		being.Unfinished = true
		want := &engine.Next{Exists: []steps.Change{being}, AtMost: true, Resume: "pipectl run p.yaml --resume", BackOut: "pipectl down p.yaml"}
		if d := cmp.Diff(want, res.Next); d != "" {
			t.Errorf("what next (-want +got):\n%s", d)
		}
		if res.Cost == nil || res.Cost.HourlyUSD != 0.5 || res.Changes.Any() || !res.Stages[0].Changed {
			t.Errorf("cost %+v, changes %+v, changed %v", res.Cost, res.Changes, res.Stages[0].Changed)
		}
		if kept := store.results["a"]; kept.Status != steps.Canceled || len(kept.Resources) != 1 {
			t.Errorf("the stored result: %+v", kept)
		}
	})
}

func TestARefusalBeforeTheFirstWriteSaysThatNothingWasChanged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		category steps.Category
		exit     int
	}{"quota": {steps.Quota, 10}, "permission": {steps.Permission, 11}, "input": {steps.BadInput, 2}} {
		w := newWorld()
		w.things["ta"] = 1
		w.on["preflight tb"] = func(context.Context, steps.Env) error {
			return &steps.Error{Code: "X", Category: c.category, Message: "no"}
		}
		res := runner(newMemory()).Run(t.Context(), load(t, w, three), engine.RunOptions{})
		if res.ExitCode() != c.exit || !res.Untouched || res.Next != nil {
			t.Errorf("%s: exit %d, untouched %v, next %+v", name, res.ExitCode(), res.Untouched, res.Next)
		}
	}
	w := newWorld()
	w.on["apply tb"] = func(context.Context, steps.Env) error { return errors.New("no") }
	res := runner(newMemory()).Run(t.Context(), load(t, w, three), engine.RunOptions{})
	if res.Untouched || res.Next == nil || res.Next.Resume == "" {
		t.Errorf("after a stage was made: untouched %v, next %+v", res.Untouched, res.Next)
	}
}

func TestANoteIsToldOnceHoweverOftenAStageIsPlanned(t *testing.T) {
	t.Parallel()
	w, ev := newWorld(), &events{}
	src := head + `  stages:
    - {name: a, step: make-thing, with: {name: ta, size: 3}}
    - {name: b, step: make-thing, with: {name: tb, size: "${{ stages.a.outputs.size }}"}}
`
	w.on["preflight tb"] = func(_ context.Context, env steps.Env) error { env.Note("few pods"); return nil }
	w.notes = []string{"support ends"}
	r := runner(newMemory())
	r.Record = ev.record
	p := load(t, w, src)
	rep := r.Plan(t.Context(), p, engine.RunOptions{})
	if d := cmp.Diff([]string{"few pods"}, rep.Stages[1].Forecast.Notes); d != "" { // its own plan is made later
		t.Errorf("notes of the plan (-want +got):\n%s", d)
	}
	ev.all = nil
	res := r.Run(t.Context(), p, engine.RunOptions{})
	told := map[string]int{}
	for _, e := range ev.all {
		if e.Type == steps.Diagnostic {
			told[e.Stage+" "+e.Message]++
		}
	}
	if d := cmp.Diff(map[string]int{"a support ends": 1, "b support ends": 1, "b few pods": 1}, told); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"few pods", "support ends"}, res.Stages[1].Warnings); d != "" {
		t.Errorf("warnings of the result (-want +got):\n%s", d)
	}
	if w.count("preflight tb") != 3 { // once for the plan
		t.Errorf("the stage was not planned twice: %v", w.calls)
	}
}

func TestSimulatedSecondsHurryOnlyWhatTheCloudDoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		cloud := func(ctx context.Context, d time.Duration) error { // d on the cloud's clock
			began := time.Now()
			return wait.Until(ctx, wait.Options{Speed: 60, Min: time.Second}, func(context.Context) (bool, string, error) {
				return time.Since(began)*60 >= d, "", nil
			})
		}
		w.on["apply ta"] = func(ctx context.Context, _ steps.Env) error {
			time.Sleep(5 * time.Second) // a Kubernetes wait
			go func() { _ = cloud(ctx, 5*time.Minute) }()
			return cloud(ctx, 10*time.Minute)
		}
		w.on["apply tb"] = slow(7 * time.Second)
		r := runner(newMemory())
		r.Speed = 60
		res := r.Run(t.Context(), load(t, w, three), engine.RunOptions{})
		near := func(what string, got, want float64) {
			if got < want-2 || got > want+2 {
				t.Errorf("%s: %v s, want %v", what, got, want)
			}
		}
		near("a, which waits for both", res.Stages[0].SimulatedSeconds, 605)
		near("b, which waits for no cloud", res.Stages[1].SimulatedSeconds, 7)
		near("the run", res.SimulatedSeconds, 612)
		near("the real time of the run", res.DurationSeconds, 22)
		r.Speed = 1
		if res := r.Run(t.Context(), load(t, w, three), engine.RunOptions{}); res.SimulatedSeconds != 0 || res.Stages[0].SimulatedSeconds != 0 {
			t.Errorf("outside of a rehearsal: %v s", res.SimulatedSeconds)
		}
	})
}

func TestDownWritesAResultAsSoonAsAStageIsThrough(t *testing.T) {
	t.Parallel()
	w, store, ev := newWorld(), newMemory(), &events{}
	w.things = map[string]int{"ta": 1, "tb": 1, "tc": 1}
	w.on["delete ta"] = func(ctx context.Context, _ steps.Env) error {
		for _, name := range []string{"b", "c"} {
			if r, err := store.Get(ctx, name); err != nil || r == nil || r.Status != steps.Destroyed {
				t.Errorf("%s has gone and has the result %+v, %v", name, r, err)
			}
		}
		return nil
	}
	r := runner(store)
	r.Record = ev.record
	if res := r.Down(t.Context(), load(t, w, three), engine.DownOptions{}); res.ExitCode() != 0 || statuses(res) != "a:Destroyed b:Destroyed c:Destroyed" {
		t.Errorf("%s, %+v", statuses(res), res.Errors)
	}
	var told []string
	for _, e := range ev.all {
		if e.Stage == "a" && e.Type != steps.ChangeDone {
			told = append(told, string(e.Type)+" "+e.Message)
		}
	}
	if d := cmp.Diff([]string{"stage_start release", "waiting let go", "stage_start delete", "stage_done "}, told); d != "" {
		t.Errorf("what is told of a (-want +got):\n%s", d)
	}
}

func TestAPanicOutsideOfAStepEndsTheRunWithAResult(t *testing.T) {
	t.Parallel()
	store := &panicking{newMemory()}
	w := newWorld()
	res := runner(store).Run(t.Context(), load(t, w, three), engine.RunOptions{})
	if res.ExitCode() != 1 || res.Errors[0].Code != "Panic" {
		t.Errorf("exit %d, %+v", res.ExitCode(), res.Errors)
	}
}

// panicking is a store with a bug.
type panicking struct{ *memory }

func (p *panicking) Put(ctx context.Context, r steps.Result) error {
	if r.Stage == "a" {
		panic("oops")
	}
	return p.memory.Put(ctx, r)
}

func TestAFullJournalIsToldOnce(t *testing.T) {
	t.Parallel()
	res := runner(&fullJournal{newMemory()}).Run(t.Context(), load(t, newWorld(), three), engine.RunOptions{})
	if d := cmp.Diff([]string{"journal: no space left on device"}, res.Warnings); d != "" {
		t.Errorf("warnings (-want +got):\n%s", d)
	}
}

type fullJournal struct{ *memory }

func (*fullJournal) Append(context.Context, string, []byte) error {
	return errors.New("journal: no space left on device")
}
