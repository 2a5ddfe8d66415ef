package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

// Forgotten is one use of a step of which things exist although no stage of the file makes them any more: their stage left the file.
type Forgotten struct {
	Step   string  `json:"step"`
	Things []Thing `json:"things"`
	// Kept says why `run --prune` leaves them; "" where it removes them.
	Kept string `json:"kept,omitempty"`

	definition steps.Definition
	input      steps.Input
}

// Thing is something that carries the pipeline's owner tag.
type Thing struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	ID   string `json:"id,omitempty"`
	Data bool   `json:"data,omitempty"` // holds data, which nothing but destroy --with-data removes
	// DailyUSD is what it costs a day at list prices; missing where that is not known, and 0 where it costs nothing by the hour.
	DailyUSD *float64 `json:"dailyUSD,omitempty"`
}

// String names a thing and what it costs.
func (t Thing) String() string {
	price := ""
	switch {
	case t.DailyUSD == nil:
		price = ", price unknown"
	case *t.DailyUSD > 0:
		price = fmt.Sprintf(", %.2f USD a day", *t.DailyUSD)
	}
	return reconcile.ID(t.Kind, t.Name) + " (" + t.ID + price + ")"
}

// pruning is the stage under whose name things that have none any more are removed, locked and told of.
const pruning = "prune"

// use is what `with` a thing was made by; two things of one use have the same.
type use struct {
	step string
	with string
}

// useOf finds the step that makes things of a kind and name, and the least `with` by which it removes them.
func (p *Pipeline) useOf(kind, name string) (steps.Definition, steps.Least, bool) {
	for _, d := range p.catalog {
		if d.Least == nil {
			continue
		}
		if least, ok := d.Least(kind, name); ok {
			return d, least, true
		}
	}
	return steps.Definition{}, steps.Least{}, false
}

// declared are the uses that the file's stages are, and the steps with a stage of which that is not known yet.
func (x *run) declared() (uses map[use]bool, blind map[string]string) {
	uses, blind = map[use]bool{}, map[string]string{}
	for _, s := range x.p.Stages {
		known := false
		for _, id := range x.idsOf(x.states[s.Name]) {
			kind, name, _ := strings.Cut(id, "/")
			if d, least, ok := x.p.useOf(kind, name); ok {
				uses[use{d.Name, least.With}], known = true, known || d.Name == s.Definition.Name
			}
		}
		if !known && s.Definition.Least != nil {
			blind[s.Definition.Name] = s.Name
		}
	}
	return uses, blind
}

// idsOf names what a stage declares and what was planned of it, as far as its values are known.
func (x *run) idsOf(st *state) []string {
	var ids []string
	if in, problems := st.stage.evaluate(x.p, x.values()); len(problems) == 0 {
		ids = slices.Clone(st.stage.Definition.Keys(in.Input))
	}
	for _, c := range st.plan.Changes {
		ids = append(ids, reconcile.ID(c.Kind, c.Name))
	}
	return ids
}

// forgotten finds what is left of stages that the file does not have any more. It needs a survey of all stages.
func (x *run) forgotten(ctx context.Context) ([]Forgotten, error) {
	if x.r.Belongings == nil {
		return nil, nil
	}
	things, err := x.r.Belongings(ctx, x.id)
	if err != nil {
		return nil, err
	}
	uses, blind := x.declared()
	found := map[use]*Forgotten{}
	var order []use
	for _, t := range things {
		d, least, ok := x.p.useOf(t.Kind, t.Name)
		key := use{d.Name, least.With}
		if !ok || uses[key] {
			continue
		}
		f := found[key]
		if f == nil {
			var node yaml.Node
			if err := yaml.Unmarshal([]byte(least.With), &node); err != nil || len(node.Content) == 0 {
				return nil, fmt.Errorf("%s: least spec of %s %s: %q: %w", d.Name, t.Kind, t.Name, least.With, err)
			}
			f = &Forgotten{Step: d.Name, definition: d, input: steps.Input{File: x.p.File, With: node.Content[0], Partial: least.Partial}}
			switch {
			case blind[d.Name] != "":
				f.Kept = fmt.Sprintf("it may be of stage %q, of which more is known only later", blind[d.Name])
			case d.Data:
				f.Kept = "it holds data"
			}
			found[key], order = f, append(order, key)
		}
		f.Things = append(f.Things, t)
	}
	var out []Forgotten
	for _, key := range order {
		out = append(out, *found[key])
	}
	return out, nil
}

// lookForForgotten fills in what is forgotten. That it cannot be looked for keeps nothing from being planned.
func (x *run) lookForForgotten(ctx context.Context) {
	all, err := x.forgotten(ctx)
	if err != nil {
		x.warn("things whose stage left the file could not be looked for: " + err.Error())
		return
	}
	x.left = all
}

// stillThere fails a down after which things exist that no stage of the file made: it does not remove them, and they go on costing.
func (x *run) stillThere(ctx context.Context) {
	if len(x.errors) > 0 || ctx.Err() != nil {
		return
	}
	x.lookForForgotten(ctx)
	var names []string
	for _, f := range prunable(x.left) {
		for _, t := range f.Things {
			names = append(names, t.String())
		}
	}
	if len(names) > 0 {
		x.fault("", &steps.Error{Code: "Leftovers", Category: steps.Partial, Message: "still there, of stages that left the file: " + strings.Join(names, ", "),
			Hints: []string{"`pipectl run --prune` removes them; or put their stages back into the file, and run the same command again"}})
	}
}

// prunable are those that a prune removes.
func prunable(all []Forgotten) []Forgotten {
	return slices.DeleteFunc(slices.Clone(all), func(f Forgotten) bool { return f.Kept != "" })
}

// prune removes what is forgotten: all uses let go, then all are deleted, each by its own step, which removes nothing without the owner tag
// and no data.
func (x *run) prune(ctx context.Context) {
	all := prunable(x.left)
	if len(all) == 0 || len(x.errors) > 0 || ctx.Err() != nil {
		return
	}
	if x.r.Locker != nil {
		lease, err := x.r.Locker.Lock(ctx, LockKey(x.id, pruning), x.by(), x.turns.patience)
		if err != nil {
			x.fault("", err)
			return
		}
		defer func() {
			if err := lease.Release(context.WithoutCancel(ctx)); err != nil {
				x.warn("lock of prune: " + err.Error())
			}
		}()
	}
	x.touch()
	for _, pass := range []string{"release", "delete"} {
		for _, f := range all {
			st := x.fresh(&Stage{Name: pruning, Definition: f.definition})
			st.in.Input = f.input
			x.head(st)
			x.say(st, steps.Event{Type: steps.StageStart, Message: pass})
			metered := st.cloud.With(ctx)
			_, err := x.bounded(ctx, st, func() (json.RawMessage, error) {
				return nil, x.guard(st, func() error {
					if pass == "release" {
						return f.definition.Release(metered, x.env(st), f.input)
					}
					return f.definition.Delete(metered, x.env(st), f.input, steps.DeleteOptions{})
				})
			})
			x.pruned = append(x.pruned, x.done(st)...)
			status := steps.Destroyed
			if err != nil {
				status = x.statusOf(ctx, err)
				x.fault(pruning, err)
			}
			x.say(st, steps.Event{Type: steps.StageDone, Status: status})
			if err != nil {
				return
			}
		}
	}
}

// done are the changes of a stage in their order.
func (x *run) done(st *state) []steps.Change {
	x.mu.Lock()
	defer x.mu.Unlock()
	st.done = true
	var out []steps.Change
	for _, key := range st.order {
		if c, ok := st.progress[key]; ok && c.Action != reconcile.Keep {
			out = append(out, c)
		}
	}
	return out
}
