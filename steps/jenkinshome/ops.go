package jenkinshome

// op is the smallest thing that is done at once: a crash falls between two of them. Each may find its own work done already.
type op string

// What an orchestrator does.
const (
	opClaim     op = "write precopying and the source on the volume"
	opAttach    op = "attach the volume to the old node"
	opCopy      op = "copy while Jenkins runs"
	opPrecopied op = "write precopied on the volume"
	opOpen      op = "write the state ConfigMap: ready"
	opCutting   op = "write cutting on the volume"
	opLaunch    op = "grant rights and start the mover Job"
	opFollow    op = "wait for the mover Job"
	opLastCopy  op = "last pass from a snapshot, where that is the route"
	opDetach    op = "detach the volume"
	opCommit    op = "state ConfigMap: copied to committed"
	opMoved     op = "write moved on the volume"
	opAbort     op = "state ConfigMap: ask to turn back"
	opStopJob   op = "remove the mover Job"
	opStartOld  op = "start the old Jenkins"
	opBackedOut op = "state ConfigMap: backed out"
	opCompare   op = "compare the new Jenkins with the baseline"
	opVerified  op = "write verified on the volume"
	opTurnBack  op = "write rollingback on the volume"
	opStopNew   op = "stop the new Jenkins"
	opFreeNew   op = "take the volume from the target"
	opDropClaim op = "remove the new claim"
	opHealNew   op = "let the new Application sync by itself again"
	opProtect   op = "keep the old claim whatever its chart does"
	opUnprotect op = "put the old claim back as it was"
	opClean     op = "remove what the mover needed"
	opForget    op = "remove what the source cluster keeps for going back"
	opFinalized op = "write finalized on the volume"
)

// script lists what an action consists of, in the only order that is safe:
//
//   - cutting is written before the Job exists, so that whoever comes next asks the source;
//   - the volume is let go of before the commit, and the commit comes before the tag: until then the mover may turn back on its own,
//     and a move whose tag says moved can have no running old Jenkins;
//   - the old Jenkins runs before a tag says precopied;
//   - the target heals again once the old Jenkins runs: what it starts finds no claim on the volume.
var script = map[Action][]op{
	Copy:     {opClaim, opAttach, opCopy, opPrecopied},
	Open:     {opAttach, opCopy, opOpen, opProtect, opCutting},
	Launch:   {opAttach, opLaunch},
	Follow:   {opFollow},
	Commit:   {opLastCopy, opDetach, opCommit, opMoved, opClean},
	Seal:     {opDetach, opMoved, opClean},
	Abort:    {opAbort, opFollow},
	BackOut:  {opStopJob, opStartOld, opBackedOut},
	Settle:   {opUnprotect, opPrecopied, opClean},
	Compare:  {opCompare},
	Accept:   {opVerified},
	TurnBack: {opTurnBack},
	StopNew:  {opStopNew, opFreeNew, opDropClaim},
	Restart:  {opStopJob, opStartOld, opBackedOut, opUnprotect, opHealNew, opPrecopied},
	LetGo:    {opStopJob, opDetach, opClean},
	Finish:   {opForget, opFinalized},
}

// moverOp is one thing that the mover does inside the critical section.
type moverOp string

const (
	doBaseline moverOp = "record jobs, builds and plugins"
	doQuiet    moverOp = "quiet down and wait for builds"
	doPause    moverOp = "pause the owning Application"
	doStop     moverOp = "record replicas and scale to 0"
	doAwaitEnd moverOp = "wait until the pod is gone"
	doLastPass moverOp = "last pass, verify, unmount"
	doAwaitAck moverOp = "wait for the orchestrator"
	doTurn     moverOp = "turn back" // decides only: the phase is written before anything is started
	doStart    moverOp = "start the old Jenkins again"
	doEnd      moverOp = "end"
)

// next says what the mover does in a phase, and which phase it writes once that is done. A mover whose pod was replaced goes on from the
// phase it finds; quietDown is asked for again, because a Jenkins that was restarted has forgotten it.
func next(p Phase, abort bool) (moverOp, Phase) {
	if abort && (p.working() || p == Copied) {
		return doTurn, BackingOut
	}
	switch p {
	case Ready:
		return doBaseline, Baselined
	case Baselined:
		return doQuiet, Quiet
	case Quiet:
		return doPause, Paused
	case Paused:
		return doStop, Stopping
	case Stopping:
		return doAwaitEnd, Stopped
	case Stopped:
		return doLastPass, Copied
	case Copied:
		return doAwaitAck, Committed
	case BackingOut:
		return doStart, BackedOut
	}
	return doEnd, p
}
