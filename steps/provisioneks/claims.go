package provisioneks

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pipectl.dev/cloud"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

// kindClaimed are volumes that the EBS CSI driver made for claims in our cluster. Down keeps them, since they hold data, and puts our tags
// on them: once the cluster is gone nothing else tells whose they are.
const kindClaimed = "ec2:ClaimedVolume"

// Tags that the EBS CSI driver gives its volumes.
const (
	tagPVC          = "kubernetes.io/created-for/pvc/name"
	tagPVCNamespace = "kubernetes.io/created-for/pvc/namespace"
)

func claimOf(v ec2types.Volume) string {
	tags := cloud.EC2TagMap(v.Tags)
	return tags[tagPVCNamespace] + "/" + tags[tagPVC]
}

func (s *state) volumes(ctx context.Context, filters ...ec2types.Filter) ([]ec2types.Volume, error) {
	all, err := s.aws.Volumes(ctx, filters...)
	return slices.DeleteFunc(all, func(v ec2types.Volume) bool {
		return v.State == ec2types.VolumeStateDeleting || v.State == ec2types.VolumeStateDeleted
	}), err
}

// kept are the claims' volumes that carry our tags.
func (s *state) kept(ctx context.Context) ([]ec2types.Volume, error) {
	return s.volumes(ctx, cloud.Filter("tag:"+cloud.TagIdentity, s.owner), cloud.Filter("tag:"+cloud.TagKind, kindClaimed), cloud.Filter("tag:"+cloud.TagName, s.spec.Name+"/*"))
}

// keepClaimed puts our tags on the volumes of claims, while the cluster still shows that they are ours.
// open reaches the cluster for what the claims asked for; nil where it is gone.
func (s *state) keepClaimed(ctx context.Context, open kube.Opener) error {
	if vpc, err := s.ourVPC(ctx); err != nil || vpc == "" {
		return err
	}
	list, err := s.volumes(ctx, cloud.Filter("tag:kubernetes.io/cluster/"+s.spec.Name, "owned"), cloud.Filter("tag-key", tagPVC))
	if err != nil {
		return cloud.Explain(err)
	}
	facts := map[string]claimFacts{}
	if len(list) > 0 {
		facts = s.factsOf(ctx, open)
	}
	for _, v := range list {
		tags := cloud.EC2TagMap(v.Tags)
		want := map[string]string{cloud.TagIdentity: s.owner, cloud.TagKind: kindClaimed, cloud.TagName: s.name(claimOf(v))}
		if f, known := facts[aws.ToString(v.VolumeId)]; known {
			want[tagClaim] = f.String()
		}
		if (want[tagClaim] == "" || tags[tagClaim] == want[tagClaim]) && tags[cloud.TagIdentity] == want[cloud.TagIdentity] && tags[cloud.TagKind] == want[cloud.TagKind] {
			continue
		}
		if _, err := cloud.EC2(s.aws).CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{aws.ToString(v.VolumeId)}, Tags: cloud.EC2Tags(want)}); err != nil {
			return fmt.Errorf("%s/%s: tag: %w", kindClaimed, claimOf(v), cloud.Explain(err))
		}
	}
	return nil
}

// claimedVolumes lists every volume of a claim and what it goes on costing; only with data may they go,
// each after a last snapshot.
func (s *state) claimedVolumes(ctx context.Context, withData bool) error {
	list, err := s.kept(ctx)
	if err != nil {
		return cloud.Explain(err)
	}
	if withData {
		if err := s.keepLastStates(ctx, list); err != nil {
			return err
		}
	}
	for _, v := range list {
		id, claim := aws.ToString(v.VolumeId), claimOf(v)
		if !withData {
			s.env.Note(fmt.Sprintf("kept: volume %s of claim %s, %d GiB in %s%s; `pipectl destroy --with-data %s` removes it", id, claim, aws.ToInt32(v.Size),
				aws.ToString(v.AvailabilityZone), s.perDay(string(v.VolumeType)+":gb-month", float64(aws.ToInt32(v.Size))), s.env.Identity.Pipeline))
			continue
		}
		_, err := cloud.EC2(s.aws).DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: &id})
		if err != nil && !cloud.IsNotFound(err) && !(cloud.Code(err) == "IncorrectState" && strings.Contains(err.Error(), "deleting")) {
			return fmt.Errorf("%s/%s: delete: %w", kindClaimed, claim, cloud.Explain(err))
		}
		s.env.Report(steps.Progress{Change: steps.Change{Kind: kindClaimed, Name: claim, ID: id, Action: reconcile.Delete}, Phase: reconcile.Done})
	}
	return nil
}
