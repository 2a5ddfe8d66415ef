package syncargocd

import (
	"cmp"
	"slices"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	"github.com/argoproj/gitops-engine/pkg/health"

	"pipectl.dev/steps"
)

// exact is the commit that must be live, "" where none is named.
func (w wanted) exact() string {
	if w.Commit == "" && commit.MatchString(w.Revision) {
		return w.Revision
	}
	return w.Commit
}

// asserts reports that what is live must be something particular.
func (w wanted) asserts() bool { return w.exact() != "" || w.Pushed != "" }

// delivers reports whether live revisions are what is wanted. Other names (branches, tags) are resolved by Argo CD: only commits can be
// compared.
func delivers(w wanted, heads []string, revision string, revisions []string) bool {
	live := append(slices.Clone(revisions), revision)
	switch {
	case w.exact() != "":
		return slices.Contains(live, w.exact())
	case w.Pushed != "":
		return slices.Contains(live, w.Pushed) || slices.ContainsFunc(heads, func(h string) bool { return slices.Contains(live, h) })
	}
	return true
}

// pinned reports that another revision is to be synced than the one the Application follows. Argo CD goes on comparing with the latter,
// so that its status says nothing about the former.
func pinned(app *argo.Application, w wanted) bool {
	if len(w.Filter) > 0 {
		return false
	}
	follows := func(s argo.ApplicationSource, r string) bool { return r == "" || r == cmp.Or(s.TargetRevision, "HEAD") }
	if app.Spec.HasMultipleSources() {
		for i, r := range w.Revisions {
			if i < len(app.Spec.Sources) && !follows(app.Spec.Sources[i], r) {
				return true
			}
		}
		return false
	}
	// The head may happen to be the commit: then the status does speak of it.
	return !follows(app.Spec.GetSource(), w.Revision) && app.Status.Sync.Revision != w.Revision
}

// lastSynced are the revisions of the last operation, if that was a whole sync that succeeded.
func lastSynced(app *argo.Application) []string {
	s := app.Status.OperationState
	if s == nil || !s.Phase.Successful() || s.SyncResult == nil || s.Operation.Sync == nil || s.Operation.Sync.DryRun || len(s.Operation.Sync.Resources) > 0 {
		return nil
	}
	return append(slices.Clone(s.SyncResult.Revisions), s.SyncResult.Revision)
}

// pinnedThere reports that the last sync delivered the revisions asked for, and of sources that follow what they are at now.
func pinnedThere(app *argo.Application, w wanted) bool {
	last := lastSynced(app)
	if len(last) == 0 || !app.Spec.HasMultipleSources() {
		return slices.Contains(last, w.Revision)
	}
	for i, r := range w.Revisions {
		if r == "" && i < len(app.Status.Sync.Revisions) {
			r = app.Status.Sync.Revisions[i]
		}
		if i >= len(last) || last[i] != r {
			return false
		}
	}
	return true
}

// synced reports whether nothing is to be done, and whether what is there is what was wanted.
func synced(m memory, w wanted, app *argo.Application) (done, right bool) {
	s := app.Status.Sync
	right = delivers(w, m.Heads, s.Revision, s.Revisions)
	if len(w.Filter) > 0 {
		return !slices.ContainsFunc(w.Filter.of(app), func(r argo.ResourceStatus) bool { return r.Status == argo.SyncStatusCodeOutOfSync }), right
	}
	if pinned(app, w) {
		return pinnedThere(app, w), true // the operation brings it
	}
	return s.Status == argo.SyncStatusCodeSynced, right
}

// uses reports whether the Application runs the images that are wanted.
func uses(app *argo.Application, images []string) (missing []string) {
	for _, i := range images {
		if !slices.Contains(app.Status.Summary.Images, i) {
			missing = append(missing, i)
		}
	}
	return missing
}

// healthOf is the Application's health, of the resources selected only where there is a filter and the status tells of each: since
// Argo CD 3 the custom resource does not by default.
func healthOf(app *argo.Application, w wanted) health.HealthStatusCode {
	told, worst := false, health.HealthStatusHealthy
	for _, r := range w.Filter.of(app) {
		if r.Health == nil {
			continue
		}
		told = true
		if health.IsWorse(worst, r.Health.Status) {
			worst = r.Health.Status
		}
	}
	if len(w.Filter) == 0 || !told {
		return app.Status.Health.Status
	}
	return worst
}

// lagging deals with a comparison that is not with what is wanted: Argo CD may read a mirror that has not got the push yet, or the branch
// moved on. Nothing is synced meanwhile: it would be the wrong revision.
func lagging(m memory, w wanted, app *argo.Application, now time.Time) (memory, action, bool) {
	live := liveRevision(app)
	if w.exact() == "" && m.HeadFor != live {
		m.HeadFor = live
		return m, action{Do: askHead}, false
	}
	if m.Late.IsZero() {
		m.Late, m.Again = now, now
	}
	want := cmp.Or(w.exact(), w.Pushed)
	switch {
	case now.Sub(m.Late) >= deliverWithin:
		return m, failWith("WrongRevision", steps.Verification, hintWrong(w), "Argo CD compares with %s, wanted is %s%s", live, want, headText(m)), false
	case now.Sub(m.Again) >= retryDeliver:
		m.Again, m.HeadFor = now, ""
		return m.to(refresh), action{}, true
	}
	return m, waitFor(retryDeliver-now.Sub(m.Again), "Argo CD compares with %s, waiting for %s", live, want), false
}

func liveRevision(app *argo.Application) string {
	if r := app.Status.Sync.Revision; r != "" || len(app.Status.Sync.Revisions) == 0 {
		return r
	}
	return app.Status.Sync.Revisions[0]
}

func hintWrong(w wanted) string {
	if w.Pushed != "" {
		return "was the commit pushed to the branch that the Application follows (spec.source.targetRevision)?"
	}
	return "the branch may have moved on: `want.pushed` allows for that, and `revision` syncs the commit itself"
}

func headText(m memory) string {
	if len(m.Heads) == 0 {
		return ""
	}
	return "; the head of the branch is " + m.Heads[len(m.Heads)-1]
}
