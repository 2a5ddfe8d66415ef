package engine_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
	"pipectl.dev/steps/spec"
)

// world is what the fake step `make` works on: things by name.
type world struct {
	mu     sync.Mutex
	things map[string]int // name to size
	calls  []string       // "verb name", in the order of their ends
	on     map[string]func(ctx context.Context, env steps.Env) error
	seen   map[string]makeSpec
	// foresee holds what the plans of things with changes foresee of their outputs.
	foresee map[string]map[string]any
	notes   []string // of every plan
}

func newWorld() *world {
	return &world{things: map[string]int{}, on: map[string]func(context.Context, steps.Env) error{}, seen: map[string]makeSpec{}}
}

func (w *world) call(ctx context.Context, env steps.Env, verb string, s makeSpec) error {
	key := verb + " " + s.Name
	w.mu.Lock()
	w.calls = append(w.calls, key)
	w.seen[key] = s
	hook := w.on[key]
	w.mu.Unlock()
	if hook != nil {
		return hook(ctx, env)
	}
	return nil
}

func (w *world) count(prefix string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, c := range w.calls {
		if strings.HasPrefix(c, prefix) {
			n++
		}
	}
	return n
}

func (w *world) did(prefix string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, c := range w.calls {
		if strings.HasPrefix(c, prefix) {
			out = append(out, c)
		}
	}
	return out
}

type makeSpec struct {
	Name    string            `yaml:"name" json:"name" jsonschema:"required" jsonschema_description:"name of the thing"`
	Size    int               `yaml:"size" json:"size" jsonschema:"default=1,minimum=1" jsonschema_description:"its size"`
	Public  bool              `yaml:"public" json:"public" jsonschema_description:"whether all may see it"`
	Items   []string          `yaml:"items" json:"items" jsonschema_description:"items"`
	Tags    map[string]string `yaml:"tags" json:"tags" jsonschema_description:"tags"`
	Cluster steps.ClusterRef  `yaml:"cluster" json:"cluster" jsonschema_description:"a cluster"`
	Token   steps.Secret      `yaml:"token" json:"token" jsonschema_description:"a token"`
	Wait    spec.Duration     `yaml:"wait" json:"wait" jsonschema_description:"a time"`
	Groups  []group           `yaml:"groups" json:"groups" jsonschema_description:"groups"`
}

type group struct {
	Name string `yaml:"name" json:"name" jsonschema:"required" jsonschema_description:"name"`
	Max  int    `yaml:"max" json:"max" jsonschema_description:"most"`
}

// ResourceKeys implements steps.Keyed.
func (s *makeSpec) ResourceKeys() []string {
	if s.Name == "" {
		return nil
	}
	return []string{"thing/" + s.Name}
}

type makeOutputs struct {
	ID      string            `json:"id" jsonschema_description:"identifier"`
	Size    int               `json:"size" jsonschema_description:"size"`
	Ratio   float64           `json:"ratio" jsonschema_description:"a number that happens to be whole"`
	Cluster steps.ClusterRef  `json:"cluster" jsonschema_description:"a cluster"`
	URLs    map[string]string `json:"urls,omitempty" jsonschema_description:"addresses"`
	Items   []string          `json:"items,omitempty" jsonschema_description:"items"`
	Note    string            `json:"note,omitempty" jsonschema_description:"may be absent"`
}

type maker struct {
	w    *world
	data bool // all that it makes holds data
}

func (m maker) outputs(s makeSpec, size int) makeOutputs {
	return makeOutputs{
		ID: "id-" + s.Name, Size: size, Ratio: 2, Cluster: steps.ClusterRef{EKS: &steps.EKSCluster{Name: s.Name, Region: "eu"}},
		URLs: map[string]string{"home": "http://" + s.Name}, Items: s.Items,
	}
}

func (m maker) Preflight(ctx context.Context, env steps.Env, s makeSpec) error {
	return m.w.call(ctx, env, "preflight", s)
}

func (m maker) Plan(ctx context.Context, env steps.Env, s makeSpec) (steps.Plan[makeOutputs], error) {
	if err := m.w.call(ctx, env, "plan", s); err != nil {
		return steps.Plan[makeOutputs]{}, err
	}
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	size, ok := m.w.things[s.Name]
	c := steps.Change{Kind: "thing", Name: s.Name, Action: "create"}
	p := steps.Plan[makeOutputs]{Forecast: steps.Forecast{
		Notes: m.w.notes, Seconds: 10, Confirm: "it takes " + s.Name + " down for a minute", Cost: m.cost(s),
	}}
	switch {
	case ok && size == s.Size:
		c.Action = "keep"
		out := m.outputs(s, size)
		p.Outputs = &out
	case ok:
		c.Action = "update"
	}
	p.Changes, p.Foreseen = []steps.Change{c}, m.w.foresee[s.Name]
	return p, nil
}

// cost is half a dollar an hour; of a data thing one fifth of it is for its content.
func (m maker) cost(s makeSpec) *steps.Cost {
	c := &steps.Cost{HourlyUSD: 0.5, PricesAsOf: "2026-01-01", Items: []steps.CostItem{{What: s.Name, HourlyUSD: 0.5}}}
	if m.data {
		c.Items = []steps.CostItem{{What: s.Name, HourlyUSD: 0.4}, {What: s.Name + "'s content", HourlyUSD: 0.1, Data: true}}
	}
	return c
}

func (m maker) Apply(ctx context.Context, env steps.Env, s makeSpec) (makeOutputs, error) {
	if err := m.w.call(ctx, env, "apply", s); err != nil {
		return makeOutputs{}, err
	}
	m.w.mu.Lock()
	m.w.things[s.Name] = s.Size
	m.w.mu.Unlock()
	env.Report(steps.Progress{Change: steps.Change{Kind: "thing", Name: s.Name, ID: "id-" + s.Name, Action: "create"}, Phase: "done"})
	return m.outputs(s, s.Size), nil
}

func (m maker) Observe(ctx context.Context, env steps.Env, s makeSpec) (makeOutputs, bool, error) {
	if err := m.w.call(ctx, env, "observe", s); err != nil {
		return makeOutputs{}, false, err
	}
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	size, ok := m.w.things[s.Name]
	return m.outputs(s, size), ok, nil
}

func (m maker) Release(ctx context.Context, env steps.Env, s makeSpec) error {
	return m.w.call(ctx, env, "release", s)
}

func (m maker) Delete(ctx context.Context, env steps.Env, s makeSpec, o steps.DeleteOptions) error {
	if err := m.w.call(ctx, env, "delete", s); err != nil {
		return err
	}
	m.w.mu.Lock()
	_, had := m.w.things[s.Name]
	gone := had && (!m.data || o.WithData)
	if gone {
		delete(m.w.things, s.Name)
	}
	m.w.mu.Unlock()
	if gone {
		env.Report(steps.Progress{Change: steps.Change{Kind: "thing", Name: s.Name, Action: "delete"}, Phase: "done"})
	}
	return nil
}

func catalogOf(w *world) []steps.Definition {
	return []steps.Definition{steps.Define(steps.About{
		Name: "make-thing", Summary: "makes a thing", Example: "name: a\n", AWS: true, Expect: 30 * time.Second, Least: leastOf("thing"),
	}, maker{w: w}), steps.Define(steps.About{
		Name: "keep-data", Summary: "makes a thing that holds data", Example: "name: a\n", AWS: true, Data: true, Least: leastOf("data"),
	}, maker{w: w, data: true}), steps.Define(steps.About{
		Name: "mint-password", Summary: "makes a password", Example: "name: a\n", AWS: true,
	}, minter{w: w})}
}

func leastOf(of string) func(kind, name string) (steps.Least, bool) {
	return func(kind, name string) (steps.Least, bool) {
		root, _, _ := strings.Cut(name, "/")
		return steps.Least{With: fmt.Sprintf("{name: %q}", root)}, kind == of
	}
}

// minter makes passwords, which it can tell only once.
type minter struct{ w *world }

type mintOutputs struct {
	User     string          `json:"user" jsonschema_description:"name"`
	Password steps.Sensitive `json:"password" jsonschema_description:"generated"`
	Users    []struct {
		Token steps.Sensitive `json:"token" jsonschema_description:"of one"`
	} `json:"users" jsonschema_description:"others"`
}

func (m minter) outputs(s makeSpec, tell func(string) steps.Sensitive) mintOutputs {
	out := mintOutputs{User: s.Name, Password: tell("hunter-" + s.Name)}
	out.Users = append(out.Users, struct {
		Token steps.Sensitive `json:"token" jsonschema_description:"of one"`
	}{tell("token-" + s.Name)})
	return out
}

func (m minter) Plan(context.Context, steps.Env, makeSpec) (steps.Plan[mintOutputs], error) {
	return steps.Plan[mintOutputs]{Changes: []steps.Change{{Kind: "password", Name: "p", Action: map[bool]steps.Verb{true: "keep", false: "create"}[m.w.things["minted"] > 0]}}}, nil
}

func (m minter) Apply(_ context.Context, env steps.Env, s makeSpec) (mintOutputs, error) {
	m.w.things["minted"]++
	out := m.outputs(s, steps.NewSensitive)
	env.Note(fmt.Sprintf("made %s, %#v", out.Password, out)) // a step that is careless
	return out, nil
}

func (m minter) Observe(_ context.Context, _ steps.Env, s makeSpec) (mintOutputs, bool, error) {
	return m.outputs(s, func(string) steps.Sensitive { return steps.KeptSensitive() }), m.w.things["minted"] > 0, nil
}

func (m minter) Delete(context.Context, steps.Env, makeSpec, steps.DeleteOptions) error {
	delete(m.w.things, "minted")
	return nil
}

// load loads a pipeline whose stages are given as indented YAML; it must be sound.
func load(t *testing.T, w *world, src string, opts ...func(*engine.LoadOptions)) *engine.Pipeline {
	t.Helper()
	o := engine.LoadOptions{File: "p.yaml", Source: []byte(src), Catalog: catalogOf(w)}
	for _, f := range opts {
		f(&o)
	}
	p, problems := engine.Load(o)
	for _, x := range problems {
		t.Fatal(x.Error())
	}
	return p
}

const head = "apiVersion: pipectl.dev/v1\nkind: Pipeline\nmetadata: {name: blog}\nspec:\n"

// memory is a Store in memory.
type memory struct {
	mu      sync.Mutex
	results map[string]steps.Result
	lines   map[string][][]byte
	runs    []string
	fail    error
}

func newMemory() *memory {
	return &memory{results: map[string]steps.Result{}, lines: map[string][][]byte{}}
}

func (m *memory) Get(_ context.Context, stage string) (*steps.Result, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r, ok := m.results[stage]; ok {
		return &r, nil
	}
	return nil, nil
}

func (m *memory) Put(_ context.Context, r steps.Result) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.results[r.Stage] = r
	return nil
}

func (m *memory) List(context.Context) ([]steps.Result, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []steps.Result
	for _, r := range m.results {
		out = append(out, r)
	}
	return out, nil
}

func (m *memory) Append(_ context.Context, runID string, line []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lines[runID] == nil {
		m.runs = append(m.runs, runID)
	}
	m.lines[runID] = append(m.lines[runID], line)
	return nil
}

func (m *memory) Journal(_ context.Context, runID string) ([][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lines[runID], nil
}

func (m *memory) Runs(context.Context) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.runs...), nil
}

func (m *memory) Where(stage string) string { return "memory:" + stage }

// events keeps what a run tells.
type events struct {
	mu  sync.Mutex
	all []steps.Event
}

func (e *events) record(ev steps.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, ev)
}

func runner(store engine.Store) *engine.Runner {
	return &engine.Runner{
		Store: store,
		Identify: func(context.Context, *engine.Pipeline) (steps.Identity, error) {
			return steps.Identity{Account: "123456789012", Region: "eu"}, nil
		},
	}
}

func statuses(r *engine.RunResult) string {
	var out []string
	for _, s := range r.Stages {
		out = append(out, fmt.Sprintf("%s:%s", s.Stage, s.Status))
	}
	return strings.Join(out, " ")
}
