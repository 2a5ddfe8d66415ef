package syncargocd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"pipectl.dev/steps"
	"pipectl.dev/steps/spec"
)

// before lists, by index, the entries that must be done before entry i: those it depends on, and all of lower waves.
func before(apps []App, i int) []int {
	var out []int
	for j, b := range apps {
		if j != i && (b.Wave < apps[i].Wave || slices.Contains(apps[i].DependsOn, b.key())) {
			out = append(out, j)
		}
	}
	return out
}

// circle finds entries that wait for each other, and where one of them stands.
func circle(apps []App) (index int, names string) {
	const visiting, done = 1, 2
	mark := make([]int, len(apps))
	label := func(i int) string {
		if k := apps[i].key(); k != "" {
			return k
		}
		return spec.Index("apps", i)
	}
	var walk func(i int, path []int) string
	walk = func(i int, path []int) string {
		switch mark[i] {
		case done:
			return ""
		case visiting:
			text := ""
			for _, p := range path[slices.Index(path, i):] {
				text += label(p) + " -> "
			}
			return text + label(i)
		}
		mark[i] = visiting
		for _, j := range needs(apps, i) {
			if found := walk(j, append(path, i)); found != "" {
				return found
			}
		}
		mark[i] = done
		return ""
	}
	for i := range apps {
		if found := walk(i, nil); found != "" {
			return i, found
		}
	}
	return 0, ""
}

// needs is before, in the order in which the names stand, with an entry that depends on itself.
func needs(apps []App, i int) []int {
	var out []int
	for _, d := range apps[i].DependsOn {
		if j := slices.IndexFunc(apps, func(a App) bool { return a.key() == d }); j >= 0 {
			out = append(out, j)
		}
	}
	return append(out, before(apps, i)...)
}

// inOrder runs work for every entry, after those it depends on. One that depends on a failed one is not run but passed over; the others
// are. The errors are those of work, and of what was not run.
func inOrder(ctx context.Context, apps []App, work func(context.Context, int) error, over func(int, error)) []error {
	done := make([]chan struct{}, len(apps))
	errs := make([]error, len(apps))
	for i := range apps {
		done[i] = make(chan struct{})
	}
	var wg sync.WaitGroup
	for i := range apps {
		wg.Go(func() {
			defer close(done[i])
			for _, j := range before(apps, i) {
				select {
				case <-ctx.Done():
					errs[i] = context.Cause(ctx)
					return
				case <-done[j]:
				}
				if errs[j] != nil {
					errs[i] = fmt.Errorf("%s: %w, since %s failed", apps[i], errDependency, apps[j])
					over(i, errs[i])
					return
				}
			}
			errs[i] = work(ctx, i)
		})
	}
	wg.Wait()
	return slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}

// String names an entry for people.
func (a App) String() string {
	switch {
	case a.Name != "":
		return "application " + a.Name
	case a.Group != "":
		return "group " + a.Group
	case a.ApplicationSet != "":
		return "applicationset " + a.ApplicationSet
	case a.Project != "" && a.Selector == "":
		return "project " + a.Project
	case a.Selector == "":
		return "namespace " + a.Namespace
	default:
		return "selector " + a.Selector
	}
}

var errDependency = errors.New("was not synced")

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
	if len(errs) == 1 || len(own) == 0 {
		return errs[0]
	}
	first := *own[0]
	if slices.ContainsFunc(own, func(e *steps.Error) bool { return e.Category != first.Category }) {
		first = steps.Error{Code: "SomeFailed", Category: steps.Partial, Hints: own[0].Hints}
	}
	first.Message = fmt.Sprintf("%d of %d applications failed", len(errs), all)
	first.Err = errors.Join(errs...)
	return &first
}
