package datavolume

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

const (
	kindVolume   = "ec2:Volume"
	kindSnapshot = "ec2:Snapshot"

	// tagCSI lets the EBS CSI driver attach the volume: the newer of its two managed policies allows that only with this tag.
	tagCSI = "ebs.csi.aws.com/cluster"
	// Written by a move onto the volume.
	tagMoveState  = "pipectl.dev/move-state"
	tagMoveSource = "pipectl.dev/move-source"
	tagMoveTime   = "pipectl.dev/move-time"
	// tagUse is written by attach-volume as it lets the volume go, and is on the snapshot that was taken of it then.
	tagUse = "pipectl.dev/last-use"

	driftSize = "size"
)

type state struct {
	aws    *cloud.Session
	env    steps.Env
	spec   Spec
	owner  string
	down   bool
	found  *ec2types.Volume
	copied []ec2types.Volume // carry the name still, but found is the finished copy of them
}

func (s *state) zone() string { return aws.ToString(s.found.AvailabilityZone) }

// find looks in all zones: where the volume is counts, not where the spec would have it. Of several, one that holds a finished move goes
// before the others, then the oldest.
func (s *state) find(ctx context.Context) (*ec2types.Volume, error) {
	mine, err := s.aws.Volumes(ctx, append(cloud.OwnedBy(s.owner), cloud.Filter("tag:"+cloud.TagName, s.spec.Name))...)
	if err != nil {
		return nil, err
	}
	mine = slices.DeleteFunc(mine, func(v ec2types.Volume) bool {
		gone := v.State == ec2types.VolumeStateDeleted || v.State == ec2types.VolumeStateDeleting && !s.down
		return gone || !cloud.Ours(cloud.EC2TagMap(v.Tags), s.owner, kindVolume, s.spec.Name)
	})
	mine, s.copied = withoutCopied(mine)
	if len(mine) == 0 {
		return nil, nil
	}
	sort.Slice(mine, func(i, j int) bool {
		a, b := mine[i], mine[j]
		return cmp.Or(-cmp.Compare(filled(a), filled(b)), aws.ToTime(a.CreateTime).Compare(aws.ToTime(b.CreateTime)), cmp.Compare(aws.ToString(a.VolumeId), aws.ToString(b.VolumeId))) < 0
	})
	if len(mine) > 1 {
		s.env.Note(fmt.Sprintf("%d volumes carry the name %s; %s is used, remove the others", len(mine), s.spec.Name, aws.ToString(mine[0].VolumeId)))
	}
	return &mine[0], nil
}

func filled(v ec2types.Volume) int {
	if cloud.EC2TagMap(v.Tags)[tagMoveState] != "" {
		return 1
	}
	return 0
}

func volume(sp Spec) reconcile.Resource[state] {
	return reconcile.Resource[state]{
		Kind: kindVolume, Name: sp.Name, Expect: 3 * time.Second, Gone: 2 * time.Second, Data: true,
		Observe: func(ctx context.Context, s *state) (reconcile.Status, error) {
			v, err := s.find(ctx)
			s.found = v
			if err != nil || v == nil {
				return reconcile.Status{}, err
			}
			if v.State == ec2types.VolumeStateError {
				return reconcile.Status{}, &steps.Error{Code: "VolumeFailed", Category: steps.Unhealthy, Message: "volume " + aws.ToString(v.VolumeId) + " is in state error",
					Hints: []string{"look at it in the EC2 console; a KMS key that may not be used is a common cause"}}
			}
			ready := v.State == ec2types.VolumeStateAvailable || v.State == ec2types.VolumeStateInUse
			return reconcile.Status{Exists: true, Ready: ready, ID: aws.ToString(v.VolumeId), Detail: string(v.State), Drift: s.drift(v)}, nil
		},
		Create: func(ctx context.Context, s *state) error { return s.create(ctx) },
		Update: func(ctx context.Context, s *state, drift []string) error { return s.mend(ctx, drift) },
		Delete: func(ctx context.Context, s *state) error { return s.remove(ctx) },
	}
}

func (s *state) drift(v *ec2types.Volume) []string {
	var d owned.Drift
	if s.down {
		return nil
	}
	d.Mend(driftSize, gib(aws.ToInt32(v.Size)), gib(s.spec.Size.GiB())) // mend refuses to shrink it
	if s.relocating(v) {
		d.Mend("zone", aws.ToString(v.AvailabilityZone), s.spec.Zone)
	}
	for _, x := range s.copied {
		d.Mend("name of "+aws.ToString(x.VolumeId), s.spec.Name, s.earlierName(aws.ToString(x.VolumeId)))
	}
	d.Mend("type", v.VolumeType, s.spec.Type)
	if s.spec.IOPS > 0 {
		d.Mend("iops", aws.ToInt32(v.Iops), s.spec.IOPS)
	}
	if s.spec.Throughput > 0 {
		d.Mend("throughput", aws.ToInt32(v.Throughput), s.spec.Throughput)
	}
	d.Fixed("encrypted", aws.ToBool(v.Encrypted), *s.spec.Encrypted)
	d.Mend("tag "+tagCSI, cloud.EC2TagMap(v.Tags)[tagCSI], "true")
	return d
}

func (s *state) create(ctx context.Context) error {
	tags := cloud.Tags(s.owner, kindVolume, s.spec.Name)
	tags[tagCSI] = "true"
	in := &ec2.CreateVolumeInput{
		AvailabilityZone: &s.spec.Zone, Size: aws.Int32(s.spec.Size.GiB()), VolumeType: ec2types.VolumeType(s.spec.Type), Encrypted: s.spec.Encrypted,
		TagSpecifications: cloud.TagAtCreate(ec2types.ResourceTypeVolume, tags),
		// The run is in the token: EC2 remembers tokens for longer than a volume may live.
		ClientToken: aws.String(cloud.ClientToken(s.owner, kindVolume, s.spec.Name, s.env.RunID)),
	}
	if s.spec.KMSKeyID != "" {
		in.KmsKeyId = &s.spec.KMSKeyID
	}
	if s.spec.IOPS > 0 {
		in.Iops = &s.spec.IOPS
	}
	if s.spec.Throughput > 0 {
		in.Throughput = &s.spec.Throughput
	}
	_, err := cloud.EC2(s.aws).CreateVolume(ctx, in)
	return s.explainZone(err)
}

func (s *state) explainZone(err error) error {
	if cloud.Code(err) == "InvalidZone.NotFound" || cloud.Code(err) == "InvalidParameterValue" && cloud.Says(err, s.spec.Zone) {
		return &steps.Error{Code: "NoSuchZone", Category: steps.Precondition, Message: "zone: " + s.spec.Zone + " is not in " + s.aws.Region,
			Hints: []string{"set `zone` to one of the region's availability zones"}}
	}
	return err
}

func (s *state) mend(ctx context.Context, drift []string) error {
	id := s.found.VolumeId
	if err := s.tooLarge(); err != nil {
		return err
	}
	if len(s.copied) > 0 {
		if err := s.settle(ctx, s.copied); err != nil {
			return err
		}
		drift = slices.DeleteFunc(slices.Clone(drift), func(d string) bool { return strings.HasPrefix(d, "name of ") })
	}
	if len(drift) == 0 {
		return nil
	}
	if owned.Of(drift, "zone") {
		return s.relocate(ctx) // the copy is made as the spec says
	}
	if owned.Of(drift, "tag "+tagCSI) {
		_, err := cloud.EC2(s.aws).CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{*id}, Tags: cloud.EC2Tags(map[string]string{tagCSI: "true"})})
		if err != nil {
			return err
		}
	}
	if len(drift) == 1 && owned.Of(drift, "tag "+tagCSI) {
		return nil
	}
	return s.modify(ctx, drift)
}

func (s *state) remove(ctx context.Context) error {
	if s.spec.Snapshots > 0 || s.spec.FinalSnapshot == nil || *s.spec.FinalSnapshot {
		if err := s.lastSnapshot(ctx); err != nil {
			return err
		}
	}
	before, err := s.named(ctx, func(name string) bool { return name == s.copyName() || strings.HasPrefix(name, s.earlierName("")) })
	if err != nil {
		return err
	}
	if err := s.deleteAll(ctx, append(before, s.copied...)); err != nil {
		return err
	}
	_, err = cloud.EC2(s.aws).DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: s.found.VolumeId})
	if cloud.Code(err) == "IncorrectState" && cloud.Says(err, "deleting") { // our own call, sent twice after a lost answer
		return nil
	}
	return err
}

func attachedTo(_ context.Context, s *state, _ string) string {
	if s.found == nil {
		return ""
	}
	var out []string
	for _, a := range s.found.Attachments {
		out = append(out, aws.ToString(a.InstanceId))
	}
	return strings.Join(out, ", ")
}

func (s *state) outputs() Outputs {
	out := Outputs{VolumeID: aws.ToString(s.found.VolumeId), Zone: s.zone(), SizeGiB: aws.ToInt32(s.found.Size), State: string(s.found.State)}
	tags := cloud.EC2TagMap(s.found.Tags)
	if slices.Contains([]string{"moved", "verified", "finalized"}, tags[tagMoveState]) {
		out.Imported = &Import{Source: tags[tagMoveSource], Time: tags[tagMoveTime]}
	}
	return out
}

// foreseen are the outputs that hold before the volume is made or changed: where it will be, and how large.
func (s *state) foreseen() map[string]any {
	if s.found == nil {
		return map[string]any{"zone": s.spec.Zone, "sizeGiB": s.spec.Size.GiB()}
	}
	if s.relocating(s.found) {
		return map[string]any{"zone": s.spec.Zone, "sizeGiB": max(s.spec.Size.GiB(), aws.ToInt32(s.found.Size))}
	}
	return map[string]any{"zone": s.zone(), "sizeGiB": max(s.spec.Size.GiB(), aws.ToInt32(s.found.Size))}
}

func (s *state) cost() *steps.Cost {
	size, typ := s.spec.Size.GiB(), s.spec.Type
	if s.found != nil {
		size, typ = max(size, aws.ToInt32(s.found.Size)), string(s.found.VolumeType)
	}
	b := s.aws.Prices.Bill(s.aws.Region)
	b.Add(fmt.Sprintf("volume %s: %d GiB %s", s.spec.Name, size, typ), typ+":gb-month", float64(size), true)
	b.Add(fmt.Sprintf("volume %s: IOPS", s.spec.Name), typ+":iops-month", float64(max(s.spec.IOPS-3000, 0)), true)
	b.Add(fmt.Sprintf("volume %s: throughput", s.spec.Name), typ+":mibps-month", float64(max(s.spec.Throughput-125, 0)), true)
	return b.Cost("snapshots")
}
