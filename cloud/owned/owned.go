// Package owned runs reconcile lists of AWS resources: it gives errors their meaning, takes throttling inside a wait as "not yet",
// retries removals while something still hangs on the resource, and tells drift that can be mended from drift that cannot.
//
// It knows no service and no step, and makes no calls of its own.
package owned

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"pipectl.dev/cloud"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

// List is a reconcile list of AWS resources.
type List[S any] struct {
	AWS       *cloud.Session
	Resources []reconcile.Resource[S]
	Report    func(reconcile.Progress)
	// Blocked says what hangs on a resource that cannot be removed, for the error; nil: nothing to say.
	Blocked func(ctx context.Context, s *S, id string) string
}

// release is how long a removal is retried while something else still has to go.
const release = 10 * time.Minute

func (l List[S]) options() reconcile.Options {
	return reconcile.Options{Speed: l.AWS.Speed, Report: l.Report, Parallel: 32}
}

// Plan is reconcile.Plan, but drift that cannot be mended is a refusal, and a resource that is still coming up is an update:
// a stage is not done while it waits for something.
func (l List[S]) Plan(ctx context.Context, s *S) ([]reconcile.Change, error) {
	var mu sync.Mutex
	coming := map[string]string{}
	rs := l.guarded(func(id string, st reconcile.Status) {
		mu.Lock()
		defer mu.Unlock()
		if st.Exists && !st.Ready {
			coming[id] = st.Detail
		}
	})
	changes, err := reconcile.Plan(ctx, s, rs, l.options())
	for i, c := range changes {
		switch detail, unready := coming[reconcile.ID(c.Kind, c.Name)]; {
		case c.Action == reconcile.Update && immutable(c.Drift):
			changes[i].Action = reconcile.Refuse
		case c.Action == reconcile.Keep && unready:
			changes[i].Action, changes[i].Drift = reconcile.Update, []string{"status: have " + detail + ", want ready"}
		}
	}
	return changes, err
}

// Apply is reconcile.Apply.
func (l List[S]) Apply(ctx context.Context, s *S) error {
	return reconcile.Apply(ctx, s, l.guarded(nil), l.options())
}

// Destroy is reconcile.Destroy.
func (l List[S]) Destroy(ctx context.Context, s *S, withData bool) error {
	o := l.options()
	o.WithData = withData
	return reconcile.Destroy(ctx, s, l.guarded(nil), o)
}

func (l List[S]) guarded(saw func(string, reconcile.Status)) []reconcile.Resource[S] {
	out := slices.Clone(l.Resources)
	for i, r := range out {
		out[i].Observe = observer(r, saw)
		if r.Create != nil {
			out[i].Create = func(ctx context.Context, s *S) error { return cloud.Explain(r.Create(ctx, s)) }
		}
		if r.Update != nil {
			out[i].Update = func(ctx context.Context, s *S, drift []string) error {
				if immutable(drift) {
					return &reconcile.RefusedError{Resource: r.ID(), Drift: slices.DeleteFunc(slices.Clone(drift), mendable)}
				}
				return cloud.Explain(r.Update(ctx, s, drift))
			}
		}
		if r.Delete != nil {
			out[i].Delete = func(ctx context.Context, s *S) error { return l.remove(ctx, s, r) }
		}
	}
	return out
}

// observer looks, and once it has seen the resource, takes a look that AWS could not answer as "as before".
func observer[S any](r reconcile.Resource[S], saw func(string, reconcile.Status)) func(context.Context, *S) (reconcile.Status, error) {
	var mu sync.Mutex
	var last reconcile.Status
	looked := false
	return func(ctx context.Context, s *S) (reconcile.Status, error) {
		st, err := r.Observe(ctx, s)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			if looked && cloud.IsTransient(err) && ctx.Err() == nil {
				st = last
				st.Detail = "no answer: " + cloud.Code(err)
				return st, nil
			}
			return st, cloud.Explain(err)
		}
		last, looked = st, true
		if saw != nil {
			saw(r.ID(), st)
		}
		return st, nil
	}
}

func (l List[S]) remove(ctx context.Context, s *S, r reconcile.Resource[S]) error {
	err := l.AWS.Retry(ctx, release, cloud.IsDependency, func(ctx context.Context) error { return r.Delete(ctx, s) })
	if cloud.IsNotFound(err) {
		return nil
	}
	if !cloud.IsDependency(err) {
		return cloud.Explain(err)
	}
	e := &steps.Error{Code: "StillInUse", Category: steps.Partial, Retryable: true, Err: cloud.Explain(err), Hints: []string{"remove what hangs on it, then run `pipectl down` again"}}
	if l.Blocked != nil {
		if who := l.Blocked(ctx, s, r.ID()); who != "" {
			e.Message = "held by " + who
		}
	}
	return e
}

// Drift collects what differs from the spec.
type Drift []string

const fixed = " (cannot be changed in place)"

// Mend adds a difference that an update removes.
func (d *Drift) Mend(field string, have, want any) {
	if text := fmt.Sprint(have); text != fmt.Sprint(want) {
		*d = append(*d, fmt.Sprintf("%s: have %s, want %v", field, orNone(text), want))
	}
}

// Fixed adds a difference that AWS cannot change.
func (d *Drift) Fixed(field string, have, want any) {
	if text := fmt.Sprint(have); text != fmt.Sprint(want) {
		*d = append(*d, fmt.Sprintf("%s: have %s, want %v%s", field, orNone(text), want, fixed))
	}
}

// Of reports whether drift names field.
func Of(drift []string, field string) bool {
	return slices.ContainsFunc(drift, func(d string) bool { return strings.HasPrefix(d, field+": ") })
}

func orNone(text string) string {
	if text == "" || text == "[]" || text == "map[]" {
		return "none"
	}
	return text
}

func immutable(drift []string) bool {
	return slices.ContainsFunc(drift, func(d string) bool { return !mendable(d) })
}
func mendable(d string) bool { return !strings.HasSuffix(d, fixed) }
