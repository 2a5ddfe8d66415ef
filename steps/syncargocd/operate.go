package syncargocd

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	"github.com/argoproj/gitops-engine/pkg/sync/common"

	"pipectl.dev/steps"
)

// requested remembers that our operation was written.
func requested(m memory, now time.Time) memory {
	round := m.Round + 1
	m = m.to(pickup)
	m.Writ, m.Round, m.Changed, m.Result = now, round, true, nil
	return m
}

func pickedUp(m memory, w wanted, app *argo.Application, now time.Time) (memory, action, bool) {
	if s := app.Status.OperationState; s != nil && carries(s.Operation.Info, w.RunID) && !foreign(app, w) {
		return m.to(running), action{}, true
	}
	if app.Operation == nil || !carries(app.Operation.Info, w.RunID) {
		return m.to(settle), action{}, true // somebody else's request took the place of ours
	}
	if left := pickupWithin - now.Sub(m.Writ); left > 0 {
		return m, waitFor(left, "waiting for the controller to start the sync"), false
	}
	act := failWith("SyncNotStarted", steps.Transient, "is the argocd-application-controller running?", "the controller did not start the sync within %s", pickupWithin)
	act.Do = terminate
	return m, act, false
}

func ran(m memory, w wanted, app *argo.Application, now time.Time) (memory, action, bool) {
	s := app.Status.OperationState
	if s == nil || !carries(s.Operation.Info, w.RunID) || foreign(app, w) {
		return m.to(settle), action{}, true // another operation followed ours; what is live is judged, not what ran
	}
	if s.Phase.Completed() {
		return ended(m, w, app, now)
	}
	if parked(app) {
		return held(m, app, now)
	}
	if look := busyLook(app); look != m.BusyLook {
		m.Busy, m.BusyLook = now, look
	}
	if app.Operation == nil && now.Sub(m.Busy) >= orphanAfter {
		return m.to(refresh), action{}, true
	}
	next, act, bad := stuck(m, w, now)
	if bad {
		act.Do = terminate // it would wait for those pods without end
		return next, act, false
	}
	act = waitFor(lookAtPods, "%s", progress(app))
	act.Pods = true
	return next, act, false
}

// ended judges the end of our operation.
func ended(m memory, w wanted, app *argo.Application, now time.Time) (memory, action, bool) {
	s := app.Status.OperationState
	if passes(s) && m.Round < maxRounds {
		return m.to(refresh), action{}, true // what is really wrong stands in the conditions after it
	}
	if !s.Phase.Successful() {
		return m, syncFailed(s), false
	}
	if w.DryRun { // the controller compares nothing after it
		m.Result, m.Changed = s.SyncResult, false
		return m, action{Do: finish}, false
	}
	m = m.to(confirm)
	m.Result, m.Off, m.Compared = s.SyncResult, now, compared(app)
	return m, action{}, true
}

// held deals with a window that holds our operation although it was open when we asked. The controller looks at an operation's first
// state as at an automatic one's, and lets one by hand through when it looks again.
func held(m memory, app *argo.Application, now time.Time) (memory, action, bool) {
	if m.Off.IsZero() {
		m.Off = now
		return m, action{Do: askRefresh}, false
	}
	if left := heldFor - now.Sub(m.Off); left > 0 {
		return m, waitFor(left, "%s", app.Status.OperationState.Message), false
	}
	return m, windowed(app.Status.OperationState.Message), false
}

// passes reports an operation that ended by what passes by itself: a controller that has just started takes one up again before it knows
// the projects, of several that make one namespace at once only the first can, and the cluster's API server may be away for a moment.
func passes(s *argo.OperationState) bool {
	switch s.Phase {
	case common.OperationError:
		return passing.MatchString(s.Message) || strings.Contains(s.Message, unknownProject)
	case common.OperationFailed:
		return unanswered(s) || s.SyncResult != nil && slices.ContainsFunc(s.SyncResult.Resources, func(r *argo.ResourceResult) bool {
			return r.Kind == "Namespace" && strings.Contains(r.Message, "already exists")
		})
	}
	return false
}

// away matches what Argo CD's client says of an API server that does not answer, or that has just made a namespace and no account in it.
// What an admission webhook says the same of is none of that: it may be away for good, and hooks of the sync would run again in vain.
var away = regexp.MustCompile(`connect: connection refused|connection reset by peer|unexpected EOF|client connection lost|TLS handshake timeout|` +
	`etcdserver: (leader changed|request timed out)|failed to discover server resources for group version \S+: (forbidden|unexpected error)|error looking up service account \S+: serviceaccount "default" not found`)

// unanswered reports a sync of which nothing failed but what the API server did not answer to. Words of a hook's own do not count.
func unanswered(s *argo.OperationState) bool {
	if s.SyncResult == nil {
		return false
	}
	some := false
	for _, r := range s.SyncResult.Resources {
		refused := r.Status == common.ResultCodeSyncFailed
		if failed := r.HookPhase == common.OperationFailed || r.HookPhase == common.OperationError; !refused && !failed {
			continue
		}
		if !refused || !away.MatchString(r.Message) || strings.Contains(r.Message, "failed calling webhook") {
			return false
		}
		some = true
	}
	return some
}

func syncFailed(s *argo.OperationState) action {
	var why []string
	if s.SyncResult != nil {
		for _, r := range s.SyncResult.Resources {
			if r.Status == common.ResultCodeSyncFailed || r.HookPhase == common.OperationFailed || r.HookPhase == common.OperationError {
				why = append(why, fmt.Sprintf("%s %s/%s: %s", r.Kind, r.Namespace, r.Name, r.Message))
			}
		}
	}
	text := s.Message
	if len(why) > 0 {
		text += ": " + strings.Join(why, "; ")
	}
	category := steps.Unhealthy
	if unanswered(s) {
		category = steps.Transient
	}
	return failWith("SyncFailed", category, "", "sync: %s: %s", strings.ToLower(string(s.Phase)), text)
}
