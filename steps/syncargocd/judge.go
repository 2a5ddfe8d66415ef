package syncargocd

import (
	"slices"
	"strings"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	"github.com/argoproj/gitops-engine/pkg/health"

	"pipectl.dev/steps"
)

// judged says whether a sync is needed.
func judged(m memory, w wanted, app *argo.Application, now time.Time) (memory, action, bool) {
	if app.Operation != nil {
		return m.to(settle), action{}, true
	}
	if next, act, bad := conditions(m, w, app, now); bad {
		return next, act, false
	}
	m.Bad, m.Hard = time.Time{}, false
	if err := refusal(app, w); err != nil {
		return m, action{Do: fail, Err: err}, false
	}
	done, right := synced(m, w, app)
	switch {
	case !right:
		return lagging(m, w, app, now)
	case done && healthOf(app, w) == health.HealthStatusHealthy && len(uses(app, w.Images)) == 0:
		return m, action{Do: finish}, false
	case done:
		return m.to(verify), action{}, true
	case m.Adopting && sameRevisions(succeeded(app), &app.Status.Sync):
		return adopted(m, app, now)
	case w.Follow:
		return followed(m, w, app, now)
	case m.Round >= maxRounds:
		return m, failWith("KeepsChanging", steps.Conflict, "name the commit in `revision`, or run again when the branch rests",
			"is out of sync again after %d syncs%s", m.Round, outOfSync(app)), false
	}
	return m, action{Do: askSync}, false
}

// succeeded is what the last operation did, if that was a whole sync that succeeded; else nothing.
func succeeded(app *argo.Application) *argo.SyncOperationResult {
	if len(lastSynced(app)) == 0 {
		return &argo.SyncOperationResult{}
	}
	return app.Status.OperationState.SyncResult
}

// adopted gives the status some time when somebody else's operation has just delivered the very revision: it may lag behind that, as
// behind one of ours.
func adopted(m memory, app *argo.Application, now time.Time) (memory, action, bool) {
	if m.Off.IsZero() {
		m.Off = now
	}
	if left := settleFor - now.Sub(m.Off); left > 0 {
		return m, waitFor(left, "is %s still", app.Status.Sync.Status), false
	}
	m.Adopting = false
	return m.to(refresh), action{}, true
}

// followed waits for somebody else's sync, as long as there is one to be expected.
func followed(m memory, w wanted, app *argo.Application, now time.Time) (memory, action, bool) {
	if !automated(app) {
		return m, failWith("NeedsSync", steps.Precondition, "set `children: sync`, or list it in `apps`, to have it synced; or give it an automatic sync policy",
			"is %s and has no automatic sync%s", app.Status.Sync.Status, outOfSync(app)), false
	}
	if s := app.Status.OperationState; s != nil && s.Phase.Completed() && !s.Phase.Successful() && s.SyncResult != nil && sameRevisions(s.SyncResult, &app.Status.Sync) {
		return m, syncFailed(s), false // the automatic sync does not try the same revision again
	}
	if m.Followed.IsZero() {
		m.Followed = now
	}
	if left := pickupWithin - now.Sub(m.Followed); left > 0 {
		return m, waitFor(left, "waiting for its automatic sync"), false
	}
	return m, failWith("NotSynced", steps.Unhealthy, "is its automatic sync held up by a sync window, or by `automated.selfHeal: false`? `children: sync` would sync it",
		"its automatic sync did not begin within %s%s", pickupWithin, outOfSync(app)), false
}

// automated reports an Application that Argo CD syncs by itself. Reading it drops a policy that is switched off.
func automated(app *argo.Application) bool {
	return app.Spec.SyncPolicy != nil && app.Spec.SyncPolicy.Automated != nil
}

// filter selects resources; empty is all. An entry is "[!]GROUP:KIND:[NAMESPACE/]NAME", as of `argocd app sync --resource`, parsed.
type filter []pattern

type pattern struct {
	not                          bool
	group, kind, namespace, name string // "*" is any; namespace "" is any
}

func (p pattern) matches(r argo.ResourceStatus) bool {
	one := func(pattern, s string) bool { return pattern == "*" || pattern == s }
	return one(p.group, r.Group) && one(p.kind, r.Kind) && one(p.name, r.Name) && (p.namespace == "" || one(p.namespace, r.Namespace))
}

// of lists the resources selected: those that a pattern names, or all where each pattern only leaves some out.
func (f filter) of(app *argo.Application) []argo.ResourceStatus {
	included, only := func(r argo.ResourceStatus) bool { return true }, false
	for _, p := range f {
		only = only || !p.not
	}
	if only {
		included = func(r argo.ResourceStatus) bool {
			return slices.ContainsFunc(f, func(p pattern) bool { return !p.not && p.matches(r) })
		}
	}
	var out []argo.ResourceStatus
	for _, r := range app.Status.Resources {
		if included(r) && !slices.ContainsFunc(f, func(p pattern) bool { return p.not && p.matches(r) }) {
			out = append(out, r)
		}
	}
	return out
}

// parseFilter reads one entry; ok is false for one of another form.
func parseFilter(s string) (p pattern, ok bool) {
	s, p.not = strings.CutPrefix(s, "!")
	parts := strings.SplitN(s, ":", 3)
	if len(parts) != 3 || parts[1] == "" || parts[2] == "" {
		return p, false
	}
	p.group, p.kind, p.name = parts[0], parts[1], parts[2]
	if namespace, name, found := strings.Cut(p.name, "/"); found {
		p.namespace, p.name = namespace, name
	}
	return p, p.name != ""
}
