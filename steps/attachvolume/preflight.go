package attachvolume

import (
	"context"

	"pipectl.dev/cloud"
	"pipectl.dev/steps"
)

// actions are all that this step may call in its life, from the first look to `down`. A test compares them with what it does call.
var actions = []string{"ec2:CreateTags", "ec2:DescribeInstances", "ec2:DescribeVolumes"}

// Preflight tells early that the caller may not tag the volume: else that shows only when the cluster that is to have it is there. A volume
// that has its tags needs nothing.
func (s *step) Preflight(ctx context.Context, env steps.Env, sp Spec) error {
	session, err := s.session(ctx, sp.Cluster)
	if err != nil {
		return err
	}
	if !env.Unknown("volume") && !env.Unknown("cluster") {
		v, found, err := describe(ctx, session, sp.Volume)
		if err != nil || found && len(tagDrift(v.Tags, wantTags(sp.Cluster))) == 0 {
			return err
		}
	}
	denied, err := session.Allowed(ctx, env, actions)
	if err != nil {
		return cloud.Explain(err)
	}
	return denied
}
