package syncargocd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	"github.com/argoproj/gitops-engine/pkg/health"

	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

// compare says what each Application's change is, in the order of the entries.
func (x *session) compare(ctx context.Context) ([]steps.Change, error) {
	state, err := x.controller(ctx)
	if err != nil {
		return nil, err
	}
	within := planWithin
	if !state.seen {
		within = planUnseen
	}
	short, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	all, _ := x.feed.all()
	type job struct {
		app   id
		entry App
	}
	var jobs []job
	var changes []steps.Change
	for _, a := range x.spec.Apps {
		found := selected(a, all, x.spec.Namespace, x.named)
		for _, n := range found {
			jobs = append(jobs, job{n, a})
		}
		if want := max(a.Expect, 1); len(found) < want {
			changes = append(changes, entryChange(a, fmt.Sprintf("found %d of %d Applications", len(found), want)))
		}
	}
	done := make([]steps.Change, len(jobs))
	var wg sync.WaitGroup
	for i, j := range jobs {
		if state.asleep != "" {
			done[i] = steps.Change{Kind: "argocd:Application", Name: x.title(j.app), Action: reconcile.Update, Drift: []string{state.asleep}}
			continue
		}
		wg.Go(func() { done[i] = x.plan(short, j.app, j.entry) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return append(done, changes...), nil
}

// plan compares one Application.
func (x *session) plan(ctx context.Context, n id, a App) steps.Change {
	c := steps.Change{Kind: "argocd:Application", Name: x.title(n), Action: reconcile.Update}
	o, err := x.driver(n, a, look).run(ctx)
	x.note(n, o, nil)
	if o.app != nil {
		c.ID = string(o.app.UID)
	}
	switch {
	case err == nil && !o.needed:
		if stopped := x.stopped(ctx, o.app); stopped != "" {
			c.Drift = []string{stopped}
		} else {
			c.Action = reconcile.Keep
		}
	case o.app == nil:
		c.Drift = []string{"does not exist yet"}
	case err != nil && !errors.Is(err, context.DeadlineExceeded):
		c.Drift = []string{err.Error()}
	default:
		todo, unseen, failed := x.via.changes(ctx, o.app)
		if ctx.Err() == nil {
			x.unsee(cmp.Or(failed, unseen)) // the resources are named all the same
		}
		c.Objects = objects(o.app, a, todo)
		c.Drift = difference(o.app, a, c.Objects, todo)
		if err != nil {
			c.Drift = append(c.Drift, "Argo CD did not compare it with Git in time: this is as of "+cmp.Or(compared(o.app), "never"))
		}
		if why, _ := blocked(ctx, x.via, o.app); why != nil {
			c.Drift = append(c.Drift, why.Error())
		}
	}
	return c
}

// unsee keeps why fields are not in the plan; the first reason stands for all.
func (x *session) unsee(why error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.unseen = cmp.Or(x.unseen, why)
}

// blind is a line on what the plan does not tell; "" where it tells all.
func (x *session) blind() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.unseen == nil {
		return ""
	}
	return "the plan names resources, but not the fields that would change: " + firstLine(x.unseen.Error())
}

// objects is what a sync would do to each resource.
func objects(app *argo.Application, a App, todo map[key]planned) []reconcile.ObjectChange {
	var out []reconcile.ObjectChange
	for _, r := range a.filter().of(app) {
		if r.Status != argo.SyncStatusCodeOutOfSync {
			continue
		}
		o := reconcile.ObjectChange{Group: r.Group, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name, Action: reconcile.Update}
		what := todo[key{r.Group, r.Kind, r.Namespace, r.Name}]
		switch {
		case r.RequiresPruning:
			o.Action = reconcile.Delete
		case what.create:
			o.Action = reconcile.Create
		default:
			o.Fields = what.fields
		}
		out = append(out, o)
	}
	return out
}

// difference is what a sync would change, for people: a line a resource, or a line a field where the fields are known.
func difference(app *argo.Application, a App, changes []reconcile.ObjectChange, todo map[key]planned) []string {
	var out []string
	if app.Status.Sync.Status != argo.SyncStatusCodeSynced {
		out = append(out, "sync: have "+string(app.Status.Sync.Status)+", want Synced")
	}
	if rev := a.Revision; commit.MatchString(rev) && rev != app.Status.Sync.Revision {
		out = append(out, "revision: have "+app.Status.Sync.Revision+", want "+rev)
	}
	for _, o := range changes {
		name := fmt.Sprintf("%s %s: %s", o.Kind, strings.TrimPrefix(o.Namespace+"/"+o.Name, "/"), o.Action)
		lines := todo[key{o.Group, o.Kind, o.Namespace, o.Name}].lines
		switch {
		case o.Action == reconcile.Delete:
			out = append(out, name+": Git does not hold it any more")
		case o.Action == reconcile.Create, len(lines) == 0:
			out = append(out, name)
		default:
			for _, l := range lines {
				out = append(out, name+": "+l)
			}
		}
	}
	if app.Status.Health.Status != health.HealthStatusHealthy {
		out = append(out, "health: have "+string(app.Status.Health.Status)+", want Healthy"+sickResources(app))
	}
	if missing := uses(app, a.Want.Images); len(missing) > 0 {
		out = append(out, "images: have "+strings.Join(app.Status.Summary.Images, ", ")+", want "+strings.Join(missing, ", "))
	}
	if len(out) == 0 {
		out = []string{progress(app)}
	}
	return out
}
