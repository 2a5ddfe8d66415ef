package jenkinshome

import (
	"flag"
	"testing"

	"pgregory.net/rapid"
)

// The model plays two clusters, a volume, the mover's Job and an orchestrator that may die between any two operations, all of them
// driven by the very table, scripts and phases that the product uses. Content is counted: oldData grows while the old Jenkins runs,
// base is what of it the volume holds.
type model struct {
	state State
	cm    Phase
	abort bool

	job      Job
	restarts int
	mounted  bool  // the mover has the volume mounted
	did      bool  // the mover has done the operation of this phase, but not written the next
	copying  bool  // a precopy Job runs
	started  Phase // phase before the operation

	oldUp, newUp   bool
	wanted         bool // the target would start its Jenkins once it can have the volume
	claim          bool // the target has a claim on it
	oldReplicas    bool // recorded before scaling
	oldData, base  int
	whole          bool // the volume holds the home of a stopped Jenkins
	snapshot       bool // route: the orchestrator makes the last pass
	place          Place
	source, target bool
	differs        bool
	o              *orchestrator
}

type orchestrator struct {
	stages []Verb // what is left after the current one
	verb   Verb
	queue  []op
	check  Verdict
	last   Decision
	blind  bool // the target did not answer when it decided
}

const startNew Verb = "attach-volume and sync" // the stages between migrate and verify, not ours

func (m *model) world(v Verb) World {
	w := World{Source: m.source, Volume: m.place, New: Unknown, Old: Unknown, Check: m.o.check, OnDiff: true}
	if m.source {
		w.Phase, w.Abort, w.Job, w.Old = m.cm, m.abort, m.job, life(m.oldUp)
	}
	m.o.blind = !m.target || v == Down
	if m.target && (v == RunVerify || v == Rollback || v == Resume) {
		w.New, w.Claim = life(m.newUp || m.wanted), m.claim
	}
	return w
}

func life(up bool) Life {
	if up {
		return Up
	}
	return Stops
}

// stepOrchestrator does one operation, or decides the next action. It reports whether anything is left to do.
func (m *model) stepOrchestrator(t *rapid.T) bool {
	o := m.o
	if o == nil {
		return false
	}
	if len(o.queue) > 0 {
		next := o.queue[0]
		o.queue = o.queue[1:]
		if !m.exec(t, next) {
			o.queue = nil
		}
		return true
	}
	if o.verb == startNew {
		m.startNew(t)
	} else {
		o.last = decide(m.state, m.world(o.verb), o.verb)
		switch o.last.Do {
		case Refuse, Report:
			m.o = nil
			return false
		case Keep:
		default:
			o.queue = script[o.last.Do]
			if len(o.queue) == 0 {
				t.Fatalf("%s has no script", o.last.Do)
			}
			return true
		}
	}
	if len(o.stages) == 0 {
		m.o = nil
		return false
	}
	o.verb, o.stages, o.check = o.stages[0], o.stages[1:], Unasked
	return true
}

// exec does one operation in the world; false ends the action, and the world is looked at again.
func (m *model) exec(t *rapid.T, x op) bool {
	usesSource := map[op]bool{opLastCopy: true, opCopy: true, opOpen: true, opLaunch: true, opFollow: true, opCommit: true, opAbort: true, opStopJob: true,
		opStartOld: true, opBackedOut: true}
	if usesSource[x] && !m.source {
		m.o = nil // the call fails, the run ends
		return false
	}
	switch x {
	case opClaim:
		m.state = Precopying
	case opAttach:
		if m.place == Elsewhere {
			return false
		}
		m.place = OnSource
	case opCopy:
		if m.place != OnSource {
			return false
		}
		if !m.copying {
			m.copying, m.whole = true, false // a live copy changes the volume
		}
		if m.copying { // until it has ended, the orchestrator waits here
			m.o.queue = append([]op{opCopyWait}, m.o.queue...)
		}
	case opCopyWait:
		if m.copying {
			m.o.queue = append([]op{opCopyWait}, m.o.queue...)
		}
	case opPrecopied:
		m.state = Precopied
	case opOpen:
		m.cm, m.abort, m.oldReplicas = Ready, false, false
		m.job = NoJob
	case opCutting:
		m.state = Cutting
	case opLaunch:
		if m.job == NoJob {
			m.job, m.restarts, m.did, m.mounted = Running, 1, false, false
		}
	case opFollow:
		if m.job == Running && (m.cm != Copied || m.abort) && m.cm != Committed {
			m.o.queue = append([]op{opFollow}, m.o.queue...)
		}
	case opLastCopy:
		if !m.snapshot {
			break
		}
		if m.cm != Copied || m.abort || m.place == Elsewhere {
			return false
		}
		m.place, m.base, m.whole = OnSource, m.oldData, !m.oldUp
	case opDetach:
		if m.mounted || m.copying {
			t.Fatalf("the volume is detached while it is mounted")
		}
		if m.place == OnSource {
			m.place = Free
		}
	case opCommit:
		if m.cm != Copied || m.abort || m.oldUp {
			return false
		}
		m.cm = Committed
	case opMoved:
		m.state = Moved
	case opAbort:
		if m.cm.working() || m.cm == Copied {
			m.abort = true
		}
	case opStopJob:
		m.copying, m.mounted = false, false
		if m.job != NoJob {
			m.job = Ended
		}
	case opStartOld:
		m.startOld(t)
	case opBackedOut:
		m.cm = BackedOut
	case opCompare:
		m.o.check = Equal
		if m.differs || !m.newUp {
			m.o.check = Different
		}
		if !m.target {
			m.o = nil
			return false
		}
	case opVerified:
		m.state = Verified
	case opTurnBack:
		m.state = RollingBack
	case opStopNew:
		if !m.target {
			m.o = nil
			return false
		}
		m.newUp, m.wanted = false, false
	case opDropClaim:
		if !m.target {
			m.o = nil
			return false
		}
		m.claim = false
	case opForget:
	case opFinalized:
		m.state = Finalized
	case opFreeNew:
		if m.place == Elsewhere {
			m.place = Free
		}
	case opHealNew:
		if m.target {
			m.wanted = true // Argo CD starts its Jenkins again, which has no claim now
		}
	case opClean, opProtect, opUnprotect:
	default:
		t.Fatalf("the model does not know %q", x)
	}
	return true
}

const opCopyWait op = "wait for the precopy Job"

func (m *model) startOld(t *rapid.T) {
	if m.newUp {
		t.Fatalf("the old Jenkins is started while the new one runs")
	}
	if m.o != nil && m.state == RollingBack && m.claim && !m.o.blind {
		t.Fatalf("the old Jenkins is started while the target has a claim on the volume")
	}
	m.oldUp = true
}

// startNew is what the stages after migrate do once migrate is content.
func (m *model) startNew(t *rapid.T) {
	if !m.target || m.place == OnSource || m.state != Moved && m.state != Verified && m.state != Finalized {
		return
	}
	if !m.whole || m.base != m.oldData {
		t.Fatalf("the new Jenkins starts on a volume with %d of %d (whole: %v)", m.base, m.oldData, m.whole)
	}
	m.wanted, m.claim = true, true
	if m.place == Free { // else it is there, or waits
		m.place, m.newUp = Elsewhere, true
	}
}

// attachLate is a target whose Jenkins was pending: it starts as soon as it gets the volume.
func (m *model) attachLate() {
	if m.wanted && m.claim && m.place == Free {
		m.place, m.newUp = Elsewhere, true
	}
}

// stepMover does the operation of the current phase or, on the next call, writes the next phase: a crash may fall in between.
func (m *model) stepMover(t *rapid.T) {
	if m.job != Running {
		return
	}
	if m.did && m.started != m.cm { // somebody else wrote: the compare-and-swap fails, look again
		m.did = false
		return
	}
	do, to := next(m.cm, m.abort)
	if m.did && do != doAwaitAck {
		m.cm, m.did = to, false
		return
	}
	m.started, m.did = m.cm, true
	switch do {
	case doBaseline, doQuiet, doPause, doTurn:
	case doStop:
		m.oldReplicas = true
		m.oldUp = false
	case doAwaitEnd:
		m.did = !m.oldUp
		if m.oldUp { // somebody scaled it up again
			m.cm = BackingOut
		}
	case doLastPass:
		if m.snapshot { // flushes only
			m.did = !m.oldUp
			if m.oldUp {
				m.cm = BackingOut
			}
			return
		}
		m.mounted = true
		if m.place != OnSource || m.oldUp {
			m.cm, m.did, m.mounted = BackingOut, false, false
			return
		}
		m.base, m.whole, m.mounted = m.oldData, true, false
	case doAwaitAck:
		m.did = false
		if m.oldUp {
			m.cm = BackingOut
		}
	case doStart:
		m.startOld(t)
	case doEnd:
		m.job, m.did = Ended, false
	}
}

func (m *model) invariants(t *rapid.T) {
	if m.oldUp && m.newUp {
		t.Fatalf("two Jenkins run")
	}
	if (m.state == Moved || m.state == Verified || m.state == Finalized) && m.oldUp {
		t.Fatalf("the tag says %s and the old Jenkins runs", m.state)
	}
	if (m.state == None || m.state == Precopying || m.state == Precopied) && !m.oldUp {
		t.Fatalf("the tag says %q and the old Jenkins is down", m.state)
	}
	if (m.state == Moved || m.state == Verified) && !m.newUp && (!m.whole || m.base != m.oldData) {
		t.Fatalf("the tag says %s and the volume has %d of %d", m.state, m.base, m.oldData)
	}
}

// settle lets everything answer and nothing crash, and runs until nobody has anything to do.
func (m *model) settle(t *rapid.T, stages ...Verb) {
	m.source, m.target, m.differs = true, true, false
	if m.place == Elsewhere && !m.newUp {
		m.place = Free
	}
	m.attachLate()
	for range 3 { // a run that finds itself backed out ends; the user runs it again
		m.run(stages...)
		for i := 0; m.o != nil; i++ {
			m.stepOrchestrator(t)
			m.copying = false
			m.stepMover(t)
			m.invariants(t)
			if i > 500 {
				t.Fatalf("%v does not come to an end: %+v", stages, m)
			}
		}
	}
}

func (m *model) run(stages ...Verb) { m.o = &orchestrator{verb: stages[0], stages: stages[1:]} }

func TestMoveNeverLosesAJenkins(t *testing.T) {
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("5000") // a walk takes a tenth of a millisecond, and the rare ones matter; cannot fail for a number
	}
	rapid.Check(t, func(t *rapid.T) {
		m := &model{oldUp: true, oldData: 1, place: Free, source: true, target: true, snapshot: rapid.Bool().Draw(t, "route snapshot")}
		for _, e := range rapid.SliceOfN(rapid.SampledFrom(m.events()), 20, 120).Draw(t, "events") {
			t.Log(e.name)
			e.do(t)
			m.invariants(t)
		}
		final := m.state == Verified || m.state == Finalized
		if !final && rapid.Bool().Draw(t, "go back at the end") {
			m.settle(t, Rollback)
			if !m.oldUp || m.newUp || m.claim || m.state == Cutting || m.state == RollingBack || m.state == Moved {
				t.Fatalf("rolled back to %+v", m)
			}
		}
		if m.state == RollingBack {
			m.settle(t, rapid.SampledFrom([]Verb{RunVerify, Resume}).Draw(t, "who finishes the rollback"))
			if m.state != Precopied || !m.oldUp || m.newUp || m.claim {
				t.Fatalf("a rollback does not end: %+v", m)
			}
		}
		m.settle(t, RunPrecopy, RunMigrate, startNew, RunVerify)
		if m.oldUp || !m.newUp || m.state != Verified && m.state != Finalized {
			t.Fatalf("does not converge: %+v", m)
		}
		m.settle(t, Finalize)
		if m.state != Finalized || m.oldUp || !m.newUp {
			t.Fatalf("made final: %+v", m)
		}
	})
}

type event struct {
	name string
	do   func(*rapid.T)
}

func (e event) String() string { return e.name }

// events are what may happen, the usual ones several times: single steps of everybody would seldom reach the end of a move.
func (m *model) events() []event {
	var out []event
	add := func(weight int, name string, do func(*rapid.T)) {
		for range weight {
			out = append(out, event{name, do})
		}
	}
	begin := func(stages ...Verb) func(*rapid.T) {
		return func(*rapid.T) {
			if m.o == nil { // the engine's lock lets one run at a time
				m.run(stages...)
			}
		}
	}
	add(6, "run", begin(RunPrecopy, RunMigrate, startNew, RunVerify))
	add(1, "precopy", begin(RunPrecopy))
	add(2, "migrate", begin(RunMigrate))
	add(1, "verify", begin(RunVerify))
	add(2, "rollback", begin(Rollback))
	add(2, "resume", begin(Resume))
	add(1, "finalize", begin(Finalize))
	add(2, "the target gets the volume", func(*rapid.T) { m.attachLate() })
	add(1, "down", func(t *rapid.T) {
		if m.o == nil && m.target { // the stages before ours let go first
			m.newUp, m.wanted, m.claim = false, false, false
			if m.place == Elsewhere {
				m.place = Free
			}
			m.run(Down)
		}
	})
	add(8, "orchestrator acts", func(t *rapid.T) { m.stepOrchestrator(t) })
	for _, n := range []int{3, 6, 12} {
		add(6, "orchestrator works", m.repeat(n, func(t *rapid.T) { m.stepOrchestrator(t) }))
		add(6, "mover works", m.repeat(n, m.stepMover))
	}
	add(8, "mover acts", m.stepMover)
	add(6, "copy ends", func(*rapid.T) { m.copying = false })
	add(3, "orchestrator dies", func(*rapid.T) { m.o = nil })
	add(2, "mover's pod dies", func(*rapid.T) { m.killMover() })
	add(2, "mover fails", func(*rapid.T) { m.turnMover() })
	add(1, "source goes", func(*rapid.T) { m.source = false })
	add(3, "source comes", func(*rapid.T) { m.source = true })
	add(1, "target goes", func(*rapid.T) { m.target = false })
	add(3, "target comes", func(*rapid.T) { m.target = true })
	add(2, "new one differs or not", func(*rapid.T) { m.differs = !m.differs })
	add(2, "old one builds", func(*rapid.T) {
		if m.oldUp {
			m.oldData++
		}
	})
	add(1, "somebody heals the old one", func(*rapid.T) {
		if m.state == Cutting && (m.cm == Stopping || m.cm == Stopped || m.cm == Copied) {
			m.oldUp = true
		}
	})
	return out
}

// repeat lets one side get ahead of the other.
func (m *model) repeat(n int, step func(*rapid.T)) func(*rapid.T) {
	return func(t *rapid.T) {
		for range n {
			step(t)
			m.invariants(t)
		}
	}
}

func (m *model) killMover() {
	if m.job != Running {
		return
	}
	m.mounted, m.did = false, false
	if m.restarts--; m.restarts < 0 {
		m.job = Ended
	}
}

// turnMover is any error in the mover, the deadline of the acknowledgement and SIGTERM.
func (m *model) turnMover() {
	if m.job == Running && (m.cm.working() || m.cm == Copied) {
		m.cm, m.did, m.mounted = BackingOut, false, false
	}
}
