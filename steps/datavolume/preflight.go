package datavolume

import (
	"context"
	"errors"

	"pipectl.dev/cloud"
	"pipectl.dev/steps"
)

// actions are all that this step may call in its life.
var actions = []string{"ec2:CreateSnapshot", "ec2:CreateTags", "ec2:CreateVolume", "ec2:DeleteSnapshot", "ec2:DeleteVolume", "ec2:DescribeSnapshots", "ec2:DescribeVolumes", "ec2:DescribeVolumesModifications", "ec2:ModifyVolume"}

// Preflight tells early that there is no room for the volume, or that the caller may not make it. One that exists needs neither.
func (p *step) Preflight(ctx context.Context, env steps.Env, sp Spec) error {
	if env.Unknown("name") || env.Unknown("size") || env.Unknown("region") {
		return nil
	}
	s, _, err := p.begin(ctx, env, sp, true)
	if err != nil {
		return err
	}
	v, err := s.find(ctx)
	if err != nil {
		return cloud.Explain(err)
	}
	if v != nil {
		s.found, s.down = v, false
		return s.tooLarge()
	}
	var limits []cloud.Limit
	if sp.Type == "gp3" {
		limits = append(limits, cloud.Limit{Service: "ebs", Code: "L-7A658B76", Name: "Storage of gp3 volumes", Unit: "TiB", Need: float64(sp.Size.GiB()) / 1024, Used: s.aws.GP3Used})
	}
	problems, err := s.aws.Within(ctx, env, limits)
	if err != nil {
		return cloud.Explain(err)
	}
	denied, err := s.aws.Allowed(ctx, env, actions)
	if err != nil {
		return cloud.Explain(err)
	}
	return errors.Join(append(problems, denied)...)
}
