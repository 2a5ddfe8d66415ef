package engine

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"pipectl.dev/steps"
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
	Command     []string                    // words after `pipectl VERB` for the commands in hints: the file and the flags that matter; default: the file
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
	Approve  []string
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
	res := clean(x.redact, x.runResult())
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
	x.survey(ctx, o)
	if len(x.errors) > 0 {
		x.unstarted(ctx)
		return x.close(ctx)
	}
	if err := x.agreed(ctx, o); err != nil {
		x.fault("", err)
		return x.close(ctx)
	}
	x.execute(ctx, o)
	return x.close(ctx)
}

// agreed asks about the plan, when there is something to ask about and somebody to ask.
func (x *run) agreed(ctx context.Context, o RunOptions) error {
	rep := x.planReport()
	if o.Yes || x.r.Confirm == nil || !rep.HasChanges() && !o.Force {
		return nil
	}
	yes, err := x.r.Confirm(ctx, Question{Kind: AskPlan, Plan: clean(x.redact, rep)})
	if err == nil && !yes {
		err = &steps.Error{Code: "Declined", Category: steps.Approval, Message: "the plan was declined; nothing was changed"}
	}
	return err
}

// Status observes every stage, and only that.
func (r *Runner) Status(ctx context.Context, p *Pipeline) *StatusReport {
	rep := &StatusReport{APIVersion: steps.APIVersion, Kind: "StatusReport", Pipeline: p.Name, Env: p.Env, Stages: []StageStatus{}}
	x, err := r.start(ctx, p, "status")
	rep.Identity = x.id.String()
	if err != nil {
		x.fault("", flatten(err)...)
		rep.Errors = x.errors
		return rep
	}
	x.observe(ctx, func(*Stage) bool { return true })
	for _, s := range p.Stages {
		st := x.states[s.Name]
		status := StageStatus{Stage: s.Name, Step: s.Definition.Name, Exists: st.known, Unknown: !st.known && !st.missing, Outputs: st.raw}
		if last, err := x.store.Get(ctx, s.Name); err != nil {
			x.fault(s.Name, err)
		} else {
			status.Last = last
		}
		rep.Stages = append(rep.Stages, status)
	}
	rep.Errors = x.errors
	return clean(x.redact, rep)
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
