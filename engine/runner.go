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
	Command     []string                    // how to call again, for hints; default: pipectl VERB FILE
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
	return &PlanReport{}
}

// Run brings the world to what p says: preflight and plan of all, question, then the graph. It always returns a result; results of
// stages are in the store whatever happened.
func (r *Runner) Run(ctx context.Context, p *Pipeline, o RunOptions) *RunResult {
	return &RunResult{}
}

// Down removes what p made: observes forwards, releases backwards, deletes backwards. It keeps data unless told otherwise, and works
// on a half-built or half-gone world and with an empty store.
func (r *Runner) Down(ctx context.Context, p *Pipeline, o DownOptions) *RunResult {
	return &RunResult{}
}

// Status observes every stage, and only that.
func (r *Runner) Status(ctx context.Context, p *Pipeline) *StatusReport {
	return &StatusReport{}
}

// Observe derives the outputs of one stage from the world; found is false when what it makes is not there.
func (r *Runner) Observe(ctx context.Context, p *Pipeline, stage string) (outputs json.RawMessage, found bool, err error) {
	return nil, false, nil
}
