package provisioneks

import (
	"cmp"
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

// bearer is a resource of ours whose tags are not as the spec has them.
type bearer struct {
	id, label string
	tags      map[string]string // what is known of it
	lacks     bool              // tags of the spec, or the right values
	gone      []string          // keys that left the spec
	// How its tags are written; nil: EC2's, all in one call.
	put  func(ctx context.Context, tags map[string]string) error
	take func(ctx context.Context, keys []string) error
}

// mendTags brings the tags of what is there to the spec. A tag that left the spec goes; tags that others put there stay.
func mendTags(sp Spec, rs []resource) resource {
	var needs []string
	for _, r := range rs {
		if !r.Retired {
			needs = append(needs, r.ID())
		}
	}
	return resource{
		Kind: kindTags, Name: sp.Name, Needs: needs,
		Observe: func(ctx context.Context, s *state) (status, error) {
			all, err := s.mistagged(ctx)
			return status{Exists: true, Ready: true, ID: sp.Name, Drift: tagDrift(sp, all)}, err
		},
		Create: func(context.Context, *state) error { return nil },
		Update: func(ctx context.Context, s *state, _ []string) error { return s.writeTags(ctx) },
	}
}

func tagDrift(sp Spec, all []bearer) []string {
	var lacking []string
	gone := map[string][]string{}
	for _, b := range all {
		if b.lacks {
			lacking = append(lacking, b.label)
		}
		for _, k := range b.gone {
			gone[k] = append(gone[k], b.label)
		}
	}
	var d owned.Drift
	if len(lacking) > 0 {
		d.Mend("tags", "others on "+strings.Join(sortedCopy(lacking), ", "), labelText(sp.Tags))
	}
	for _, k := range slices.Sorted(maps.Keys(gone)) {
		if k != tagKeys || len(gone) == 1 { // else it goes with those that it tells of
			d.Mend("tags."+k, "on "+strings.Join(sortedCopy(gone[k]), ", "), "none")
		}
	}
	return d
}

// wasTagged reports that an earlier spec had tags which are not all taken off yet. EC2's are the last to go, the cluster's before them.
func (s *state) wasTagged(ctx context.Context) bool {
	has := func(tags map[string]string) bool { return tags[cloud.TagIdentity] == s.owner && tags[tagKeys] != "" }
	if c, _ := s.look.cluster.Peek(); c != nil && has(c.Tags) {
		return true
	}
	found := false
	see := func(_ *string, tags []ec2types.Tag) { found = found || has(cloud.EC2TagMap(tags)) }
	_ = s.taggedInEC2(ctx, true, see) // asks nobody
	return found
}

// mistagged are the resources of ours whose tags are not as the spec says, but for what goes; the order is that in which they are mended.
func (s *state) mistagged(ctx context.Context) ([]bearer, error) {
	var out []bearer
	add := func(b bearer, kind, name string) {
		b.lacks, b.gone = !s.hasTags(b.tags), s.goneKeys(b.tags)
		if b.label = reconcile.ID(kind, name); cloud.Ours(b.tags, s.owner, kind, name) && (b.lacks || len(b.gone) > 0) {
			out = append(out, b)
		}
	}
	for _, p := range []rolePart{clusterRole, nodeRole} {
		if tags, ok := s.roleTags.Load(p.part); ok {
			add(s.roleBearer(s.roleName(p.part), tags.(map[string]string)), kindRole, s.name(p.part))
		}
	}
	add(s.providerBearer(), kindOIDC, s.spec.Name)
	for _, p := range s.lay.groups {
		add(s.inEKS(p.arn, p.tags), kindGroup, s.name(p.Name))
	}
	if c := s.cluster; c != nil {
		add(s.inEKS(aws.ToString(c.Arn), c.Tags), kindCluster, s.spec.Name)
	}
	see := func(id *string, tags []ec2types.Tag) {
		m := cloud.EC2TagMap(tags)
		if name, ok := s.mine(tags, m[cloud.TagKind]); ok {
			add(bearer{id: aws.ToString(id), tags: m}, m[cloud.TagKind], name)
		}
	}
	return out, s.taggedInEC2(ctx, false, see)
}

func (s *state) roleBearer(role string, tags map[string]string) bearer {
	return bearer{id: role, tags: tags,
		put: func(ctx context.Context, tags map[string]string) error {
			_, err := cloud.IAM(s.aws).TagRole(ctx, &iam.TagRoleInput{RoleName: &role, Tags: cloud.IAMTags(tags)})
			return err
		},
		take: func(ctx context.Context, keys []string) error {
			_, err := cloud.IAM(s.aws).UntagRole(ctx, &iam.UntagRoleInput{RoleName: &role, TagKeys: keys})
			return err
		}}
}

func (s *state) providerBearer() bearer {
	return bearer{id: s.providerARN, tags: s.providerTags,
		put: func(ctx context.Context, tags map[string]string) error {
			_, err := cloud.IAM(s.aws).TagOpenIDConnectProvider(ctx, &iam.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: &s.providerARN, Tags: cloud.IAMTags(tags)})
			return err
		},
		take: func(ctx context.Context, keys []string) error {
			_, err := cloud.IAM(s.aws).UntagOpenIDConnectProvider(ctx, &iam.UntagOpenIDConnectProviderInput{OpenIDConnectProviderArn: &s.providerARN, TagKeys: keys})
			return err
		}}
}

func (s *state) inEKS(arn string, tags map[string]string) bearer {
	return bearer{id: arn, tags: tags,
		put: func(ctx context.Context, tags map[string]string) error {
			_, err := cloud.EKS(s.aws).TagResource(ctx, &eks.TagResourceInput{ResourceArn: &arn, Tags: tags})
			return err
		},
		take: func(ctx context.Context, keys []string) error {
			_, err := cloud.EKS(s.aws).UntagResource(ctx, &eks.UntagResourceInput{ResourceArn: &arn, TagKeys: keys})
			return err
		}}
}

// taggedInEC2 reads the lists that the other resources were read from; or, where peek is true, what of them is known.
func (s *state) taggedInEC2(ctx context.Context, peek bool, see func(id *string, tags []ec2types.Tag)) error {
	l := s.look
	err := each(ctx, peek, l.templates, func(x ec2types.LaunchTemplate) { see(x.LaunchTemplateId, x.Tags) })
	if err != nil || s.spec.Network.exists() {
		return err
	}
	return cmp.Or(
		each(ctx, peek, l.vpcs, func(x ec2types.Vpc) { see(x.VpcId, x.Tags) }),
		each(ctx, peek, l.igws, func(x ec2types.InternetGateway) { see(x.InternetGatewayId, x.Tags) }),
		each(ctx, peek, l.subnets, func(x ec2types.Subnet) { see(x.SubnetId, x.Tags) }),
		each(ctx, peek, l.addresses, func(x ec2types.Address) { see(x.AllocationId, x.Tags) }),
		each(ctx, peek, l.tables, func(x ec2types.RouteTable) { see(x.RouteTableId, x.Tags) }),
		each(ctx, peek, l.nats, func(x ec2types.NatGateway) {
			if stands(x) {
				see(x.NatGatewayId, x.Tags)
			}
		}))
}

func each[T any](ctx context.Context, peek bool, l *cloud.Look[[]T], use func(T)) error {
	all, _ := l.Peek()
	var err error
	if !peek {
		all, err = l.Get(ctx, "tags")
	}
	for _, x := range all {
		use(x)
	}
	return err
}

// marked are tags with our own mark, by which policies know that we may write them.
func (s *state) marked() map[string]string {
	m := s.specTags()
	m[cloud.TagIdentity] = s.owner
	return m
}

// writeTags takes off what left the spec before it writes the tag that tells which are ours, so that a run that was cut off still knows.
func (s *state) writeTags(ctx context.Context) error {
	all, err := s.mistagged(ctx)
	if err != nil {
		return err
	}
	var inEC2 []bearer
	for _, b := range all {
		if b.put == nil {
			inEC2 = append(inEC2, b)
			continue
		}
		if len(b.gone) > 0 {
			err = b.take(ctx, b.gone)
		}
		if err == nil && b.lacks {
			err = b.put(ctx, s.marked())
		}
		if err != nil {
			return fmt.Errorf("%s: %w", b.label, err)
		}
		maps.DeleteFunc(b.tags, func(k, _ string) bool { return slices.Contains(b.gone, k) }) // it is not looked at again
		maps.Copy(b.tags, s.specTags())
	}
	return s.writeTagsInEC2(ctx, inEC2)
}

func (s *state) writeTagsInEC2(ctx context.Context, all []bearer) error {
	if len(all) == 0 {
		return nil
	}
	l := s.look
	for _, changed := range []func(){l.templates.Changed, l.vpcs.Changed, l.igws.Changed, l.subnets.Changed, l.addresses.Changed, l.tables.Changed, l.nats.Changed} {
		defer changed()
	}
	var lacking []string
	gone := map[string][]string{} // ids by the keys that they lose
	for _, b := range all {
		if b.lacks {
			lacking = append(lacking, b.id)
		}
		if len(b.gone) > 0 {
			keys := strings.Join(b.gone, "\x00")
			gone[keys] = append(gone[keys], b.id)
		}
	}
	return s.settle(ctx, func(ctx context.Context) error {
		for _, keys := range slices.Sorted(maps.Keys(gone)) {
			var tags []ec2types.Tag
			for k := range strings.SplitSeq(keys, "\x00") {
				tags = append(tags, ec2types.Tag{Key: &k})
			}
			if _, err := cloud.EC2(s.aws).DeleteTags(ctx, &ec2.DeleteTagsInput{Resources: sortedCopy(gone[keys]), Tags: tags}); err != nil {
				return err
			}
		}
		if len(lacking) == 0 {
			return nil
		}
		_, err := cloud.EC2(s.aws).CreateTags(ctx, &ec2.CreateTagsInput{Resources: sortedCopy(lacking), Tags: cloud.EC2Tags(s.marked())})
		return err
	})
}
