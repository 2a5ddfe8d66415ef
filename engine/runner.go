package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

// Runner is all of the outside that running a pipeline needs. One Runner serves one run at a time.
type Runner struct {
	Store   Store
	Locker  Locker            // nil: no locks
	Record  func(steps.Event) // gets every event, redacted, in sequence, one at a time; nil: nobody listens
	Log     *slog.Logger      // nil: silent
	Tool    steps.Tool
	Secrets SecretSource // nil: only env and file
	// Identify says who we are: account and region for a pipeline that needs AWS (Pipeline.AWS), else a cluster. Pipeline and Env are filled in.
	Identify func(ctx context.Context, p *Pipeline) (steps.Identity, error)
	// Confirm asks a person. nil means nobody is there: plans are applied unasked, stages with `confirm: ask` are Blocked.
	Confirm     func(ctx context.Context, q Question) (bool, error)
	MaxParallel int                         // stages at once; zero: 8
	Getenv      func(string) (string, bool) // for secrets from env; nil: an empty environment
	Redact      *Redactor                   // secrets are added to it as they are resolved; nil: a new one
	Holder      steps.Holder                // who this process is; RunID and times are filled in
	Speed       float64                     // how much faster than real the cloud runs (PIPECTL_SPEED): results then carry simulatedSeconds
	// Belongings lists what carries the owner tag of an identity, whatever file it came from; nil: it cannot be told.
	Belongings func(ctx context.Context, id steps.Identity) ([]Thing, error)
	Command    []string // words after `pipectl VERB` for the commands in hints: the file and the flags that matter; default: the file
}

// RunOptions says what of a pipeline to run and how.
type RunOptions struct {
	Stages []string // --stage: only these
	From   string   // --from: this one and all that need it, directly or not
	Until  string   // --until: this one and all that it needs, directly or not
	Resume bool     // carry on with the last run: its finished stages are observed, not redone
	Force  bool     // apply also where the plan is all keep
	Yes    bool     // do not ask about the plan; stages with `confirm: ask` are still asked about
	// Approve names stages with `confirm: ask` that may start.
	Approve []string
	// Prune also removes what is left of stages that the file does not have any more, and of parts that stages have no more, but no data. It
	// takes no selection of stages.
	Prune bool
	// Saved is a plan to apply as it is: nobody is asked, and where the file, the params or the world moved since it was made, nothing is
	// done. Stages, From and Until are then those of its Arguments.
	Saved    *SavedPlan
	LockWait time.Duration // how long to wait for another run's stage
}

// DownOptions says how far down goes.
type DownOptions struct {
	WithData string // typed name of the pipeline: also removes what holds data; "" keeps it
	Yes      bool   // do not ask
	Force    bool   // go on where a stage could not let go
	LockWait time.Duration
}

// Plan says what Run would change. It writes nothing and takes no lock.
func (r *Runner) Plan(ctx context.Context, p *Pipeline, o RunOptions) *PlanReport {
	x, err := r.start(ctx, p, "plan")
	if err == nil {
		err = x.choose(o)
	}
	if err != nil {
		x.fault("", flatten(err)...)
		return x.planReport()
	}
	x.open()
	x.survey(ctx, o)
	if len(o.Stages) == 0 && o.From == "" && o.Until == "" && ctx.Err() == nil {
		x.lookForForgotten(ctx)
	}
	rep := x.planReport()
	x.stream.record(steps.Event{Type: steps.Summary, Data: rep})
	return clean(x.redact, rep)
}

// open starts the stream of events.
func (x *run) open() {
	x.stream.record(steps.Event{Type: steps.Version, Version: steps.EventVersion})
	x.stream.record(steps.Event{Type: steps.RunStart, Message: x.verb + " " + x.p.Name, Data: map[string]any{
		"identity": x.id.String(), "tool": x.r.Tool, "stages": len(x.p.Stages),
	}})
}

// close ends the stream, and the journal when there is one.
func (x *run) close(ctx context.Context) *RunResult {
	res := clean(x.redact, x.runResult(ctx))
	if x.verb == "run" && len(x.p.Outputs) > 0 {
		res.Outputs = clean(x.redact, x.outputs())
	}
	if !x.journaled {
		return res
	}
	x.journal(ctx, entry{Event: "run_done", Verb: x.verb, Status: res.Status, Exit: res.Exit})
	x.stream.record(steps.Event{Type: steps.Summary, Status: res.Status, ElapsedSeconds: res.DurationSeconds, Data: res})
	return res
}

// Run brings the world to what p says: preflight and plan of all, question, then the graph. It always returns a result; results of
// stages are in the store whatever happened.
func (r *Runner) Run(ctx context.Context, p *Pipeline, o RunOptions) *RunResult {
	x, err := r.start(ctx, p, "run")
	if err == nil {
		err = x.choose(o)
	}
	if err == nil {
		err = x.ownStore(ctx)
	}
	if err == nil && o.Saved != nil {
		err = x.unmoved(o.Saved)
	}
	if err == nil && o.Resume {
		err = x.resume(ctx)
	}
	if err != nil {
		x.fault("", flatten(err)...)
		return x.close(ctx)
	}
	x.open()
	x.journaled = true
	x.journal(ctx, entry{Event: "run_start", Verb: "run"})
	x.turns.patience, x.prunes = o.LockWait, o.Prune
	defer x.free(ctx)
	for again := true; again; {
		again = x.turn(ctx, o)
	}
	return x.close(ctx)
}

// turn surveys, asks and executes. again says that others changed meanwhile what was planned, so that it has to be done again.
func (x *run) turn(ctx context.Context, o RunOptions) (again bool) {
	err := x.quiet(ctx)
	if err != nil {
		x.giveUp(ctx, err)
		return false
	}
	x.survey(ctx, o)
	if len(x.errors) > 0 {
		if again = x.again(ctx, true); !again {
			x.unstarted(ctx)
		}
		return again
	}
	if o.Prune {
		if x.left, err = x.forgotten(ctx); err != nil {
			x.fault("", err)
			return false
		}
	}
	if err := x.agree(ctx, o); err != nil {
		x.fault("", err)
		return false
	}
	x.execute(ctx, o)
	if again = x.again(ctx, false); !again && o.Prune {
		x.prune(ctx)
	}
	return again
}

// agree asks about the plan, when there is something to ask about and somebody to ask. A plan that is the same as one that was agreed to
// is not asked about again.
func (x *run) agree(ctx context.Context, o RunOptions) error {
	rep := x.planReport()
	rep.Prune = o.Prune
	if o.Saved != nil {
		return x.asSaved(o.Saved, clean(x.redact, rep))
	}
	if o.Yes || x.r.Confirm == nil || !rep.HasChanges() && !o.Force || x.agreed == rep.short() {
		return nil
	}
	yes, err := x.r.Confirm(ctx, Question{Kind: AskPlan, Plan: clean(x.redact, rep)})
	if err == nil && !yes {
		err = &steps.Error{Code: "Declined", Category: steps.Approval, Message: "the plan was declined"}
	}
	x.agreed = rep.short()
	return err
}

// unmoved refuses a saved plan whose file, params or files are not what they were.
func (x *run) unmoved(s *SavedPlan) error {
	moved, err := s.inputsMoved(x.p, x.r.Tool)
	if err == nil && len(moved) > 0 {
		err = movedError(moved, x.command("plan"))
	}
	return err
}

// asSaved refuses a plan that is not the saved one. What this run did already, before others disturbed it, has changed by that.
func (x *run) asSaved(s *SavedPlan, now *PlanReport) error {
	now.Stages = slices.DeleteFunc(now.Stages, func(p StagePlan) bool { return x.states[p.Stage].done })
	if moved := s.worldMoved(now); len(moved) > 0 {
		return movedError(moved, x.command("plan"))
	}
	return nil
}

// Status looks at every stage: what is there, how it differs from the file, and what is left of stages that are in it no more. It writes
// nothing.
func (r *Runner) Status(ctx context.Context, p *Pipeline) *StatusReport {
	rep := &StatusReport{APIVersion: steps.APIVersion, Kind: "StatusReport", Pipeline: p.Name, Env: p.Env, Stages: []StageStatus{}}
	x, err := r.start(ctx, p, "status")
	rep.Identity = x.id.String()
	if err != nil {
		x.fault("", flatten(err)...)
		rep.Errors = x.errors
		return rep
	}
	_ = x.resolve(ctx, func(*state) bool { return true }) // a stage whose secret is not there is not compared
	x.observe(ctx, func(*Stage) bool { return true })
	x.p.walk(x.p.Stages, func(*Stage) []string { return nil }, x.parallel(), func(s *Stage) { x.compare(ctx, x.states[s.Name]) })
	x.lookForForgotten(ctx)
	rep.Forgotten, rep.Warnings = x.left, x.warnings
	for _, s := range p.Stages {
		st := x.states[s.Name]
		status := StageStatus{Stage: s.Name, Step: s.Definition.Name, Exists: st.known, Unknown: !st.known && !st.missing, Outputs: st.raw}
		status.Drift = slices.DeleteFunc(slices.Clone(st.plan.Changes), func(c steps.Change) bool { return c.Action == reconcile.Keep })
		status.ids = x.idsOf(st)
		if last, err := x.store.Get(ctx, s.Name); err != nil {
			x.fault(s.Name, err)
		} else {
			status.Last = last
		}
		rep.Stages = append(rep.Stages, status)
	}
	rep.Errors = x.errors
	shown := clean(x.redact, rep)
	shown.useOf = p.useOf // what is not JSON is lost where something was redacted
	for i := range shown.Stages {
		shown.Stages[i].ids = rep.Stages[i].ids
	}
	return shown
}

// compare finds out how a stage that is there differs from the file.
func (x *run) compare(ctx context.Context, st *state) {
	if !st.known || len(st.in.Partial) > 0 || ctx.Err() != nil {
		return
	}
	err := x.guard(st, func() error {
		p, err := st.stage.Definition.Plan(ctx, x.env(st), st.in.Input)
		st.plan.Changes = p.Changes
		return err
	})
	if err != nil {
		x.warn(fmt.Sprintf("stage %s: how it differs from the file could not be told: %v", st.stage.Name, err))
	}
}

// Observe derives the outputs of one stage from the world; found is false when what it makes is not there.
func (r *Runner) Observe(ctx context.Context, p *Pipeline, stage string) (outputs json.RawMessage, found bool, err error) {
	x, err := r.start(ctx, p, "status")
	if err == nil {
		err = x.choose(RunOptions{Stages: []string{stage}})
	}
	if err != nil {
		return nil, false, err
	}
	used := x.used()
	x.observe(ctx, func(s *Stage) bool { return used[s.Name] })
	for _, e := range x.errors {
		if e.Stage == stage {
			return nil, false, &steps.Error{Code: e.Code, Category: e.Category, Retryable: e.Retryable, Message: e.Message, Hints: []string{e.Hint}}
		}
	}
	return x.states[stage].raw, x.states[stage].known, nil
}

// observe derives outputs of stages from the world alone. Errors are noted per stage; the others are looked at all the same.
func (x *run) observe(ctx context.Context, which func(*Stage) bool) {
	x.p.walk(x.p.Stages, x.p.before, x.parallel(), func(s *Stage) {
		if !which(s) || ctx.Err() != nil {
			return
		}
		if err := x.guard(x.states[s.Name], func() error { return x.derive(ctx, x.states[s.Name], false) }); err != nil {
			x.fault(s.Name, flatten(err)...)
		}
	})
	if ctx.Err() != nil {
		x.fault("", context.Cause(ctx))
	}
}
