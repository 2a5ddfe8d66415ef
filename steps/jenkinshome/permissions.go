package jenkinshome

import (
	"context"

	"pipectl.dev/cloud"
)

// Actions by what makes them. A test compares all of them with the calls of this package.
var (
	// actionsOfAll are made on every route: the move's state is in the volume's tags.
	actionsOfAll = []string{"ec2:CreateTags", "ec2:DeleteTags", "ec2:DescribeInstances", "ec2:DescribeVolumes"}
	// actionsOfRoute come to these. Of a claim the CSI driver attaches the volume.
	actionsOfRoute = map[string][]string{
		routeSameNode: nil,
		routeAttach:   {"ec2:AttachVolume", "ec2:DetachVolume"},
		routeStream:   {"ec2:AttachVolume", "ec2:DetachVolume"},
		routeSnapshot: {"ec2:AttachVolume", "ec2:CreateSnapshot", "ec2:CreateVolume", "ec2:DeleteSnapshot", "ec2:DeleteVolume", "ec2:DescribeSnapshots", "ec2:DetachVolume"},
	}
	// optional only tells earlier what an attachment would: without the permission the steps go on.
	optional = []string{"ec2:DescribeInstanceTypes"}
)

// permitted tells early what the caller may not do on the route that is taken; where none is known yet, what it needs on any.
func (m *mission) permitted(ctx context.Context) error {
	actions := append(append([]string{}, actionsOfAll...), actionsOfRoute[m.move.Route]...)
	denied, err := m.aws.Allowed(ctx, m.env, actions)
	if err != nil {
		return cloud.Explain(err)
	}
	return denied
}
