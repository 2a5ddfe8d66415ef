package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

// lookTime bounds one stage's Observe on the way down: a cluster that does not answer must not keep what surrounds it from being removed.
const lookTime = time.Minute

// Down removes what p made: observes forwards, releases backwards, deletes backwards. It keeps data unless told otherwise, and works
// on a half-built or half-gone world and with an empty store.
func (r *Runner) Down(ctx context.Context, p *Pipeline, o DownOptions) *RunResult {
	verb := "down"
	if o.WithData != "" {
		verb = "destroy"
	}
	x, err := r.start(ctx, p, verb)
	if err == nil && o.WithData != "" && o.WithData != p.Name {
		err = &steps.Error{
			Code: "WrongName", Category: steps.BadInput, Message: fmt.Sprintf("--with-data %s: the pipeline is called %s", o.WithData, p.Name),
			Hints: []string{"type the name of the pipeline whose data is to be destroyed"},
		}
	}
	if err == nil {
		err = x.ownStore(ctx)
	}
	if err != nil {
		x.fault("", flatten(err)...)
		return x.close(ctx)
	}
	x.open()
	x.journaled = true
	x.journal(ctx, entry{Event: "run_start", Verb: verb})
	x.turns.patience = o.LockWait
	for _, st := range x.states {
		st.selected = true
	}
	defer x.free(ctx)
	if err := x.agreedDown(ctx, o); err != nil {
		x.fault("", err)
	}
	if len(x.errors) == 0 {
		x.bringDown(ctx, o)
	}
	return x.close(ctx)
}

// lookAround observes all stages forwards, for the outputs that others need to find their things. What cannot be seen is a warning.
func (x *run) lookAround(ctx context.Context) {
	for _, err := range x.resolve(ctx, func(*state) bool { return true }) {
		x.warn(err.Error())
	}
	x.p.walk(x.p.Stages, x.p.before, x.parallel(), func(s *Stage) {
		st := x.states[s.Name]
		if ctx.Err() != nil {
			return
		}
		look, cancel := context.WithTimeout(ctx, lookTime)
		defer cancel()
		err := x.guard(st, func() error { return x.derive(look, st, false) })
		switch {
		case err == nil:
		case ctx.Err() == nil && slices.Contains([]steps.Category{steps.Credentials, steps.BadInput}, steps.Classify(err).Category):
			x.fault(s.Name, err)
		default:
			x.warn(fmt.Sprintf("stage %s: cannot be looked at: %v", s.Name, err))
		}
	})
	if ctx.Err() != nil {
		x.fault("", context.Cause(ctx))
	}
}

// agreedDown asks, showing what there is. What is shown is looked at again under the locks: the answer may take long.
func (x *run) agreedDown(ctx context.Context, o DownOptions) error {
	if o.Yes || x.r.Confirm == nil {
		return nil
	}
	if err := x.quiet(ctx); err != nil {
		return err
	}
	told := len(x.warnings)
	x.lookAround(ctx)
	if len(x.errors) > 0 {
		return nil // told already
	}
	x.p.walk(x.p.Stages, func(*Stage) []string { return nil }, x.parallel(), func(s *Stage) { x.planDown(ctx, x.states[s.Name], o) })
	kind := AskDown
	if o.WithData != "" {
		kind = AskDestroy
	}
	yes, err := x.r.Confirm(ctx, Question{Kind: kind, Plan: clean(x.redact, x.planReport())})
	if err == nil && !yes {
		return &steps.Error{Code: "Declined", Category: steps.Approval, Message: "declined"}
	}
	x.warnings = x.warnings[:told] // what could not be seen is told by the look that counts
	x.renew()
	return err
}

// planDown finds out what a stage has and what goes of it: only to show more, down does not depend on it.
func (x *run) planDown(ctx context.Context, st *state, o DownOptions) {
	s := st.stage
	st.plan = StagePlan{Stage: s.Name, Step: s.Definition.Name, State: NotPlanned, Needs: s.Needs}
	if !st.known || len(st.in.Partial) > 0 || !s.Definition.Deletes {
		return
	}
	verb, state := reconcile.Delete, HasChanges
	if s.Definition.Data && o.WithData == "" {
		verb, state = reconcile.Keep, AllKeep
	}
	_ = x.guard(st, func() error {
		p, err := s.Definition.Plan(ctx, x.env(st), st.in.Input)
		for _, c := range p.Changes {
			if c.Action == reconcile.Keep || c.Action == reconcile.Update {
				c.Action, c.Drift, c.Fields, c.Objects = verb, nil, nil, nil
				st.plan.Changes = append(st.plan.Changes, c)
			}
		}
		st.plan.State, st.plan.Counts, st.plan.Forecast = state, count(st.plan.Changes), p.Forecast
		return err
	})
}

// descent is the state of both passes of down.
type descent struct {
	mu   sync.Mutex
	errs map[string]error // of either pass
	hard map[string]bool  // what it needs must stay
}

func (d *descent) fail(name string, err error, hard bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.errs[name] == nil {
		d.errs[name] = err
	}
	d.hard[name] = d.hard[name] || hard
}

func (d *descent) of(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.errs[name]
}

// bringDown does both passes under the locks of all stages.
func (x *run) bringDown(ctx context.Context, o DownOptions) {
	if err := x.holdAll(ctx); err != nil {
		x.fault("", err)
		return
	}
	if x.lookAround(ctx); len(x.errors) > 0 {
		return
	}
	x.touch()
	d := &descent{errs: map[string]error{}, hard: map[string]bool{}}
	for _, s := range x.p.Stages {
		x.head(x.states[s.Name])
		x.states[s.Name].begin()
		x.states[s.Name].plan.Changes = nil // what was shown is not what was done
	}
	x.pass(ctx, d, o.Force, func(ctx context.Context, st *state) error {
		if !st.stage.Definition.Releases {
			return nil
		}
		x.say(st, steps.Event{Type: steps.StageStart, Message: "release"})
		err := st.stage.Definition.Release(ctx, x.env(st), st.in.Input)
		if err == nil {
			x.say(st, steps.Event{Type: steps.Waiting, Message: "let go"})
		}
		return err
	}, func(*state) {})
	x.pass(ctx, d, o.Force, func(ctx context.Context, st *state) error {
		x.say(st, steps.Event{Type: steps.StageStart, Message: "delete"})
		return st.stage.Definition.Delete(ctx, x.env(st), st.in.Input, steps.DeleteOptions{WithData: o.WithData != ""})
	}, func(st *state) { x.landed(ctx, st, d.of(st.stage.Name)) })
	x.leftovers(ctx, d)
	x.stillThere(ctx)
}

// pass goes backwards through the graph: work on each stage that may go, then end on each. What a stage could not let go of keeps what it
// needs, unless it could only not be reached.
func (x *run) pass(ctx context.Context, d *descent, force bool, work func(context.Context, *state) error, end func(*state)) {
	x.p.walk(x.p.Stages, x.p.after, x.parallel(), func(s *Stage) {
		st := x.states[s.Name]
		defer end(st)
		if ctx.Err() != nil {
			d.fail(s.Name, notStarted("the run was cancelled", steps.Interrupted), true)
			return
		}
		d.mu.Lock()
		i := slices.IndexFunc(x.p.behind(s), func(n string) bool { return d.hard[n] })
		own := d.hard[s.Name]
		d.mu.Unlock()
		if own && !force {
			return
		}
		if i >= 0 && !force {
			d.fail(s.Name, notStarted(fmt.Sprintf("stage %q still holds on to it", x.p.behind(s)[i]), steps.Partial), true)
			return
		}
		metered := st.cloud.With(ctx)
		_, err := x.bounded(ctx, st, func() (json.RawMessage, error) {
			return nil, x.guard(st, func() error { return work(metered, st) })
		})
		if err != nil {
			d.fail(s.Name, err, !unreachable(err))
		}
	})
}

// unreachable reports an error that says nothing of whether things are still held: the rest is removed all the same.
func unreachable(err error) bool {
	return slices.Contains([]steps.Category{steps.Transient, steps.Timeout}, steps.Classify(err).Category)
}

// landed writes the result of a stage that down has gone through.
func (x *run) landed(ctx context.Context, st *state, err error) {
	status := steps.Destroyed
	var info *steps.ErrorInfo
	if err != nil {
		status = x.statusOf(ctx, err)
		i := x.info(err)
		info = &i
	} else {
		left := steps.Forecast{} // what was said of the whole is over
		if x.kept(ctx, st) {
			status, left.Cost = steps.Skipped, x.rest(ctx, st)
		}
		st.plan.Forecast = left
	}
	x.mu.Lock()
	st.done = true
	x.fill(st, status)
	st.result.Changed, st.result.InputsDigest = st.result.Changes.Any(), ""
	x.mu.Unlock()
	st.result.Error = info
	if err != nil {
		x.fault(st.stage.Name, err)
	}
	x.put(ctx, st)
	x.journal(ctx, entry{Event: "stage_done", Stage: st.stage.Name, Status: status})
	done := steps.Event{Type: steps.StageDone, Status: status, ElapsedSeconds: st.result.DurationSeconds}
	if info != nil {
		done.Message = info.Message
	}
	x.say(st, done)
}

// kept looks whether a stage's things are still there although nothing went wrong: data, or things that are not ours.
func (x *run) kept(ctx context.Context, st *state) bool {
	for _, c := range st.progress {
		if c.Action == reconcile.Delete {
			return false
		}
	}
	if !st.known || !st.stage.Definition.Deletes || ctx.Err() != nil {
		return false
	}
	look, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	found := false
	_ = x.guard(st, func() (err error) { // what cannot be seen any more is gone
		_, found, err = st.stage.Definition.Observe(look, x.env(st), st.in.Input)
		return err
	})
	return found
}

// rest is what kept data goes on costing; nil where that cannot be told.
func (x *run) rest(ctx context.Context, st *state) *steps.Cost {
	if !st.stage.Definition.Data || len(st.in.Partial) > 0 {
		return nil
	}
	whole := st.plan.Forecast.Cost
	if whole == nil { // nobody was asked, so nothing was planned
		look, cancel := context.WithTimeout(ctx, lookTime)
		defer cancel()
		_ = x.guard(st, func() error {
			p, err := st.stage.Definition.Plan(look, x.env(st), st.in.Input)
			whole = p.Forecast.Cost
			return err
		})
	}
	if whole == nil {
		return nil
	}
	return whole.Rest()
}

// leftovers sums up what could not be removed; it decides the exit code unless the run was cancelled.
func (x *run) leftovers(ctx context.Context, d *descent) {
	if len(d.errs) == 0 || ctx.Err() != nil {
		return
	}
	var names []string
	for _, s := range x.p.Stages {
		if d.errs[s.Name] != nil {
			names = append(names, s.Name)
		}
	}
	sum := StageError{ErrorInfo: x.info(&steps.Error{
		Code: "Leftovers", Category: steps.Partial, Message: "not removed: " + strings.Join(names, ", "),
		Hints: []string{"run the same command again: it carries on with what is left"},
	})}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.errors = append([]StageError{sum}, x.errors...)
}
