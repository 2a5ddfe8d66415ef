package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/engine"
	"pipectl.dev/engine/lock"
	"pipectl.dev/steps"
)

const chain = head + `  stages:
    - {name: a, step: make-thing, with: {name: ta, size: 3, items: [p, q]}}
    - name: b
      step: make-thing
      with: {name: "t-${{ stages.a.outputs.id }}", size: "${{ stages.a.outputs.size + 1 }}", cluster: "${{ stages.a.outputs.cluster }}", items: "${{ stages.a.outputs.items }}"}
    - {name: c, step: make-thing, needs: [b], with: {name: tc}}
  outputs:
    url: ${{ stages.b.outputs.urls.home }}
    twice: ${{ stages.a.outputs.ratio * 2.0 }}
`

func TestRunFeedsOutputsForwardAndTheSecondRunKeepsAll(t *testing.T) {
	t.Parallel()
	w, store, ev := newWorld(), newMemory(), &events{}
	p := load(t, w, chain)
	r := runner(store)
	r.Record = ev.record
	first := r.Run(t.Context(), p, engine.RunOptions{})
	if first.ExitCode() != 0 || statuses(first) != "a:Succeeded b:Succeeded c:Succeeded" {
		t.Fatalf("first run: %s %+v", statuses(first), first.Errors)
	}
	if d := cmp.Diff(map[string]int{"ta": 3, "t-id-ta": 4, "tc": 1}, w.things); d != "" {
		t.Errorf("world (-want +got):\n%s", d)
	}
	got := w.seen["apply t-id-ta"]
	if got.Cluster.EKS == nil || got.Cluster.EKS.Name != "ta" || !slices.Equal(got.Items, []string{"p", "q"}) {
		t.Errorf("objects and lists did not arrive: %+v", got)
	}
	if d := cmp.Diff(map[string]json.RawMessage{"url": json.RawMessage(`"http://t-id-ta"`), "twice": json.RawMessage(`4`)}, first.Outputs); d != "" {
		t.Errorf("outputs (-want +got):\n%s", d)
	}
	for i, e := range ev.all {
		if e.Seq != int64(i+1) || e.RunID != first.RunID {
			t.Fatalf("event %d has sequence %d of run %q", i, e.Seq, e.RunID)
		}
	}
	if ev.all[0].Type != steps.Version || ev.all[len(ev.all)-1].Type != steps.Summary {
		t.Errorf("the stream goes from %s to %s", ev.all[0].Type, ev.all[len(ev.all)-1].Type)
	}
	applied := w.count("apply")
	second := r.Run(t.Context(), p, engine.RunOptions{})
	if statuses(second) != "a:Skipped b:Skipped c:Skipped" || second.Changes != (steps.Counts{Keep: 3}) || w.count("apply") != applied {
		t.Errorf("second run: %s %+v, %d applies more", statuses(second), second.Changes, w.count("apply")-applied)
	}
	if d := cmp.Diff(first.Outputs, second.Outputs); d != "" {
		t.Errorf("outputs of both runs (-first +second):\n%s", d)
	}
	if a, b := first.Stages[1].InputsDigest, second.Stages[1].InputsDigest; a == "" || a != b {
		t.Errorf("digests of the same inputs: %q and %q", a, b)
	}
}

func TestPlanDefersWhatIsKnownLaterAndWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld()
	p := load(t, w, chain)
	rep := runner(newMemory()).Plan(t.Context(), p, engine.RunOptions{})
	if len(rep.Errors) > 0 {
		t.Fatalf("%+v", rep.Errors)
	}
	b := rep.Stages[1]
	want := []engine.Deferred{{Path: "name", After: []string{"a"}}, {Path: "size", After: []string{"a"}}, {Path: "cluster", After: []string{"a"}}, {Path: "items", After: []string{"a"}}}
	if d := cmp.Diff(want, b.Deferred); d != "" {
		t.Errorf("deferred (-want +got):\n%s", d)
	}
	if b.State != engine.IsDeferred || rep.Seconds != 10+30+10 || rep.Cost.HourlyUSD != 1 {
		t.Errorf("state %s, %v s, %+v", b.State, rep.Seconds, rep.Cost)
	}
	if w.count("apply")+w.count("delete") != 0 {
		t.Errorf("a plan wrote: %v", w.calls)
	}
	if w.count("preflight") != 3 {
		t.Errorf("preflights: %v", w.did("preflight"))
	}
}

func TestNothingIsWrittenWhenAnyPreflightFails(t *testing.T) {
	t.Parallel()
	w, store := newWorld(), newMemory()
	p := load(t, w, head+"  stages:\n    - {name: a, step: make-thing, with: {name: ta}}\n    - {name: b, step: make-thing, with: {name: tb}}\n    - {name: c, step: make-thing, needs: [a], with: {name: tc}}\n")
	quota := &steps.Error{Code: "QuotaExceeded", Category: steps.Quota, Message: "5 of 5 used", Hints: []string{"raise it"}}
	low := &steps.Error{Code: "NoZone", Category: steps.Precondition, Message: "no such zone"}
	w.on["preflight tb"] = func(context.Context, steps.Env) error { return errors.Join(quota, low) }
	w.on["preflight tc"] = func(context.Context, steps.Env) error { return low }
	res := runner(store).Run(t.Context(), p, engine.RunOptions{Yes: true})
	if res.ExitCode() != 10 || w.count("apply") != 0 {
		t.Errorf("exit %d, calls %v", res.ExitCode(), w.calls)
	}
	var got []string
	for _, e := range res.Errors {
		got = append(got, e.Stage+" "+e.Code)
	}
	slices.Sort(got)
	if d := cmp.Diff([]string{"b NoZone", "b QuotaExceeded", "c NoZone"}, got); d != "" {
		t.Errorf("errors (-want +got):\n%s", d)
	}
	if store.results["b"].Status != steps.Failed || store.results["a"].Stage != "" {
		t.Errorf("results: %+v", store.results)
	}
}

func TestAFailureStopsNewStagesAndFinallyRuns(t *testing.T) {
	t.Parallel()
	w, store := newWorld(), newMemory()
	p := load(t, w, head+`  stages:
    - {name: a, step: make-thing, with: {name: ta}}
    - {name: b, step: make-thing, needs: [a], with: {name: tb}}
    - {name: c, step: make-thing, needs: [b], with: {name: tc}}
  finally:
    - {name: tell, step: make-thing, when: stages.b.status == 'Failed', with: {name: told}}
    - {name: cheer, step: make-thing, when: stages.b.status == 'Succeeded', with: {name: cheered}}
`)
	w.on["apply tb"] = func(context.Context, steps.Env) error {
		return &steps.Error{Code: "Broken", Category: steps.Unhealthy, Message: "it broke", Hints: []string{"mend it"}}
	}
	res := runner(store).Run(t.Context(), p, engine.RunOptions{})
	if got := statuses(res); got != "a:Succeeded b:Failed c:Blocked tell:Succeeded cheer:Skipped" {
		t.Error(got)
	}
	if res.ExitCode() != 17 || res.Errors[0].Stage != "b" {
		t.Errorf("exit %d, %+v", res.ExitCode(), res.Errors)
	}
	want := &engine.Next{Exists: []steps.Change{
		{Kind: "thing", Name: "ta", ID: "id-ta", Action: "create"}, {Kind: "thing", Name: "told", ID: "id-told", Action: "create"},
	}, Resume: "pipectl run p.yaml --resume", BackOut: "pipectl down p.yaml"}
	if d := cmp.Diff(want, res.Next); d != "" {
		t.Errorf("what next (-want +got):\n%s", d)
	}
	if res.Cost == nil || res.Cost.HourlyUSD != 1 {
		t.Errorf("cost of what exists: %+v", res.Cost)
	}
	delete(w.on, "apply tb")
	again := runner(store).Run(t.Context(), p, engine.RunOptions{Resume: true})
	if got := statuses(again); again.RunID != res.RunID || got != "a:Skipped b:Succeeded c:Succeeded tell:Skipped cheer:Succeeded" {
		t.Errorf("resumed %s after %s: %s %+v", again.RunID, res.RunID, got, again.Errors)
	}
	if w.count("plan ta") != 1 || store.results["b"].Attempt != 2 {
		t.Errorf("%d plans of a finished stage, attempt %d of the resumed one", w.count("plan ta"), store.results["b"].Attempt)
	}
}

func TestContinueOnErrorEndsPartlyFailed(t *testing.T) {
	t.Parallel()
	w := newWorld()
	p := load(t, w, head+"  stages:\n    - {name: a, step: make-thing, continueOnError: true, with: {name: ta}}\n    - {name: b, step: make-thing, needs: [a], with: {name: tb}}\n")
	w.on["apply ta"] = func(context.Context, steps.Env) error {
		return &steps.Error{Code: "X", Category: steps.Unhealthy, Message: "no"}
	}
	res := runner(newMemory()).Run(t.Context(), p, engine.RunOptions{})
	if res.ExitCode() != 16 || statuses(res) != "a:Failed b:Succeeded" {
		t.Errorf("exit %d, %s", res.ExitCode(), statuses(res))
	}
}

func TestAPanicIsAResultAndABug(t *testing.T) {
	t.Parallel()
	w, store := newWorld(), newMemory()
	p := load(t, w, head+"  stages:\n    - {name: a, step: make-thing, retries: 3, with: {name: ta}}\n")
	w.on["apply ta"] = func(context.Context, steps.Env) error { panic("oops") }
	res := runner(store).Run(t.Context(), p, engine.RunOptions{})
	if res.ExitCode() != 1 || store.results["a"].Status != steps.Errored || w.count("apply") != 1 {
		t.Errorf("exit %d, %+v, %d applies", res.ExitCode(), store.results["a"], w.count("apply"))
	}
}

func TestConfirmedStages(t *testing.T) {
	t.Parallel()
	src := head + "  stages:\n    - {name: a, step: make-thing, with: {name: ta}}\n    - {name: cut, step: make-thing, confirm: ask, needs: [a], with: {name: tc}}\n"
	answer := func(yes bool) func(context.Context, engine.Question) (bool, error) {
		return func(_ context.Context, q engine.Question) (bool, error) {
			return q.Kind == engine.AskPlan || yes && q.Stage == "cut" && q.Text == "it takes tc down for a minute", nil
		}
	}
	for name, c := range map[string]struct {
		confirm func(context.Context, engine.Question) (bool, error)
		opts    engine.RunOptions
		exit    int
		want    string
	}{
		"nobody is there":                         {exit: 13, want: "a:Succeeded cut:Blocked"},
		"--yes does not approve it":               {opts: engine.RunOptions{Yes: true}, exit: 13, want: "a:Succeeded cut:Blocked"},
		"--approve does":                          {opts: engine.RunOptions{Approve: []string{"cut"}}, want: "a:Succeeded cut:Succeeded"},
		"a person says yes, having read the text": {confirm: answer(true), want: "a:Succeeded cut:Succeeded"},
		"a person says no":                        {confirm: answer(false), exit: 13, want: "a:Succeeded cut:Blocked"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			r := runner(newMemory())
			r.Confirm = c.confirm
			res := r.Run(t.Context(), load(t, w, src), c.opts)
			if res.ExitCode() != c.exit || statuses(res) != c.want {
				t.Errorf("exit %d, %s, %+v", res.ExitCode(), statuses(res), res.Errors)
			}
			if c.exit == 13 && res.Next.Resume != "pipectl run p.yaml --resume --approve cut" {
				t.Error(res.Next.Resume)
			}
		})
	}
}

func TestASkippedStageHasNoOutputsAndHasSaysSo(t *testing.T) {
	t.Parallel()
	src := head + `  params: {on: {type: bool, default: false}}
  stages:
    - {name: a, step: make-thing, when: params.on, with: {name: ta}}
    - {name: b, step: make-thing, with: {name: "${{ has(stages.a.outputs.id) ? stages.a.outputs.id : 'none' }}"}}
    - {name: c, step: make-thing, when: "stages.a.status == 'Skipped'", with: {name: tc}}
`
	w := newWorld()
	res := runner(nil).Run(t.Context(), load(t, w, src), engine.RunOptions{})
	if statuses(res) != "a:Skipped b:Succeeded c:Succeeded" || w.things["none"] != 1 || w.count("observe ta") != 0 {
		t.Errorf("%s %+v %v", statuses(res), res.Errors, w.things)
	}
	bare := strings.Replace(src, "has(stages.a.outputs.id) ? stages.a.outputs.id : 'none'", "stages.a.outputs.id", 1)
	res = runner(nil).Run(t.Context(), load(t, newWorld(), bare), engine.RunOptions{})
	if res.ExitCode() != 2 || !strings.Contains(res.Errors[0].Message, "p.yaml:8:48: name: stages.a.outputs.id: no such key: id") {
		t.Errorf("exit %d, %+v", res.ExitCode(), res.Errors)
	}
}

func TestADeclinedPlanChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld()
	r := runner(newMemory())
	r.Confirm = func(_ context.Context, q engine.Question) (bool, error) { return q.Plan.Changes.Create == 0, nil }
	res := r.Run(t.Context(), load(t, w, chain), engine.RunOptions{})
	if res.ExitCode() != 13 || w.count("apply") != 0 {
		t.Errorf("exit %d, %v", res.ExitCode(), w.calls)
	}
}

func TestSelectionTakesOutputsOfOthersFromStoreOrWorld(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opts    engine.RunOptions
		lose    bool // the store is emptied
		destroy bool // the world too
		applied []string
		seen    string // an observe call that must (not) have happened
		exit    int
	}{
		"one stage, outputs from the store":          {opts: engine.RunOptions{Stages: []string{"b"}, Force: true}, applied: []string{"apply t-id-ta"}},
		"one stage, outputs from the world":          {opts: engine.RunOptions{Stages: []string{"b"}, Force: true}, lose: true, applied: []string{"apply t-id-ta"}, seen: "observe ta"},
		"one stage, nothing of what it needs exists": {opts: engine.RunOptions{Stages: []string{"b"}}, lose: true, destroy: true, seen: "observe ta", exit: 10},
		"from a stage on":                            {opts: engine.RunOptions{From: "b", Force: true}, applied: []string{"apply t-id-ta", "apply tc"}},
		"until a stage":                              {opts: engine.RunOptions{Until: "b", Force: true}, applied: []string{"apply ta", "apply t-id-ta"}},
		"an unknown stage":                           {opts: engine.RunOptions{From: "q"}, exit: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, store := newWorld(), newMemory()
			p := load(t, w, chain)
			if res := runner(store).Run(t.Context(), p, engine.RunOptions{}); res.ExitCode() != 0 {
				t.Fatalf("%+v", res.Errors)
			}
			w.calls = nil
			if c.lose {
				store = newMemory()
			}
			if c.destroy {
				clear(w.things)
			}
			res := runner(store).Run(t.Context(), p, c.opts)
			if res.ExitCode() != c.exit {
				t.Errorf("exit %d, %+v", res.ExitCode(), res.Errors)
			}
			if d := cmp.Diff(c.applied, w.did("apply")); d != "" {
				t.Errorf("applied (-want +got):\n%s", d)
			}
			if got := w.count("observe ta") > 0; got != (c.seen != "") {
				t.Errorf("observed: %v", w.did("observe"))
			}
		})
	}
}

func TestRetriesTimeoutsAndCancelInVirtualTime(t *testing.T) {
	t.Parallel()
	throttled := &steps.Error{Code: "Throttled", Category: steps.Transient, Retryable: true, Message: "slow down"}
	src := func(extra string) string {
		return head + "  stages:\n    - {name: a, step: make-thing, " + extra + " with: {name: ta}}\n    - {name: b, step: make-thing, needs: [a], with: {name: tb}}\n"
	}
	t.Run("a retryable error is tried again, later each time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, store := newWorld(), newMemory()
			p := load(t, w, src("retries: 3,"))
			w.on["apply ta"] = func(context.Context, steps.Env) error {
				if w.count("apply ta") <= 3 {
					return throttled
				}
				return nil
			}
			began := time.Now()
			res := runner(store).Run(t.Context(), p, engine.RunOptions{})
			took := time.Since(began)
			if res.ExitCode() != 0 || store.results["a"].Attempt != 4 || took < 7*time.Second || took > 14*time.Second {
				t.Errorf("exit %d after %s, %+v", res.ExitCode(), took, store.results["a"])
			}
		})
	})
	t.Run("one that is not retryable is not", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			p := load(t, w, src("retries: 3,"))
			w.on["apply ta"] = func(context.Context, steps.Env) error { return errors.New("raw") }
			res := runner(newMemory()).Run(t.Context(), p, engine.RunOptions{})
			if res.ExitCode() != 1 || w.count("apply ta") != 1 {
				t.Errorf("exit %d, %d applies", res.ExitCode(), w.count("apply ta"))
			}
		})
	})
	t.Run("a timeout ends the stage", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			p := load(t, w, src("timeout: 90s,"))
			w.on["apply ta"] = func(ctx context.Context, _ steps.Env) error { <-ctx.Done(); return ctx.Err() }
			began := time.Now()
			res := runner(newMemory()).Run(t.Context(), p, engine.RunOptions{})
			if res.ExitCode() != 15 || statuses(res) != "a:TimedOut b:Blocked" || time.Since(began) != 90*time.Second {
				t.Errorf("exit %d, %s after %s", res.ExitCode(), statuses(res), time.Since(began))
			}
		})
	})
	t.Run("cancel records what happened within 20 s, even when a step does not stop", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, store := newWorld(), newMemory()
			p := load(t, w, src(""))
			ctx, cancel := context.WithCancel(t.Context())
			free := make(chan struct{})
			w.on["apply ta"] = func(context.Context, steps.Env) error { <-free; return nil }
			time.AfterFunc(time.Minute, cancel)
			began := time.Now()
			res := runner(store).Run(ctx, p, engine.RunOptions{})
			took := time.Since(began)
			close(free)
			if res.ExitCode() != 130 || statuses(res) != "a:Canceled b:Canceled" || took < time.Minute || took > 80*time.Second {
				t.Errorf("exit %d, %s after %s", res.ExitCode(), statuses(res), took)
			}
			if got := store.results["a"]; got.Status != steps.Canceled || got.Error.Code != "Canceled" || len(got.Warnings) != 1 {
				t.Errorf("%+v", got)
			}
			last := string(store.lines[res.RunID][len(store.lines[res.RunID])-1])
			if !strings.Contains(last, `"run_done"`) {
				t.Errorf("the journal ends with %s", last)
			}
		})
	})
	t.Run("a lost lock stops the stage", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			p := load(t, w, src(""))
			locks := lock.NewMemory()
			w.on["apply ta"] = func(ctx context.Context, _ steps.Env) error {
				if _, err := locks.Unlock(ctx, "123456789012/eu/blog/a"); err != nil {
					t.Error(err)
				}
				<-ctx.Done()
				return ctx.Err()
			}
			r := runner(newMemory())
			r.Locker = locks
			res := r.Run(t.Context(), p, engine.RunOptions{})
			if res.ExitCode() != 12 || res.Errors[0].Code != "LockLost" {
				t.Errorf("exit %d, %+v", res.ExitCode(), res.Errors)
			}
		})
	})
}

func TestTwoRunsAtOnce(t *testing.T) {
	t.Parallel()
	src := head + "  stages:\n    - {name: a, step: make-thing, with: {name: ta}}\n"
	for name, c := range map[string]struct {
		wait    time.Duration
		exit    int
		applies int
	}{
		"the second does not wait: it names the holder":               {exit: 12, applies: 1},
		"the second waits too short":                                  {wait: 10 * time.Second, exit: 12, applies: 1},
		"the second waits, then finds that all is done, and keeps it": {wait: 5 * time.Minute, applies: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				p := load(t, w, src)
				w.on["apply ta"] = func(context.Context, steps.Env) error { time.Sleep(time.Minute); return nil }
				locks := lock.NewMemory()
				first, second := runner(newMemory()), runner(newMemory())
				first.Locker, second.Locker = locks, locks
				first.Holder = steps.Holder{Who: "ann", Host: "laptop", PID: 7}
				done := make(chan *engine.RunResult)
				go func() { done <- first.Run(t.Context(), p, engine.RunOptions{}) }()
				time.Sleep(time.Second)
				res := second.Run(t.Context(), p, engine.RunOptions{LockWait: c.wait})
				if r := <-done; r.ExitCode() != 0 {
					t.Errorf("the first run: %+v", r.Errors)
				}
				if res.ExitCode() != c.exit || w.count("apply") != c.applies {
					t.Errorf("exit %d, %v, %+v", res.ExitCode(), w.calls, res.Errors)
				}
				if c.exit == 12 && !strings.Contains(res.Errors[0].Message, "ann on laptop (pid 7)") {
					t.Error(res.Errors[0].Message)
				}
			})
		})
	}
}
