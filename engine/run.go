package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"pipectl.dev/engine/expr"
	"pipectl.dev/steps"
	"pipectl.dev/steps/wait"
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
	turns   turns
	agreed  string // the plan that was agreed to, in short

	journaled bool
	executing bool // stages run: nothing is foreseen any more
	touched   bool // the first stage was begun: from here on something may be changed
	prunes    bool // --prune
	cloud     wait.Meter

	mu        sync.Mutex
	states    map[string]*state
	failed    string // the first stage that stopped the run
	overtaken bool   // no stage is begun any more: others changed what was planned
	warnings  []string
	left      []Forgotten    // whose stage left the file
	pruned    []steps.Change // of those
	errors    []StageError
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
	failed   map[string]steps.Change // with their errors
	order    []string
	begun    map[string]bool // changes that were begun and not ended; true: the call that makes them came back
	notes    []string
	private  map[string]string // values of sensitive outputs, by the name that the outputs refer to
	cloud    *wait.Meter       // of its waits for the cloud
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
		x.states[s.Name] = x.fresh(s)
	}
	id, err := r.identify(ctx, p)
	x.id = id
	return x, err
}

// fresh is a stage of which nothing is known yet.
func (x *run) fresh(s *Stage) *state {
	return &state{stage: s, progress: map[string]steps.Change{}, failed: map[string]steps.Change{}, begun: map[string]bool{}, private: map[string]string{}, cloud: x.cloud.Below()}
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
	v := values{secrets: maps.Clone(x.secrets)}
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
		for private, value := range st.private {
			if v.secrets != nil {
				v.secrets[privateName(name, private)] = value
			}
		}
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
func (x *run) setOutputs(ctx context.Context, st *state, raw json.RawMessage) error {
	var v any = map[string]any{}
	if len(raw) > 0 {
		var err error
		if v, err = expr.FromJSON(raw, st.stage.Definition.Outputs); err != nil {
			return fmt.Errorf("outputs: %w", err)
		}
		names := map[string]bool{}
		if v = private(v, st.stage.Name, names); len(names) > 0 {
			x.unlock(ctx, st, names)
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
		Identity: x.id, Stage: st.stage.Name, RunID: x.runID, Dir: x.p.Dir, Prune: x.prunes,
		Log:    x.log.With("stage", st.stage.Name),
		Record: func(ev steps.Event) { x.heard(st, ev) },
		Sensitive: func(name, value string) {
			x.redact.Add(value)
			x.mu.Lock()
			defer x.mu.Unlock()
			st.private[name] = value
		},
	}
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
