package syncargocd

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"pipectl.dev/steps"
)

// inOrder runs work for every Application, after those it depends on, at most limit at once. One that depends on a failed one is not
// run; the others are. All errors come back as one.
func inOrder(ctx context.Context, apps []App, limit int, work func(context.Context, App) error) error {
	done := map[string]chan struct{}{}
	failed := map[string]bool{}
	for _, a := range apps {
		done[a.Name] = make(chan struct{})
	}
	slots := make(chan struct{}, max(limit, 1))
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	for _, a := range apps {
		wg.Go(func() {
			defer close(done[a.Name])
			err := ready(ctx, a, done, func(name string) bool { mu.Lock(); defer mu.Unlock(); return failed[name] })
			if err == nil {
				select {
				case slots <- struct{}{}:
					err = work(ctx, a)
					<-slots
				case <-ctx.Done():
					err = context.Cause(ctx)
				}
			}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed[a.Name] = true
				errs = append(errs, fmt.Errorf("application %s: %w", a.Name, err))
			}
		})
	}
	wg.Wait()
	return together(errs, len(apps))
}

var errDependency = errors.New("was not synced")

func ready(ctx context.Context, a App, done map[string]chan struct{}, failed func(string) bool) error {
	for _, d := range a.DependsOn {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-done[d]:
		}
		if failed(d) {
			return fmt.Errorf("%w, since %s failed", errDependency, d)
		}
	}
	return nil
}

// together makes one error of those of several Applications. What kind it is is said by the first that failed by itself; when some
// Applications were synced and several failed in different ways, the whole is partly failed.
func together(errs []error, all int) error {
	if len(errs) == 0 {
		return nil
	}
	var own []*steps.Error
	for _, err := range errs {
		if !errors.Is(err, errDependency) {
			own = append(own, steps.Classify(err))
		}
	}
	first := *own[0]
	same := true
	for _, e := range own {
		same = same && e.Category == first.Category
	}
	if len(errs) == 1 {
		return errs[0]
	}
	if !same {
		first = steps.Error{Code: "SomeFailed", Category: steps.Partial, Hints: own[0].Hints}
	}
	first.Message = fmt.Sprintf("%d of %d applications failed", len(errs), all)
	first.Err = errors.Join(errs...)
	return &first
}
