package jenkinshome

import (
	"context"
	"errors"
	"time"

	"pipectl.dev/cloud"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/jenkinshome/jenkins"
)

// mission is one run of a verb over one move: it looks, lets the table decide, acts, and looks again. It keeps nothing that it could not
// find out anew.
type mission struct {
	env    steps.Env
	aws    *cloud.Session
	open   kube.Opener
	image  string // as told; "" means it is to be found out
	move   Move
	change steps.Change

	asked   string   // route of the spec
	given   string   // instance of the spec
	options []option // what speaks for and against each route

	early bool // stages before this one may not have run yet

	passes  int
	small   int64
	migrate *MigrateSpec // of the cut-over; nil in the other steps
	verify  *VerifySpec  // of the comparison; nil in the other steps

	vol    volume
	source *kube.Client // nil until it was needed
	home   *home
	disk   sourceDisk // of route snapshot
	types  instanceTypes
	rec    *record
	check  Verdict
	diff   []string
	diffs  int
	room   string // what to tell of the room for Jenkins in the new cluster; "": nothing
	after  jenkins.Inventory
	target *kube.Client
	gone   bool // the pod that had the home in an emptyDir is no more
	same   bool // the new Jenkins is the workload that was moved, with another volume

	cutHere  bool // this run has started, joined or ended a critical section
	backHere bool // this run has begun to roll back
	undone   bool // what was begun was taken back
	lost     bool // the node of the running mover does not answer: nobody waits for it any more
	forget   bool // the record goes too
	began    time.Time
	detached time.Duration // what the last detach took
	receiver *receiving    // route stream: what catches up before Jenkins stops, and then makes the last pass
	received time.Time     // when one was started last
	last     *finalPass    // what a last pass from a snapshot found; nil where the mover of the critical section makes it
}

func (m *mission) say(detail string) {
	m.env.Report(steps.Progress{Change: m.change, Phase: "wait", Detail: detail, Elapsed: time.Since(m.began)})
}

// run goes on until the table says that nothing is left.
func (m *mission) run(ctx context.Context, v Verb) error {
	m.began = time.Now()
	release := func() {}
	defer func() { release() }()
	defer m.dropReceiver()
	alone := false
	for range 40 {
		s, w, err := m.observe(ctx, v)
		if err != nil {
			return err
		}
		d := decide(s, w, v)
		m.env.Log.Debug("move", "state", string(s), "phase", string(w.Phase), "job", string(w.Job), "volume", string(w.Volume), "do", string(d.Do))
		switch d.Do {
		case Keep:
			return nil
		case Refuse:
			if m.backHere {
				return m.rolledBack()
			}
			return d.Why
		case Report:
			switch {
			case m.same:
				return m.different("; " + backInPlace)
			case m.gone:
				return m.different("; " + whyHomeGone.Message)
			}
			return m.different("")
		case TurnBack:
			if m.same {
				return whyInPlace
			}
		}
		if err := m.noWayBack(d.Do, v); err != nil {
			return err
		}
		if !alone && m.source != nil && d.Do != Compare && d.Do != Accept && d.Do != Abort { // asking is safe beside another mover
			if ctx, release, err = m.alone(ctx, release); err != nil {
				return err
			}
			alone = true
			continue // another mover may have been waited for
		}
		if err := m.perform(ctx, d.Do); err != nil {
			return orLost(ctx, err)
		}
		if done, err := m.turnedBack(d.Do, v); done {
			m.undone = true
			return err
		}
	}
	return &steps.Error{Code: "NoProgress", Category: steps.Internal, Message: "the move does not come to an end"}
}

// perform does an action's operations. One that finds the world changed ends the action without an error.
func (m *mission) perform(ctx context.Context, a Action) error {
	switch a {
	case Launch, Follow, BackOut:
		m.cutHere = true
	case TurnBack, StopNew, Restart:
		m.backHere = true
	}
	m.forget = a == LetGo || a == Finish
	for _, x := range script[a] {
		m.say(string(x))
		err := m.exec(ctx, x)
		if errors.Is(err, errLookAgain) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// errLookAgain ends an action: the world is not what it was when it was decided on.
var errLookAgain = errors.New("look again")

// turnedBack ends a run whose cut-over was backed out, or whose rollback is done.
func (m *mission) turnedBack(a Action, v Verb) (bool, error) {
	switch {
	case a == Settle && m.cutHere && (v == RunMigrate || v == Resume):
		why := m.rec.Cut.Why
		if why == nil {
			why = &steps.ErrorInfo{Code: "CutoverLost", Category: steps.Unhealthy, Retryable: true, Message: "its Job ended before its time", Hint: "see the events of the Job's pods, then run again"}
		}
		return true, asError(why, "cut-over turned back, the old Jenkins runs as before: ")
	case a == Restart && v == RunVerify:
		return true, m.rolledBack()
	}
	return false, nil
}

func (m *mission) rolledBack() error {
	if m.diffs == 0 {
		return &steps.Error{Code: "RolledBack", Category: steps.Verification, Message: "an earlier run began to roll back: the old Jenkins runs again, the new one is stopped",
			Hints: []string{"see why the new Jenkins was not accepted, then run again: the home is copied anew"}}
	}
	return m.different("; rolled back: the old Jenkins runs again, builds that the new one made are lost")
}
