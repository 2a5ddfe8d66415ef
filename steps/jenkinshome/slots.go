package jenkinshome

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pipectl.dev/cloud"
	"pipectl.dev/steps"
)

// instanceTypes is what EC2 said of types; nothing of one where it does not tell.
type instanceTypes map[types.InstanceType]types.InstanceTypeInfo

// takes refuses an instance that cannot be given so many more volumes: it has no free name for their devices, or its type no free slot.
func (m *mission) takes(ctx context.Context, machine types.Instance, more int) error {
	if len(freeDevices(machine)) < more {
		return noDevice(machine)
	}
	t, told, err := m.typeOf(ctx, machine.InstanceType)
	if !told || err != nil {
		return err
	}
	return slotsFor(t, machine, more)
}

// typeOf says what EC2 says of a type, once a run. A caller who may not ask goes on without: AttachVolume says it then.
func (m *mission) typeOf(ctx context.Context, name types.InstanceType) (t types.InstanceTypeInfo, told bool, err error) {
	if known, ok := m.types[name]; ok {
		return known, known.InstanceType != "", nil
	}
	out, err := cloud.EC2(m.aws).DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{Filters: []types.Filter{cloud.Filter("instance-type", string(name))}})
	switch {
	case cloud.IsDenied(err):
		m.env.Checked("attach slots of "+string(name), "cannot be read (ec2:DescribeInstanceTypes is not allowed)", true)
	case err != nil:
		return t, false, fmt.Errorf("instance type %s: %w", name, cloud.Explain(err))
	case len(out.InstanceTypes) == 1:
		t = out.InstanceTypes[0]
	}
	if m.types == nil {
		m.types = instanceTypes{}
	}
	m.types[name] = t
	return t, t.InstanceType != "", nil
}

// slotsFor counts by the limit of the type: volumes, the root volume among them, and where the limit is a shared one network interfaces and
// the instance's own NVMe disks. A type that names no limit is not held to one.
func slotsFor(t types.InstanceTypeInfo, i types.Instance, more int) error {
	if t.EbsInfo == nil || t.EbsInfo.MaximumEbsAttachments == nil {
		return nil
	}
	volumes := 0
	for _, b := range i.BlockDeviceMappings {
		if b.Ebs != nil && b.Ebs.Status != types.AttachmentStatusDetached {
			volumes++
		}
	}
	used, by := volumes, fmt.Sprintf("%d volumes", volumes)
	if t.EbsInfo.AttachmentLimitType == types.AttachmentLimitTypeShared {
		disks := ownDisks(t.InstanceStorageInfo)
		used += len(i.NetworkInterfaces) + disks
		by += fmt.Sprintf(", %d network interfaces and %d disks of its own", len(i.NetworkInterfaces), disks)
	}
	most := int(*t.EbsInfo.MaximumEbsAttachments)
	if used+more <= most {
		return nil
	}
	return &steps.Error{Code: "NoAttachSlot", Category: steps.Quota,
		Message: fmt.Sprintf("instance %s: no room for %d more, of the %d attachments that a %s takes %d are used (%s)", aws.ToString(i.InstanceId), more, most, t.InstanceType, used, by),
		Hints:   []string{"detach a volume that is not needed"}}
}

// ownDisks are those that share the limit: disks that are no NVMe devices do not.
func ownDisks(s *types.InstanceStorageInfo) (n int) {
	if s == nil || s.NvmeSupport == types.EphemeralNvmeSupportUnsupported {
		return 0
	}
	for _, d := range s.Disks {
		n += int(aws.ToInt32(d.Count))
	}
	return n
}

// freeDevices are names of devices that the instance does not use. With NVMe a name is only a label.
func freeDevices(i types.Instance) (out []string) {
	for letter := 'f'; letter <= 'p'; letter++ {
		used := slices.ContainsFunc(i.BlockDeviceMappings, func(m types.InstanceBlockDeviceMapping) bool {
			name := strings.TrimRight(aws.ToString(m.DeviceName), "0123456789")
			return strings.HasSuffix(name, "d"+string(letter))
		})
		if !used {
			out = append(out, "/dev/sd"+string(letter))
		}
	}
	return out
}

func noDevice(i types.Instance) error {
	return &steps.Error{Code: "NoFreeDevice", Category: steps.Quota, Message: "instance " + aws.ToString(i.InstanceId) + ": no device name from /dev/sdf to /dev/sdp is free",
		Hints: []string{"detach a volume that is not needed"}}
}
