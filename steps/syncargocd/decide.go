package syncargocd

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	"github.com/argoproj/gitops-engine/pkg/health"
	"github.com/argoproj/gitops-engine/pkg/sync/common"

	"pipectl.dev/steps"
)

// wanted is what one Application shall become, and how patient we are.
type wanted struct {
	RunID         string // marks our operation
	Revision      string
	Prune         bool
	HealthyFor    time.Duration
	DegradedGrace time.Duration
	Appear        time.Duration
	Timeout       time.Duration
}

// Patience with Argo CD itself, beyond what the spec says.
const (
	pickupWithin = 2 * time.Minute  // the controller takes a refresh or an operation up in seconds, or it is not running
	answerWithin = 20 * time.Second // by then a comparison has ended, in success or with an error
	orphanAfter  = 45 * time.Second // a "running" state that nobody works on does not change any more
	settleFor    = 15 * time.Second // status after a sync may lag behind it
	retryRefresh = 10 * time.Second // between looks at an error that may pass by itself
	maxRounds    = 3                // syncs when the branch moves on under our feet
)

// phase is where the work on one Application stands.
type phase int

const (
	settle  phase = iota // nobody else's operation may be in the way
	refresh              // the status must be newer than our question
	judge                // is a sync needed?
	pickup               // our operation is written, not seen running yet
	running              // our operation runs
	confirm              // as refresh, after the operation
	verify               // synced, at the revision, healthy for a while
)

// memory is all that decide knows of what was before. Its zero value is the start.
type memory struct {
	Phase phase
	Began time.Time
	Seen  bool // the Application existed
	Round int  // operations asked for

	Asked    time.Time // for a refresh; zero: not asked
	AskedOf  int       // times asked in this phase
	Compared string    // status.reconciledAt when we asked
	Hard     bool      // an error of the repo server is cached: only a hard refresh asks again
	Bad      time.Time // since when a condition says an error
	Tried    time.Time // last hard refresh on its account
	Writ     time.Time // when our operation was written
	Busy     time.Time // since when the foreign operation looks the same
	BusyLook string    // how it looks
	Healthy  time.Time // since when
	Sick     time.Time // Degraded since when
	Off      time.Time // since when the status contradicts a finished sync
	Changed  bool      // an operation of ours, or one we waited for, was made
	Result   *argo.SyncOperationResult
}

// action is what to do now.
type action struct {
	Do     verb
	Hard   bool          // of askRefresh
	Again  time.Duration // of hold: look again no later than that, even if nothing changes
	Detail string        // of hold: for people
	Err    error         // of fail and terminate
}

type verb int

const (
	hold       verb = iota // wait for a change
	askRefresh             // mark the Application, then wait
	askSync                // write the operation, with the version looked at as precondition
	terminate              // stop our own operation, then fail
	finish
	fail
)

func waitFor(again time.Duration, format string, args ...any) action {
	return action{Do: hold, Again: max(again, 100*time.Millisecond), Detail: fmt.Sprintf(format, args...)}
}

func failWith(code string, category steps.Category, hint, format string, args ...any) action {
	e := &steps.Error{Code: code, Category: category, Retryable: category == steps.Transient, Message: fmt.Sprintf(format, args...)}
	if hint != "" {
		e.Hints = []string{hint}
	}
	return action{Do: fail, Err: e}
}

// decide says what to do about one Application as it is now (nil: it does not exist), and what to remember. It is pure: the same
// memory, Application and time give the same answer.
func decide(m memory, w wanted, app *argo.Application, now time.Time) (memory, action) {
	if m.Began.IsZero() {
		m.Began = now
	}
	if app == nil {
		return absent(m, w, now)
	}
	m.Seen = true
	if app.DeletionTimestamp != nil {
		return m, failWith("AppDeleting", steps.Precondition, "run again when it is gone or back", "is being deleted")
	}
	if now.Sub(m.Began) >= w.Timeout {
		return m, late(w, app)
	}
	for {
		next, act, again := advance(m, w, app, now)
		m = next
		if !again {
			return m, act
		}
	}
}

// advance works on one phase; again means that the next one is due at once.
func advance(m memory, w wanted, app *argo.Application, now time.Time) (memory, action, bool) {
	switch m.Phase {
	case settle:
		return settled(m, w, app, now)
	case refresh, confirm:
		return refreshed(m, w, app, now)
	case judge:
		return judged(m, w, app, now)
	case pickup:
		return pickedUp(m, w, app, now)
	case running:
		return ran(m, w, app, now)
	default:
		return verified(m, w, app, now)
	}
}

func (m memory) to(p phase) memory {
	m.Phase, m.Asked, m.AskedOf, m.Bad, m.Busy, m.BusyLook, m.Off = p, time.Time{}, 0, time.Time{}, time.Time{}, "", time.Time{}
	m.Healthy, m.Sick = time.Time{}, time.Time{}
	return m
}

func absent(m memory, w wanted, now time.Time) (memory, action) {
	if m.Seen {
		return m, failWith("AppDeleted", steps.Precondition, "", "was deleted while it was being synced")
	}
	if left := w.Appear - now.Sub(m.Began); left > 0 {
		return m, waitFor(left, "does not exist yet")
	}
	return m, failWith("AppNotFound", steps.Precondition, "is the name right? An app of apps must be synced before its children exist; `appear` says how long to wait",
		"did not appear within %s", w.Appear)
}

// late ends the wait. Only our own operation is stopped, and not one that a sync window holds: that would hang until the window opens.
func late(w wanted, app *argo.Application) action {
	what := progress(app)
	act := failWith("TimedOut", steps.Timeout, "raise `timeout`, or run again: it carries on", "not done after %s (last seen: %s)", w.Timeout, what)
	mine := app.Operation != nil && carries(app.Operation.Info, w.RunID) || active(app) && carries(app.Status.OperationState.Operation.Info, w.RunID)
	if mine && !parked(app) {
		act.Do = terminate
	}
	return act
}

// settled waits until no operation is under way. What it did is judged later: it may have delivered what we want.
func settled(m memory, w wanted, app *argo.Application, now time.Time) (memory, action, bool) {
	if app.Operation != nil && carries(app.Operation.Info, w.RunID) || active(app) && carries(app.Status.OperationState.Operation.Info, w.RunID) {
		m = m.to(pickup) // ours, of an attempt that was interrupted
		m.Writ, m.Changed = now, true
		return m, action{}, true
	}
	if app.Operation == nil && !active(app) {
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

// refreshed asks for a refresh and waits until the controller has taken the mark away: only then is the status newer than the question.
func refreshed(m memory, w wanted, app *argo.Application, now time.Time) (memory, action, bool) {
	marked := app.Annotations[argo.AnnotationKeyRefresh] != ""
	switch {
	case m.Phase == refresh && app.Operation != nil:
		return m.to(settle), action{}, true
	case m.Asked.IsZero():
		m.Asked, m.Compared = now, compared(app)
		m.AskedOf++
		return m, action{Do: askRefresh, Hard: m.Hard}, false
	case !marked && compared(app) == m.Compared && m.AskedOf < 2:
		m.Asked = time.Time{} // the mark went, but nothing was compared: it was dropped while another comparison ran
		return m, action{}, true
	case !marked:
		next := judge
		if m.Phase == confirm {
			next = verify
		}
		bad := m.Bad
		m = m.to(next)
		m.Bad = bad
		return m, action{}, true
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

// compared is when the controller last compared with Git; its clock ticks in seconds.
func compared(app *argo.Application) string {
	if app.Status.ReconciledAt == nil {
		return ""
	}
	return app.Status.ReconciledAt.UTC().String()
}

// judged says whether a sync is needed.
func judged(m memory, w wanted, app *argo.Application, now time.Time) (memory, action, bool) {
	if app.Operation != nil {
		return m.to(settle), action{}, true
	}
	if next, act, bad := conditions(m, app, now); bad {
		return next, act, false
	}
	m.Bad, m.Hard = time.Time{}, false
	if app.Status.Sync.Status == argo.SyncStatusCodeSynced && delivers(w, app.Status.Sync.Revision, app.Status.Sync.Revisions) {
		if app.Status.Health.Status == health.HealthStatusHealthy {
			return m, action{Do: finish}, false
		}
		return m.to(verify), action{}, true
	}
	if m.Round >= maxRounds {
		return m, failWith("KeepsChanging", steps.Conflict, "name the commit in `revision`, or run again when the branch rests",
			"is out of sync again after %d syncs%s", m.Round, outOfSync(app)), false
	}
	return m, action{Do: askSync}, false
}

// requested remembers that our operation was written.
func requested(m memory, now time.Time) memory {
	round := m.Round + 1
	m = m.to(pickup)
	m.Writ, m.Round, m.Changed, m.Result = now, round, true, nil
	return m
}

func pickedUp(m memory, w wanted, app *argo.Application, now time.Time) (memory, action, bool) {
	if s := app.Status.OperationState; s != nil && carries(s.Operation.Info, w.RunID) {
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
	if s == nil || !carries(s.Operation.Info, w.RunID) {
		return m.to(settle), action{}, true // another operation followed ours; what is live is judged, not what ran
	}
	if s.Phase.Completed() {
		if !s.Phase.Successful() {
			return m, syncFailed(s), false
		}
		m = m.to(confirm)
		m.Result = s.SyncResult
		return m, action{}, true
	}
	if parked(app) {
		return m, windowed(s.Message), false
	}
	if look := busyLook(app); look != m.BusyLook {
		m.Busy, m.BusyLook = now, look
	}
	if app.Operation == nil && now.Sub(m.Busy) >= orphanAfter {
		return m.to(refresh), action{}, true
	}
	return m, waitFor(orphanAfter, "%s", progress(app)), false
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
	return failWith("SyncFailed", steps.Unhealthy, "", "sync: %s: %s", strings.ToLower(string(s.Phase)), text)
}

// verified waits until the status agrees with the sync, then until health has been good for long enough.
func verified(m memory, w wanted, app *argo.Application, now time.Time) (memory, action, bool) {
	if app.Operation != nil {
		return m.to(settle), action{}, true
	}
	if next, act, bad := conditions(m, app, now); bad {
		next.Healthy = time.Time{}
		return next, act, false
	}
	m.Bad, m.Hard = time.Time{}, false
	if !delivers(w, app.Status.Sync.Revision, app.Status.Sync.Revisions) || m.Result != nil && !sameRevisions(m.Result, &app.Status.Sync) {
		if app.Status.Sync.Status == argo.SyncStatusCodeSynced && w.Revision == "" {
			m.Result = nil // Git moved on, and nothing of this Application changed by it
			return m, action{}, true
		}
		return m.to(refresh), action{}, true
	}
	if app.Status.Sync.Status != argo.SyncStatusCodeSynced {
		return contradicts(m, w, app, now)
	}
	m.Off = time.Time{}
	return healthy(m, w, app, now)
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
	status := app.Status.Health.Status
	if status == health.HealthStatusHealthy {
		m.Sick = time.Time{}
		if m.Healthy.IsZero() {
			m.Healthy = now
		}
		if left := w.HealthyFor - now.Sub(m.Healthy); left > 0 {
			return m, waitFor(left, "healthy, watching for %s", w.HealthyFor), false
		}
		return m, action{Do: finish}, false
	}
	m.Healthy = time.Time{}
	if status != health.HealthStatusDegraded {
		m.Sick = time.Time{}
		return m, waitFor(30*time.Second, "%s", progress(app)), false
	}
	if m.Sick.IsZero() {
		m.Sick = now
	}
	if left := w.DegradedGrace - now.Sub(m.Sick); left > 0 {
		return m, waitFor(left, "%s", progress(app)), false
	}
	return m, failWith("Degraded", steps.Unhealthy, "", "has been Degraded for %s%s", w.DegradedGrace, sickResources(app)), false
}

// conditions looks at errors that Argo CD reports beside a status that may well read Healthy. The repo server caches failures, so a hard
// refresh asks once more before one counts; while Argo CD itself is starting they pass by themselves.
func conditions(m memory, app *argo.Application, now time.Time) (memory, action, bool) {
	i := slices.IndexFunc(app.Status.Conditions, func(c argo.ApplicationCondition) bool {
		return slices.Contains([]string{argo.ApplicationConditionComparisonError, argo.ApplicationConditionInvalidSpecError, argo.ApplicationConditionUnknownError}, c.Type)
	})
	if i < 0 {
		return m, action{}, false
	}
	c := app.Status.Conditions[i]
	if m.Bad.IsZero() {
		m.Bad = now
	}
	starting := passing.MatchString(c.Message) && now.Sub(m.Bad) < pickupWithin
	if !m.Hard || starting {
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

// passing matches what Argo CD's parts say of each other, or of Git, while they start.
var passing = regexp.MustCompile(`(?i)code = (Unavailable|DeadlineExceeded)|connection refused|connection error|i/o timeout|no such host|error dialing|EOF$`)

func conditionHint(c argo.ApplicationCondition) string {
	switch {
	case strings.Contains(c.Message, "authentication required") || strings.Contains(c.Message, "repository not found"):
		return "does Argo CD have a repository Secret for this URL (label argocd.argoproj.io/secret-type: repository)?"
	case strings.Contains(c.Message, "app path does not exist"):
		return "is spec.source.path in the repository, at this revision?"
	case c.Type == argo.ApplicationConditionInvalidSpecError:
		return "correct the Application's spec: project, destination or source is refused"
	}
	return ""
}
