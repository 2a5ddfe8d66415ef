package provisioneks

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/steps/reconcile"
)

// kindTags are the spec's `tags` on all that is there: what is made has them from the start.
const kindTags = "aws:Tags"

// mostTags is how many of a resource's 50 tags the spec may take.
const mostTags = 40

// notTheirs begin the keys of tags that AWS, Kubernetes or pipectl itself reads.
var notTheirs = []string{"aws:", "pipectl.dev/", "kubernetes.io/", "k8s.io/", "eks:", "elbv2.k8s.aws/", "ebs.csi.aws.com/", "CSIVolumeName"}

func (s *Spec) checkTags(add adder) {
	if s.Existing && len(s.Tags) > 0 {
		add("tags", "leave tags out, or drop `existing: true`", "an existing cluster is only read")
	}
	if len(s.Tags) > mostTags {
		add("tags", "", "at most %d, for AWS takes 50 with those that pipectl and EKS need, got %d", mostTags, len(s.Tags))
	}
	for _, k := range slices.Sorted(maps.Keys(s.Tags)) {
		switch at := fmt.Sprintf("tags.%s", k); {
		case k == "Name" || slices.ContainsFunc(notTheirs, func(p string) bool { return strings.HasPrefix(k, p) }):
			add(at, "choose another key", "%q is a tag that pipectl, Kubernetes or AWS sets itself", k)
		case k == "" || len(k) > 128 || len(s.Tags[k]) > 256:
			add(at, "", "AWS takes keys of 1 to 128 characters and values of up to 256")
		}
	}
}

// tags are the owner tags of one resource, and those of the spec.
func (s *state) tags(kind, name string) map[string]string {
	all := maps.Clone(s.spec.Tags)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, cloud.Tags(s.owner, kind, name))
	return all
}

// bearer is a resource of ours that lacks tags of the spec.
type bearer struct {
	id, label string
	tags      map[string]string               // what is known of it
	write     func(ctx context.Context) error // nil: EC2's, all in one call
}

// specTags puts the spec's tags on what was made before they were in it. One that left the spec stays: nothing tells it from one that somebody
// else put there.
func specTags(sp Spec, rs []resource) resource {
	var needs []string
	for _, r := range rs {
		if !r.Retired {
			needs = append(needs, r.ID())
		}
	}
	return resource{
		Kind: kindTags, Name: sp.Name, Needs: needs,
		Observe: func(ctx context.Context, s *state) (status, error) {
			lacking, err := s.lacking(ctx)
			if err != nil {
				return absent, err
			}
			var labels []string
			for _, b := range lacking {
				labels = append(labels, b.label)
			}
			var d owned.Drift
			if len(labels) > 0 {
				d.Mend("tags", "others on "+strings.Join(sortedCopy(labels), ", "), labelText(sp.Tags))
			}
			return status{Exists: true, Ready: true, ID: sp.Name, Drift: d}, nil
		},
		Create: func(context.Context, *state) error { return nil },
		Update: func(ctx context.Context, s *state, _ []string) error { return s.writeTags(ctx) },
	}
}

// lacking are the resources of ours whose tags are not as the spec says, but for what goes.
func (s *state) lacking(ctx context.Context) ([]bearer, error) {
	out, err := s.lackingEC2(ctx)
	if err != nil {
		return nil, err
	}
	add := func(kind, name, arn string, tags map[string]string, write func(context.Context) error) {
		if cloud.Ours(tags, s.owner, kind, name) && !s.hasTags(tags) {
			out = append(out, bearer{id: arn, label: reconcile.ID(kind, name), tags: tags, write: write})
		}
	}
	inEKS := func(arn string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := cloud.EKS(s.aws).TagResource(ctx, &eks.TagResourceInput{ResourceArn: &arn, Tags: s.marked()})
			return err
		}
	}
	if c := s.cluster; c != nil {
		add(kindCluster, s.spec.Name, aws.ToString(c.Arn), c.Tags, inEKS(aws.ToString(c.Arn)))
	}
	for _, p := range s.lay.groups {
		add(kindGroup, s.name(p.Name), p.arn, p.tags, inEKS(p.arn))
	}
	for _, p := range []rolePart{clusterRole, nodeRole} {
		if tags, ok := s.roleTags.Load(p.part); ok {
			role := s.roleName(p.part)
			add(kindRole, s.name(p.part), role, tags.(map[string]string), func(ctx context.Context) error {
				_, err := cloud.IAM(s.aws).TagRole(ctx, &iam.TagRoleInput{RoleName: &role, Tags: cloud.IAMTags(s.marked())})
				return err
			})
		}
	}
	add(kindOIDC, s.spec.Name, s.providerARN, s.providerTags, func(ctx context.Context) error {
		_, err := cloud.IAM(s.aws).TagOpenIDConnectProvider(ctx, &iam.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: &s.providerARN, Tags: cloud.IAMTags(s.marked())})
		return err
	})
	return out, nil
}

// lackingEC2 reads the lists that the other resources were read from.
func (s *state) lackingEC2(ctx context.Context) ([]bearer, error) {
	var out []bearer
	add := func(id *string, tags []ec2types.Tag) {
		m := cloud.EC2TagMap(tags)
		if name, ok := s.mine(tags, m[cloud.TagKind]); ok && !s.hasTags(m) {
			out = append(out, bearer{id: aws.ToString(id), label: reconcile.ID(m[cloud.TagKind], name), tags: m})
		}
	}
	l := s.look
	errs := []error{each(ctx, l.templates, func(x ec2types.LaunchTemplate) { add(x.LaunchTemplateId, x.Tags) })}
	if !s.spec.Network.exists() {
		errs = append(errs,
			each(ctx, l.vpcs, func(x ec2types.Vpc) { add(x.VpcId, x.Tags) }),
			each(ctx, l.igws, func(x ec2types.InternetGateway) { add(x.InternetGatewayId, x.Tags) }),
			each(ctx, l.subnets, func(x ec2types.Subnet) { add(x.SubnetId, x.Tags) }),
			each(ctx, l.addresses, func(x ec2types.Address) { add(x.AllocationId, x.Tags) }),
			each(ctx, l.tables, func(x ec2types.RouteTable) { add(x.RouteTableId, x.Tags) }),
			each(ctx, l.nats, func(x ec2types.NatGateway) {
				if stands(x) {
					add(x.NatGatewayId, x.Tags)
				}
			}))
	}
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func each[T any](ctx context.Context, l *cloud.Look[[]T], use func(T)) error {
	all, err := l.Get(ctx, "tags")
	for _, x := range all {
		use(x)
	}
	return err
}

func (s *state) hasTags(have map[string]string) bool {
	for k, v := range s.spec.Tags {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// marked are the spec's tags with our own mark, by which policies know that we may write them.
func (s *state) marked() map[string]string {
	m := maps.Clone(s.spec.Tags)
	m[cloud.TagIdentity] = s.owner
	return m
}

func (s *state) writeTags(ctx context.Context) error {
	lacking, err := s.lacking(ctx)
	if err != nil {
		return err
	}
	var inEC2 []string
	for _, b := range lacking {
		if b.write == nil {
			inEC2 = append(inEC2, b.id)
			continue
		}
		if err := b.write(ctx); err != nil {
			return fmt.Errorf("%s: %w", b.label, err)
		}
		maps.Copy(b.tags, s.spec.Tags) // it is not looked at again
	}
	if len(inEC2) == 0 {
		return nil
	}
	l := s.look
	for _, changed := range []func(){l.templates.Changed, l.vpcs.Changed, l.igws.Changed, l.subnets.Changed, l.addresses.Changed, l.tables.Changed, l.nats.Changed} {
		defer changed()
	}
	return s.settle(ctx, func(ctx context.Context) error {
		_, err := cloud.EC2(s.aws).CreateTags(ctx, &ec2.CreateTagsInput{Resources: sortedCopy(inEC2), Tags: cloud.EC2Tags(s.marked())})
		return err
	})
}
