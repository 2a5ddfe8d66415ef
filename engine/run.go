package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"pipectl.dev/engine/expr"
	"pipectl.dev/steps"
)

// run is one execution of one verb.
type run struct {
	r       *Runner
	p       *Pipeline
	id      steps.Identity
	runID   string
	verb    string
	began   time.Time
	store   Store
	stream  *stream
	redact  *Redactor
	log     *slog.Logger
	secrets map[string]string
	ask     sync.Mutex // one question at a time

	journaled bool
	executing bool // stages run: nothing is foreseen any more

	mu       sync.Mutex
	states   map[string]*state
	failed   string // the first stage that stopped the run
	warnings []string
	errors   []StageError
}

// state is what a run knows of a stage. Fields below known are guarded by run.mu; the rest belongs to whoever works on the stage.
type state struct {
	stage    *Stage
	selected bool
	finished bool // by the run that is resumed
	missing  bool // not selected, and nothing of it exists

	plan   StagePlan
	in     inputs
	result steps.Result

	known    bool // outputs are known, if only as none
	outputs  any
	foreseen map[string]any // some outputs, while only planning
	raw      json.RawMessage
	status   steps.Status
	done     bool
	progress map[string]steps.Change
	order    []string
	notes    []string
	lost     <-chan struct{} // closed when the lock is lost
}

// start prepares an execution: who we are, and where results go.
func (r *Runner) start(ctx context.Context, p *Pipeline, verb string) (*run, error) {
	x := &run{r: r, p: p, verb: verb, began: time.Now(), runID: newRunID(time.Now()), store: r.Store, redact: r.Redact, log: r.Log, states: map[string]*state{}}
	if x.store == nil {
		x.store = &noStore{}
	}
	if x.redact == nil {
		x.redact = NewRedactor()
	}
	if x.log == nil {
		x.log = slog.New(slog.DiscardHandler)
	}
	x.log = slog.New(x.redact.Handler(x.log.Handler()))
	x.stream = &stream{runID: x.runID, redact: x.redact, sink: r.Record}
	for _, s := range p.Stages {
		x.states[s.Name] = &state{stage: s, progress: map[string]steps.Change{}}
	}
	id, err := r.identify(ctx, p)
	x.id = id
	return x, err
}

func (r *Runner) identify(ctx context.Context, p *Pipeline) (steps.Identity, error) {
	id := steps.Identity{Region: p.Region}
	if r.Identify != nil {
		var err error
		if id, err = r.Identify(ctx, p); err != nil {
			return id, fmt.Errorf("identity: %w", err)
		}
	}
	id.Pipeline, id.Env = p.Name, p.Env
	if p.Account != "" && id.Account != p.Account {
		return id, &steps.Error{
			Code: "WrongAccount", Category: steps.Credentials, Message: fmt.Sprintf("account is %s, the pipeline allows only %s", orNone(id.Account), p.Account),
			Hints: []string{"choose other credentials (AWS_PROFILE), or change spec.account"},
		}
	}
	return id, nil
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

func newRunID(now time.Time) string {
	b := make([]byte, 3)
	_, _ = rand.Read(b)                                                           // never fails
	stamp := strings.Replace(now.UTC().Format("20060102-150405.000"), ".", "", 1) // runs sort by their ids
	return stamp + "-" + hex.EncodeToString(b)
}

// values is what expressions see at this moment.
func (x *run) values() values {
	x.mu.Lock()
	defer x.mu.Unlock()
	v := values{secrets: x.secrets}
	stages := map[string]any{}
	for name, st := range x.states {
		m := map[string]any{}
		if st.known {
			m["outputs"] = st.outputs
		} else {
			m["outputs"] = st.foreseen
			v.unknown = append(v.unknown, st.unseen()...)
		}
		if st.status != "" {
			m["status"] = string(st.status)
		} else {
			v.unknown = append(v.unknown, expr.Ref{"stages", name, "status"})
		}
		stages[name] = m
	}
	v.vars = x.p.vars(stages)
	return v
}

// unseen are the outputs of a stage that nothing is known of, while it has not ended.
func (st *state) unseen() []expr.Ref {
	all := expr.Ref{"stages", st.stage.Name, "outputs"}
	if st.foreseen == nil {
		return []expr.Ref{all}
	}
	var refs []expr.Ref
	for _, name := range steps.OutputNames(st.stage.Definition.Outputs) {
		if _, ok := st.foreseen[name]; !ok {
			refs = append(refs, append(slices.Clone(all), name))
		}
	}
	return refs
}

// foresee makes outputs known to the plans of later stages. Once stages run they get real outputs or none: those of a stage that failed
// must not be made up.
func (x *run) foresee(st *state, raw json.RawMessage) error {
	if x.executing || len(raw) == 0 {
		return nil
	}
	v, err := expr.FromJSON(raw, st.stage.Definition.Outputs)
	if err != nil {
		return fmt.Errorf("foreseen: %w", err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	st.foreseen, _ = v.(map[string]any)
	return nil
}

// setOutputs makes the outputs of a stage known to those that use it; nil ones are known to be none.
func (x *run) setOutputs(st *state, raw json.RawMessage) error {
	var v any = map[string]any{}
	if len(raw) > 0 {
		var err error
		if v, err = expr.FromJSON(raw, st.stage.Definition.Outputs); err != nil {
			return fmt.Errorf("outputs: %w", err)
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	st.known, st.outputs, st.raw = true, v, raw
	return nil
}

// env is what a step is given. Its Record ends with the work on the stage: what a step left running says is not listened to.
func (x *run) env(st *state) steps.Env {
	return steps.Env{
		Identity: x.id, Stage: st.stage.Name, RunID: x.runID, Dir: x.p.Dir,
		Log:    x.log.With("stage", st.stage.Name),
		Record: func(ev steps.Event) { x.heard(st, ev) },
	}
}

// heard takes an event from a step: it goes to the listeners and into the result.
func (x *run) heard(st *state, ev steps.Event) {
	x.mu.Lock()
	if st.done {
		x.mu.Unlock()
		return
	}
	switch {
	case ev.Type == steps.Diagnostic && !slices.Contains(st.notes, ev.Message):
		st.notes = append(st.notes, ev.Message)
	case ev.Type == steps.ChangeDone && ev.Change != nil:
		key := ev.Change.Kind + "/" + ev.Change.Name
		old, seen := st.progress[key]
		if !seen {
			st.order = append(st.order, key)
		}
		if !seen || old.Action == "keep" { // a retry keeps what the attempt before it made
			st.progress[key] = *ev.Change
		}
	}
	x.mu.Unlock()
	x.say(st, ev)
}

// say records an event of a stage.
func (x *run) say(st *state, ev steps.Event) {
	ev.Stage, ev.Step = st.stage.Name, st.stage.Definition.Name
	x.stream.record(ev)
}

func (x *run) warn(text string) {
	x.mu.Lock()
	x.warnings = append(x.warnings, text)
	x.mu.Unlock()
	x.stream.record(steps.Event{Type: steps.Diagnostic, Message: text})
}

// fault notes an error of a stage ("" for the run's own) for the report.
func (x *run) fault(stage string, errs ...error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, err := range errs {
		x.errors = append(x.errors, StageError{Stage: stage, ErrorInfo: x.info(err)})
	}
}

// info is an error as it stands in reports.
func (x *run) info(err error) steps.ErrorInfo {
	e := steps.Classify(err)
	return clean(x.redact, steps.ErrorInfo{
		Code: e.Code, Category: e.Category, Retryable: e.Retryable, Message: e.Message, Hint: strings.Join(e.Hints, "; "),
	})
}

// flatten takes errors.Join apart, so that each is reported with its own hint.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok { // not errors.As: a join further in has a path before it, which must stay
		var out []error
		for _, e := range many.Unwrap() {
			out = append(out, flatten(e)...)
		}
		return out
	}
	return []error{err}
}

func (x *run) parallel() int {
	if x.r.MaxParallel > 0 {
		return x.r.MaxParallel
	}
	return 8
}

// noStore forgets everything.
type noStore struct{}

func (*noStore) Get(context.Context, string) (*steps.Result, error) { return nil, nil }
func (*noStore) Put(context.Context, steps.Result) error            { return nil }
func (*noStore) List(context.Context) ([]steps.Result, error)       { return nil, nil }
func (*noStore) Append(context.Context, string, []byte) error       { return nil }
func (*noStore) Journal(context.Context, string) ([][]byte, error)  { return nil, nil }
func (*noStore) Runs(context.Context) ([]string, error)             { return nil, nil }
func (*noStore) Where(string) string                                { return "" }
