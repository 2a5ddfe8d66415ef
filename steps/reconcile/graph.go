package reconcile

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
)

// check refuses lists that cannot be ordered: our own mistakes, found by the first test that uses the list.
func check[S any](rs []Resource[S]) error {
	known := map[string]bool{}
	for _, r := range rs {
		if known[r.ID()] {
			return fmt.Errorf("%s is declared twice", r.ID())
		}
		known[r.ID()] = true
	}
	needs := map[string][]string{}
	for _, r := range rs {
		for _, n := range slices.Concat(r.Needs, r.GoneFirst) {
			if !known[n] {
				return fmt.Errorf("%s needs %s, which is not declared", r.ID(), n)
			}
		}
		needs[r.ID()] = r.Needs
	}
	if err := acyclic(needs); err != nil {
		return err
	}
	return acyclic(after(rs, true)) // GoneFirst may close a circle on the way down only
}

func acyclic(needs map[string][]string) error {
	state := map[string]int{} // 1 on the path, 2 done
	var visit func(id string, path []string) error
	visit = func(id string, path []string) error {
		switch state[id] {
		case 1:
			return fmt.Errorf("resources need each other: %s", strings.Join(append(path, id), " > "))
		case 2:
			return nil
		}
		state[id] = 1
		for _, n := range needs[id] {
			if err := visit(n, append(path, id)); err != nil {
				return err
			}
		}
		state[id] = 2
		return nil
	}
	for id := range needs {
		if err := visit(id, nil); err != nil {
			return err
		}
	}
	return nil
}

// after gives, per resource, what it waits for on the way up (its needs) or on the way down (what needs it, and GoneFirst).
func after[S any](rs []Resource[S], down bool) map[string][]string {
	m := map[string][]string{}
	for _, r := range rs {
		if !down {
			m[r.ID()] = r.Needs
			continue
		}
		m[r.ID()] = append(m[r.ID()], r.GoneFirst...)
		for _, n := range r.Needs {
			m[n] = append(m[n], r.ID())
		}
	}
	return m
}

// errDependency marks a resource that was not tried because something it waits for failed; it adds nothing to the report.
var errDependency = errors.New("not tried")

// each runs work on every resource, as parallel as edges and limit allow. After the first failure nothing new starts, what runs is
// finished: half-done cloud calls are worse than late ones. Errors of all that failed are joined, in list order.
func each[S any](ctx context.Context, rs []Resource[S], edges map[string][]string, limit int, work func(context.Context, Resource[S]) error) error {
	finished := make(map[string]chan struct{}, len(rs))
	for _, r := range rs {
		finished[r.ID()] = make(chan struct{})
	}
	slots := make(chan struct{}, limit)
	errs := make([]error, len(rs))
	failed := make(chan struct{})
	fail := onceCloser(failed)
	for i, r := range rs {
		go func() {
			defer close(finished[r.ID()])
			if !await(ctx, edges[r.ID()], finished, failed) {
				errs[i] = errDependency
				return
			}
			slots <- struct{}{}
			defer func() { <-slots }()
			if stopped(ctx, failed) {
				errs[i] = errDependency
				return
			}
			if err := guarded(func() error { return work(ctx, r) }); err != nil {
				errs[i] = err
				fail()
			}
		}()
	}
	for _, done := range finished {
		<-done
	}
	return verdict(ctx, errs)
}

// PanicError is a panic in the work on one resource. It is an error, so that the others are finished and what was done is recorded.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

func guarded(work func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return work()
}

func verdict(ctx context.Context, errs []error) error {
	real := slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err == nil || errors.Is(err, errDependency) })
	if len(real) == 0 && slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
		return context.Cause(ctx)
	}
	return errors.Join(real...)
}

func await(ctx context.Context, ids []string, finished map[string]chan struct{}, failed <-chan struct{}) bool {
	for _, id := range ids {
		select {
		case <-finished[id]:
		case <-failed:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return !stopped(ctx, failed)
}

func stopped(ctx context.Context, failed <-chan struct{}) bool {
	select {
	case <-failed:
		return true
	case <-ctx.Done():
		return true
	default:
		return false
	}
}

func onceCloser(c chan struct{}) func() {
	gate := make(chan struct{}, 1)
	gate <- struct{}{}
	return func() {
		select {
		case <-gate:
			close(c)
		default:
		}
	}
}
