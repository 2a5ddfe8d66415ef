package jenkinshome

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"pipectl.dev/cloud"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// Stages are what a pipeline says of one move; what it has no stage for, or cannot tell yet, is nil.
type Stages struct {
	Precopy *PrecopySpec
	Migrate *MigrateSpec
	Verify  *VerifySpec
}

// Manager looks at a move and acts on it beside the stages: what `pipectl move` does.
type Manager struct{ base base }

// NewManager makes one from the clients that the steps get.
func NewManager(aws cloud.Opener, open kube.Opener, o Options) Manager {
	return Manager{base{aws, open, o}}
}

// MoveReport is a move as it is.
type MoveReport struct {
	Volume     string         `json:"volume"`
	Zone       string         `json:"zone,omitempty"`
	AttachedTo string         `json:"attachedTo,omitempty"` // EC2 instance
	State      State          `json:"state"`
	Meaning    string         `json:"meaning"`
	Source     MoveSource     `json:"source"`
	Reached    bool           `json:"sourceReached"` // the source cluster answers; where not, what follows is not known
	Phase      Phase          `json:"phase,omitempty"`
	Job        Job            `json:"job,omitempty"`
	Old        Life           `json:"old"`
	OldHome    string         `json:"oldHome,omitempty"` // of a home in a pod: that it is held there, or went with it
	New        Life           `json:"new"`
	NewClaim   bool           `json:"newClaim"`
	Holder     *steps.Holder  `json:"holder,omitempty"` // who moves right now
	Replicas   int32          `json:"replicasBefore,omitempty"`
	Paused     []string       `json:"pausedApplications,omitempty"`
	Figures    Figures        `json:"figures"`
	CopiedAt   string         `json:"copiedAt,omitempty"` // RFC 3339: how old the copy of a running Jenkins is
	Downtime   Downtime       `json:"downtime"`
	Hash       string         `json:"hash,omitempty"`
	MovedAt    string         `json:"movedAt,omitempty"`
	Checked    *VerifyOutputs `json:"checked,omitempty"`
	LastError  string         `json:"lastError,omitempty"` // why the last cut-over was turned back
	Verbs      []Can          `json:"verbs"`
}

// Can is what a verb would do now.
type Can struct {
	Verb string `json:"verb"`
	Does string `json:"does"`
	Can  bool   `json:"can"` // it would do something
}

// meanings say what a state means to the owner of the Jenkins.
var meanings = map[State]string{
	None:        "nothing is copied; the old Jenkins runs",
	Precopying:  "a first copy was begun and is not whole; the old Jenkins runs",
	Precopied:   "a verified copy is on the volume; the old Jenkins runs",
	Cutting:     "the cut-over is under way; the source cluster knows how far",
	Moved:       "the home is on the volume and the old Jenkins is stopped; the new one was not compared yet",
	Verified:    "the new Jenkins was found equal: finished; the old home is still there",
	RollingBack: "the move is being turned back",
	Finalized:   "finished, and the way back is given up",
}

// does says what an action comes to.
var does = map[Action]string{
	Keep: "nothing: there is nothing to do", Copy: "goes on with the copy while Jenkins runs", Launch: "starts the Job of the cut-over",
	Follow: "waits for the Job of the cut-over", Commit: "detaches the volume and commits the cut-over", Seal: "writes that the home is moved",
	Abort: "asks the Job of the cut-over to turn back", BackOut: "starts the old Jenkins again", Settle: "writes that the old Jenkins runs",
	TurnBack: "stops the new Jenkins, removes its claim and starts the old one; builds made since are lost",
	StopNew:  "stops the new Jenkins, removes its claim, then starts the old one", Restart: "starts the old Jenkins again",
	LetGo: "lets the volume go from the old node; the copy on it stays", Finish: "removes what the source cluster keeps for going back; the old home stays",
}

// mission is the run over a move that a pipeline's stages describe.
func (a Manager) mission(ctx context.Context, env steps.Env, s Stages) (*mission, error) {
	var move Move
	switch {
	case s.Precopy != nil && s.Precopy.Volume != "":
		move = s.Precopy.move()
	case s.Migrate != nil && s.Migrate.Move.VolumeID != "":
		move = s.Migrate.Move
	case s.Verify != nil && s.Verify.Move.VolumeID != "":
		move = s.Verify.Move
	default:
		return nil, &steps.Error{Code: "NoMove", Category: steps.Precondition, Message: "the volume of the move is not known: nothing is moved yet",
			Hints: []string{"`pipectl run` begins it; `pipectl status` shows what exists"}}
	}
	m, err := a.base.mission(ctx, env, move, "jenkins:Move")
	if err != nil {
		return nil, err
	}
	if s.Precopy != nil {
		m.passes, m.small = s.Precopy.Passes, s.Precopy.Small
	}
	m.migrate, m.verify = s.Migrate, s.Verify
	return m, nil
}

// Status looks at a move and says what each verb would do. It writes nothing.
func (a Manager) Status(ctx context.Context, env steps.Env, s Stages) (MoveReport, error) {
	m, err := a.mission(ctx, env, s)
	if err != nil {
		return MoveReport{}, err
	}
	return m.report(ctx)
}

func (m *mission) report(ctx context.Context) (MoveReport, error) {
	var err error
	if m.vol, err = readVolume(ctx, m.aws, m.move.VolumeID); err != nil {
		return MoveReport{}, err
	}
	st := m.vol.state()
	known := m.known()
	r := MoveReport{Volume: m.move.VolumeID, Zone: m.vol.Zone, AttachedTo: m.vol.Instance, State: st, Meaning: cmp.Or(meanings[st], "a state that this pipectl does not know"),
		Source: known.Source, Old: Unknown, New: Unknown, Figures: parseFigures(m.vol.Tags[tagFigures]), Downtime: parseDowntime(m.vol.Tags[tagDowntime]),
		CopiedAt: m.vol.Tags[tagCopied], Hash: known.Hash, MovedAt: known.MovedAt}
	if m.vol.ID == "" {
		r.Meaning = "the volume does not exist"
	}
	if t := m.vol.Tags[tagChecked]; t != "" {
		c := parseChecked(t)
		r.Checked = &c
	}
	w := World{Old: Unknown, New: Unknown}
	if err := m.observeSource(ctx, st, Rollback, &w); err != nil {
		return r, err
	}
	if err := m.observeTarget(ctx, &w); err != nil {
		return r, err
	}
	r.Reached, r.Phase, r.Job, r.Old, r.New, r.NewClaim = w.Source, w.Phase, w.Job, w.Old, w.New, w.Claim
	if err := m.sourceNotes(ctx, &r); err != nil {
		return r, err
	}
	return r, m.possible(ctx, &r)
}

// sourceNotes adds what only the source cluster knows.
func (m *mission) sourceNotes(ctx context.Context, r *MoveReport) error {
	if !r.Reached {
		return nil
	}
	r.Replicas = m.rec.Cut.Replicas
	if p := m.rec.Cut.Parked; p != nil && r.Phase != BackedOut {
		switch {
		case m.gone:
			r.OldHome, r.Meaning = "went with pod "+p.Pod+"; its workload starts an empty Jenkins", strings.TrimSuffix(r.Meaning, "; the old home is still there")
		case r.Old == Stops:
			r.OldHome = "is in pod " + p.Pod + ", which is held and must stay"
		}
	}
	for _, p := range m.rec.Cut.Paused {
		if name := p.Namespace + "/" + p.Name; len(r.Paused) == 0 || r.Paused[len(r.Paused)-1] != name {
			r.Paused = append(r.Paused, name)
		}
	}
	if m.rec.Cut.Why != nil {
		r.LastError = m.rec.Cut.Why.Message
	}
	locks, err := m.source.Locks(m.move.Source.Namespace).Look(ctx, m.leaseKeys(), m.holder())
	if err != nil {
		return err
	}
	for _, key := range m.leaseKeys() {
		if who := locks[key].Holder; who != nil {
			r.Holder = who
		}
	}
	return nil
}

// possible asks the table what each verb would do.
func (m *mission) possible(ctx context.Context, r *MoveReport) error {
	for _, v := range []struct {
		name string
		verb Verb
	}{{"resume", Resume}, {"abort", Rollback}, {"finalize", Finalize}} {
		s, w, err := m.observe(ctx, v.verb)
		if err != nil {
			return err
		}
		d := decide(s, w, v.verb)
		c := Can{Verb: v.name, Can: d.Do != Keep && d.Do != Refuse, Does: does[d.Do]}
		if d.Do == Keep && v.verb == Resume {
			c.Does = "nothing: nothing that was begun is unfinished; `pipectl run` goes on"
		}
		if d.Do == Refuse {
			c.Does = "refuses: " + d.Why.Message
		}
		r.Verbs = append(r.Verbs, c)
	}
	return nil
}

// Do carries out resume, abort (Rollback) or finalize, and says where the move is afterwards.
func (a Manager) Do(ctx context.Context, env steps.Env, s Stages, v Verb) (MoveReport, error) {
	m, err := a.mission(ctx, env, s)
	if err != nil {
		return MoveReport{}, err
	}
	if v == Resume {
		if err := m.equipped(ctx); err != nil {
			return MoveReport{}, err
		}
	}
	m.start("update")
	err = m.run(ctx, v)
	m.finished(err)
	after, look := m.report(ctx)
	return after, errors.Join(err, look)
}

// equipped checks that resuming has what the stages would have had.
func (m *mission) equipped(ctx context.Context) error {
	s, w, err := m.observe(ctx, Resume)
	if err != nil {
		return err
	}
	d := decide(s, w, Resume)
	switch d.Do {
	case Launch:
		if m.migrate == nil {
			return &steps.Error{Code: "NoStage", Category: steps.Precondition, Message: "the pipeline has no stage of migrate-jenkins-home, or its spec is not known",
				Hints: []string{"run the pipeline instead"}}
		}
		return m.ready(ctx, d.Do)
	case Copy:
		_, err = moverImage(ctx, m.open, m.image)
	}
	return err
}

// Text is the report for people.
func (r MoveReport) Text() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		if text := fmt.Sprintf(format, args...); strings.TrimSpace(text) != "" {
			fmt.Fprintf(&b, "  %-11s %s\n", name, text)
		}
	}
	fmt.Fprintf(&b, "move of %s/%s onto %s: %s\n", r.Source.Namespace, r.Source.Workload, r.Volume, cmp.Or(string(r.State), "not begun"))
	line("", "%s", r.Meaning)
	at := "attached to nothing"
	if r.AttachedTo != "" {
		at = "attached to " + r.AttachedTo
	}
	line("volume", "%s, %s", r.Zone, at)
	r.lives(line)
	if r.Figures.Files > 0 {
		line("copy", "%d files, %d bytes, passes: %d, in %.0f s; the last one took %.1f s and ended %s", r.Figures.Files, r.Figures.Bytes, r.Figures.Passes, r.Figures.Seconds, r.Figures.LastPass, cmp.Or(r.CopiedAt, "at a time not known"))
	}
	if d := r.Downtime; d.Total > 0 {
		line("downtime", "%.1f s: stop %.1f, copy %.1f, verify %.1f, detach %.1f (before it, quiet %.1f)", d.Total, d.Stop, d.Copy, d.Verify, d.Detach, d.Quiet)
	}
	if r.MovedAt != "" {
		line("moved", "%s, manifest %s", r.MovedAt, r.Hash)
	}
	if c := r.Checked; c != nil {
		line("checked", "%s: Jenkins %s, %d jobs, %d plugins", c.CheckedAt, c.Version, c.Jobs, c.Plugins)
	}
	line("turned back", "%s", r.LastError)
	if len(r.Paused) > 0 {
		line("paused", "Argo CD does not heal %s", strings.Join(r.Paused, ", "))
	}
	if r.Holder != nil {
		line("mover", "%s", r.Holder)
	}
	for _, c := range r.Verbs {
		line(c.Verb, "%s", c.Does)
	}
	return b.String()
}

func (r MoveReport) lives(line func(name, format string, args ...any)) {
	words := map[Life]string{Up: "runs", Stops: "is stopped", Unknown: "is not known"}
	if !r.Reached {
		line("old Jenkins", "is not known: the source cluster does not answer")
	} else {
		line("old Jenkins", "%s", words[r.Old])
	}
	line("old home", "%s", r.OldHome)
	line("new Jenkins", "%s", words[r.New])
	if r.Phase != NoPhase {
		line("cut-over", "%s %s", r.Phase, r.Job)
	}
}
