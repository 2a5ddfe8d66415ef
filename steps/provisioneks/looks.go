package provisioneks

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"pipectl.dev/cloud"
)

func (s *state) newLooks() looks {
	owned, c := cloud.OwnedBy(s.owner), cloud.EC2(s.aws)
	return looks{
		vpcs: pages(func(ctx context.Context, t *string) ([]ec2types.Vpc, *string, error) {
			o, err := c.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: owned, NextToken: t})
			return field(o, err, func() ([]ec2types.Vpc, *string) { return o.Vpcs, o.NextToken })
		}),
		igws: pages(func(ctx context.Context, t *string) ([]ec2types.InternetGateway, *string, error) {
			o, err := c.DescribeInternetGateways(ctx, &ec2.DescribeInternetGatewaysInput{Filters: owned, NextToken: t})
			return field(o, err, func() ([]ec2types.InternetGateway, *string) { return o.InternetGateways, o.NextToken })
		}),
		subnets: pages(func(ctx context.Context, t *string) ([]ec2types.Subnet, *string, error) {
			o, err := c.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: owned, NextToken: t})
			return field(o, err, func() ([]ec2types.Subnet, *string) { return o.Subnets, o.NextToken })
		}),
		addresses: pages(func(ctx context.Context, _ *string) ([]ec2types.Address, *string, error) {
			o, err := c.DescribeAddresses(ctx, &ec2.DescribeAddressesInput{Filters: owned})
			return field(o, err, func() ([]ec2types.Address, *string) { return o.Addresses, nil })
		}),
		nats: pages(func(ctx context.Context, t *string) ([]ec2types.NatGateway, *string, error) {
			o, err := c.DescribeNatGateways(ctx, &ec2.DescribeNatGatewaysInput{Filter: owned, NextToken: t})
			return field(o, err, func() ([]ec2types.NatGateway, *string) { return o.NatGateways, o.NextToken })
		}),
		tables: pages(func(ctx context.Context, t *string) ([]ec2types.RouteTable, *string, error) {
			o, err := c.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{Filters: owned, NextToken: t})
			return field(o, err, func() ([]ec2types.RouteTable, *string) { return o.RouteTables, o.NextToken })
		}),
		templates: pages(func(ctx context.Context, t *string) ([]ec2types.LaunchTemplate, *string, error) {
			o, err := c.DescribeLaunchTemplates(ctx, &ec2.DescribeLaunchTemplatesInput{Filters: owned, NextToken: t})
			return field(o, err, func() ([]ec2types.LaunchTemplate, *string) { return o.LaunchTemplates, o.NextToken })
		}),
		policies: map[string]*cloud.Look[[]string]{clusterRole.part: s.attached(clusterRole), nodeRole.part: s.attached(nodeRole)},
		cluster:  &cloud.Look[*ekstypes.Cluster]{Fetch: s.describeCluster},
		types:    &cloud.Look[map[string]ec2types.InstanceTypeInfo]{Fetch: s.describeTypes},
	}
}

func (s *state) attached(p rolePart) *cloud.Look[[]string] {
	return &cloud.Look[[]string]{Fetch: func(ctx context.Context) ([]string, error) {
		o, err := cloud.IAM(s.aws).ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: aws.String(s.roleName(p.part))})
		if cloud.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		var arns []string
		for _, a := range o.AttachedPolicies {
			arns = append(arns, aws.ToString(a.PolicyArn))
		}
		return arns, nil
	}}
}

func (s *state) describeCluster(ctx context.Context) (*ekstypes.Cluster, error) {
	o, err := cloud.EKS(s.aws).DescribeCluster(ctx, &eks.DescribeClusterInput{Name: &s.spec.Name})
	if cloud.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return o.Cluster, nil
}

// describeTypes looks up every instance type that the spec names; a type that does not exist is missing from the answer.
func (s *state) describeTypes(ctx context.Context) (map[string]ec2types.InstanceTypeInfo, error) {
	var names []string
	for _, g := range s.spec.NodeGroups {
		names = append(names, g.InstanceTypes...)
	}
	all, err := cloud.Paged(ctx, func(ctx context.Context, t *string) ([]ec2types.InstanceTypeInfo, *string, error) {
		// By filter and not by name: one unknown name would hide all others behind an error.
		o, err := cloud.EC2(s.aws).DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{Filters: []ec2types.Filter{cloud.Filter("instance-type", names...)}, NextToken: t})
		return field(o, err, func() ([]ec2types.InstanceTypeInfo, *string) { return o.InstanceTypes, o.NextToken })
	})
	found := map[string]ec2types.InstanceTypeInfo{}
	for _, t := range all {
		found[string(t.InstanceType)] = t
	}
	return found, err
}

// pages makes a Look of a paged call.
func pages[T any](page func(context.Context, *string) ([]T, *string, error)) *cloud.Look[[]T] {
	return &cloud.Look[[]T]{Fetch: func(ctx context.Context) ([]T, error) { return cloud.Paged(ctx, page) }}
}

func field[O, T any](_ *O, err error, get func() ([]T, *string)) ([]T, *string, error) {
	if err != nil {
		return nil, nil, err
	}
	some, next := get()
	return some, next, nil
}

// anything reports whether any of the lists has something. A list that could not be had counts as empty.
func (s *state) anything() bool {
	c, _ := s.look.cluster.Peek()
	return c != nil || has(s.look.vpcs) || has(s.look.igws) || has(s.look.subnets) || has(s.look.addresses) || has(s.look.nats) || has(s.look.tables) || has(s.look.templates)
}

func has[T any](l *cloud.Look[[]T]) bool {
	some, _ := l.Peek()
	return len(some) > 0
}
