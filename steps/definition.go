package steps

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"pipectl.dev/steps/spec"
)

// Definition is a step with its types erased: what the engine holds.
type Definition struct {
	Name    string // kebab-case, as written in YAML
	Summary string // one line
	Example string // YAML of a `with:` that Check accepts; documentation and conformance tests use it
	Doc     string // more than the summary, Markdown
	AWS     bool   // needs an account: the pipeline's identity is account and region
	Data    bool   // see About
	Spec    reflect.Type
	Outputs reflect.Type
	Expect  time.Duration                         // usual time of Apply from nothing; zero: moments
	Least   func(kind, name string) (Least, bool) // see About
	// Preflights, Releases and Deletes say which optional methods the step has.
	Preflights, Releases, Deletes bool

	check func(Input) spec.Problems
	keys  func(Input) []string
	call  calls
}

// Input is a stage's `with:` node, expressions already evaluated, with the place it came from.
type Input struct {
	File    string
	With    *yaml.Node
	Partial []string // paths not known yet; see Step
}

type calls struct {
	preflight func(context.Context, Env, Input) error
	plan      func(context.Context, Env, Input) (ErasedPlan, error)
	apply     func(context.Context, Env, Input) (json.RawMessage, error)
	observe   func(context.Context, Env, Input) (json.RawMessage, bool, error)
	release   func(context.Context, Env, Input) error
	delete    func(context.Context, Env, Input, DeleteOptions) error
}

// ErasedPlan is a Plan whose outputs are JSON.
type ErasedPlan struct {
	Changes  []Change
	Outputs  json.RawMessage // nil: not known before Apply
	Foreseen json.RawMessage // object of some outputs, where Outputs is nil; nil: none
	Forecast Forecast
}

// Check decodes and validates without any client or network.
func (d Definition) Check(in Input) spec.Problems { return d.check(in) }

// Keys names the resources that a stage declares, when its spec says so (see Keyed); nothing for a spec that is not sound.
func (d Definition) Keys(in Input) []string { return d.keys(in) }

// Preflight runs the step's Preflight, if it has one.
func (d Definition) Preflight(ctx context.Context, env Env, in Input) error {
	return d.call.preflight(withStep(ctx, d.Name), env, in)
}

// Plan runs the step's Plan.
func (d Definition) Plan(ctx context.Context, env Env, in Input) (ErasedPlan, error) {
	return d.call.plan(withStep(ctx, d.Name), env, in)
}

// Apply runs the step's Apply and returns its outputs as JSON.
func (d Definition) Apply(ctx context.Context, env Env, in Input) (json.RawMessage, error) {
	return d.call.apply(withStep(ctx, d.Name), env, in)
}

// Observe runs the step's Observe.
func (d Definition) Observe(ctx context.Context, env Env, in Input) (json.RawMessage, bool, error) {
	return d.call.observe(withStep(ctx, d.Name), env, in)
}

// Release runs the step's Release, if it has one.
func (d Definition) Release(ctx context.Context, env Env, in Input) error {
	return d.call.release(withStep(ctx, d.Name), env, in)
}

// Delete runs the step's Delete, if it has one.
func (d Definition) Delete(ctx context.Context, env Env, in Input, o DeleteOptions) error {
	return d.call.delete(withStep(ctx, d.Name), env, in, o)
}

// About is what a step tells of itself besides its types.
type About struct {
	Name, Summary, Example, Doc string
	AWS                         bool
	// Data says that what the step makes holds data: Delete keeps it unless DeleteOptions.WithData.
	Data bool
	// Expect is the usual time of Apply from nothing: the forecast of a stage that cannot be planned yet. Zero: moments.
	Expect time.Duration
	// Least tells of the kind and name in an owner tag whether this step makes such things, and the least `with:` by which its Release and
	// Delete remove them: what is left of a stage that the file does not have any more is removed by it. nil: it cannot.
	Least func(kind, name string) (Least, bool)
}

// Least is a `with:` that only says which things are meant. Partial are the paths of required fields that hold null in it.
type Least struct {
	With    string // YAML; the same for all things of one use of the step
	Partial []string
}

// Define binds a typed step to a name. It is the one place where types are erased.
func Define[S, O any](about About, step Step[S, O]) Definition {
	d := Definition{
		Name: about.Name, Summary: about.Summary, Example: about.Example, Doc: about.Doc, AWS: about.AWS, Data: about.Data, Expect: about.Expect, Least: about.Least,
		Spec: reflect.TypeFor[S](), Outputs: reflect.TypeFor[O](),
		check: func(in Input) spec.Problems {
			_, ps := decode[S](in)
			return ps
		},
		keys: keys[S],
		call: calls{plan: plan(step), apply: apply(step), observe: observe(step)},
	}
	d.optional(eraseOptional[S](step))
	return d
}

func (d *Definition) optional(o optional) {
	d.Preflights, d.Releases, d.Deletes = o.preflight != nil, o.release != nil, o.delete != nil
	none := func(context.Context, Env, Input) error { return nil }
	d.call.preflight, d.call.release = none, none
	d.call.delete = func(context.Context, Env, Input, DeleteOptions) error { return nil }
	if d.Preflights {
		d.call.preflight = o.preflight
	}
	if d.Releases {
		d.call.release = o.release
	}
	if d.Deletes {
		d.call.delete = o.delete
	}
}

// optional holds the methods that a step may leave out; nil ones are left out.
type optional struct {
	preflight, release func(context.Context, Env, Input) error
	delete             func(context.Context, Env, Input, DeleteOptions) error
}

func eraseOptional[S any](step any) optional {
	var o optional
	if pre, ok := step.(Preflighter[S]); ok {
		o.preflight = func(ctx context.Context, env Env, in Input) error {
			return with(in, env, func(env Env, s S) error { return pre.Preflight(ctx, env, s) })
		}
	}
	if rel, ok := step.(Releaser[S]); ok {
		o.release = func(ctx context.Context, env Env, in Input) error {
			return with(in, env, func(env Env, s S) error { return rel.Release(ctx, env, s) })
		}
	}
	if del, ok := step.(Deleter[S]); ok {
		o.delete = func(ctx context.Context, env Env, in Input, opts DeleteOptions) error {
			return with(in, env, func(env Env, s S) error { return del.Delete(ctx, env, s, opts) })
		}
	}
	return o
}

func plan[S, O any](step Step[S, O]) func(context.Context, Env, Input) (ErasedPlan, error) {
	return func(ctx context.Context, env Env, in Input) (p ErasedPlan, err error) {
		err = with(in, env, func(env Env, s S) error {
			typed, err := step.Plan(ctx, env, s)
			switch {
			case err != nil:
			case typed.Outputs != nil:
				p.Outputs, err = outputs(*typed.Outputs, env)
			case len(typed.Foreseen) > 0:
				p.Foreseen, err = foreseen[O](typed.Foreseen)
			}
			p.Changes, p.Forecast = typed.Changes, typed.Forecast
			return err
		})
		return p, err
	}
}

func apply[S, O any](step Step[S, O]) func(context.Context, Env, Input) (json.RawMessage, error) {
	return func(ctx context.Context, env Env, in Input) (raw json.RawMessage, err error) {
		err = with(in, env, func(env Env, s S) error {
			out, err := step.Apply(ctx, env, s)
			if err == nil {
				raw, err = outputs(out, env)
			}
			return err
		})
		return raw, err
	}
}

func observe[S, O any](step Step[S, O]) func(context.Context, Env, Input) (json.RawMessage, bool, error) {
	return func(ctx context.Context, env Env, in Input) (raw json.RawMessage, found bool, err error) {
		err = with(in, env, func(env Env, s S) error {
			out, ok, err := step.Observe(ctx, env, s)
			if err == nil && ok {
				found = true
				raw, err = outputs(out, env)
			}
			return err
		})
		return raw, found, err
	}
}

func keys[S any](in Input) []string {
	s, ps := decode[S](in)
	if len(ps) > 0 {
		return nil
	}
	if k, ok := any(&s).(Keyed); ok {
		return k.ResourceKeys()
	}
	return nil
}

func decode[S any](in Input) (S, spec.Problems) {
	var s S
	ps := spec.Decode(in.File, in.With, &s, in.Partial...)
	return s, ps
}

func with[S any](in Input, env Env, body func(Env, S) error) error {
	s, ps := decode[S](in)
	if err := ps.Err(); err != nil {
		return err
	}
	env.Partial = in.Partial
	return body(env, s)
}

// outputs marshals and reads back: outputs that do not survive JSON would differ between this run and the next. Values of sensitive ones
// go to env; the JSON refers to them.
func outputs[O any](out O, env Env) (json.RawMessage, error) {
	seal(reflect.ValueOf(&out).Elem(), "", func(name, value string) {
		if env.Sensitive != nil {
			env.Sensitive(name, value)
		}
	})
	raw, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("outputs: %w", err)
	}
	var back O
	if err := json.Unmarshal(raw, &back); err != nil {
		return nil, fmt.Errorf("outputs do not survive JSON: %w", err)
	}
	if again, err := json.Marshal(back); err != nil || !bytes.Equal(raw, again) {
		return nil, fmt.Errorf("outputs do not survive JSON: %s", raw)
	}
	return raw, nil
}

// foreseen marshals some outputs by name, and refuses what O does not declare or cannot hold.
func foreseen[O any](some map[string]any) (json.RawMessage, error) {
	declared := OutputNames(reflect.TypeFor[O]())
	for name := range some {
		if !slices.Contains(declared, name) { // by itself, encoding/json takes names in any case
			return nil, fmt.Errorf("foreseen: %q is not an output", name)
		}
	}
	raw, err := json.Marshal(some)
	if err != nil {
		return nil, fmt.Errorf("foreseen: %w", err)
	}
	var typed O
	if err := json.Unmarshal(raw, &typed); err != nil {
		return nil, fmt.Errorf("foreseen: %w", err)
	}
	return raw, nil
}

// OutputNames are the JSON names of an outputs type, in its order.
func OutputNames(rt reflect.Type) []string {
	for rt != nil && rt.Kind() == reflect.Pointer {
		rt = rt.Elem()
	}
	if rt == nil || rt.Kind() != reflect.Struct {
		return nil
	}
	var names []string
	for _, f := range reflect.VisibleFields(rt) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" || f.Anonymous && name == "" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		names = append(names, name)
	}
	return names
}
