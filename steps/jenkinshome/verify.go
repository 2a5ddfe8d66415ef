package jenkinshome

import (
	"context"

	"pipectl.dev/steps"
)

type verifyStep struct{ base }

func (p verifyStep) mission(ctx context.Context, env steps.Env, s VerifySpec) (*mission, error) {
	m, err := p.base.mission(ctx, env, s.Move, "jenkins:Check")
	if err == nil {
		m.verify = &s
	}
	return m, err
}

// Plan does not look at the new Jenkins: it is compared by Apply.
func (p verifyStep) Plan(ctx context.Context, env steps.Env, s VerifySpec) (steps.Plan[VerifyOutputs], error) {
	out, found, err := p.Observe(ctx, env, s)
	if err != nil {
		return steps.Plan[VerifyOutputs]{}, err
	}
	c := steps.Change{Kind: "jenkins:Check", Name: s.Namespace + "/" + s.Workload, ID: s.Move.VolumeID, Action: "create"}
	if found {
		c.Action = "keep"
		return steps.Plan[VerifyOutputs]{Changes: []steps.Change{c}, Outputs: &out}, nil
	}
	return steps.Plan[VerifyOutputs]{Changes: []steps.Change{c}, Forecast: steps.Forecast{Seconds: 60}}, nil
}

// Apply compares the new Jenkins with the old one and ends the move, or turns it back.
func (p verifyStep) Apply(ctx context.Context, env steps.Env, s VerifySpec) (VerifyOutputs, error) {
	m, err := p.mission(ctx, env, s)
	if err != nil {
		return VerifyOutputs{}, err
	}
	m.change.Name = s.Namespace + "/" + s.Workload
	m.start("create")
	err = m.run(ctx, RunVerify)
	m.finished(err)
	if err != nil {
		return VerifyOutputs{}, err
	}
	return parseChecked(m.vol.Tags[tagChecked]), nil
}

// Observe derives the outputs from the volume's tags.
func (p verifyStep) Observe(ctx context.Context, env steps.Env, s VerifySpec) (VerifyOutputs, bool, error) {
	if s.Move.VolumeID == "" || env.Unknown("move") {
		return VerifyOutputs{}, false, nil
	}
	m, err := p.mission(ctx, env, s)
	if err != nil {
		return VerifyOutputs{}, false, err
	}
	if m.vol, err = readVolume(ctx, m.aws, s.Move.VolumeID); err != nil {
		return VerifyOutputs{}, false, err
	}
	if st := m.vol.state(); st != Verified && st != Finalized {
		return VerifyOutputs{}, false, nil
	}
	return parseChecked(m.vol.Tags[tagChecked]), true, nil
}
