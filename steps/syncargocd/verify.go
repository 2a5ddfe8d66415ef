package syncargocd

import (
	"slices"
	"strings"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	"github.com/argoproj/gitops-engine/pkg/health"

	"pipectl.dev/steps"
)

// verified waits until the status agrees with the sync, then until health has been good for long enough.
func verified(m memory, w wanted, app *argo.Application, now time.Time) (memory, action, bool) {
	if app.Operation != nil {
		return m.to(settle), action{}, true
	}
	if next, act, bad := conditions(m, w, app, now); bad {
		next.Healthy = time.Time{}
		return next, act, false
	}
	m.Bad, m.Hard = time.Time{}, false
	next, act, again, held := agreed(m, w, app, now)
	if !held {
		return next, act, again
	}
	m = next
	m.Off = time.Time{}
	return healthy(m, w, app, now)
}

// agreed reports by held whether status and sync agree that what is wanted is there.
func agreed(m memory, w wanted, app *argo.Application, now time.Time) (next memory, act action, again, held bool) {
	done, right := synced(m, w, app)
	switch {
	case m.Result == nil && !right:
		return m.to(judge), action{}, true, false
	case m.Result == nil && !done:
		m, act, again = contradicts(m, w, app, now)
		return m, act, again, false
	case m.Result == nil:
		return m, action{}, false, true
	case !sameSources(m.Result, app):
		m.Result = nil // what was synced is what the Application said then, and it says something else now
		return m.to(refresh), action{}, true, false
	case pinned(app, w):
		if !delivers(w, nil, m.Result.Revision, m.Result.Revisions) {
			return m, failWith("WrongRevision", steps.Verification, "", "the sync delivered %s, wanted is %s", m.Result.Revision, w.exact()), false, false
		}
		return m, action{}, false, true
	}
	same := sameRevisions(m.Result, &app.Status.Sync)
	switch {
	case w.asserts() && !delivers(w, m.Heads, m.Result.Revision, m.Result.Revisions):
		m.Result = nil // the branch moved on between comparison and sync: is it allowed to?
		return m.to(judge), action{}, true, false
	case w.asserts() && !same:
		return m, action{}, false, true // delivered; what came after it is not our concern
	case !same && !done:
		return m.to(refresh), action{}, true, false
	case !same:
		m.Result = nil // Git moved on, and nothing of this Application changed by it
		return m, action{}, false, true
	case !done:
		m, act, again = contradicts(m, w, app, now)
		return m, act, again, false
	}
	return m, action{}, false, true
}

// contradicts deals with a status that is not Synced although the sync succeeded: first it may lag, then it is a fact.
func contradicts(m memory, w wanted, app *argo.Application, now time.Time) (memory, action, bool) {
	m.Healthy = time.Time{}
	if m.Off.IsZero() {
		m.Off = now
	}
	if left := settleFor - now.Sub(m.Off); left > 0 {
		return m, waitFor(left, "is %s still", app.Status.Sync.Status), false
	}
	if m.Result == nil {
		return m.to(refresh), action{}, true // it was Synced when we came: it drifted, so sync
	}
	hint := "something changes it after Argo CD, or `ignoreDifferences` is missing"
	if slices.ContainsFunc(app.Status.Resources, func(r argo.ResourceStatus) bool { return r.RequiresPruning }) && !w.Prune {
		hint = "set `prune: true` to remove what Git no longer holds"
	}
	return m, failWith("StaysOutOfSync", steps.Unhealthy, hint, "the sync succeeded, but it is %s%s", app.Status.Sync.Status, outOfSync(app)), false
}

func healthy(m memory, w wanted, app *argo.Application, now time.Time) (memory, action, bool) {
	status := healthOf(app, w)
	if status == health.HealthStatusHealthy {
		m.Sick, m.Stuck, m.Pods = time.Time{}, time.Time{}, nil
		if missing := uses(app, w.Images); len(missing) > 0 {
			return unused(m, app, missing, now)
		}
		m.Without = time.Time{}
		if m.Healthy.IsZero() {
			m.Healthy = now
		}
		if left := w.HealthyFor - now.Sub(m.Healthy); left > 0 {
			return m, waitFor(left, "healthy, watching for %s", w.HealthyFor), false
		}
		return m, action{Do: finish}, false
	}
	m.Healthy = time.Time{}
	m, act, bad := stuck(m, w, now)
	if bad {
		return m, act, false
	}
	again := lookAtPods
	if status != health.HealthStatusDegraded {
		m.Sick = time.Time{}
	} else {
		if m.Sick.IsZero() {
			m.Sick = now
		}
		left := w.DegradedGrace - now.Sub(m.Sick)
		if left <= 0 {
			return m, failWith("Degraded", steps.Unhealthy, "", "has been Degraded for %s%s", w.DegradedGrace, sickResources(app)), false
		}
		again = min(again, left)
	}
	act = waitFor(again, "%s", progress(app))
	act.Pods = true
	return m, act, false
}

// unused deals with images that are wanted and not there: the list follows the live tree, which may lag.
func unused(m memory, app *argo.Application, missing []string, now time.Time) (memory, action, bool) {
	m.Healthy = time.Time{}
	if m.Without.IsZero() {
		m.Without, m.Again = now, now
	}
	switch {
	case now.Sub(m.Without) >= deliverWithin:
		return m, failWith("WrongImages", steps.Verification, "does the commit that sets the images stand in the branch that the Application follows?",
			"does not use %s, but %s", strings.Join(missing, ", "), strings.Join(app.Status.Summary.Images, ", ")), false
	case now.Sub(m.Again) >= retryDeliver:
		m.Again = now
		return m.to(refresh), action{}, true
	}
	return m, waitFor(retryDeliver-now.Sub(m.Again), "healthy, waiting for image %s", missing[0]), false
}

// stuck judges what pods say: one that cannot pull its image or crashes again and again is a failure once it has lasted for
// degradedGrace. A crash loop is seldom seen crashed: what was seen counts for as long again.
func stuck(m memory, w wanted, now time.Time) (memory, action, bool) {
	if len(m.Pods) == 0 {
		if now.Sub(m.StuckAt) > max(w.DegradedGrace, 2*lookAtPods) {
			m.Stuck = time.Time{}
		}
		return m, action{}, false
	}
	m.StuckAt = now
	if m.Stuck.IsZero() {
		m.Stuck = now
	}
	if now.Sub(m.Stuck) < w.DegradedGrace {
		return m, action{}, false
	}
	var lines []string
	for _, t := range m.Pods {
		lines = append(lines, t.String())
	}
	return m, failWith(m.Pods[0].Reason, steps.Unhealthy, "see the pod's events and logs; `degradedGrace` says how long this may last", "pods do not run%s", list(lines)), true
}
