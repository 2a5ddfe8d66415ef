package datavolume

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pipectl.dev/cloud"
	"pipectl.dev/steps"
	"pipectl.dev/steps/wait"
)

// A volume moves to another zone by a snapshot and a volume made of it. The copy is called NAME/copy until it is whole; giving it the
// volume's own name is the one write that makes it the volume. The one before is kept as NAME/earlier/ID.
const (
	tagCopyOf   = "pipectl.dev/copy-of"  // on a copy: the volume it was made of
	tagRelocate = "pipectl.dev/relocate" // on a snapshot: the attempt it was taken for
)

func (s *state) copyName() string { return s.spec.Name + "/copy" }

func (s *state) earlierName(id string) string { return s.spec.Name + "/earlier/" + id }

// relocating reports whether the volume is to be moved to the zone of the spec.
func (s *state) relocating(v *ec2types.Volume) bool {
	return s.spec.Relocate && aws.ToString(v.AvailabilityZone) != s.spec.Zone
}

// withoutCopied leaves out volumes that another one is the finished copy of, and returns them apart.
func withoutCopied(all []ec2types.Volume) (current, copied []ec2types.Volume) {
	sources := map[string]bool{}
	for _, v := range all {
		sources[cloud.EC2TagMap(v.Tags)[tagCopyOf]] = true
	}
	for _, v := range all {
		if sources[aws.ToString(v.VolumeId)] {
			copied = append(copied, v)
		} else {
			current = append(current, v)
		}
	}
	return current, copied
}

// movable refuses what a copy could lose: a volume that somebody may write to, or that a move is not done with, whose marker names it.
func movable(v *ec2types.Volume) error {
	id := aws.ToString(v.VolumeId)
	if v.State != ec2types.VolumeStateAvailable || len(v.Attachments) > 0 {
		return &steps.Error{Code: "VolumeInUse", Category: steps.Conflict, Message: fmt.Sprintf("volume %s: is %s; it can be moved to another zone only while nothing uses it", id, v.State),
			Hints: []string{"let the cluster go first (pipectl down), then run again"}}
	}
	switch st := cloud.EC2TagMap(v.Tags)[tagMoveState]; st {
	case "", "verified", "finalized":
		return nil
	default:
		return &steps.Error{Code: "MoveUnfinished", Category: steps.Precondition, Message: fmt.Sprintf("volume %s: a move onto it is not finished (%s): it cannot change its zone", id, st),
			Hints: []string{"finish the move, or turn it back and use another volume; `pipectl move status` shows it"}}
	}
}

// relocate copies the volume to the zone of the spec. What an earlier attempt left is removed first: nobody has used it, and the volume
// may have been written to since.
func (s *state) relocate(ctx context.Context) error {
	from := *s.found
	if err := movable(&from); err != nil {
		return err
	}
	if err := s.dropAttempts(ctx); err != nil {
		return err
	}
	snapshot, err := s.snapshotOf(ctx, aws.ToString(from.VolumeId))
	if err != nil {
		return err
	}
	id, err := s.copyFrom(ctx, from, snapshot)
	if err != nil {
		return err
	}
	now, err := s.describe(ctx, aws.ToString(from.VolumeId))
	if err != nil {
		return err
	}
	if now != nil {
		if err := movable(now); err != nil { // somebody took it meanwhile: the copy is not what it holds now
			return err
		}
	}
	if err := s.name(ctx, id, s.spec.Name); err != nil {
		return err
	}
	if _, err := s.aws.Appears(ctx, time.Minute, func(ctx context.Context) (bool, error) {
		v, err := s.find(ctx)
		return v != nil && aws.ToString(v.VolumeId) == id && len(s.copied) > 0, err
	}); err != nil {
		return err
	}
	s.env.Note(fmt.Sprintf("%s is %s in %s now; %s in %s keeps what it had and costs until it is removed", s.spec.Name, id, s.spec.Zone, aws.ToString(from.VolumeId), aws.ToString(from.AvailabilityZone)))
	return s.settle(ctx, []ec2types.Volume{from})
}

// settle ends a relocation: too many snapshots go, and the volumes before the copy give up the name. It may find any of it done.
func (s *state) settle(ctx context.Context, copied []ec2types.Volume) error {
	if err := s.pruneRelocation(ctx); err != nil {
		return err
	}
	for _, v := range copied {
		if err := s.name(ctx, aws.ToString(v.VolumeId), s.earlierName(aws.ToString(v.VolumeId))); err != nil {
			return err
		}
	}
	return nil
}

func (s *state) name(ctx context.Context, id, name string) error {
	_, err := cloud.EC2(s.aws).CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: cloud.EC2Tags(map[string]string{cloud.TagName: name, "Name": name})})
	return err
}

// pruneRelocation keeps as many snapshots as the spec says; with none asked for, only those that a relocation took go.
func (s *state) pruneRelocation(ctx context.Context) error {
	if s.spec.Snapshots > 0 {
		return s.prune(ctx)
	}
	return s.dropSnapshots(ctx)
}

// dropAttempts removes copies and snapshots of relocations that did not get to their end.
func (s *state) dropAttempts(ctx context.Context) error {
	all, err := s.named(ctx, func(name string) bool { return name == s.copyName() })
	if err != nil {
		return err
	}
	if err := s.deleteAll(ctx, all); err != nil {
		return err
	}
	return s.dropSnapshots(ctx)
}

func (s *state) dropSnapshots(ctx context.Context) error {
	list, err := s.snapshots(ctx)
	if err != nil {
		return err
	}
	for _, x := range list {
		if cloud.EC2TagMap(x.Tags)[tagRelocate] == "" {
			continue
		}
		_, err := cloud.EC2(s.aws).DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: x.SnapshotId})
		if err != nil && !cloud.IsNotFound(err) {
			return err
		}
	}
	return nil
}

func (s *state) deleteAll(ctx context.Context, all []ec2types.Volume) error {
	for _, v := range all {
		_, err := cloud.EC2(s.aws).DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: v.VolumeId})
		if err != nil && !cloud.IsNotFound(err) && (cloud.Code(err) != "IncorrectState" || !cloud.Says(err, "deleting")) {
			return err
		}
	}
	return nil
}

// named are our live volumes whose name, as far as it concerns this volume, is wanted.
func (s *state) named(ctx context.Context, wanted func(string) bool) ([]ec2types.Volume, error) {
	all, err := s.aws.Volumes(ctx, append(cloud.OwnedBy(s.owner), cloud.Filter("tag:"+cloud.TagKind, kindVolume))...)
	return slices.DeleteFunc(all, func(v ec2types.Volume) bool {
		tags := cloud.EC2TagMap(v.Tags)
		live := v.State != ec2types.VolumeStateDeleted && v.State != ec2types.VolumeStateDeleting
		return !live || tags[cloud.TagIdentity] != s.owner || !wanted(tags[cloud.TagName])
	}), err
}

func (s *state) describe(ctx context.Context, id string) (*ec2types.Volume, error) {
	o, err := cloud.EC2(s.aws).DescribeVolumes(ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{id}})
	if cloud.IsNotFound(err) {
		return nil, nil
	}
	if err != nil || len(o.Volumes) == 0 {
		return nil, err
	}
	return &o.Volumes[0], nil
}

// snapshotOf takes a snapshot of what is on the volume now and waits until it is whole. The attempt is in its tags: one that an earlier
// attempt took is never used, since the volume may have been written to after it.
func (s *state) snapshotOf(ctx context.Context, volume string) (string, error) {
	attempt := fmt.Sprintf("%s-%d", s.env.RunID, time.Now().UnixNano())
	tags := cloud.Tags(s.owner, kindSnapshot, s.spec.Name)
	tags[tagRelocate] = attempt
	this := func(ctx context.Context) (*ec2types.Snapshot, error) {
		list, err := s.snapshots(ctx)
		i := slices.IndexFunc(list, func(x ec2types.Snapshot) bool { return cloud.EC2TagMap(x.Tags)[tagRelocate] == attempt })
		if err != nil || i < 0 {
			return nil, err
		}
		return &list[i], nil
	}
	found := func(ctx context.Context) (bool, error) {
		x, err := this(ctx)
		return x != nil, err
	}
	err := s.aws.Once(ctx, found, func(ctx context.Context) error {
		_, err := cloud.EC2(s.aws).CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: &volume, Description: aws.String("moves " + s.spec.Name + " to " + s.spec.Zone),
			TagSpecifications: cloud.TagAtCreate(ec2types.ResourceTypeSnapshot, tags)}, cloud.Careful)
		return err
	})
	if err != nil {
		return "", err
	}
	id := ""
	err = s.until(ctx, "snapshot of "+s.spec.Name, 6*time.Hour, func(ctx context.Context) (bool, string, error) {
		x, err := this(ctx)
		if err != nil || x == nil {
			return false, "not visible yet", err
		}
		if x.State == ec2types.SnapshotStateError {
			return false, "", &steps.Error{Code: "SnapshotFailed", Category: steps.Unhealthy, Message: "snapshot " + aws.ToString(x.SnapshotId) + ": " + aws.ToString(x.StateMessage)}
		}
		id = aws.ToString(x.SnapshotId)
		return x.State == ec2types.SnapshotStateCompleted, aws.ToString(x.Progress), nil
	})
	return id, err
}

// until waits for a state, and takes a look that AWS could not answer as "not yet".
func (s *state) until(ctx context.Context, what string, limit time.Duration, look func(context.Context) (bool, string, error)) error {
	o := wait.Options{Expect: time.Minute, Timeout: limit, Speed: s.aws.Speed, Report: func(p wait.Progress) { s.env.WaitingFor(what+" "+p.Detail, p) }}
	return wait.Until(ctx, o, func(ctx context.Context) (bool, string, error) {
		done, detail, err := look(ctx)
		if cloud.IsTransient(err) {
			return false, "no answer", nil
		}
		return done, detail, err
	})
}

// copyFrom makes the volume of a snapshot and waits until it is there. It has the volume's tags, but for those that others own it by.
func (s *state) copyFrom(ctx context.Context, from ec2types.Volume, snapshot string) (string, error) {
	tags := cloud.EC2TagMap(from.Tags)
	maps.DeleteFunc(tags, func(k, _ string) bool {
		return strings.HasPrefix(k, "aws:") || strings.HasPrefix(k, "kubernetes.io/cluster/")
	})
	maps.Copy(tags, cloud.Tags(s.owner, kindVolume, s.copyName()))
	tags[tagCSI], tags[tagCopyOf] = "true", aws.ToString(from.VolumeId)
	in := &ec2.CreateVolumeInput{
		AvailabilityZone: &s.spec.Zone, SnapshotId: &snapshot, Size: aws.Int32(max(s.spec.Size.GiB(), aws.ToInt32(from.Size))), VolumeType: ec2types.VolumeType(s.spec.Type),
		Encrypted: from.Encrypted, TagSpecifications: cloud.TagAtCreate(ec2types.ResourceTypeVolume, tags),
		ClientToken: aws.String(cloud.ClientToken(s.owner, kindVolume, s.copyName(), snapshot)),
	}
	if aws.ToBool(from.Encrypted) && aws.ToString(from.KmsKeyId) != "" {
		in.KmsKeyId = from.KmsKeyId
	}
	same := string(from.VolumeType) == s.spec.Type // what somebody has raised stays raised
	switch {
	case s.spec.IOPS > 0:
		in.Iops = &s.spec.IOPS
	case same && aws.ToInt32(from.Iops) > 0:
		in.Iops = from.Iops
	}
	switch {
	case s.spec.Throughput > 0:
		in.Throughput = &s.spec.Throughput
	case same && aws.ToInt32(from.Throughput) > 0:
		in.Throughput = from.Throughput
	}
	out, err := cloud.EC2(s.aws).CreateVolume(ctx, in)
	if err != nil {
		return "", s.explainZone(err)
	}
	id := aws.ToString(out.VolumeId)
	return id, s.until(ctx, "copy of "+s.spec.Name, 30*time.Minute, func(ctx context.Context) (bool, string, error) {
		v, err := s.describe(ctx, id)
		if err != nil || v == nil {
			return false, "not visible yet", err
		}
		if v.State == ec2types.VolumeStateError {
			return false, "", &steps.Error{Code: "VolumeFailed", Category: steps.Unhealthy, Message: "volume " + id + " is in state error"}
		}
		return v.State == ec2types.VolumeStateAvailable, string(v.State), nil
	})
}
