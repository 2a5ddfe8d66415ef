package attachvolume

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	corev1 "k8s.io/api/core/v1"

	"pipectl.dev/cloud"
	"pipectl.dev/steps"
	"pipectl.dev/steps/wait"
)

// volume is what EC2 says of the volume.
type volume struct {
	ID, Zone, State string
	SizeGiB         int32
	Tags            map[string]string
	Attached        []attachment
}

type attachment struct{ Instance, State string }

// leaving reports an attachment that is on its way out by itself.
func (a attachment) leaving() bool {
	return a.State == string(ec2types.VolumeAttachmentStateDetaching) || a.State == string(ec2types.VolumeAttachmentStateDetached)
}

// describe reads a volume; found is false when there is none of that id.
func describe(ctx context.Context, s *cloud.Session, id string) (v volume, found bool, err error) {
	out, err := cloud.EC2(s).DescribeVolumes(ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{id}})
	if cloud.IsNotFound(err) {
		return volume{}, false, nil
	}
	if err != nil {
		return volume{}, false, fmt.Errorf("volume %s: %w", id, cloud.Explain(err))
	}
	if len(out.Volumes) == 0 {
		return volume{}, false, nil
	}
	x := out.Volumes[0]
	v = volume{ID: id, Zone: aws.ToString(x.AvailabilityZone), State: string(x.State), SizeGiB: aws.ToInt32(x.Size), Tags: cloud.EC2TagMap(x.Tags)}
	for _, a := range x.Attachments {
		v.Attached = append(v.Attached, attachment{Instance: aws.ToString(a.InstanceId), State: string(a.State)})
	}
	return v, true, nil
}

func noVolume(id string) error {
	return &steps.Error{Code: "VolumeNotFound", Category: steps.Precondition, Message: "volume " + id + ": does not exist in this account and region",
		Hints: []string{"`volume` is usually the output volumeId of a data-volume stage"}}
}

// wantTags are the tags without which the driver's IAM policies do not let it use the volume. An ownership tag of the cluster is not
// among them: tools that remove a cluster remove what carries it.
func wantTags(ref steps.ClusterRef) map[string]string {
	tags := map[string]string{clusterTag: "true"}
	if ref.EKS != nil {
		tags[clusterByTag] = ref.EKS.Name
	}
	return tags
}

// fsTag says what a move found the volume formatted with, or formatted it with.
const fsTag = "pipectl.dev/fs-type"

// fsType is what the PersistentVolume names.
func (s Spec) fsType(v volume) string {
	return cmp.Or(s.FSType, v.Tags[fsTag], "ext4")
}

// asFormatted refuses a file system that is not the one on the volume: the driver would never format it anew, and pods would wait for a
// mount that cannot succeed.
func (s Spec) asFormatted(v volume) error {
	if has := v.Tags[fsTag]; has != "" && s.FSType != "" && s.FSType != has {
		return &steps.Error{Code: "OtherFileSystem", Category: steps.Precondition, Message: fmt.Sprintf("volume %s: is formatted with %s, not with %s", v.ID, has, s.FSType),
			Hints: []string{"leave `fsType` out"}}
	}
	return nil
}

// ownerTag says who owns the home that a move has brought, as user:group. The PersistentVolume keeps it for those who see only the cluster.
const ownerTag = "pipectl.dev/fs-owner"

var ownerText = regexp.MustCompile(`^([0-9]+):([0-9]+)$`)

// values let the official Jenkins chart use the claim. Where the owner is known they also keep the kubelet from going through all files
// before each start: charts before January 2026 leave the policy out, and have no other field for it.
func (s Spec) values(owner string) string {
	text := "persistence:\n  enabled: true\n  existingClaim: " + s.claim() + "\n"
	who := ownerText.FindStringSubmatch(owner)
	if who == nil {
		return text
	}
	text += "controller:\n  podSecurityContextOverride:\n    runAsUser: " + who[1] + "\n    fsGroup: " + who[2] + "\n    fsGroupChangePolicy: OnRootMismatch\n"
	if who[1] != "0" {
		text += "    runAsNonRoot: true\n"
	}
	return text
}

// tagDrift names tags that are not as wanted.
func tagDrift(have, want map[string]string) []string {
	var out []string
	for _, k := range []string{clusterTag, clusterByTag} {
		if w, ok := want[k]; ok && have[k] != w {
			out = append(out, fmt.Sprintf("%s: have %q, want %q", k, have[k], w))
		}
	}
	return out
}

// ownershipTags lists tags by which other tools would remove the volume with a cluster.
func ownershipTags(have map[string]string) []string {
	var out []string
	for k, v := range have {
		if strings.HasPrefix(k, "kubernetes.io/cluster/") && v == "owned" {
			out = append(out, k)
		}
	}
	return out
}

func writeTags(ctx context.Context, s *cloud.Session, id string, tags map[string]string) error {
	_, err := cloud.EC2(s).CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: cloud.EC2Tags(tags)})
	if err != nil {
		return fmt.Errorf("volume %s: tag: %w", id, cloud.Explain(err))
	}
	return nil
}

// strangers are attachments to instances that are not nodes of the cluster.
func strangers(v volume, nodes map[string]bool) []attachment {
	var out []attachment
	for _, a := range v.Attached {
		if !nodes[a.Instance] && a.State != string(ec2types.VolumeAttachmentStateDetached) {
			out = append(out, a)
		}
	}
	return out
}

// instances are the EC2 instances of nodes.
func instances(nodes []corev1.Node) map[string]bool {
	out := map[string]bool{}
	for _, n := range nodes {
		if id := n.Spec.ProviderID[strings.LastIndex(n.Spec.ProviderID, "/")+1:]; strings.HasPrefix(id, "i-") {
			out[id] = true
		}
	}
	return out
}

// free waits until the volume is attached to no instance that concerns us.
func free(ctx context.Context, env steps.Env, s *cloud.Session, id string, timeout time.Duration, concerns func(attachment) bool) error {
	o := wait.Options{Expect: 10 * time.Second, Min: time.Second, Timeout: timeout, Speed: s.Speed, Report: func(p wait.Progress) {
		env.WaitingFor("waiting until volume "+id+" is detached: "+p.Detail, p)
	}}
	err := wait.Until(ctx, o, func(ctx context.Context) (bool, string, error) {
		v, found, err := describe(ctx, s, id)
		if err != nil || !found {
			return !found, "", err
		}
		for _, a := range v.Attached {
			if a.State != string(ec2types.VolumeAttachmentStateDetached) && concerns(a) {
				return false, v.State + ", " + a.State + " to " + a.Instance, nil
			}
		}
		return true, v.State, nil
	})
	if err != nil {
		return fmt.Errorf("volume %s: detach: %w", id, err)
	}
	return nil
}
