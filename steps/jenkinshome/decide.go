package jenkinshome

import (
	"slices"

	"pipectl.dev/steps"
)

// Action is one small thing to do, safe to repeat from its beginning. After it the world is looked at again.
type Action string

// The actions. What each consists of is listed in ops.go.
const (
	Keep      Action = "keep"      // nothing to do
	Copy      Action = "copy"      // claim the volume, attach it, copy while Jenkins runs
	Open      Action = "open"      // short live pass, write the state ConfigMap, enter Cutting
	Launch    Action = "launch"    // start the Job of the critical section
	Follow    Action = "follow"    // wait until the Job has something to say
	Commit    Action = "commit"    // detach, commit, write Moved
	Seal      Action = "seal"      // committed, but the tag does not say so yet: write Moved
	Abort     Action = "abort"     // ask the running Job to turn back
	BackOut   Action = "back-out"  // no Job runs: start the old Jenkins from here
	Settle    Action = "settle"    // backed out: write Precopied
	Compare   Action = "compare"   // ask the new Jenkins
	Accept    Action = "accept"    // write Verified
	Report    Action = "report"    // different, and the spec says to report only
	TurnBack  Action = "turn-back" // write RollingBack
	StopNew   Action = "stop-new"  // stop the new Jenkins, let its volume go, remove its claim
	Restart   Action = "restart"   // start the old Jenkins, write Precopied
	Finish    Action = "finish"    // remove what the source cluster keeps for going back, write Finalized
	LetGo     Action = "let-go"    // remove mover Job and grants, detach the volume from the old node
	Refuse    Action = "refuse"    // see Decision.Why
	undecided Action = "(no rule)" // never returned: the test goes through every combination
)

// Decision is an action, or a refusal with its reason.
type Decision struct {
	Do  Action
	Why *steps.Error // of a refusal
}

type rule struct {
	in   []State // nil: any
	on   []Verb  // nil: any
	when func(World) bool
	do   Action
	why  *steps.Error
}

func (r rule) fits(s State, w World, v Verb) bool {
	return (r.in == nil || slices.Contains(r.in, s)) && (r.on == nil || slices.Contains(r.on, v)) && r.when(w)
}

func refusal(code string, cat steps.Category, message, hint string) *steps.Error {
	return &steps.Error{Code: code, Category: cat, Message: message, Hints: []string{hint}}
}

var (
	whyMissing = refusal("VolumeMissing", steps.Precondition, "the data volume does not exist",
		"run the stage that makes it (data-volume), or correct `volume`")
	whyElsewhere = refusal("VolumeInUse", steps.Conflict, "the data volume is attached to an instance that is not the source's",
		"stop what uses it and let it detach, then run again")
	whySource = &steps.Error{Code: "SourceUnreachable", Category: steps.Transient, Retryable: true, Message: "the source cluster does not answer",
		Hints: []string{"bring the cluster of `from.cluster` back and run again; the volume keeps the last good copy"}}
	whyTarget = &steps.Error{Code: "TargetUnreachable", Category: steps.Transient, Retryable: true,
		Message: "the target cluster does not answer, so its Jenkins cannot be kept from starting", Hints: []string{"bring the cluster back, or remove it (pipectl down), and run again"}}
	whySelf = refusal("SelfMove", steps.Precondition, "pipectl runs in the pod of the Jenkins that is to be moved, and would be stopped with it",
		"run the stage on an agent of that Jenkins, from a laptop, or as a Job in a cluster")
	whyDown = refusal("SourceNotRunning", steps.Precondition, "the old Jenkins does not run, so its node and its state cannot be read",
		"start it (scale it up) and run again")
	whyNotMoved = refusal("NotMoved", steps.Precondition, "the home has not been moved yet",
		"run the stage of migrate-jenkins-home first")
	whyFinished = refusal("MoveFinished", steps.Precondition, "the move is finished; turning back would lose what the new Jenkins has done since",
		"copy the home back by hand, or keep the new Jenkins")
	whyRollback = refusal("RollbackUnfinished", steps.Conflict, "a rollback is under way: the new Jenkins may not be stopped yet",
		"`pipectl move resume` (or the stage of verify-jenkins-home) finishes it")
	whyUnverified = refusal("NotVerified", steps.Precondition, "the move is not finished: the new Jenkins has not been compared with the old one",
		"run the stage of verify-jenkins-home; `pipectl move status` shows how far the move is")
)

func always(World) bool { return true }

// The table. The first rule that fits decides. Rows read: in these states, for these verbs, when the world is so: do that.
//
//	state        | precopy | migrate                | verify                       | rollback (abort)       | resume         | finalize | down
//	none         | copy    | copy                   | refuse                       | keep                   | keep           | refuse   | keep
//	precopying   | copy    | copy                   | refuse                       | let go                 | copy           | refuse   | let go
//	precopied    | keep    | open (to cutting)      | refuse                       | let go                 | keep           | refuse   | let go
//	cutting      | keep    | launch, follow, commit,| refuse                       | abort, follow, back out| as migrate     | refuse   | as rollback
//	             |         | seal, back out, settle |                              | settle                 |                |          |
//	moved        | keep    | keep                   | compare, accept or turn back | turn back              | keep           | refuse   | keep
//	verified     | keep    | keep                   | keep                         | refuse                 | keep           | finish   | keep
//	finalized    | keep    | keep                   | keep                         | refuse                 | keep           | keep     | keep
//	rollingback  | refuse  | refuse                 | stop new, restart (verify, rollback, resume)          |                | refuse   | restart
//
// Whatever would touch the source is refused while it does not answer; whatever needs the volume while it is attached to a third instance.
// Moved and verified never look at the source for precopy, migrate and down. The old Jenkins is started only when the new one is known to
// be stopped, its volume let go of and its claim gone; down relies on the stages before it for that.
var table = []rule{
	// Only what was compared can be made final.
	{[]State{Verified}, []Verb{Finalize}, always, Finish, nil},
	{[]State{None, Precopying, Precopied, Cutting, Moved, RollingBack}, []Verb{Finalize}, always, Refuse, whyUnverified},

	// A finished move: all from the tag alone.
	{[]State{Verified, Finalized}, []Verb{Rollback}, always, Refuse, whyFinished},
	{[]State{Verified, Finalized}, nil, always, Keep, nil},
	{[]State{Moved}, []Verb{RunPrecopy, RunMigrate, Resume, Down}, always, Keep, nil},

	// Verify and rollback of a move that was not compared yet.
	{[]State{Moved}, nil, func(w World) bool { return w.Volume == Missing }, Refuse, whyMissing},
	{[]State{Moved}, []Verb{RunVerify}, func(w World) bool { return w.Check == Equal }, Accept, nil},
	{[]State{Moved}, []Verb{RunVerify}, func(w World) bool { return w.Check == Unasked }, Compare, nil},
	{[]State{Moved}, []Verb{RunVerify}, func(w World) bool { return !w.OnDiff }, Report, nil},
	{[]State{Moved}, nil, func(w World) bool { return !w.Source }, Refuse, whySource}, // before the new one is stopped
	{[]State{Moved}, nil, func(w World) bool { return w.New == Unknown }, Refuse, whyTarget},
	{[]State{Moved}, nil, always, TurnBack, nil},

	// A rollback that was begun is finished by whoever knows the target, or comes after the stages that stopped it.
	{[]State{RollingBack}, []Verb{RunPrecopy, RunMigrate}, always, Refuse, whyRollback},
	{[]State{RollingBack}, nil, func(w World) bool { return !w.Source }, Refuse, whySource},
	{[]State{RollingBack}, nil, func(w World) bool { return w.New == Up }, StopNew, nil},
	{[]State{RollingBack}, []Verb{RunVerify, Rollback, Resume}, func(w World) bool { return w.New == Unknown }, Refuse, whyTarget},
	{[]State{RollingBack}, nil, func(w World) bool { return w.Volume == Elsewhere && w.New == Unknown }, Refuse, whyTarget},
	{[]State{RollingBack}, nil, func(w World) bool { return w.Volume == Elsewhere || w.Claim }, StopNew, nil},
	{[]State{RollingBack}, nil, always, Restart, nil},

	// Nothing to compare or to take back yet.
	{[]State{None, Precopying, Precopied, Cutting}, []Verb{RunVerify}, always, Refuse, whyNotMoved},
	{[]State{None}, []Verb{Rollback, Resume, Down}, always, Keep, nil},
	{[]State{Precopied}, []Verb{Resume, RunPrecopy}, always, Keep, nil},
	{[]State{Cutting}, []Verb{RunPrecopy}, always, Keep, nil}, // the cut-over stage knows what to do

	// From here on the source is needed.
	{[]State{Precopying, Precopied}, []Verb{Rollback, Down}, func(w World) bool { return w.Volume != OnSource }, Keep, nil},
	{nil, nil, func(w World) bool { return !w.Source }, Refuse, whySource},
	{[]State{Precopying, Precopied}, []Verb{Rollback, Down}, always, LetGo, nil},

	// The critical section. Its rules do not ask for the volume first: starting the old Jenkins again needs none.
	{[]State{Cutting}, nil, func(w World) bool { return w.Volume == Elsewhere }, Refuse, whyElsewhere},
	{[]State{Cutting}, nil, func(w World) bool { return w.Phase == BackedOut && w.Job != Running }, Settle, nil},
	{[]State{Cutting}, nil, func(w World) bool { return (w.Phase == BackedOut || w.Phase == BackingOut) && w.Job == Running }, Follow, nil},
	{[]State{Cutting}, []Verb{Rollback, Down}, func(w World) bool { return w.Job == Running && w.Phase != Committed }, Abort, nil},
	{[]State{Cutting}, []Verb{Rollback, Down}, always, BackOut, nil},
	{[]State{Cutting}, nil, func(w World) bool { return w.Abort && w.Phase != Committed && w.Job == Running }, Follow, nil},
	{[]State{Cutting}, nil, func(w World) bool { return w.Abort && w.Phase != Committed }, BackOut, nil},
	{[]State{Cutting}, nil, func(w World) bool { return (w.Phase == Committed || w.Phase == Copied) && w.Old == Up }, BackOut, nil}, // somebody started it: the copy is stale
	{[]State{Cutting}, nil, func(w World) bool { return w.Phase == Committed && w.Volume == Missing }, BackOut, nil},
	{[]State{Cutting}, nil, func(w World) bool { return w.Phase == Committed }, Seal, nil},
	{[]State{Cutting}, nil, func(w World) bool { return w.Phase == Copied && w.Volume == Missing }, BackOut, nil},
	{[]State{Cutting}, nil, func(w World) bool { return w.Phase == Copied }, Commit, nil},
	{[]State{Cutting}, nil, func(w World) bool { return w.Job == Running }, Follow, nil},
	{[]State{Cutting}, nil, func(w World) bool { return w.Phase == Ready && w.Job == NoJob && w.Volume != Missing && !w.Self }, Launch, nil},
	{[]State{Cutting}, nil, always, BackOut, nil},

	// The way there.
	{nil, nil, func(w World) bool { return w.Volume == Missing }, Refuse, whyMissing},
	{nil, nil, func(w World) bool { return w.Volume == Elsewhere }, Refuse, whyElsewhere},
	{nil, nil, func(w World) bool { return w.Old == Stops }, Refuse, whyDown},
	{[]State{None, Precopying}, nil, always, Copy, nil},
	{[]State{Precopied}, []Verb{RunMigrate}, func(w World) bool { return w.Self }, Refuse, whySelf},
	{[]State{Precopied}, []Verb{RunMigrate}, always, Open, nil},
}

// decide says what to do next about a move. It is pure: the same three always give the same answer.
func decide(s State, w World, v Verb) Decision {
	if !slices.Contains(states, s) {
		return Decision{Do: Refuse, Why: refusal("UnknownState", steps.Precondition, "the volume's move-state "+string(s)+" is not known",
			"use the version of pipectl that wrote it, or a newer one")}
	}
	for _, r := range table {
		if r.fits(s, w, v) {
			return Decision{Do: r.do, Why: r.why}
		}
	}
	return Decision{Do: undecided}
}
