package provisioneks

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pipectl.dev/cloud"
	"pipectl.dev/steps"
	"pipectl.dev/steps/wait"
)

// kindLast are the snapshots that are left of the volumes of claims.
const kindLast = "ec2:ClaimedSnapshot"

// lastStates are the snapshots that this run took, by volume. One that failed is there only where asked for.
func (s *state) lastStates(ctx context.Context, failed bool) (map[string]ec2types.Snapshot, error) {
	list, err := s.aws.Snapshots(ctx, append(cloud.OwnedBy(s.owner), cloud.Filter("tag:"+cloud.TagKind, kindLast), cloud.Filter("tag:"+cloud.TagRun, s.env.RunID))...)
	out := map[string]ec2types.Snapshot{}
	for _, x := range list {
		if failed || x.State != ec2types.SnapshotStateError {
			out[aws.ToString(x.VolumeId)] = x
		}
	}
	return out, err
}

// keepLastStates takes a snapshot of each volume before it goes, all at once, and waits until they are whole.
func (s *state) keepLastStates(ctx context.Context, list []ec2types.Volume) error {
	if off := s.spec.FinalSnapshots; len(list) == 0 || off != nil && !*off {
		return nil
	}
	have, err := s.lastStates(ctx, false)
	if err != nil {
		return cloud.Explain(err)
	}
	for _, v := range list {
		if _, taken := have[aws.ToString(v.VolumeId)]; taken {
			continue
		}
		if err := s.takeLastState(ctx, v); err != nil {
			return fmt.Errorf("%s/%s: last snapshot: %w", kindClaimed, claimOf(v), cloud.Explain(err))
		}
	}
	began := time.Now()
	report := func(p wait.Progress) { s.env.Waiting("last snapshots: "+p.Detail, s.aws.Since(began), p.Expect) }
	err = wait.Until(ctx, wait.Options{Expect: time.Minute, Timeout: 6 * time.Hour, Speed: s.aws.Speed, Report: report}, func(ctx context.Context) (bool, string, error) {
		return s.lastStatesDone(ctx, list)
	})
	if err != nil {
		return err
	}
	return s.dropOlderStates(ctx, list)
}

// dropOlderStates removes what runs that were cut off took of the same volumes: the last states have all of it.
func (s *state) dropOlderStates(ctx context.Context, list []ec2types.Volume) error {
	all, err := s.aws.Snapshots(ctx, append(cloud.OwnedBy(s.owner), cloud.Filter("tag:"+cloud.TagKind, kindLast))...)
	if err != nil {
		return cloud.Explain(err)
	}
	for _, x := range all {
		of := func(v ec2types.Volume) bool { return aws.ToString(v.VolumeId) == aws.ToString(x.VolumeId) }
		if x.State == ec2types.SnapshotStatePending || cloud.EC2TagMap(x.Tags)[cloud.TagRun] == s.env.RunID || !slices.ContainsFunc(list, of) {
			continue
		}
		_, err := cloud.EC2(s.aws).DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: x.SnapshotId})
		switch {
		case err == nil, cloud.IsNotFound(err):
		case cloud.IsDenied(err):
			s.env.Note(fmt.Sprintf("snapshot %s, of a run that was cut off, is left: ec2:DeleteSnapshot is denied", aws.ToString(x.SnapshotId)))
		default:
			return fmt.Errorf("snapshot %s: delete: %w", aws.ToString(x.SnapshotId), cloud.Explain(err))
		}
	}
	return nil
}

func (s *state) takeLastState(ctx context.Context, v ec2types.Volume) error {
	id, from := aws.ToString(v.VolumeId), cloud.EC2TagMap(v.Tags)
	tags := cloud.Tags(s.owner, kindLast, s.name(claimOf(v)))
	tags[cloud.TagRun], tags[tagPVC], tags[tagPVCNamespace] = s.env.RunID, from[tagPVC], from[tagPVCNamespace]
	found := func(ctx context.Context) (bool, error) {
		all, err := s.lastStates(ctx, false)
		_, ok := all[id]
		return ok, err
	}
	return s.aws.Once(ctx, found, func(ctx context.Context) error {
		_, err := cloud.EC2(s.aws).CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: &id, Description: aws.String("last state of claim " + claimOf(v) + " of " + s.spec.Name),
			TagSpecifications: cloud.TagAtCreate(ec2types.ResourceTypeSnapshot, tags)}, cloud.Careful)
		return err
	})
}

// lastStatesDone reports whether there is a whole snapshot of every volume, and then tells which.
func (s *state) lastStatesDone(ctx context.Context, list []ec2types.Volume) (done bool, detail string, err error) {
	all, err := s.lastStates(ctx, true)
	if cloud.IsTransient(err) {
		return false, "no answer", nil
	}
	if err != nil {
		return false, "", cloud.Explain(err)
	}
	whole := 0
	for _, v := range list {
		switch x := all[aws.ToString(v.VolumeId)]; x.State {
		case ec2types.SnapshotStateCompleted:
			whole++
		case ec2types.SnapshotStateError:
			return false, "", &steps.Error{Code: "SnapshotFailed", Category: steps.Unhealthy, Message: fmt.Sprintf("snapshot %s of claim %s: %s", aws.ToString(x.SnapshotId), claimOf(v), aws.ToString(x.StateMessage)),
				Hints: []string{"the volume is still there: run again, or set finalSnapshots: false to remove it without"}}
		}
	}
	if whole < len(list) {
		return false, fmt.Sprintf("%d of %d", whole, len(list)), nil
	}
	for _, v := range list {
		s.env.Note(fmt.Sprintf("claim %s: the last state is kept in %s", claimOf(v), aws.ToString(all[aws.ToString(v.VolumeId)].SnapshotId)))
	}
	return true, "", nil
}
