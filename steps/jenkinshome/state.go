// Package jenkinshome moves a Jenkins home into a data volume, once: precopy-jenkins-home copies while Jenkins runs,
// migrate-jenkins-home is the cut-over, verify-jenkins-home compares the new Jenkins with the old one and turns back when they differ.
//
// What must be done is decided by one pure table (decide.go) from what is written on the volume and what the world looks like; everything
// else here only looks or acts. The package must never write to the old home, never delete data, and never start one Jenkins while the
// other may run.
package jenkinshome

// State is how far a move is, as written in the volume's tag. It is the only record that outlives the source cluster.
type State string

// The states. Cutting means that the truth is in the state ConfigMap of the source cluster. A rolled back move is Precopied again.
const (
	None        State = ""            // nothing copied
	Precopying  State = "precopying"  // the volume is claimed for a source; its content is not whole
	Precopied   State = "precopied"   // holds a verified copy of a running Jenkins; the old Jenkins runs
	Cutting     State = "cutting"     // the critical section runs in the source cluster
	Moved       State = "moved"       // whole, let go of by the source; the old Jenkins stays at 0 replicas
	Verified    State = "verified"    // the new Jenkins was compared: the move is finished
	RollingBack State = "rollingback" // on the way from Moved to Precopied
	Finalized   State = "finalized"   // Verified, and what was kept in the source cluster for going back is removed
)

var states = []State{None, Precopying, Precopied, Cutting, Moved, Verified, RollingBack, Finalized}

// Phase is how far the critical section is, as written in the state ConfigMap. Every change of it is a compare-and-swap, so that the
// mover and the orchestrator agree on who may still turn back.
type Phase string

// The phases in order. Committed is the point of no return for the mover: after it, only an orchestrator may start the old Jenkins.
const (
	NoPhase    Phase = ""
	Ready      Phase = "ready"      // the ConfigMap is written, the Job may start
	Baselined  Phase = "baselined"  // jobs, build numbers and plugins are recorded
	Quiet      Phase = "quiet"      // Jenkins starts no builds, and none runs that we wait for
	Paused     Phase = "paused"     // the owning Application does not heal
	Stopping   Phase = "stopping"   // replicas before are recorded; scaled to 0
	Stopped    Phase = "stopped"    // no pod is left
	Copied     Phase = "copied"     // last pass done and verified, volume unmounted: waits for the orchestrator
	Committed  Phase = "committed"  // the orchestrator has let the volume go: the old Jenkins stays down
	BackingOut Phase = "backingout" // the old Jenkins is being started again
	BackedOut  Phase = "backedout"  // the old Jenkins runs as before
)

var phases = []Phase{NoPhase, Ready, Baselined, Quiet, Paused, Stopping, Stopped, Copied, Committed, BackingOut, BackedOut}

// working reports whether the mover has neither finished the copy nor turned back.
func (p Phase) working() bool {
	switch p {
	case Ready, Baselined, Quiet, Paused, Stopping, Stopped:
		return true
	}
	return false
}

// Verb is what somebody wants. A plan is a decision that is not carried out.
type Verb string

// The verbs.
const (
	RunPrecopy Verb = "precopy"
	RunMigrate Verb = "migrate"
	RunVerify  Verb = "verify"
	Rollback   Verb = "rollback" // pipectl move abort
	Resume     Verb = "resume"   // carry on with what was begun, and begin nothing
	Finalize   Verb = "finalize" // give up the way back
	Down       Verb = "down"
)

var verbs = []Verb{RunPrecopy, RunMigrate, RunVerify, Rollback, Resume, Finalize, Down}

// Place is where the volume is.
type Place string

// The places. A volume that is being attached or detached is waited for before anything is decided.
const (
	Free      Place = "free"
	OnSource  Place = "on-source" // attached to the instance of the old node
	Elsewhere Place = "elsewhere" // attached to any other instance
	Missing   Place = "missing"
)

// Job is the mover Job of the critical section.
type Job string

// The Job's states. Running includes a Job whose pod is being replaced.
const (
	NoJob   Job = ""
	Running Job = "running"
	Ended   Job = "ended"
)

// Life is whether a Jenkins runs.
type Life string

// Unknown stands for "not asked, or not answered".
const (
	Unknown Life = "unknown"
	Up      Life = "up"
	Stops   Life = "down"
)

// Verdict is the outcome of comparing the new Jenkins with the baseline.
type Verdict string

// The verdicts.
const (
	Unasked   Verdict = ""
	Equal     Verdict = "equal"
	Different Verdict = "different"
)

// World is what decide needs to know besides the volume's state. Where the state says that the move is finished, nobody asks the source:
// Source is then zero.
type World struct {
	Source bool    // the source cluster answers
	Volume Place   //
	Phase  Phase   // of the state ConfigMap
	Abort  bool    // somebody asked the mover to turn back
	Job    Job     //
	Old    Life    // of the Jenkins in the source cluster
	New    Life    // of the Jenkins in the target cluster; Unknown when that cluster does not answer
	Claim  bool    // the target cluster has a claim on the volume that we made; false when it was not asked
	Self   bool    // pipectl itself runs on the Jenkins to be moved
	Check  Verdict //
	OnDiff bool    // verify turns back when the verdict is Different
}
