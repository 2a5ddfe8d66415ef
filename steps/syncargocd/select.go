package syncargocd

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	"k8s.io/apimachinery/pkg/labels"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// matches reports whether a selection finds an Application that nobody named.
func (a App) matches(app *argo.Application, namespace string) bool {
	if app.Namespace != cmp.Or(a.Namespace, namespace) || a.Project != "" && app.Spec.GetProject() != a.Project {
		return false
	}
	if a.ApplicationSet != "" {
		return madeBy(app, a.ApplicationSet)
	}
	selector, err := labels.Parse(a.Selector)
	return err == nil && selector.Matches(labels.Set(app.Labels))
}

func madeBy(app *argo.Application, set string) bool {
	for _, o := range app.OwnerReferences {
		if o.Kind == "ApplicationSet" && o.Name == set {
			return true
		}
	}
	return false
}

// selected are the Applications that an entry means, without those that an entry names, as far as they are there; sorted by name.
func selected(a App, all []*argo.Application, namespace string, named map[id]bool) []id {
	if a.Name != "" {
		return []id{{cmp.Or(a.Namespace, namespace), a.Name}}
	}
	var out []id
	for _, app := range all {
		if n := idOf(app); !named[n] && a.matches(app, namespace) {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(x, y id) int {
		return cmp.Or(strings.Compare(x.namespace, y.namespace), strings.Compare(x.name, y.name))
	})
	return out
}

// named are the Applications that entries name.
func named(sp Spec) map[id]bool {
	out := map[id]bool{}
	for _, a := range sp.Apps {
		if a.Name != "" {
			out[id{cmp.Or(a.Namespace, sp.Namespace), a.Name}] = true
		}
	}
	return out
}

// whole reports whether an ApplicationSet has made all that it wants to, or why it cannot. "" is not yet.
func whole(set *argo.ApplicationSet, found int) (done bool, trouble string) {
	upToDate := false
	for _, c := range set.Status.Conditions {
		switch {
		case c.Type == argo.ApplicationSetConditionErrorOccurred && c.Status == argo.ApplicationSetConditionStatusTrue:
			trouble = c.Message
		case c.Type == argo.ApplicationSetConditionResourcesUpToDate && c.Status == argo.ApplicationSetConditionStatusTrue:
			upToDate = true
		}
	}
	return trouble == "" && upToDate && found >= len(set.Status.Resources), trouble
}

const codeSet = "ApplicationSetFailed"

// resolve waits until an entry finds what it must, and returns it.
func (x *session) resolve(ctx context.Context, a App) ([]id, error) {
	deadline := time.Now().Add(x.spec.Appear.Duration)
	began, bad := time.Now(), time.Time{}
	for {
		all, changed := x.feed.all()
		found := selected(a, all, x.spec.Namespace, x.named)
		ready, missing, err := x.enough(ctx, a, len(found))
		switch {
		case kube.HasCode(err, codeSet) && bad.IsZero():
			bad = time.Now()
			fallthrough
		case kube.HasCode(err, codeSet) && time.Since(bad) < retryRefresh: // it may be about to be mended, or be of a moment ago
			missing = err.Error()
		case err != nil || ready:
			return found, err
		default:
			bad = time.Time{}
		}
		left := time.Until(deadline)
		if left <= 0 {
			return nil, &steps.Error{Code: "AppsNotFound", Category: steps.Precondition, Message: fmt.Sprintf("%s: %s after %s", a, missing, x.spec.Appear),
				Hints: []string{"are the labels, the project or the ApplicationSet right? `appear` says how long to wait"}}
		}
		x.env.Waiting(fmt.Sprintf("%s: %s", a, missing), time.Since(began), 0)
		if err := wait(ctx, changed, min(left, 2*time.Second)); err != nil {
			return nil, err
		}
	}
}

// enough says whether so many Applications are all of an entry, and else what is missing.
func (x *session) enough(ctx context.Context, a App, found int) (ready bool, missing string, err error) {
	if a.Name != "" {
		return true, "", nil // waited for by itself
	}
	if want := max(a.Expect, 1); found < want {
		missing = fmt.Sprintf("found %d of %d Applications", found, want)
	}
	if a.ApplicationSet == "" {
		return missing == "", missing, nil
	}
	set, err := x.via.set(ctx, id{cmp.Or(a.Namespace, x.spec.Namespace), a.ApplicationSet})
	if err != nil && !again(err) {
		return false, "", fmt.Errorf("%s: %w", a, err)
	}
	if set == nil || err != nil {
		return false, "does not exist yet", nil
	}
	done, trouble := whole(set, found)
	if trouble != "" {
		return false, "", &steps.Error{Code: codeSet, Category: steps.Unhealthy, Message: fmt.Sprintf("%s: cannot make its Applications: %s", a, trouble),
			Hints: []string{"see status.conditions of the ApplicationSet"}}
	}
	if missing == "" && !done {
		missing = fmt.Sprintf("has made %d of %d Applications", found, len(set.Status.Resources))
	}
	return missing == "", missing, nil
}

// childrenOf are the Applications that an Application consists of.
func childrenOf(app *argo.Application) (apps []id, sets []id) {
	for _, r := range app.Status.Resources {
		n := id{cmp.Or(r.Namespace, app.Namespace), r.Name}
		switch {
		case r.Group != "argoproj.io" || n == idOf(app):
		case r.Kind == "Application":
			apps = append(apps, n)
		case r.Kind == "ApplicationSet":
			sets = append(sets, n)
		}
	}
	return apps, sets
}
