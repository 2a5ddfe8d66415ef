package syncargocd

import (
	"regexp"
	"slices"
	"strings"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"

	"pipectl.dev/steps"
)

// refreshed asks for a refresh and waits until the controller has taken the mark away: only then is the status newer than the question.
// Where one comparison may stand for many, that of another Application will do which has just found the sources where ours was compared.
func refreshed(m memory, w wanted, app *argo.Application, now time.Time) (memory, action, bool) {
	marked := app.Annotations[argo.AnnotationKeyRefresh] != ""
	switch {
	case m.Phase == refresh && app.Operation != nil:
		return m.to(settle), action{}, true
	case m.Phase == refresh && m.AskedOf == 0 && !m.Scouted && shares(w, app):
		m.Scouted = true
		return m, action{Do: askScout}, false
	case m.Phase == refresh && m.AskedOf == 0 && scouted(m, w, app):
		m.Found = nil // for this time
		return m.compared(), action{}, true
	case m.Phase == confirm && m.AskedOf == 0 && vouched(m, w, app):
		return m.compared(), action{}, true
	case m.Phase == confirm && m.AskedOf == 0 && byItself(m, w, app, now) > 0:
		return m, waitFor(byItself(m, w, app, now), "waiting for Argo CD to compare with Git"), false
	case m.Asked.IsZero():
		m.Asked, m.Compared = now, compared(app)
		m.AskedOf++
		return m, action{Do: askRefresh, Hard: m.Hard}, false
	case !marked && compared(app) == m.Compared && m.AskedOf < 2:
		m.Asked = time.Time{} // the mark went, but nothing was compared: it was dropped while another comparison ran
		return m, action{}, true
	case !marked:
		return m.compared(), action{}, true
	case now.Sub(m.Asked) >= answerWithin && trouble(app) != "":
		bad := m.Bad
		m = m.to(judge) // the controller stopped at the error and left the mark
		m.Bad = bad
		return m, action{}, true
	case now.Sub(m.Asked) >= pickupWithin:
		return m, failWith("RefreshIgnored", steps.Transient, "is the argocd-application-controller running? Is the Git repository reachable for argocd-repo-server?",
			"asked for a refresh %s ago, and the controller did not answer%s", pickupWithin, trouble(app)), false
	default:
		return m, waitFor(answerWithin, "waiting for Argo CD to compare with Git"), false
	}
}

// byItself is how much longer to wait for the comparison that the controller makes after each sync: it has that in its queue, and a busy
// one is not helped by being asked for another. One that has ended since and does not vouch may have begun before the end of the sync.
func byItself(m memory, w wanted, app *argo.Application, now time.Time) time.Duration {
	switch {
	case len(w.Filter) > 0 || pinned(app, w):
		return 0
	case compared(app) == m.Compared:
		return comparesLate - now.Sub(m.Off)
	}
	return comparesSoon - now.Sub(m.Off)
}

// vouched reports that a comparison was made since the sync, without having to ask for one. We sync only what is not Synced, so a status
// that says Synced, at the revision of the sync, was written after it applied that. One that says anything else may be older than its end.
func vouched(m memory, w wanted, app *argo.Application) bool {
	return m.Result != nil && app.Status.Sync.Status == argo.SyncStatusCodeSynced && sameRevisions(m.Result, &app.Status.Sync) && len(w.Filter) == 0 && !pinned(app, w)
}

// compared goes on to what a fresh status is looked at for.
func (m memory) compared() memory {
	next := judge
	if m.Phase == confirm {
		next = verify
	}
	bad := m.Bad
	m = m.to(next)
	m.Bad = bad
	return m
}

// compared is when the controller last compared with Git; its clock ticks in seconds.
func compared(app *argo.Application) string {
	if app.Status.ReconciledAt == nil {
		return ""
	}
	return app.Status.ReconciledAt.UTC().String()
}

// fatal are the conditions that keep the status from meaning anything. SyncError is of a sync before ours, which ours may mend.
var fatal = []string{argo.ApplicationConditionComparisonError, argo.ApplicationConditionInvalidSpecError, argo.ApplicationConditionUnknownError}

// conditions looks at errors that Argo CD reports beside a status that may well read Healthy. The repo server caches failures, so a hard
// refresh asks once more before one counts; while Argo CD itself is starting they pass by themselves.
func conditions(m memory, w wanted, app *argo.Application, now time.Time) (memory, action, bool) {
	i := slices.IndexFunc(app.Status.Conditions, func(c argo.ApplicationCondition) bool {
		return slices.Contains(fatal, c.Type) || w.Follow && c.Type == argo.ApplicationConditionSyncError
	})
	if i < 0 {
		return m, action{}, false
	}
	c := app.Status.Conditions[i]
	if m.Bad.IsZero() {
		m.Bad = now
	}
	if !m.Hard || now.Sub(m.Bad) < patience(c.Message) {
		if left := retryRefresh - now.Sub(m.Tried); m.Hard && left > 0 {
			return m, waitFor(left, "%s: %s", c.Type, c.Message), true
		}
		bad, back := m.Bad, refresh
		if m.Phase == verify {
			back = confirm
		}
		m = m.to(back)
		m.Bad, m.Tried, m.Hard, m.Asked, m.AskedOf, m.Compared = bad, now, true, now, 1, compared(app)
		return m, action{Do: askRefresh, Hard: true}, true
	}
	category := steps.Unhealthy
	if passing.MatchString(c.Message) {
		category = steps.Transient
	}
	return m, failWith(c.Type, category, conditionHint(c), "%s: %s", c.Type, c.Message), true
}

// patience is how long an error may last that passes by itself: Argo CD's parts come up one after the other, and a controller that has
// just started does not know the projects yet.
func patience(message string) time.Duration {
	switch {
	case passing.MatchString(message):
		return pickupWithin
	case strings.Contains(message, unknownProject):
		return retryRefresh
	}
	return 0
}

const unknownProject = "referencing project"

// passing matches what Argo CD's parts say of each other, or of Git, while they start.
var passing = regexp.MustCompile(`(?i)code = (Unavailable|DeadlineExceeded)|connection refused|connection error|i/o timeout|no such host|error dialing|EOF$`)

func conditionHint(c argo.ApplicationCondition) string {
	says := func(texts ...string) bool {
		return slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(c.Message, t) })
	}
	switch {
	case says("authentication required", "repository not found", "does not appear to be a git repository", "Repository not found"):
		return "is the Application's repoURL right, and does Argo CD have a repository Secret for it (label argocd.argoproj.io/secret-type: repository)?"
	case says("app path does not exist"):
		return "is spec.source.path in the repository, at this revision?"
	case says("unable to resolve", "couldn't find remote ref"):
		return "is spec.source.targetRevision a branch, tag or commit of the repository?"
	case says("Failed to unmarshal"):
		return "is it valid YAML? A file that begins with `{` is read as JSON: write it as block YAML, or as JSON in a .json file"
	case c.Type == argo.ApplicationConditionInvalidSpecError:
		return "correct the Application's spec: project, destination or source is refused"
	}
	return ""
}
