package engine_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/engine"
	"pipectl.dev/engine/lock"
	"pipectl.dev/steps"
)

const three = head + `  stages:
    - {name: a, step: make-thing, with: {name: ta}}
    - {name: b, step: make-thing, needs: [a], with: {name: tb}}
    - {name: c, step: make-thing, needs: [b], with: {name: tc}}
`

// counted is a Locker that counts what is asked of it.
type counted struct {
	engine.Locker
	locks, looks atomic.Int32
}

func (c *counted) Lock(ctx context.Context, key string, by steps.Holder, wait time.Duration) (steps.Lease, error) {
	c.locks.Add(1)
	return c.Locker.Lock(ctx, key, by, wait)
}

func (c *counted) Look(ctx context.Context, keys []string, by steps.Holder) (map[string]steps.LockState, error) {
	c.looks.Add(1)
	return c.Locker.Look(ctx, keys, by)
}

// two are two processes that share a world and its locks; the first is ann's.
func two() (w *world, locks engine.Locker, first, second *engine.Runner) {
	w, locks = newWorld(), lock.NewMemory()
	first, second = runner(newMemory()), runner(newMemory())
	first.Locker, second.Locker = locks, locks
	first.Holder = steps.Holder{Who: "ann", Host: "laptop", PID: 7}
	return w, locks, first, second
}

func slow(d time.Duration) func(context.Context, steps.Env) error {
	return func(context.Context, steps.Env) error { time.Sleep(d); return nil }
}

func TestRunAndDownBesideEachOther(t *testing.T) {
	t.Parallel()
	all, none := map[string]int{"ta": 1, "tb": 1, "tc": 1}, map[string]int{}
	run := func(wait time.Duration) func(context.Context, *engine.Runner, *engine.Pipeline) *engine.RunResult {
		return func(ctx context.Context, r *engine.Runner, p *engine.Pipeline) *engine.RunResult {
			return r.Run(ctx, p, engine.RunOptions{LockWait: wait})
		}
	}
	down := func(wait time.Duration) func(context.Context, *engine.Runner, *engine.Pipeline) *engine.RunResult {
		return func(ctx context.Context, r *engine.Runner, p *engine.Pipeline) *engine.RunResult {
			return r.Down(ctx, p, engine.DownOptions{LockWait: wait})
		}
	}
	for name, c := range map[string]struct {
		have          map[string]int // to begin with
		slow          string         // call that takes a minute
		first, second func(context.Context, *engine.Runner, *engine.Pipeline) *engine.RunResult
		exit          int // of the second; the first always succeeds
		want          map[string]int
	}{
		"a run that does not wait for a down":         {have: all, slow: "delete tb", first: down(0), second: run(0), exit: 12, want: none},
		"a run that waits too short for a down":       {have: all, slow: "delete tb", first: down(0), second: run(20 * time.Second), exit: 12, want: none},
		"a run that waits for a down brings it back":  {have: all, slow: "delete tb", first: down(0), second: run(5 * time.Minute), want: all},
		"a down that does not wait for a run":         {slow: "apply tb", first: run(0), second: down(0), exit: 12, want: all},
		"a down that waits for a run removes it all":  {slow: "apply tb", first: run(0), second: down(5 * time.Minute), want: none},
		"a run that still planned when a down began":  {have: all, slow: "plan tc", first: run(0), second: down(0), want: all},
		"a second down waits, and finds nothing left": {have: all, slow: "delete tb", first: down(0), second: down(5 * time.Minute), want: none},
		"a second run waits, and finds all done":      {slow: "apply ta", first: run(0), second: run(5 * time.Minute), want: all},
		"a run with nothing to do beside one at work": {have: map[string]int{"ta": 1, "tb": 1}, slow: "apply tc", first: run(0), second: run(0), exit: 12, want: all},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, _, first, second := two()
				for k, v := range c.have {
					w.things[k] = v
				}
				p := load(t, w, three)
				w.on[c.slow] = slow(time.Minute)
				done := make(chan *engine.RunResult)
				go func() { done <- c.first(t.Context(), first, p) }()
				time.Sleep(time.Second)
				res := c.second(t.Context(), second, p)
				if r := <-done; r.ExitCode() != 0 {
					t.Errorf("the first ended with %d: %+v", r.ExitCode(), r.Errors)
				}
				if res.ExitCode() != c.exit {
					t.Errorf("the second ended with %d: %+v", res.ExitCode(), res.Errors)
				}
				if c.exit == 12 && !strings.Contains(res.Errors[0].Message, "ann on laptop (pid 7)") {
					t.Errorf("who holds it is not named: %s", res.Errors[0].Message)
				}
				if d := cmp.Diff(c.want, w.things); d != "" {
					t.Errorf("world (-want +got):\n%s\n%v", d, w.calls)
				}
			})
		})
	}
}

func TestWhatOthersChangedWhileAPersonThoughtIsPlannedAgain(t *testing.T) {
	t.Parallel()
	w, _, first, second := two()
	w.things = map[string]int{"ta": 1, "tb": 1}
	p := load(t, w, three)
	var asked []int
	second.Confirm = func(ctx context.Context, q engine.Question) (bool, error) {
		asked = append(asked, q.Plan.Changes.Create)
		if len(asked) == 1 {
			if r := first.Down(ctx, p, engine.DownOptions{}); r.ExitCode() != 0 {
				t.Errorf("down: %+v", r.Errors)
			}
		}
		return true, nil
	}
	res := second.Run(t.Context(), p, engine.RunOptions{})
	if res.ExitCode() != 0 || statuses(res) != "a:Succeeded b:Succeeded c:Succeeded" {
		t.Errorf("exit %d, %s, %+v", res.ExitCode(), statuses(res), res.Errors)
	}
	if d := cmp.Diff([]int{1, 3}, asked); d != "" {
		t.Errorf("creations asked about (-want +got):\n%s", d)
	}
}

func TestARunThatIsOvertakenKeepsWhatItDid(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		wait     time.Duration
		exit     int
		statuses string
	}{
		"and goes on when the other ends":  {time.Minute, 0, "a:Succeeded b:Succeeded c:Succeeded"},
		"and stops when it does not":       {5 * time.Second, 12, "a:Succeeded b:Blocked c:Blocked"},
		"and stops at once without a wait": {0, 12, "a:Succeeded b:Blocked c:Blocked"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, locks, _, r := two()
				p := load(t, w, three)
				w.on["apply ta"] = func(ctx context.Context, _ steps.Env) error {
					l, err := locks.Lock(ctx, "123456789012/eu/blog/b", steps.Holder{RunID: "other", Who: "bob"}, 0)
					if err != nil {
						return err
					}
					time.AfterFunc(20*time.Second, func() { _ = l.Release(context.Background()) })
					return nil
				}
				res := r.Run(t.Context(), p, engine.RunOptions{LockWait: c.wait})
				if res.ExitCode() != c.exit || statuses(res) != c.statuses || w.count("apply ta") != 1 {
					t.Errorf("exit %d, %s, %v, %+v", res.ExitCode(), statuses(res), w.did("apply"), res.Errors)
				}
				if c.exit == 12 && !strings.Contains(res.Errors[0].Message, "of bob") {
					t.Errorf("%+v", res.Errors)
				}
				time.Sleep(time.Minute)
				if l, err := locks.Lock(t.Context(), "123456789012/eu/blog/a", steps.Holder{}, 0); err != nil {
					t.Errorf("the run kept a lock: %v", err)
				} else {
					_ = l.Release(t.Context())
				}
			})
		})
	}
}

func TestARunWithNothingToDoOnlyLooksAtTheLocks(t *testing.T) {
	t.Parallel()
	w, locks, r, _ := two()
	w.things = map[string]int{"ta": 1, "tb": 1, "tc": 1}
	c := &counted{Locker: locks}
	r.Locker = c
	res := r.Run(t.Context(), load(t, w, three), engine.RunOptions{})
	if res.ExitCode() != 0 || statuses(res) != "a:Skipped b:Skipped c:Skipped" || c.locks.Load() != 0 || c.looks.Load() != 2 {
		t.Errorf("exit %d, %s, %d locks, %d looks", res.ExitCode(), statuses(res), c.locks.Load(), c.looks.Load())
	}
}

func TestOneStageDoesNotWaitForAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, _, first, second := two()
		w.things = map[string]int{"ta": 1}
		p := load(t, w, three)
		w.on["apply ta"] = slow(time.Minute)
		done := make(chan *engine.RunResult)
		go func() { done <- first.Run(t.Context(), p, engine.RunOptions{Stages: []string{"a"}, Force: true}) }()
		time.Sleep(time.Second)
		res := second.Run(t.Context(), p, engine.RunOptions{Stages: []string{"b"}})
		if r := <-done; res.ExitCode() != 0 || r.ExitCode() != 0 {
			t.Errorf("%+v, %+v", r.Errors, res.Errors)
		}
	})
}
