package jenkinshome

import (
	"context"
	"fmt"
	"time"

	"pipectl.dev/steps"
	"pipectl.dev/steps/jenkinshome/jenkins"
)

type migrateStep struct{ base }

func (p migrateStep) mission(ctx context.Context, env steps.Env, s MigrateSpec) (*mission, error) {
	m, err := p.base.mission(ctx, env, s.Move, "jenkins:Cutover")
	if err == nil {
		m.migrate, m.passes = &s, 1
	}
	return m, err
}

// Preflight tells early what the cut-over will lack: it is far away from the start of a run.
func (p migrateStep) Preflight(ctx context.Context, env steps.Env, s MigrateSpec) error {
	if env.Unknown("move") || s.Move.VolumeID == "" {
		if !s.Jenkins.Token.IsSet() && !env.Unknown("jenkins.token") { // a move that is not known is one that has not begun, or was made once
			m, err := p.mission(ctx, env, s)
			if err != nil {
				return err
			}
			if done, err := m.movedBefore(ctx, ""); done || err != nil {
				return err
			}
			return noToken("the old Jenkins")
		}
		return nil // a precopy's own preflight has asked what AWS allows
	}
	m, err := p.mission(ctx, env, s)
	if err != nil {
		return err
	}
	m.early = true
	state, w, err := m.observe(ctx, RunMigrate)
	if err != nil {
		return err
	}
	d := decide(state, w, RunMigrate)
	if d.Do == Keep || d.Do == Refuse {
		return errOf(d)
	}
	if err := m.ready(ctx, d.Do); err != nil {
		return err
	}
	return m.permitted(ctx)
}

// ready checks what the cut-over needs before Jenkins is touched.
func (m *mission) ready(ctx context.Context, a Action) error {
	switch a {
	case Seal, Settle, Commit, Restart, BackOut, Follow:
		return nil // on the way already, or back: neither needs access
	}
	if !m.migrate.Jenkins.Token.IsSet() {
		return noToken("the old Jenkins")
	}
	if _, err := moverImage(ctx, m.open, m.image); err != nil {
		return err
	}
	if m.home == nil {
		return nil
	}
	j := m.oldController()
	if _, err := j.Quieting(ctx); err != nil {
		return fmt.Errorf("old Jenkins %s: %w", m.workload(), err)
	}
	if m.home.App != "" {
		if err := m.source.CheckPausable(ctx, m.migrate.ArgoCD, m.home.App); err != nil {
			return err
		}
	}
	if err := m.roomy(ctx); err != nil {
		return err
	}
	return m.notOlder(ctx, j)
}

// notOlder refuses to move a home to a Jenkins that may not read it.
func (m *mission) notOlder(ctx context.Context, j *jenkins.Client) error {
	if m.migrate.NewVersion == "" {
		return nil
	}
	have, _, err := j.Version(ctx)
	if err != nil {
		return fmt.Errorf("old Jenkins %s: %w", m.workload(), err)
	}
	if jenkins.Older(m.migrate.NewVersion, have) {
		return &steps.Error{Code: "OlderJenkins", Category: steps.Precondition,
			Message: fmt.Sprintf("the new Jenkins is to be %s, the old one is %s: an older one may not read what a newer one wrote", m.migrate.NewVersion, have),
			Hints:   []string{"run " + have + " or newer at the new place, and correct `newVersion`"}}
	}
	return nil
}

// Plan says what the cut-over will cost before anything stops.
func (p migrateStep) Plan(ctx context.Context, env steps.Env, s MigrateSpec) (steps.Plan[MigrateOutputs], error) {
	var none steps.Plan[MigrateOutputs]
	m, err := p.mission(ctx, env, s)
	if err != nil {
		return none, err
	}
	m.early = true
	state, w, err := m.observe(ctx, RunMigrate)
	if err != nil {
		return none, err
	}
	d := decide(state, w, RunMigrate)
	switch d.Do {
	case Refuse:
		return none, d.Why
	case Keep:
		m.change.Action = "keep"
		out := m.migrateOutputs()
		return steps.Plan[MigrateOutputs]{Changes: []steps.Change{m.change}, Outputs: &out}, nil
	}
	if err := m.ready(ctx, d.Do); err != nil {
		return none, err
	}
	m.change.Action = "create" // of a cut-over nothing is there before it begins
	if state == Cutting {
		m.change.Action = "update"
	}
	down, confirm := m.expect()
	if m.onItself(ctx) {
		confirm += " Mind: " + itself + "."
	}
	plan := steps.Plan[MigrateOutputs]{Changes: []steps.Change{m.change}, Forecast: steps.Forecast{Seconds: down.Seconds() + 60, Confirm: confirm}}
	if m.room != "" {
		plan.Forecast.Notes = append(plan.Forecast.Notes, m.room)
	}
	return plan, nil
}

// expect is the downtime that the measured copy leads to expect, and what to tell before it begins.
func (m *mission) expect() (time.Duration, string) {
	f := parseFigures(m.vol.Tags[tagFigures])
	pass := time.Duration(f.LastPass * 1.5 * float64(time.Second))
	grace := 30 * time.Second
	if m.home != nil && m.home.Pod.Spec.TerminationGracePeriodSeconds != nil {
		grace = time.Duration(*m.home.Pod.Spec.TerminationGracePeriodSeconds) * time.Second
	}
	down := grace + 2*pass + expectDetach
	b := m.migrate.Jenkins.Builds
	text := fmt.Sprintf("Jenkins %s stops. Running builds have %s to end, then: %s. After that it is down for about %s (pod %s at most, last copy pass about %s",
		m.workload(), b.Wait.Duration, b.Then, down.Round(5*time.Second), grace, (2 * pass).Round(time.Second))
	if f.Files > 0 {
		text += fmt.Sprintf(" over %d files", f.Files)
	}
	text += ", detach 20 s), and until the new one has started. Any failure on the way starts it again; its home is only read."
	if pod := m.home.held(); pod != "" {
		text += " The home is an emptyDir and goes with pod " + pod + ": the pod stays, its containers are given pipectl's image until they may have their own again."
	}
	return down, text
}

// oldValues are for the official chart; other manifests say replicas: 0.
const oldValues = "controller:\n  replicas: 0\n"

func (m *mission) migrateOutputs() MigrateOutputs {
	return MigrateOutputs{Move: m.known(), Figures: parseFigures(m.vol.Tags[tagFigures]), Downtime: parseDowntime(m.vol.Tags[tagDowntime]), OldValues: oldValues}
}

// Apply makes the cut-over, or carries on with one that was begun.
func (p migrateStep) Apply(ctx context.Context, env steps.Env, s MigrateSpec) (MigrateOutputs, error) {
	m, err := p.mission(ctx, env, s)
	if err != nil {
		return MigrateOutputs{}, err
	}
	m.start("create")
	err = m.cutOver(ctx)
	m.finished(err)
	if err != nil {
		return MigrateOutputs{}, err
	}
	return m.migrateOutputs(), nil
}

func (m *mission) cutOver(ctx context.Context) error {
	state, w, err := m.observe(ctx, RunMigrate)
	if err != nil {
		return err
	}
	if d := decide(state, w, RunMigrate); d.Do != Keep && d.Do != Refuse {
		if err := m.ready(ctx, d.Do); err != nil {
			return err
		}
		if m.onItself(ctx) {
			m.env.Note(itself)
		}
		if m.room != "" {
			m.env.Note(m.room)
		}
	}
	if err := m.run(ctx, RunMigrate); err != nil {
		return err
	}
	if m.rec != nil {
		for _, n := range m.rec.Cut.Notes {
			m.env.Note(n)
		}
	}
	return nil
}

// Observe derives the outputs from the volume's tags.
func (p migrateStep) Observe(ctx context.Context, env steps.Env, s MigrateSpec) (MigrateOutputs, bool, error) {
	if s.Move.VolumeID == "" || env.Unknown("move") {
		return MigrateOutputs{}, false, nil
	}
	m, err := p.mission(ctx, env, s)
	if err != nil {
		return MigrateOutputs{}, false, err
	}
	if m.vol, err = readVolume(ctx, m.aws, s.Move.VolumeID); err != nil {
		return MigrateOutputs{}, false, err
	}
	if st := m.vol.state(); st != Moved && st != Verified && st != Finalized {
		return MigrateOutputs{}, false, nil
	}
	return m.migrateOutputs(), true, nil
}

// Release never leaves a cut-over half done: the old Jenkins runs afterwards, unless the move is finished.
func (p migrateStep) Release(ctx context.Context, env steps.Env, s MigrateSpec) error {
	if s.Move.VolumeID == "" || env.Unknown("move") {
		return nil
	}
	m, err := p.mission(ctx, env, s)
	if err != nil {
		return err
	}
	return m.release(ctx)
}
