package syncargocd

import (
	"fmt"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
)

// settled waits until no operation is under way. What it did is judged later: it may have delivered what we want.
func settled(m memory, w wanted, app *argo.Application, now time.Time) (memory, action, bool) {
	if ours(app, w) {
		m = m.to(pickup) // ours, of an attempt that was interrupted
		m.Writ, m.Changed = now, true
		return m, action{}, true
	}
	if app.Operation == nil && !active(app) {
		m.Adopting = !m.Busy.IsZero()
		if !m.Adopting && known(w, app, now) {
			return m.to(judge), action{}, true
		}
		return m.to(refresh), action{}, true
	}
	if parked(app) {
		return m, windowed(app.Status.OperationState.Message), false
	}
	look := busyLook(app)
	if look != m.BusyLook {
		m.Busy, m.BusyLook = now, look
	}
	if still := now.Sub(m.Busy); app.Operation == nil && still >= orphanAfter {
		return m.to(refresh), action{}, true // left behind by a controller that was restarted: a new request replaces it
	}
	return m, waitFor(orphanAfter, "waiting for an operation of %s", initiator(app)), false
}

// known reports that Argo CD found not long ago that there is something to sync, in the revision that is wanted. A status that says so
// is as good as a new one, since the sync reads Git anew; one that says Synced never is.
func known(w wanted, app *argo.Application, now time.Time) bool {
	s := app.Status.Sync
	return speaks(w, app) && !w.Follow && now.Sub(app.Status.ReconciledAt.Time).Abs() < w.Recent &&
		s.Status == argo.SyncStatusCodeOutOfSync && delivers(w, nil, s.Revision, s.Revisions)
}

// speaks reports a status that says something of what is wanted without a new comparison: it is whole, without conditions, of what the
// Application says now, and not about to change.
func speaks(w wanted, app *argo.Application) bool {
	return !w.Hard && len(w.Filter) == 0 && !pinned(app, w) && app.Status.ReconciledAt != nil && len(app.Status.Conditions) == 0 &&
		app.Annotations[argo.AnnotationKeyRefresh] == "" && comparesSpec(app)
}

// busyLook is what changes while somebody works on an operation.
func busyLook(app *argo.Application) string {
	s := app.Status.OperationState
	if s == nil {
		return "not started"
	}
	look := fmt.Sprintf("%s %s %d %s", s.Phase, s.Message, s.RetryCount, s.StartedAt.UTC())
	if s.SyncResult != nil {
		for _, r := range s.SyncResult.Resources {
			look += fmt.Sprintf("|%s %s", r.Status, r.HookPhase)
		}
	}
	return look
}

func initiator(app *argo.Application) string {
	by := app.Operation
	if by == nil {
		by = &app.Status.OperationState.Operation
	}
	switch {
	case by.InitiatedBy.Automated:
		return "the automatic sync"
	case by.InitiatedBy.Username != "":
		return by.InitiatedBy.Username
	default:
		return "somebody else"
	}
}
