package syncargocd

import (
	"fmt"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// wanted is what one Application shall become, and how patient we are.
type wanted struct {
	RunID     string   // marks our operation
	Revision  string   // to sync, "" for what the Application follows
	Revisions []string // as Revision, one a source; "" entries follow
	Commit    string   // what must be live, exactly
	Pushed    string   // this, or the head of the branch since it was pushed, must be live
	Images    []string // what the Application must use
	Prune     bool
	DryRun    bool // ask for a sync that changes nothing
	Follow    bool // write nothing: somebody else syncs
	Hard      bool // first comparison past all caches
	Shared    bool // the first comparison may be that of another Application of the same sources
	// Recent is how old a comparison may be that says there is something to sync: the sync itself asks Git anew. Zero: none is new
	// enough.
	Recent time.Duration
	Filter filter

	HealthyFor    time.Duration
	DegradedGrace time.Duration
	Appear        time.Duration
	Timeout       time.Duration
}

// Patience with Argo CD itself, beyond what the spec says.
var (
	pickupWithin  = 2 * time.Minute  // the controller takes a refresh or an operation up in seconds, or it is not running
	answerWithin  = 20 * time.Second // by then a comparison has ended, in success or with an error
	orphanAfter   = 45 * time.Second // a "running" state that nobody works on does not change any more
	settleFor     = 15 * time.Second // status after a sync may lag behind it
	comparesSoon  = 3 * time.Second  // the controller compares by itself after a sync
	comparesLate  = 15 * time.Second // a busy one later
	heldFor       = 10 * time.Second // a sync window may hold a sync by hand for a moment
	recently      = 3 * time.Minute  // Argo CD's own interval: a comparison as old as that says truly enough that there is something to sync
	retryRefresh  = 10 * time.Second // between looks at an error that may pass by itself
	deliverWithin = time.Minute      // a mirror of Git, or the tree that images are read from, may lag behind a push
	retryDeliver  = 3 * time.Second  // between looks at those
	lookAtPods    = 5 * time.Second  // between looks at pods that do not get ready
)

const maxRounds = 3 // syncs when the branch moves on under our feet

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
	Compared string    // status.reconciledAt when we asked, or when our operation ended
	Hard     bool      // an error of the repo server is cached: only a hard refresh asks again
	Bad      time.Time // since when a condition says an error
	Tried    time.Time // last hard refresh on its account
	Writ     time.Time // when our operation was written
	Busy     time.Time // since when the foreign operation looks the same
	BusyLook string    // how it looks
	Healthy  time.Time // since when
	Sick     time.Time // Degraded since when
	Off      time.Time // since when the status contradicts a finished sync
	Late     time.Time // since when what is live, or would be, is not what is wanted
	Without  time.Time // since when images are missing
	Again    time.Time // when either was last asked for
	Followed time.Time // since when somebody else ought to sync
	Adopting bool      // an operation of others has just ended
	Changed  bool      // an operation of ours, or one we waited for, was made
	Result   *argo.SyncOperationResult

	// What the driver found out for us.
	Scouted bool           // asked for what a comparison of another Application found
	Found   []string       // revisions that one found
	Heads   []string       // commits that the followed branch had since we began
	HeadFor string         // what was compared when they were last read
	Pods    []kube.Trouble // what keeps pods of the Application from running, as of the last look
	Stuck   time.Time      // since when something does
	StuckAt time.Time      // when it last did
}

// action is what to do now.
type action struct {
	Do     verb
	Hard   bool          // of askRefresh
	Again  time.Duration // of hold: look again no later than that, even if nothing changes
	Pods   bool          // of hold: look at the pods then
	Detail string        // of hold: for people
	Err    error         // of fail and terminate
}

type verb int

const (
	hold       verb = iota // wait for a change
	askRefresh             // mark the Application, then wait
	askScout               // learn what a comparison of another Application found, or make it
	askHead                // read the followed branch's head from Git
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
		m.Began, m.Hard = now, w.Hard
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
	act := failWith("TimedOut", steps.Timeout, "raise `timeout`, or run again: it carries on", "not done after %s (last seen: %s)", w.Timeout, progress(app))
	if ours(app, w) && !parked(app) {
		act.Do = terminate
	}
	return act
}

// ours reports whether an operation of ours waits or runs. While there is an operation it alone says whose: Argo CD merges its state
// over that of the one before, so that an operation without marks inherits ours there.
func ours(app *argo.Application, w wanted) bool {
	if app.Operation != nil {
		return carries(app.Operation.Info, w.RunID)
	}
	return active(app) && carries(app.Status.OperationState.Operation.Info, w.RunID)
}

// foreign reports that an operation of somebody else waits or runs, whatever the state says.
func foreign(app *argo.Application, w wanted) bool {
	return app.Operation != nil && !carries(app.Operation.Info, w.RunID)
}
