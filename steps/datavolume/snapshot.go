package datavolume

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pipectl.dev/cloud"
	"pipectl.dev/steps"
	"pipectl.dev/steps/wait"
)

// snapshots are ours of this volume's name, newest first. They may be of an earlier volume.
func (s *state) snapshots(ctx context.Context) ([]ec2types.Snapshot, error) {
	mine, err := s.aws.Snapshots(ctx, append(cloud.OwnedBy(s.owner), cloud.Filter("tag:"+cloud.TagName, s.spec.Name))...)
	if err != nil {
		return nil, err
	}
	mine = slices.DeleteFunc(mine, func(x ec2types.Snapshot) bool {
		return !cloud.Ours(cloud.EC2TagMap(x.Tags), s.owner, kindSnapshot, s.spec.Name)
	})
	sort.Slice(mine, func(i, j int) bool { return aws.ToTime(mine[i].StartTime).After(aws.ToTime(mine[j].StartTime)) })
	return mine, nil
}

// of finds a live snapshot of exactly this volume that this run took. One of an earlier run, such as of a removal that was cut off, is no
// last state: the volume may have been written to since.
func (s *state) of(list []ec2types.Snapshot, volume string) *ec2types.Snapshot {
	for _, x := range list {
		if aws.ToString(x.VolumeId) == volume && x.State != ec2types.SnapshotStateError && cloud.EC2TagMap(x.Tags)[cloud.TagRun] == s.env.RunID {
			return &x
		}
	}
	return nil
}

// lastSnapshot keeps what is on the volume before it goes, waits until that is safe, and removes the oldest of too many.
func (s *state) lastSnapshot(ctx context.Context) error {
	volume := aws.ToString(s.found.VolumeId)
	list, err := s.snapshots(ctx)
	if err != nil {
		return err
	}
	if s.of(list, volume) == nil {
		tags := cloud.Tags(s.owner, kindSnapshot, s.spec.Name)
		tags[cloud.TagRun] = s.env.RunID
		found := func(ctx context.Context) (bool, error) {
			list, err := s.snapshots(ctx)
			return s.of(list, volume) != nil, err
		}
		err := s.aws.Once(ctx, found, func(ctx context.Context) error {
			_, err := cloud.EC2(s.aws).CreateSnapshot(ctx, &ec2.CreateSnapshotInput{
				VolumeId: &volume, Description: aws.String("last state of " + s.spec.Name),
				TagSpecifications: cloud.TagAtCreate(ec2types.ResourceTypeSnapshot, tags),
			}, cloud.Careful)
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := s.snapshotDone(ctx, volume); err != nil {
		return err
	}
	return s.prune(ctx)
}

func (s *state) snapshotDone(ctx context.Context, volume string) error {
	report := func(p wait.Progress) { s.env.WaitingFor("snapshot of "+s.spec.Name+" "+p.Detail, p) }
	o := wait.Options{Expect: time.Minute, Timeout: 6 * time.Hour, Speed: s.aws.Speed, Report: report}
	return wait.Until(ctx, o, func(ctx context.Context) (bool, string, error) {
		list, err := s.snapshots(ctx)
		if cloud.IsTransient(err) {
			return false, "no answer", nil
		}
		if err != nil {
			return false, "", err
		}
		x := s.of(list, volume)
		if x == nil {
			return false, "not visible yet", nil
		}
		if x.State == ec2types.SnapshotStateCompleted {
			s.env.Note(fmt.Sprintf("%s: the last state is kept in %s", s.spec.Name, aws.ToString(x.SnapshotId)))
			return true, "", nil
		}
		if x.State == ec2types.SnapshotStateError {
			return false, "", &steps.Error{Code: "SnapshotFailed", Category: steps.Unhealthy, Message: "snapshot " + aws.ToString(x.SnapshotId) + ": " + aws.ToString(x.StateMessage)}
		}
		return false, aws.ToString(x.Progress), nil
	})
}

// afterUse takes a snapshot of what the last cluster left on the volume, one for each use: a snapshot has no client token, so the use is in
// its tags. It does not wait: what counts is the moment of the call.
func (s *state) afterUse(ctx context.Context) error {
	use := cloud.EC2TagMap(s.found.Tags)[tagUse]
	if s.spec.Snapshots == 0 || use == "" {
		return nil
	}
	if s.found.State != ec2types.VolumeStateAvailable {
		s.env.Note(fmt.Sprintf("%s is %s: no snapshot is taken of a volume that may be written to", s.spec.Name, s.found.State))
		return nil
	}
	found := func(ctx context.Context) (bool, error) {
		list, err := s.snapshots(ctx)
		return slices.ContainsFunc(list, func(x ec2types.Snapshot) bool {
			return x.State != ec2types.SnapshotStateError && cloud.EC2TagMap(x.Tags)[tagUse] == use
		}), err
	}
	if taken, err := found(ctx); err != nil || taken {
		return err
	}
	tags := cloud.Tags(s.owner, kindSnapshot, s.spec.Name)
	tags[tagUse], tags[cloud.TagRun] = use, s.env.RunID
	err := s.aws.Once(ctx, found, func(ctx context.Context) error {
		_, err := cloud.EC2(s.aws).CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: s.found.VolumeId, Description: aws.String("after the last use of " + s.spec.Name),
			TagSpecifications: cloud.TagAtCreate(ec2types.ResourceTypeSnapshot, tags)}, cloud.Careful)
		return err
	})
	if err == nil {
		s.env.Note(fmt.Sprintf("%s: a snapshot is being made; %d of its snapshots are kept", s.spec.Name, s.spec.Snapshots))
	}
	return err
}

// prune removes our older snapshots beyond the number to keep.
func (s *state) prune(ctx context.Context) error {
	list, err := s.snapshots(ctx)
	if err != nil {
		return err
	}
	for _, x := range surplus(list, max(s.spec.Snapshots, 1)) {
		_, err := cloud.EC2(s.aws).DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: x.SnapshotId})
		if err != nil && !cloud.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// surplus picks what may go of snapshots, newest first, so that keep whole ones stay. One that is still being made does not count: it
// could fail.
func surplus(list []ec2types.Snapshot, keep int) []ec2types.Snapshot {
	var out []ec2types.Snapshot
	for _, x := range list {
		switch {
		case x.State == ec2types.SnapshotStateCompleted && keep > 0:
			keep--
		case x.State == ec2types.SnapshotStateCompleted, x.State == ec2types.SnapshotStateError:
			out = append(out, x)
		}
	}
	return out
}
