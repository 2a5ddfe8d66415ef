package cloud

import (
	"context"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// Belongings lists what carries the owner tag of identity and shows that a step was at work: all that costs money, networks, roles, OIDC
// providers, and add-ons and Pod Identity associations, in clusters of others too. Smaller parts (subnets, routes) are not listed: they go with the network that they are in.
func (s *Session) Belongings(ctx context.Context, identity string) ([]Holding, error) {
	clusters := s.clusterLook()
	var pods atomic.Bool
	all, err := beside(ctx, identity, s.heldNetworks, s.heldIssuers,
		func(ctx context.Context, identity string) ([]Holding, error) {
			return s.inventory(ctx, identity, clusters)
		},
		func(ctx context.Context, identity string) ([]Holding, error) {
			return s.heldRoles(ctx, identity, &pods)
		})
	if err != nil {
		return nil, err
	}
	names, err := clusters.Get(ctx, "within")
	if err != nil {
		return nil, Explain(err)
	}
	var within []look
	for _, name := range names {
		ours := slices.ContainsFunc(all, func(h Holding) bool { return h.Kind == "eks:Cluster" && h.ID == name })
		within = append(within, s.heldIn(name, ours, s.heldAddons))
		if ours || pods.Load() { // there is no association without a role
			within = append(within, s.heldIn(name, ours, s.heldAssociations))
		}
	}
	some, err := beside(ctx, identity, within...)
	if err != nil {
		return nil, err
	}
	all = append(all, some...)
	for i := range all {
		all[i].Region = s.Region
	}
	return all, nil
}

// heldIn looks into one cluster. One of others that the caller may not look into is passed over.
func (s *Session) heldIn(cluster string, ours bool, in func(ctx context.Context, cluster, identity string) ([]Holding, error)) look {
	return func(ctx context.Context, identity string) ([]Holding, error) {
		out, err := in(ctx, cluster, identity)
		if !ours && IsDenied(err) {
			return nil, nil
		}
		return out, err
	}
}

func (s *Session) heldNetworks(ctx context.Context, identity string) ([]Holding, error) {
	all, err := Paged(ctx, func(ctx context.Context, token *string) ([]ec2types.Vpc, *string, error) {
		o, err := EC2(s).DescribeVpcs(ctx, &ec2.DescribeVpcsInput{NextToken: token, Filters: OwnedBy(identity)})
		if err != nil {
			return nil, nil, err
		}
		return o.Vpcs, o.NextToken, nil
	})
	var out []Holding
	for _, v := range all {
		out = append(out, held(v.Tags, aws.ToString(v.VpcId), nil, "", 0))
	}
	return out, err
}

// ourName is how UniqueName's names end.
var ourName = regexp.MustCompile(`-[0-9a-f]{8}$`)

// heldRoles looks at the tags of roles that may be ours by name, or by whom they trust: a list of roles does not tell their tags. pods is set
// where one of ours is for Pod Identity.
func (s *Session) heldRoles(ctx context.Context, identity string, pods *atomic.Bool) ([]Holding, error) {
	all, err := s.roles(ctx)
	if err != nil {
		return nil, err
	}
	var perhaps []look
	for _, r := range all {
		trust, _ := url.QueryUnescape(aws.ToString(r.AssumeRolePolicyDocument)) // what cannot be read is not ours
		forPods := strings.Contains(trust, "pods.eks.amazonaws.com")
		if !forPods && !ourName.MatchString(aws.ToString(r.RoleName)) && !strings.Contains(trust, ":oidc-provider/") {
			continue
		}
		perhaps = append(perhaps, func(ctx context.Context, identity string) ([]Holding, error) {
			found, err := s.heldRole(ctx, aws.ToString(r.RoleName), identity)
			if forPods && len(found) > 0 {
				pods.Store(true)
			}
			return found, err
		})
	}
	return beside(ctx, identity, perhaps...)
}

func (s *Session) heldRole(ctx context.Context, name, identity string) ([]Holding, error) {
	tags, err := Paged(ctx, func(ctx context.Context, marker *string) ([]iamtypes.Tag, *string, error) {
		o, err := IAM(s).ListRoleTags(ctx, &iam.ListRoleTagsInput{RoleName: &name, Marker: marker})
		if err != nil {
			return nil, nil, err
		}
		return o.Tags, o.Marker, nil
	})
	if err != nil && !IsNotFound(err) {
		return nil, err
	}
	if m := IAMTagMap(tags); m[TagIdentity] == identity {
		return []Holding{{Kind: m[TagKind], Name: m[TagName], Owner: identity, ID: name}}, nil
	}
	return nil, nil
}

func (s *Session) heldAddons(ctx context.Context, cluster, identity string) ([]Holding, error) {
	names, err := Paged(ctx, func(ctx context.Context, token *string) ([]string, *string, error) {
		o, err := EKS(s).ListAddons(ctx, &eks.ListAddonsInput{ClusterName: &cluster, NextToken: token})
		if err != nil {
			return nil, nil, err
		}
		return o.Addons, o.NextToken, nil
	})
	if err != nil && !IsNotFound(err) {
		return nil, err
	}
	var out []Holding
	for _, name := range names {
		o, err := EKS(s).DescribeAddon(ctx, &eks.DescribeAddonInput{ClusterName: &cluster, AddonName: &name})
		if IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if t := o.Addon.Tags; t[TagIdentity] == identity {
			out = append(out, Holding{Kind: t[TagKind], Name: t[TagName], Owner: identity, ID: name})
		}
	}
	return out, nil
}

func (s *Session) heldAssociations(ctx context.Context, cluster, identity string) ([]Holding, error) {
	rows, err := Paged(ctx, func(ctx context.Context, token *string) ([]ekstypes.PodIdentityAssociationSummary, *string, error) {
		o, err := EKS(s).ListPodIdentityAssociations(ctx, &eks.ListPodIdentityAssociationsInput{ClusterName: &cluster, NextToken: token})
		if err != nil {
			return nil, nil, err
		}
		return o.Associations, o.NextToken, nil
	})
	if err != nil && !IsNotFound(err) {
		return nil, err
	}
	var out []Holding
	for _, row := range rows {
		o, err := EKS(s).DescribePodIdentityAssociation(ctx, &eks.DescribePodIdentityAssociationInput{ClusterName: &cluster, AssociationId: row.AssociationId})
		if IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if t := o.Association.Tags; t[TagIdentity] == identity {
			out = append(out, Holding{Kind: t[TagKind], Name: t[TagName], Owner: identity, ID: aws.ToString(row.AssociationId)})
		}
	}
	return out, nil
}

// heldIssuers looks at the tags of all OIDC providers, of which an account has at most a hundred: a list does not tell them.
func (s *Session) heldIssuers(ctx context.Context, identity string) ([]Holding, error) {
	o, err := IAM(s).ListOpenIDConnectProviders(ctx, &iam.ListOpenIDConnectProvidersInput{})
	if err != nil {
		return nil, err
	}
	var each []look
	for _, p := range o.OpenIDConnectProviderList {
		each = append(each, func(ctx context.Context, identity string) ([]Holding, error) {
			o, err := IAM(s).GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: p.Arn})
			if IsNotFound(err) {
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			if t := IAMTagMap(o.Tags); t[TagIdentity] == identity {
				return []Holding{{Kind: t[TagKind], Name: t[TagName], Owner: identity, ID: aws.ToString(p.Arn)}}, nil
			}
			return nil, nil
		})
	}
	return beside(ctx, identity, each...)
}
