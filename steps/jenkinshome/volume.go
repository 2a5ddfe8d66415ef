package jenkinshome

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	corev1 "k8s.io/api/core/v1"

	"pipectl.dev/cloud"
	"pipectl.dev/steps"
	"pipectl.dev/steps/wait"
)

// volume is what EC2 says of the data volume. The zero value is one that does not exist.
type volume struct {
	ID, Zone string
	Instance string // attached to, "" when free
	Device   string
	Busy     string // "attaching" or "detaching", while it is
	Tags     map[string]string
}

func (v volume) state() State { return State(v.Tags[tagState]) }

// place says where the volume is, seen from the instance that has the old home.
func (v volume) place(source string) Place {
	switch {
	case v.ID == "":
		return Missing
	case v.Instance == "":
		return Free
	case v.Instance == source && source != "":
		return OnSource
	}
	return Elsewhere
}

func readVolume(ctx context.Context, s *cloud.Session, id string) (volume, error) {
	out, err := cloud.EC2(s).DescribeVolumes(ctx, &ec2.DescribeVolumesInput{Filters: []types.Filter{cloud.Filter("volume-id", id)}})
	if err != nil {
		return volume{}, cloud.Explain(err)
	}
	for _, x := range out.Volumes {
		if x.State == types.VolumeStateDeleting || x.State == types.VolumeStateDeleted {
			continue
		}
		v := volume{ID: id, Zone: aws.ToString(x.AvailabilityZone), Tags: cloud.EC2TagMap(x.Tags)}
		for _, a := range x.Attachments {
			switch a.State {
			case types.VolumeAttachmentStateDetached:
				continue
			case types.VolumeAttachmentStateAttaching, types.VolumeAttachmentStateDetaching, types.VolumeAttachmentStateBusy:
				v.Busy = string(a.State)
			}
			v.Instance, v.Device = aws.ToString(a.InstanceId), aws.ToString(a.Device)
		}
		if x.State == types.VolumeStateCreating {
			v.Busy = "creating"
		}
		return v, nil
	}
	return volume{}, nil
}

// settled waits until the volume is neither on its way to an instance nor off one.
func settled(ctx context.Context, s *cloud.Session, id string, say func(string)) (v volume, err error) {
	err = wait.Until(ctx, wait.Options{Min: time.Second, Max: 5 * time.Second, Expect: 5 * time.Second, Timeout: 5 * time.Minute, Speed: s.Speed,
		Report: func(p wait.Progress) { say(p.Detail) }}, func(ctx context.Context) (bool, string, error) {
		v, err = readVolume(ctx, s, id)
		return v.Busy == "", v.Busy, err
	})
	if err != nil {
		return v, fmt.Errorf("volume %s: %w", id, err)
	}
	return v, nil
}

// attach attaches the volume to an instance at a free device name and waits until it is there.
func attach(ctx context.Context, s *cloud.Session, v volume, instance string, say func(string)) error {
	if v.Instance == instance {
		return nil
	}
	machine, err := readInstance(ctx, s, instance)
	if err != nil {
		return err
	}
	if err := inZone(v, instance, machine); err != nil {
		return err
	}
	free := freeDevices(machine)
	if len(free) == 0 {
		return noDevice(machine)
	}
	_, err = cloud.EC2(s).AttachVolume(ctx, &ec2.AttachVolumeInput{VolumeId: &v.ID, InstanceId: &instance, Device: &free[0]})
	if err != nil && cloud.Code(err) != "VolumeInUse" && cloud.Code(err) != "IncorrectState" { // somebody, or our own lost call, was first: look
		return fmt.Errorf("volume %s: attach to %s: %w", v.ID, instance, cloud.Explain(err))
	}
	now, err := settled(ctx, s, v.ID, say)
	if err != nil {
		return err
	}
	if now.Instance != instance {
		return fmt.Errorf("volume %s: attach to %s: %w", v.ID, instance, whyElsewhere)
	}
	return nil
}

func inZone(v volume, instance string, machine types.Instance) error {
	zone := ""
	if machine.Placement != nil {
		zone = aws.ToString(machine.Placement.AvailabilityZone)
	}
	if zone == v.Zone {
		return nil
	}
	return &steps.Error{Code: "OtherZone", Category: steps.Precondition, Message: fmt.Sprintf("volume %s is in %s, the old node %s in %s", v.ID, v.Zone, instance, zone),
		Hints: []string{"make the volume in the node's zone (`zone` of data-volume): it can be moved by snapshot later"}}
}

// detach takes the volume from the source's instance, and from no other, and waits until it is free.
func detach(ctx context.Context, s *cloud.Session, id, instance string, say func(string)) error {
	v, err := settled(ctx, s, id, say)
	if err != nil || v.Instance == "" || v.Instance != instance {
		return err
	}
	_, err = cloud.EC2(s).DetachVolume(ctx, &ec2.DetachVolumeInput{VolumeId: &id, InstanceId: &instance})
	if err != nil && cloud.Code(err) != "IncorrectState" {
		return fmt.Errorf("volume %s: detach from %s: %w", id, instance, cloud.Explain(err))
	}
	v, err = settled(ctx, s, id, say)
	if err == nil && v.Instance != "" {
		err = fmt.Errorf("volume %s: detach: %w", id, whyElsewhere)
	}
	return err
}

// awaitFree waits until whoever has the volume has let it go.
func awaitFree(ctx context.Context, s *cloud.Session, id string, limit time.Duration, say func(string)) error {
	err := wait.Until(ctx, wait.Options{Min: time.Second, Max: 5 * time.Second, Expect: 15 * time.Second, Timeout: limit, Speed: s.Speed,
		Report: func(p wait.Progress) { say(p.Detail) }}, func(ctx context.Context) (bool, string, error) {
		v, err := readVolume(ctx, s, id)
		return v.Instance == "", "attached to " + v.Instance, err
	})
	if err != nil {
		return fmt.Errorf("volume %s: free: %w", id, err)
	}
	return nil
}

func writeTags(ctx context.Context, s *cloud.Session, id string, tags map[string]string) error {
	for k, v := range tags {
		tags[k] = v[:min(len(v), tagLimit)]
	}
	if _, err := cloud.EC2(s).CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: cloud.EC2Tags(tags)}); err != nil {
		return fmt.Errorf("volume %s: tags: %w", id, cloud.Explain(err))
	}
	return nil
}

func readInstance(ctx context.Context, s *cloud.Session, id string) (types.Instance, error) {
	all, err := instances(ctx, s, cloud.Filter("instance-id", id))
	if err != nil {
		return types.Instance{}, err
	}
	if len(all) != 1 {
		return types.Instance{}, &steps.Error{Code: "InstanceNotFound", Category: steps.Precondition, Message: "instance " + id + ": does not exist or does not run in " + s.Region,
			Hints: []string{"is `region` the old node's? `from.instanceId` names the instance where the node does not tell"}}
	}
	return all[0], nil
}

func instances(ctx context.Context, s *cloud.Session, f ...types.Filter) ([]types.Instance, error) {
	all, err := s.Instances(ctx, append(f, cloud.Filter("instance-state-name", "running"))...)
	return all, cloud.Explain(err)
}

// instanceOf finds the EC2 instance of a node: by its providerID, else by its private address with exactly one running match, else as given.
func instanceOf(ctx context.Context, s *cloud.Session, n *corev1.Node, given string) (string, error) {
	if id := n.Spec.ProviderID; strings.HasPrefix(id, "aws://") {
		return id[strings.LastIndex(id, "/")+1:], nil
	}
	address := ""
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			address = a.Address
		}
	}
	var found []types.Instance
	var err error
	if address != "" {
		if found, err = instances(ctx, s, cloud.Filter("private-ip-address", address)); err != nil {
			return "", err
		}
	}
	switch {
	case len(found) == 1:
		return aws.ToString(found[0].InstanceId), nil
	case given != "":
		return given, nil
	}
	return "", &steps.Error{Code: "InstanceUnknown", Category: steps.Precondition,
		Message: fmt.Sprintf("node %s: has no providerID, and %d running instances have its address %s", n.Name, len(found), address),
		Hints:   []string{"name the instance by `from.instanceId`, and make sure that `region` is the node's"}}
}
