package jenkinshome

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"pipectl.dev/cloud"
)

// dropClones ends the copying Job and removes the volumes that were made from snapshots.
func (m *mission) dropClones(ctx context.Context) error {
	k, _, err := m.copyCluster(ctx)
	if err != nil && !unreachable(err) { // a cluster that is gone has no Job; a volume that is in use there is not detached by EC2
		return err
	}
	if k != nil && err == nil {
		if err := k.DeleteJob(ctx, copyIn, m.move.copyJob()); err != nil {
			return err
		}
	}
	all, err := m.aws.Volumes(ctx, m.mine()...)
	if err != nil {
		return fmt.Errorf("volumes made from snapshots: %w", cloud.Explain(err))
	}
	for _, v := range all {
		if cloud.Ours(cloud.EC2TagMap(v.Tags), m.env.Identity.String(), kindClone, m.move.VolumeID) {
			if err := m.dropClone(ctx, aws.ToString(v.VolumeId)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *mission) dropClone(ctx context.Context, id string) error {
	v, err := settled(ctx, m.aws, id, m.say)
	if err != nil || v.ID == "" {
		return err
	}
	if err := detach(ctx, m.aws, id, v.Instance, m.say); err != nil {
		return err
	}
	_, err = cloud.EC2(m.aws).DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: &id})
	if err != nil && !cloud.IsNotFound(err) && (cloud.Code(err) != "IncorrectState" || !cloud.Says(err, "deleting")) {
		return fmt.Errorf("volume %s: delete: %w", id, cloud.Explain(err))
	}
	return nil
}

// dropSnapshots removes all but one: the newest is kept between passes, since the next stores only what changed since.
func (m *mission) dropSnapshots(ctx context.Context, but string) error {
	all, err := m.snapshots(ctx)
	if err != nil {
		return err
	}
	for _, s := range all {
		if id := aws.ToString(s.SnapshotId); id != but {
			if _, err := cloud.EC2(m.aws).DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: &id}); err != nil && !cloud.IsNotFound(err) {
				return fmt.Errorf("snapshot %s: delete: %w", id, cloud.Explain(err))
			}
		}
	}
	return nil
}

// dropAll leaves nothing of the route behind.
func (m *mission) dropAll(ctx context.Context) error {
	if m.move.Route == routeStream || m.vol.Tags[tagRoute] == routeStream {
		return m.dropStream(ctx, true)
	}
	if m.move.Route != routeSnapshot && m.vol.Tags[tagRoute] != routeSnapshot {
		return nil
	}
	return errors.Join(m.dropClones(ctx), m.dropSnapshots(ctx, ""))
}
