package results

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/engine"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

type gateSpec struct {
	Name string `yaml:"name" json:"name" jsonschema:"required" jsonschema_description:"its name"`
}

type gateOutputs struct {
	ID string `json:"id" jsonschema_description:"its id"`
}

// gate is a step that notices two runs in it at once. What it makes is a ConfigMap, so that it takes a moment of an API server.
type gate struct {
	client         *kube.Client
	ns             string
	inside         atomic.Int32
	most, applied  atomic.Int32
	hold, everyone chan struct{} // when set: Apply tells that it is inside and waits
}

func (g *gate) there(ctx context.Context, s gateSpec) (bool, error) {
	r, err := g.client.ReadRecord(ctx, g.ns, s.Name)
	return r.Version != "", err
}

func (g *gate) Plan(ctx context.Context, _ steps.Env, s gateSpec) (steps.Plan[gateOutputs], error) {
	there, err := g.there(ctx, s)
	p := steps.Plan[gateOutputs]{Changes: []steps.Change{{Kind: "gate", Name: s.Name, Action: "create"}}}
	if there {
		p.Changes[0].Action, p.Outputs = "keep", &gateOutputs{ID: s.Name}
	}
	return p, err
}

func (g *gate) Apply(ctx context.Context, env steps.Env, s gateSpec) (gateOutputs, error) {
	now := g.inside.Add(1)
	defer g.inside.Add(-1)
	g.most.Store(max(g.most.Load(), now))
	g.applied.Add(1)
	if g.hold != nil {
		close(g.everyone)
		<-g.hold
	}
	there, err := g.there(ctx, s)
	if err == nil && !there {
		_, err = g.client.WriteRecord(ctx, kube.Record{Namespace: g.ns, Name: s.Name}, nil, env.Identity)
	}
	return gateOutputs{ID: s.Name}, err
}

func (g *gate) Observe(ctx context.Context, _ steps.Env, s gateSpec) (gateOutputs, bool, error) {
	there, err := g.there(ctx, s)
	return gateOutputs{ID: s.Name}, there, err
}

func (g *gate) run(t *testing.T, store engine.Store, wait time.Duration) *engine.RunResult {
	t.Helper()
	p, problems := engine.Load(engine.LoadOptions{
		File: "p.yaml", Tool: "1.0.0", Getenv: func(string) (string, bool) { return "", false },
		Source:  []byte("apiVersion: pipectl.dev/v1\nkind: Pipeline\nmetadata: {name: blog}\nspec:\n  stages:\n    - {name: home, step: gate, with: {name: thing}}\n"),
		Catalog: []steps.Definition{steps.Define(steps.About{Name: "gate", Summary: "a gate", Example: "name: a\n", Expect: time.Second}, g)},
	})
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	r := &engine.Runner{
		Store: store, Locker: g.client.Locks(g.ns), Holder: steps.Holder{Who: "a test", Host: t.Name()},
		Identify: func(context.Context, *engine.Pipeline) (steps.Identity, error) { return lab, nil },
	}
	return r.Run(t.Context(), p, engine.RunOptions{Yes: true, LockWait: wait})
}

// TestFortyHooksOfOnePipelineQueue is what happens when as many Applications that share a pipeline are synced at once.
func TestFortyHooksOfOnePipelineQueue(t *testing.T) {
	t.Parallel()
	const hooks = 40
	g := &gate{client: cluster(t, "queue"), ns: "queue"} // a client each, as processes have
	owner := Owner{Pipeline: "blog", Identity: lab.String()}
	store := func() engine.Store {
		return NewConfigMap(cluster(t, "queue"), Place{Namespace: "queue", ConfigMap: "stages"}, owner, lab)
	}
	var wg sync.WaitGroup
	ends := make([]string, hooks)
	for i := range hooks {
		wg.Go(func() {
			r := g.run(t, store(), 5*time.Minute)
			ends[i] = fmt.Sprintf("%d %s %v %v", r.Exit, r.Status, r.Errors, r.Warnings)
		})
	}
	wg.Wait()
	for i, end := range ends {
		if !strings.HasPrefix(end, "0 ") || !strings.HasSuffix(end, "[] []") {
			t.Errorf("hook %d: %s", i, end)
		}
	}
	if g.most.Load() != 1 || g.applied.Load() < 1 {
		t.Errorf("%d were in the stage at once, %d applied it", g.most.Load(), g.applied.Load())
	}
	runs, err := store().Runs(t.Context())
	if err != nil || len(runs) != hooks {
		t.Errorf("%d runs left a journal, %v", len(runs), err)
	}
	if r, err := store().Get(t.Context(), "home"); err != nil || r == nil || r.Status != steps.Succeeded && r.Status != steps.Skipped {
		t.Errorf("result %+v, %v", r, err)
	}
	leases, err := g.client.Typed.CoordinationV1().Leases("queue").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(leases.Items) != 1 || leases.Items[0].Spec.HolderIdentity != nil {
		t.Errorf("the one lease is held after all: %v, %v", leases, err)
	}
}

func TestAHookThatMayNotWaitIsTurnedAway(t *testing.T) {
	t.Parallel()
	g := &gate{client: cluster(t, "turned-away"), ns: "turned-away", hold: make(chan struct{}), everyone: make(chan struct{})}
	first := make(chan *engine.RunResult)
	go func() { first <- g.run(t, NewDir(t.TempDir(), blog), 0) }()
	<-g.everyone
	r := g.run(t, NewDir(t.TempDir(), blog), 0)
	close(g.hold)
	if r.Exit != 12 || len(r.Errors) == 0 || !strings.Contains(r.Errors[0].Message, "a test") {
		t.Errorf("%d %+v", r.Exit, r.Errors)
	}
	if r := <-first; r.Exit != 0 {
		t.Errorf("the first one: %+v", r.Errors)
	}
}
