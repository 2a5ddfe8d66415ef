// Package steps is the contract between the engine, which knows no step by name, and steps, which know no engine.
//
// It holds what both need: Definition, Env, Plan, Result, Event, Error, ClusterRef. It must not import an SDK, a client or the engine.
package steps

import (
	"context"

	"pipectl.dev/steps/reconcile"
)

// A Step is a kind of work built into pipectl, typed by its spec S (what the YAML's `with:` says) and its outputs O (what later
// stages may use; it must survive JSON). Every method is safe to repeat, and bounded by ctx.
//
// S may be partial: fields that refer to something not known yet are zero, and Env.Unknown says which. Plan and Apply always get a
// whole S; Preflight, Observe, Release and Delete may not.
type Step[S, O any] interface {
	// Plan says what Apply would change. It writes nothing.
	Plan(ctx context.Context, env Env, s S) (Plan[O], error)
	// Apply makes the world as s says. Work done is reported by env.Report; doing it twice changes nothing the second time.
	Apply(ctx context.Context, env Env, s S) (O, error)
	// Observe derives the outputs from the world alone, so that no state file is needed. found is false when what the stage makes
	// is not there (or not whole). It never writes, and answers on half-built worlds.
	Observe(ctx context.Context, env Env, s S) (out O, found bool, err error)
}

// Preflighter is implemented by steps that can tell early that Apply will fail. It reads only; all problems come back at once
// (errors.Join of *Error). Every stage's Preflight runs before the first write of any stage.
type Preflighter[S any] interface {
	Preflight(ctx context.Context, env Env, s S) error
}

// Releaser is implemented by steps that hold on to something: Release is down's first pass, backwards through all stages: stop
// what runs, let go of what is held (load balancers, volumes, nodes). A world that is already gone is success.
type Releaser[S any] interface {
	Release(ctx context.Context, env Env, s S) error
}

// Deleter is implemented by steps that make something: Delete is down's second pass. It removes only what carries our owner tag.
type Deleter[S any] interface {
	Delete(ctx context.Context, env Env, s S, o DeleteOptions) error
}

// Keyed is implemented by specs that make resources under names of the user's choice, such as "ec2:Volume/jenkins-home". Resources
// are keyed by identity, kind and name, never by stage, so two stages with a key in common are refused when the pipeline is loaded.
// S may be partial: a key whose name is not known yet is left out.
type Keyed interface {
	ResourceKeys() []string
}

// DeleteOptions says how far Delete may go.
type DeleteOptions struct {
	WithData bool // also remove what holds data; only by `destroy --with-data` and the typed name
}

// Plan is what Apply would do.
type Plan[O any] struct {
	Changes []Change
	Outputs *O // set when nothing would change: then Apply and Observe need not be called at all
	// Foreseen are outputs that are certain although there are changes, by their JSON names: later stages are planned with them, so that
	// a first plan shows more. They must be what Apply will return; whoever used them is planned again where they were not. It is not
	// looked at when Outputs is set.
	Foreseen map[string]any
	Forecast Forecast
}

// Forecast is what a plan tells beside its changes.
type Forecast struct {
	Seconds float64  `json:"seconds"`        // expected duration on the step's own critical path
	Cost    *Cost    `json:"cost,omitempty"` // of what exists after Apply
	Notes   []string `json:"notes,omitempty"`
	Confirm string   `json:"confirm,omitempty"` // what `confirm: ask` should tell before it asks, such as the expected downtime
}

// The words of package reconcile, in which steps without a reconcile list report too.
type (
	// Change is one verb for one resource.
	Change = reconcile.Change
	// Verb is what a resource takes: keep, create, update, refuse, delete.
	Verb = reconcile.Verb
	// Progress reports work on one resource while it happens.
	Progress = reconcile.Progress
)
