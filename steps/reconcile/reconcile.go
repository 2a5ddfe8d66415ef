package reconcile

import (
	"context"
	"fmt"
	"sync"
	"time"

	"pipectl.dev/steps/wait"
)

// decide is the whole policy: it looks at what was observed and does no I/O.
func decide(st Status, mendable bool) Verb {
	switch {
	case !st.Exists:
		return Create
	case st.Foreign:
		return Refuse
	case len(st.Drift) == 0:
		return Keep
	case mendable:
		return Update
	default:
		return Refuse
	}
}

// retire is decide for what is declared no longer: "" is nothing to do.
func retire(st Status) Verb {
	if !st.Exists || st.Foreign {
		return ""
	}
	return Delete
}

func verb[S any](r Resource[S], st Status) Verb {
	if r.Retired {
		return retire(st)
	}
	return decide(st, r.Update != nil)
}

func change[S any](r Resource[S], st Status, v Verb) Change {
	return Change{Kind: r.Kind, Name: r.Name, ID: st.ID, ARN: st.ARN, Action: v, Drift: st.Drift}
}

// Plan observes every resource and reports what Apply would do, in list order. It only reads.
func Plan[S any](ctx context.Context, s *S, rs []Resource[S], o Options) ([]Change, error) {
	if err := check(rs); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	seen := map[string]Change{}
	err := each(ctx, rs, after(rs, false), o.parallel(), func(ctx context.Context, r Resource[S]) error {
		if r.Unless != nil && r.Unless(s) {
			return nil
		}
		st, err := r.Observe(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: observe: %w", r.ID(), err)
		}
		mu.Lock()
		defer mu.Unlock()
		if v := verb(r, st); v != "" {
			seen[r.ID()] = change(r, st, v)
		}
		return nil
	})
	var out []Change
	for _, r := range rs {
		if c, ok := seen[r.ID()]; ok {
			out = append(out, c)
		}
	}
	return out, err
}

// Apply makes every resource exist as declared and be ready, each as soon as what it needs is.
func Apply[S any](ctx context.Context, s *S, rs []Resource[S], o Options) error {
	if err := check(rs); err != nil {
		return err
	}
	return each(ctx, rs, after(rs, false), o.parallel(), func(ctx context.Context, r Resource[S]) error {
		if r.Unless != nil && r.Unless(s) {
			return nil
		}
		w := work[S]{r: r, s: s, o: o, began: time.Now()}
		if err := w.apply(ctx); err != nil {
			return w.failed(err)
		}
		return nil
	})
}

// Destroy removes every resource that exists and is ours, dependents first. Resources that hold data stay unless Options.WithData.
// It observes all of them first, because removing one may need IDs that another one knows.
func Destroy[S any](ctx context.Context, s *S, rs []Resource[S], o Options) error {
	if err := check(rs); err != nil {
		return err
	}
	var mu sync.Mutex
	found := map[string]Status{}
	err := each(ctx, rs, after(rs, false), o.parallel(), func(ctx context.Context, r Resource[S]) error {
		st, err := r.Observe(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: observe: %w", r.ID(), err)
		}
		mu.Lock()
		defer mu.Unlock()
		found[r.ID()] = st
		return nil
	})
	if err != nil {
		return err
	}
	return each(ctx, rs, after(rs, true), o.parallel(), func(ctx context.Context, r Resource[S]) error {
		st := found[r.ID()]
		if !st.Exists || st.Foreign || r.Delete == nil || (r.Data && !o.WithData) {
			return nil
		}
		w := work[S]{r: r, s: s, o: o, began: time.Now(), c: change(r, st, Delete)}
		if err := w.destroy(ctx); err != nil {
			return w.failed(err)
		}
		return nil
	})
}

// work is one resource being worked on.
type work[S any] struct {
	r     Resource[S]
	s     *S
	o     Options
	began time.Time
	c     Change
}

func (w *work[S]) apply(ctx context.Context) error {
	st, err := w.r.Observe(ctx, w.s)
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	w.c = change(w.r, st, verb(w.r, st))
	switch w.c.Action {
	case "":
		return nil
	case Delete:
		return w.destroy(ctx)
	case Keep:
		if st.Ready {
			w.say(Done, st.Detail)
			return nil
		}
	case Refuse:
		return &RefusedError{Resource: w.r.ID(), Drift: st.Drift, Foreign: st.Foreign}
	}
	w.say(Start, st.Detail)
	if err := w.write(ctx, st.Drift); err != nil {
		return err
	}
	for {
		w.say(Wait, "") // from here on there is something
		st, err := w.until(ctx, w.r.Expect, func(st Status) bool { return len(st.Redo) > 0 || st.Exists && st.Ready })
		if err != nil || len(st.Redo) == 0 {
			return err
		}
		if w.r.Update == nil {
			return &RefusedError{Resource: w.r.ID(), Drift: st.Redo}
		}
		if err := unit(ctx, func(ctx context.Context) error { return w.r.Update(ctx, w.s, st.Redo) }); err != nil {
			return err
		}
	}
}

// unitTime is how long a write may go on once ctx has ended: a call cut off half-way leaves us not knowing whether it was made.
const unitTime = 15 * time.Second

// unit makes the one call that changes something. It is finished even when ctx ends meanwhile; the wait after it is not.
func unit(ctx context.Context, call func(context.Context) error) error {
	unit, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() {
		late := time.AfterFunc(unitTime, func() { cancel(context.Cause(ctx)) })
		context.AfterFunc(unit, func() { late.Stop() })
	})()
	return call(unit)
}

func (w *work[S]) write(ctx context.Context, drift []string) error {
	return unit(ctx, func(ctx context.Context) error {
		switch w.c.Action {
		case Create:
			return w.r.Create(ctx, w.s)
		case Update:
			return w.r.Update(ctx, w.s, drift)
		case Delete:
			return w.r.Delete(ctx, w.s)
		}
		return nil
	})
}

func (w *work[S]) destroy(ctx context.Context) error {
	w.say(Start, "")
	if err := w.write(ctx, nil); err != nil {
		return err
	}
	w.say(Wait, "")
	_, err := w.until(ctx, w.r.Gone, func(st Status) bool { return !st.Exists })
	return err
}

// until waits for what Observe says, which is also how a Create or Delete that returned is known to have worked.
func (w *work[S]) until(ctx context.Context, expect time.Duration, ok func(Status) bool) (Status, error) {
	timeout := w.r.Timeout
	if timeout == 0 {
		timeout = 3*expect + 5*time.Minute
	}
	report := func(p wait.Progress) {
		w.o.report(Progress{Change: w.c, Phase: Wait, Detail: p.Detail, Elapsed: p.Elapsed, Expect: expect, Speed: w.o.Speed})
	}
	opts := wait.Options{Expect: expect, Timeout: timeout, Speed: w.o.Speed, Report: report}
	var last Status
	err := wait.Until(ctx, opts, func(ctx context.Context) (bool, string, error) {
		st, err := w.r.Observe(ctx, w.s)
		last = st
		return ok(st), st.Detail, err
	})
	if err != nil || len(last.Redo) > 0 {
		return last, err
	}
	if last.ID != "" {
		w.c.ID, w.c.ARN = last.ID, last.ARN
	}
	w.say(Done, last.Detail)
	return last, nil
}

func (w *work[S]) say(phase Phase, detail string) {
	w.o.report(Progress{Change: w.c, Phase: phase, Detail: detail, Elapsed: w.elapsed(), Expect: w.r.Expect, Speed: w.o.Speed})
}

func (w *work[S]) elapsed() time.Duration {
	return time.Duration(float64(time.Since(w.began)) * max(w.o.Speed, 1))
}

func (w *work[S]) failed(err error) error {
	err = fmt.Errorf("%s: %s: %w", w.r.ID(), w.c.Action, err)
	w.o.report(Progress{Change: w.c, Phase: Failed, Err: err, Elapsed: w.elapsed(), Expect: w.r.Expect, Speed: w.o.Speed})
	return err
}

// RefusedError says that a resource cannot be brought to what the spec wants without replacing it, which is never done unasked.
type RefusedError struct {
	Resource string
	Drift    []string
	Foreign  bool
}

func (e *RefusedError) Error() string {
	if e.Foreign {
		return "exists and does not carry our owner tag; it is left alone"
	}
	return fmt.Sprintf("cannot be changed in place: %v", e.Drift)
}
