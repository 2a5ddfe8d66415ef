package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"pipectl.dev/engine/expr"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
	"pipectl.dev/steps/spec"
)

// Has gives a BadInput error for the first of names that is no stage; empty ones are not looked at.
func (p *Pipeline) Has(names ...string) error {
	for _, n := range names {
		if _, ok := p.Stage(n); !ok && n != "" {
			return &steps.Error{Code: "UnknownStage", Category: steps.BadInput, Message: fmt.Sprintf("unknown stage %q", n), Hints: []string{spec.Nearest(n, sortedKeys(p.byName))}}
		}
	}
	return nil
}

// choose marks the stages that options select.
func (x *run) choose(o RunOptions) error {
	if err := x.p.Has(slices.Concat(o.Stages, o.Approve, []string{o.From, o.Until})...); err != nil {
		return err
	}
	all := func(*Stage) bool { return true }
	only, from, until := all, all, all
	if len(o.Stages) > 0 {
		only = func(s *Stage) bool { return slices.Contains(o.Stages, s.Name) }
	}
	if o.From != "" {
		set := x.p.closure([]string{o.From}, x.p.behind)
		from = func(s *Stage) bool { return set[s.Name] || s.Finally }
	}
	if o.Until != "" {
		set := x.p.closure([]string{o.Until}, func(s *Stage) []string { return s.Needs })
		until = func(s *Stage) bool { return set[s.Name] || s.Finally }
	}
	for _, st := range x.states {
		st.selected = only(st.stage) && from(st.stage) && until(st.stage)
	}
	return nil
}

// survey looks at everything before anything is written: outputs of stages that are not selected, plans and preflights of those that are.
func (x *run) survey(ctx context.Context, o RunOptions) {
	x.fault("", x.resolve(ctx, func(st *state) bool { return st.selected })...)
	used := x.used()
	x.p.walk(x.p.Stages, x.p.before, x.parallel(), func(s *Stage) {
		st := x.states[s.Name]
		if st.done { // by this run, before it was overtaken
			return
		}
		st.plan = StagePlan{Stage: s.Name, Step: s.Definition.Name, State: NotPlanned, Needs: s.Needs, Confirm: s.Confirm, Finally: s.Finally}
		switch {
		case ctx.Err() != nil:
		case st.selected:
			if err := x.guard(st, func() error { return x.plan(ctx, st, o.Force) }); err != nil {
				st.plan.State = PlanFailed
				x.fault(s.Name, flatten(err)...)
			}
			x.say(st, steps.Event{Type: steps.StagePlanned, Data: st.plan})
		case used[s.Name]:
			if err := x.guard(st, func() error { return x.derive(ctx, st, true) }); err != nil {
				x.fault(s.Name, flatten(err)...)
			}
		}
	})
	if ctx.Err() != nil {
		x.fault("", context.Cause(ctx))
	}
}

// used are the stages whose outputs selected ones may need, directly or through others.
func (x *run) used() map[string]bool {
	var names []string
	for name, st := range x.states {
		if st.selected {
			names = append(names, name)
		}
	}
	return x.p.closure(names, func(s *Stage) []string { return s.References })
}

// guard turns a panic of a step into an error: one bad step must not take the others' results with it.
func (x *run) guard(st *state, work func() error) (err error) {
	defer func() {
		if p, ok := errors.AsType[*reconcile.PanicError](err); ok { // in a goroutine of the step's, which has its own stack
			x.log.Error("panic", "stage", st.stage.Name, "value", fmt.Sprint(p.Value), "stack", string(p.Stack))
		}
		if v := recover(); v != nil {
			x.log.Error("panic", "stage", st.stage.Name, "value", fmt.Sprint(v), "stack", string(debug.Stack()))
			err = &steps.Error{Code: "Panic", Category: steps.Internal, Message: fmt.Sprintf("%s: panic: %v", st.stage.Definition.Name, v), Hints: []string{"this is a bug in pipectl; the log has its stack"}}
		}
	}()
	return work()
}

// plan finds out what a selected stage would change. It may run again, when values that were missing are known.
func (x *run) plan(ctx context.Context, st *state, force bool) error {
	defer x.annotate(st)
	return x.find(ctx, st, force)
}

// annotate makes one list of what the plan and the preflight noted, and tells what of the plan's notes was not told yet.
func (x *run) annotate(st *state) {
	for _, n := range st.plan.Forecast.Notes {
		x.heard(st, steps.Event{Type: steps.Diagnostic, Message: n})
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	st.plan.Forecast.Notes = union(st.plan.Forecast.Notes, st.notes)
}

func (x *run) find(ctx context.Context, st *state, force bool) error {
	ready, err := x.inputs(ctx, st)
	if err != nil || st.plan.State == WhenFalse {
		return err
	}
	def, env := st.stage.Definition, x.env(st)
	if !ready {
		st.plan.State = IsDeferred
		if err := x.absent(st); err != nil {
			return err
		}
		return def.Preflight(ctx, env, st.in.Input)
	}
	if st.finished {
		if raw, found, err := def.Observe(ctx, env, st.in.Input); err == nil && found {
			st.plan.State, st.plan.Outputs = AllKeep, raw
			x.setStatus(st, steps.Skipped)
			return x.setOutputs(ctx, st, raw)
		}
	}
	p, err := def.Plan(ctx, env, st.in.Input)
	if err == nil {
		err = refused(p.Changes)
	}
	if err != nil { // the preflight may know more
		return errors.Join(err, distinct(def.Preflight(ctx, env, st.in.Input), err))
	}
	st.plan.Changes, st.plan.Forecast, st.plan.Outputs = p.Changes, p.Forecast, p.Outputs
	st.plan.Counts, st.plan.Deferred = count(p.Changes), nil
	if err := x.keeps(ctx, st); err != nil {
		return err
	}
	if doctor := x.verb == "doctor"; st.plan.State == AllKeep && (!force || doctor) {
		x.setStatus(st, steps.Skipped)
		if doctor {
			x.anew(ctx, st)
		}
		return x.setOutputs(ctx, st, st.plan.Outputs)
	}
	st.plan.State = HasChanges
	if err := x.foresee(st, p.Foreseen); err != nil {
		return err
	}
	return def.Preflight(ctx, env, st.in.Input)
}

// anew looks at what would be needed to make a stage again that has nothing to do. A run does not ask for that, so what is missing is no
// problem of it: the home of a Jenkins that has moved needs no old Jenkins any more.
func (x *run) anew(ctx context.Context, st *state) {
	for _, err := range flatten(st.stage.Definition.Preflight(ctx, x.env(st), st.in.Input)) {
		x.heard(st, steps.Event{Type: steps.Diagnostic, Message: "nothing to do, but to do it again: " + err.Error()})
	}
}

// distinct drops an error that says what another already did.
func distinct(err, said error) error {
	if err == nil || strings.Contains(said.Error(), err.Error()) {
		return nil
	}
	return err
}

// inputs evaluates `when` and `with`; ready says that all is known.
func (x *run) inputs(ctx context.Context, st *state) (ready bool, err error) {
	v := x.values()
	st.plan.Deferred = nil
	if w := st.stage.when; w != nil {
		val, err := w.Eval(v.vars, v.unknown)
		switch {
		case errors.Is(err, expr.ErrUnknown):
			st.plan.Deferred = []Deferred{{Path: "when", After: waitsFor(w, v.unknown)}}
		case err != nil:
			return false, &steps.Error{Code: "BadExpression", Category: steps.BadInput, Message: fmt.Sprintf("%s:%d:%d: when: %v", x.p.File, st.stage.whenNode.Line, st.stage.whenNode.Column, err)}
		case val == false:
			st.plan.State = WhenFalse
			x.setStatus(st, steps.Skipped)
			return false, x.setOutputs(ctx, st, nil)
		}
	}
	in, problems := st.stage.evaluate(x.p, v)
	if len(problems) > 0 {
		return false, problems
	}
	st.in, st.plan.InputsDigest = in, in.digest
	st.plan.Deferred = append(st.plan.Deferred, in.deferred...)
	return len(st.plan.Deferred) == 0 && len(in.Partial) == 0, nil
}

// absent refuses a stage that waits for one that will not run and of which nothing exists.
func (x *run) absent(st *state) error {
	for _, d := range st.plan.Deferred {
		for _, name := range d.After {
			if up := x.states[name]; !up.selected && up.missing {
				return &steps.Error{
					Code: "MissingOutputs", Category: steps.Precondition, Message: fmt.Sprintf("%s: needs outputs of stage %q, of which nothing exists", d.Path, name),
					Hints: []string{"run it first: " + x.command("run", "--stage", name)},
				}
			}
		}
	}
	return nil
}

// keeps decides whether there is anything to do. A step that plans no change but tells no outputs is observed.
func (x *run) keeps(ctx context.Context, st *state) error {
	st.plan.State = HasChanges
	if !onlyKeeps(st.plan.Changes) {
		return nil
	}
	if st.plan.Outputs == nil {
		raw, found, err := st.stage.Definition.Observe(ctx, x.env(st), st.in.Input)
		if err != nil || !found {
			return err
		}
		st.plan.Outputs = raw
	}
	st.plan.State = AllKeep
	return nil
}

func onlyKeeps(cs []steps.Change) bool {
	return !slices.ContainsFunc(cs, func(c steps.Change) bool { return c.Action != reconcile.Keep })
}

// count counts what was done; what was only begun is not.
func count(cs []steps.Change) steps.Counts {
	var n steps.Counts
	for _, c := range cs {
		if !c.Unfinished {
			n.Add(c.Action)
		}
	}
	return n
}

// refused turns changes that will not be made into errors, before anything is written.
func refused(cs []steps.Change) error {
	var errs []error
	for _, c := range cs {
		if c.Action == reconcile.Refuse {
			err := &reconcile.RefusedError{Resource: reconcile.ID(c.Kind, c.Name), Drift: c.Drift, Foreign: len(c.Drift) == 0}
			errs = append(errs, fmt.Errorf("%s: %w", err.Resource, err))
		}
	}
	return errors.Join(errs...)
}

// derive finds the outputs of a stage that is not run: from the store when it was left by the same inputs, else from the world.
func (x *run) derive(ctx context.Context, st *state, fromStore bool) error {
	in, problems := st.stage.evaluate(x.p, x.values())
	if len(problems) > 0 {
		return problems
	}
	st.in = in
	if fromStore {
		switch old, err := x.store.Get(ctx, st.stage.Name); {
		case err != nil: // told already; what exists is looked at instead
		case x.usable(old, in.digest):
			x.setStatus(st, old.Status)
			return x.setOutputs(ctx, st, old.Outputs)
		}
	}
	raw, found, err := st.stage.Definition.Observe(ctx, x.env(st), in.Input)
	if err != nil {
		return err
	}
	if !found {
		st.missing = true
		return nil
	}
	x.setStatus(st, steps.Skipped)
	return x.setOutputs(ctx, st, raw)
}

// usable reports whether a stored result still tells the outputs: of this identity, well ended, and made from the same inputs where
// both are known.
func (x *run) usable(r *steps.Result, digest string) bool {
	return r != nil && len(r.Outputs) > 0 && (r.Status == steps.Succeeded || r.Status == steps.Skipped) &&
		r.Identity == x.id.String() && (digest == "" || r.InputsDigest == "" || digest == r.InputsDigest)
}

func (x *run) setStatus(st *state, s steps.Status) {
	x.mu.Lock()
	defer x.mu.Unlock()
	st.status = s
}
