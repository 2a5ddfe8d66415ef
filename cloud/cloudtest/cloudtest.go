// Package cloudtest gives tests an emulated AWS account in virtual time: a step, the unmodified SDK and the emulator in one bubble, with
// no socket between them.
//
// It is for tests only, and must be used inside a testing/synctest bubble.
package cloudtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"gopkg.in/yaml.v3"

	"pipectl.dev/cloud"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/steptest"
)

// World is one account and what a step reported while it worked in it.
type World struct {
	*emulator.Cloud
	Open cloud.Opener
	// Prune has runs let go what left the spec.
	Prune bool

	stand  *emulator.StandIn
	region string
	speed  float64
	mu     sync.Mutex
	events []steps.Event
	hooks  []*hook
	runs   int
}

// New makes an empty account, closed when the test ends.
func New(t *testing.T, o emulator.Options) *World {
	t.Helper()
	stand := emulator.NewStandIn()
	if o.World == nil {
		o.World = stand
	}
	w := &World{stand: stand, region: emulator.FixtureRegion, speed: max(o.Speed, 1)}
	if o.Region != "" {
		w.region = o.Region
	}
	o.Ledger = w.ledger
	w.Cloud = emulator.New(o)
	t.Cleanup(w.Close)
	w.Open, _ = w.Process()
	return w
}

// Process is another client of the account: its sessions stop dead when it is killed, even in the middle of a call.
func (w *World) Process() (open cloud.Opener, kill func()) {
	return w.ProcessAs(emulator.FixtureAccessKey)
}

// ProcessAs is a client with the access key id, whose secret is that of the fixture.
func (w *World) ProcessAs(id string) (open cloud.Opener, kill func()) {
	cfg := aws.Config{Region: w.region, Credentials: credentials.NewStaticCredentialsProvider(id, emulator.FixtureSecretKey, "")}
	wire := &mortal{next: w.RoundTripper()}
	client := &http.Client{Transport: wire}
	return cloud.NewOpener(cloud.Options{Config: &cfg, HTTPClient: client, Speed: w.speed}), func() { wire.dead.Store(true) }
}

// mortal is a wire that can be cut for good.
type mortal struct {
	next http.RoundTripper
	dead atomic.Bool
}

var errKilled = errors.New("the process was killed")

func (m *mortal) RoundTrip(r *http.Request) (*http.Response, error) {
	if m.dead.Load() {
		return nil, errKilled
	}
	resp, err := m.next.RoundTrip(r)
	if m.dead.Load() {
		if err == nil {
			_ = resp.Body.Close()
		}
		return nil, errKilled
	}
	return resp, err
}

// Env is the environment of a new run of pipeline "blog".
func (w *World) Env() steps.Env {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runs++
	return steps.Env{
		Identity: steps.Identity{Account: emulator.FixtureAccount, Region: emulator.FixtureRegion, Pipeline: "blog"},
		Stage:    "stage", RunID: fmt.Sprintf("run-%d", w.runs), Log: slog.New(slog.DiscardHandler), Prune: w.Prune,
		Record: func(e steps.Event) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events = append(w.events, e)
		},
	}
}

// Notes are the diagnostics that steps have given so far.
func (w *World) Notes() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, e := range w.events {
		if e.Type == steps.Diagnostic {
			out = append(out, e.Message)
		}
	}
	return out
}

// Checks are what preflights have looked at so far.
func (w *World) Checks() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, e := range w.events {
		if e.Type == steps.Checked {
			out = append(out, e.Message)
		}
	}
	return out
}

// Changed counts the changes that were reported done, by verb.
func (w *World) Changed() map[steps.Verb]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[steps.Verb]int{}
	for _, e := range w.events {
		if e.Type == steps.ChangeDone {
			out[e.Change.Action]++
		}
	}
	w.events = nil
	return out
}

// Input is a `with:` as the engine gives it.
func Input(t *testing.T, text string) steps.Input {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	return steps.Input{File: "pipeline.yaml", With: &doc}
}

// Count counts the calls since mark: reads, and writes but for locks and tokens.
func (w *World) Count(mark int) (reads, writes int) {
	for _, c := range w.Since(mark) {
		switch {
		case !c.Write:
			reads++
		case c.Class == "resource" || c.Class == "tag":
			writes++
		}
	}
	return reads, writes
}

// Owned lists the live resources with our owner tags, as "kind name", sorted.
func (w *World) Owned() []string {
	var out []string
	for _, r := range w.Resources() {
		if r.Tags[cloud.TagIdentity] != "" && !r.Managed {
			out = append(out, r.Tags[cloud.TagKind]+" "+r.Tags[cloud.TagName])
		}
	}
	slices.Sort(out)
	return out
}

// NoDuplicates fails the test when two live resources carry the same owner tags.
func (w *World) NoDuplicates(t *testing.T) {
	t.Helper()
	for _, set := range w.Duplicates(cloud.TagIdentity, cloud.TagKind, cloud.TagName) {
		var ids []string
		for _, r := range set {
			ids = append(ids, r.String())
		}
		t.Errorf("made twice: %s", strings.Join(ids, " and "))
	}
}

// Apply plans and applies once, as the engine does.
func (w *World) Apply(ctx context.Context, d steps.Definition, in steps.Input) ([]byte, error) {
	env := w.Env()
	if err := d.Preflight(ctx, env, in); err != nil {
		return nil, fmt.Errorf("preflight: %w", err)
	}
	p, err := d.Plan(ctx, env, in)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	if p.Outputs != nil {
		return p.Outputs, nil
	}
	return d.Apply(ctx, env, in)
}

// Down releases and deletes once, as the engine does.
func (w *World) Down(ctx context.Context, d steps.Definition, in steps.Input, withData bool) error {
	env := w.Env()
	if err := d.Release(ctx, env, in); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	return d.Delete(ctx, env, in, steps.DeleteOptions{WithData: withData})
}

// Steptest is the world as the conformance suite wants it.
func (w *World) Steptest(d steps.Definition, with string, foreign func(*testing.T) func() string) steptest.World {
	return steptest.World{
		Step: d, With: with, Identity: w.Env().Identity, Foreign: foreign,
		Writes: func() int { _, writes := w.Count(0); return writes },
	}
}

// OnCall runs do when the next call of service and action reaches the account.
func (w *World) OnCall(service, action string, do func()) { w.OnCallAt(service, action, 1, do) }

// OnCallAt runs do when the nth call of service and action from now on reaches the account.
func (w *World) OnCallAt(service, action string, n int, do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hooks = append(w.hooks, &hook{service, action, n, do})
}

type hook struct {
	service, action string
	left            int
	do              func()
}

// ledger runs the hooks; the emulator calls it for every call, after it was carried out and before it is answered.
func (w *World) ledger(c emulator.Call) {
	w.mu.Lock()
	i := slices.IndexFunc(w.hooks, func(h *hook) bool { return h.service == c.Service && h.action == c.Action })
	var do func()
	if i >= 0 {
		if w.hooks[i].left--; w.hooks[i].left == 0 {
			do = w.hooks[i].do
			w.hooks = slices.Delete(w.hooks, i, i+1)
		}
	}
	w.mu.Unlock()
	if do != nil {
		do()
	}
}
