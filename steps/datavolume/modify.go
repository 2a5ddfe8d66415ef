package datavolume

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/steps"
)

func gib(n int32) string { return fmt.Sprintf("%d GiB", n) }

// tooLarge refuses a spec that asks for less than there is: the file shall say what there is, and what is paid for.
func (s *state) tooLarge() error {
	if s.found == nil || s.down || aws.ToInt32(s.found.Size) <= s.spec.Size.GiB() {
		return nil
	}
	have := aws.ToInt32(s.found.Size)
	return &steps.Error{Code: "CannotShrink", Category: steps.BadInput, Message: fmt.Sprintf("size: volume %s has %d GiB, and EBS volumes cannot shrink to %d GiB", aws.ToString(s.found.VolumeId), have, s.spec.Size.GiB()),
		Hints: []string{fmt.Sprintf("set `size: %dGi`; to have a smaller one, copy to another volume", have)}}
}

// modify asks EBS for the shape of the spec and waits until the volume has it: from the state optimizing on it can be used as it shall be.
func (s *state) modify(ctx context.Context, drift []string) error {
	id := aws.ToString(s.found.VolumeId)
	in := &ec2.ModifyVolumeInput{VolumeId: &id, VolumeType: ec2types.VolumeType(s.spec.Type)}
	if owned.Of(drift, driftSize) {
		in.Size = aws.Int32(s.spec.Size.GiB())
	}
	if s.spec.IOPS > 0 {
		in.Iops = &s.spec.IOPS
	}
	if s.spec.Throughput > 0 {
		in.Throughput = &s.spec.Throughput
	}
	_, err := cloud.EC2(s.aws).ModifyVolume(ctx, in)
	if code := cloud.Code(err); code == "IncorrectModificationState" || code == "VolumeModificationRateExceeded" {
		last, lookErr := s.lastChange(ctx, id)
		if lookErr != nil {
			return lookErr
		}
		if !underWay(last) || !s.asked(last) { // else our own call, sent twice after a lost answer, or made by a run that was cut off
			return tooSoon(id, last, err)
		}
	} else if err != nil {
		return err
	}
	if err := s.changed(ctx, id); err != nil {
		return err
	}
	if in.Size != nil {
		s.env.Note(fmt.Sprintf("volume %s has %d GiB now; its file system grows with it when it is next mounted: by a copy, or by the pod that uses it once that is started again", id, *in.Size))
	}
	return nil
}

// lastChange is the volume's last modification; nil when it never had one.
func (s *state) lastChange(ctx context.Context, id string) (*ec2types.VolumeModification, error) {
	o, err := cloud.EC2(s.aws).DescribeVolumesModifications(ctx, &ec2.DescribeVolumesModificationsInput{VolumeIds: []string{id}})
	if cloud.IsNotFound(err) {
		return nil, nil
	}
	if err != nil || len(o.VolumesModifications) == 0 {
		return nil, err
	}
	return &o.VolumesModifications[0], nil
}

func underWay(m *ec2types.VolumeModification) bool {
	return m != nil && (m.ModificationState == ec2types.VolumeModificationStateModifying || m.ModificationState == ec2types.VolumeModificationStateOptimizing)
}

// asked reports whether a modification makes of the volume what the spec wants.
func (s *state) asked(m *ec2types.VolumeModification) bool {
	return aws.ToInt32(m.TargetSize) == s.spec.Size.GiB() && string(m.TargetVolumeType) == s.spec.Type &&
		(s.spec.IOPS == 0 || aws.ToInt32(m.TargetIops) == s.spec.IOPS) && (s.spec.Throughput == 0 || aws.ToInt32(m.TargetThroughput) == s.spec.Throughput)
}

// settleWithin is how long a modification may take to reach the state optimizing; usual are seconds.
const settleWithin = 30 * time.Minute

func (s *state) changed(ctx context.Context, id string) error {
	return s.until(ctx, "change of "+s.spec.Name, settleWithin, func(ctx context.Context) (bool, string, error) {
		m, err := s.lastChange(ctx, id)
		if err != nil || m == nil || !s.asked(m) {
			return false, "not visible yet", err
		}
		switch m.ModificationState {
		case ec2types.VolumeModificationStateOptimizing, ec2types.VolumeModificationStateCompleted:
			return true, "", nil
		case ec2types.VolumeModificationStateFailed:
			return false, "", &steps.Error{Code: "ModificationFailed", Category: steps.Unhealthy, Retryable: true, Message: fmt.Sprintf("volume %s: modification: %s", id, aws.ToString(m.StatusMessage)),
				Hints: []string{"the volume is as it was before; run again"}}
		}
		return false, string(m.ModificationState), nil
	})
}

// tooSoon says when the volume was last changed, and when EBS lets it be changed again.
func tooSoon(id string, last *ec2types.VolumeModification, err error) error {
	e := &steps.Error{Code: "ModifiedTooSoon", Category: steps.Precondition, Message: "volume " + id + ": cannot be changed yet", Err: cloud.Explain(err)}
	switch {
	case underWay(last):
		e.Message = fmt.Sprintf("volume %s: another change of it, to %d GiB, began at %s and is %d %% done", id, aws.ToInt32(last.TargetSize), stamp(last.StartTime), aws.ToInt64(last.Progress))
		e.Hints = []string{"run again when it is completed: EBS makes one change of a volume at a time"}
	case last != nil:
		e.Message = fmt.Sprintf("volume %s: was changed too often, the last time at %s", id, stamp(last.StartTime))
		e.Hints = []string{fmt.Sprintf("run again after %s: EBS wants up to 6 hours between two changes of a volume, and allows few in 24 hours", stamp(aws.Time(aws.ToTime(last.StartTime).Add(6*time.Hour))))}
	default:
		e.Hints = []string{"run again in 6 hours, which is what EBS may want between two changes of a volume"}
	}
	return e
}

func stamp(t *time.Time) string { return aws.ToTime(t).UTC().Format(time.RFC3339) }
