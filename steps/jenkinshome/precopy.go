package jenkinshome

import (
	"cmp"
	"context"
	"errors"

	"pipectl.dev/cloud"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// Options are what the steps need besides clients.
type Options struct {
	Image string // of the mover; "" : see moverImage
}

// NewPrecopy is the step precopy-jenkins-home.
func NewPrecopy(aws cloud.Opener, open kube.Opener, o Options) steps.Definition {
	return steps.Define(aboutPrecopy, precopyStep{base{aws, open, o}})
}

// NewMigrate is the step migrate-jenkins-home.
func NewMigrate(aws cloud.Opener, open kube.Opener, o Options) steps.Definition {
	return steps.Define(aboutMigrate, migrateStep{base{aws, open, o}})
}

// NewVerify is the step verify-jenkins-home.
func NewVerify(aws cloud.Opener, open kube.Opener, o Options) steps.Definition {
	return steps.Define(aboutVerify, verifyStep{base{aws, open, o}})
}

type base struct {
	aws  cloud.Opener
	open kube.Opener
	o    Options
}

// mission starts a run over a move.
func (b base) mission(ctx context.Context, env steps.Env, m Move, kind string) (*mission, error) {
	region := m.Region
	if region == "" {
		region = env.Identity.Region
	}
	s, err := b.aws(ctx, region)
	if err != nil {
		return nil, err
	}
	c := steps.Change{Kind: kind, Name: m.Source.Namespace + "/" + m.Source.Workload, ID: m.VolumeID}
	return &mission{env: env, aws: s, open: b.open, image: b.o.Image, move: m, given: m.Source.InstanceID, asked: cmp.Or(m.Route, routeAuto), change: c}, nil
}

// finished reports the end of a stage's one change.
func (m *mission) finished(err error) {
	p := steps.Progress{Change: m.change, Phase: "done"}
	if err != nil {
		p.Phase, p.Err, p.Undone = "failed", err, m.undone
	}
	m.env.Report(p)
}

func (m *mission) start(verb steps.Verb) {
	m.change.Action = verb
	m.env.Report(steps.Progress{Change: m.change, Phase: "start"})
}

// known is the move with what the tags say.
func (m *mission) known() Move {
	out := m.move
	t := m.vol.Tags
	out.State, out.Hash, out.MovedAt, out.Route = m.vol.state(), t[tagHash], t[tagTime], cmp.Or(t[tagRoute], m.move.Route)
	uid, _, instance := parseSource(t[tagSource])
	out.Source.UID, out.Source.InstanceID, out.Source.Node = uid, instance, t[tagNode]
	return out
}

type precopyStep struct{ base }

func (s PrecopySpec) move() Move {
	m := Move{VolumeID: s.Volume, Region: s.Region, Route: s.Route, Claim: s.Claim, Copier: s.Copier, Exclude: s.Exclude.patterns(), FSGroup: 1000,
		Source: MoveSource{Cluster: s.From.Cluster, Namespace: s.From.Namespace, Workload: s.From.Workload, Container: s.From.Container, Home: s.From.Home, InstanceID: s.From.InstanceID}}
	if s.FSGroup != nil {
		m.FSGroup = *s.FSGroup
	}
	return m
}

func (p precopyStep) mission(ctx context.Context, env steps.Env, s PrecopySpec) (*mission, error) {
	m, err := p.base.mission(ctx, env, s.move(), "jenkins:Copy")
	if err == nil {
		m.passes, m.small = s.Passes, s.Small
	}
	return m, err
}

// Preflight looks at the old Jenkins unless the volume says that the move is over. A volume that does not exist yet is a fresh one, or a copy
// of one that says so.
func (p precopyStep) Preflight(ctx context.Context, env steps.Env, s PrecopySpec) error {
	if env.Unknown("from") {
		return nil
	}
	m, err := p.mission(ctx, env, s)
	if err != nil {
		return err
	}
	m.early = true
	if s.Volume != "" && !env.Unknown("volume") {
		state, w, err := m.observe(ctx, RunPrecopy)
		if err != nil {
			return err
		}
		d := decide(state, w, RunPrecopy)
		if d.Do == Keep || d.Do == Refuse {
			return errOf(d)
		}
	} else {
		done, err := m.movedBefore(ctx, s.From.Namespace+"/"+s.From.Workload)
		if done || err != nil {
			return err
		}
		w := World{}
		if err := m.observeSource(ctx, None, RunPrecopy, &w); err != nil {
			return err
		}
		if !w.Source {
			return whySource
		}
		if w.Old != Up {
			return whyDown
		}
	}
	if _, err := moverImage(ctx, p.open, p.o.Image); err != nil {
		return err
	}
	return m.permitted(ctx)
}

func errOf(d Decision) error {
	if d.Why == nil {
		return nil
	}
	return d.Why
}

// Plan says whether there is anything to copy.
func (p precopyStep) Plan(ctx context.Context, env steps.Env, s PrecopySpec) (steps.Plan[PrecopyOutputs], error) {
	m, err := p.mission(ctx, env, s)
	if err != nil {
		return steps.Plan[PrecopyOutputs]{}, err
	}
	m.early = true
	state, w, err := m.observe(ctx, RunPrecopy)
	if err != nil {
		return steps.Plan[PrecopyOutputs]{}, err
	}
	switch d := decide(state, w, RunPrecopy); d.Do {
	case Refuse:
		return steps.Plan[PrecopyOutputs]{}, d.Why
	case Keep:
		m.change.Action = "keep"
		out := m.precopyOutputs()
		return steps.Plan[PrecopyOutputs]{Changes: []steps.Change{m.change}, Outputs: &out}, nil
	}
	m.change.Action = "create"
	if state != None {
		m.change.Action = "update"
	}
	notes := explain(m.move.Route, m.asked, m.options)
	return steps.Plan[PrecopyOutputs]{Changes: []steps.Change{m.change}, Forecast: steps.Forecast{Seconds: max(60, parseFigures(m.vol.Tags[tagFigures]).Seconds), Notes: notes}}, nil
}

func (m *mission) precopyOutputs() PrecopyOutputs {
	return PrecopyOutputs{Move: m.known(), Figures: parseFigures(m.vol.Tags[tagFigures])}
}

// Apply copies while Jenkins runs.
func (p precopyStep) Apply(ctx context.Context, env steps.Env, s PrecopySpec) (PrecopyOutputs, error) {
	m, err := p.mission(ctx, env, s)
	if err != nil {
		return PrecopyOutputs{}, err
	}
	m.start("create")
	err = m.run(ctx, RunPrecopy)
	m.finished(err)
	if err != nil {
		return PrecopyOutputs{}, err
	}
	return m.precopyOutputs(), nil
}

// Observe derives the outputs from the volume's tags.
func (p precopyStep) Observe(ctx context.Context, env steps.Env, s PrecopySpec) (PrecopyOutputs, bool, error) {
	if s.Volume == "" || env.Unknown("volume") {
		return PrecopyOutputs{}, false, nil
	}
	m, err := p.mission(ctx, env, s)
	if err != nil {
		return PrecopyOutputs{}, false, err
	}
	if m.vol, err = readVolume(ctx, m.aws, s.Volume); err != nil {
		return PrecopyOutputs{}, false, err
	}
	switch m.vol.state() {
	case None, Precopying:
		return PrecopyOutputs{}, false, nil
	}
	if err := m.move.Source.sameSource(m.vol.Tags[tagSource]); err != nil {
		return PrecopyOutputs{}, false, err
	}
	return m.precopyOutputs(), true, nil
}

// Release lets the old node go: it must not keep a volume that nobody copies to any more.
func (p precopyStep) Release(ctx context.Context, env steps.Env, s PrecopySpec) error {
	if s.Volume == "" || env.Unknown("volume") || env.Unknown("from") {
		return nil
	}
	m, err := p.mission(ctx, env, s)
	if err != nil {
		return err
	}
	return m.release(ctx)
}

// release is down's part of a move: it never touches data, and a finished move has nothing to let go of.
func (m *mission) release(ctx context.Context) error {
	var err error
	if m.vol, err = readVolume(ctx, m.aws, m.move.VolumeID); err != nil || m.vol.ID == "" {
		return err
	}
	err = m.run(ctx, Down)
	var e *steps.Error
	if errors.As(err, &e) && e.Code == whySource.Code && m.vol.place(m.move.Source.InstanceID) == Free {
		m.env.Note("the source cluster does not answer; what the mover may have left there stays")
		return m.dropAll(ctx)
	}
	if err != nil || m.vol.state() == Cutting {
		return err
	}
	return m.dropAll(ctx)
}
