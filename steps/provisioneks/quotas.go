package provisioneks

import (
	"context"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"pipectl.dev/cloud"
)

// checkQuotas compares each quota with what is used and what the cluster takes. What our own earlier, unfinished run made is used already
// and needed no more, so it is not counted.
func (s *state) checkQuotas(ctx context.Context) ([]error, error) {
	limits, err := s.limits(ctx)
	if err != nil {
		return nil, err
	}
	return s.aws.Within(ctx, s.env, limits)
}

func (s *state) limits(ctx context.Context) ([]cloud.Limit, error) {
	types := map[string]ec2types.InstanceTypeInfo{}
	if len(s.spec.NodeGroups) > 0 && !s.env.Unknown("nodeGroups") {
		var err error
		if types, err = s.look.types.Get(ctx, "quotas"); err != nil {
			return nil, err
		}
	}
	demand, spot, disk := s.demand(types)
	limits := []cloud.Limit{
		{Service: "eks", Code: "L-1194D53C", Name: "EKS clusters", Need: 1, Used: s.usedClusters},
		{Service: "eks", Code: "L-6D54EA21", Name: "Managed node groups per cluster", Need: float64(len(s.spec.NodeGroups)), Used: nothing},
		{Service: "iam", Code: "L-858F3967", Name: "OpenID Connect providers per account", Need: 1, Used: s.usedProviders},
		{Service: "ec2", Code: "L-1216C47A", Name: "Running On-Demand Standard instances (vCPUs)", Need: demand, Used: s.usedVCPUs(false)},
		{Service: "ebs", Code: "L-7A658B76", Name: "Storage of gp3 volumes", Unit: "TiB", Need: disk, Used: s.aws.GP3Used},
	}
	if spot > 0 {
		limits = append(limits, cloud.Limit{Service: "ec2", Code: "L-34B43A08", Name: "All Standard Spot Instance Requests (vCPUs)", Need: spot, Used: s.usedVCPUs(true)})
	}
	if !s.spec.Network.exists() {
		limits = append(limits, s.networkLimits()...)
	}
	return limits, nil
}

func nothing(context.Context) (float64, error) { return 0, nil }

func (s *state) networkLimits() []cloud.Limit {
	n := s.spec.Network
	limits := []cloud.Limit{
		{Service: "vpc", Code: "L-F678F1CE", Name: "VPCs per Region", Need: 1, Used: s.usedVPCs},
		{Service: "vpc", Code: "L-A4707A72", Name: "Internet gateways per Region", Need: 1, Used: s.usedGateways},
	}
	if n.NAT == "none" || len(n.PrivateSubnets) == 0 {
		return limits
	}
	gateways := cloud.Limit{Service: "vpc", Code: "L-FE5A380F", Name: "NAT gateways per Availability Zone", Need: 1, Used: s.usedNATs}
	if n.NAT == "regional" { // its addresses are of AWS's choosing
		return append(limits, gateways)
	}
	count := 1.0
	if n.NAT == "per-az" {
		count = float64(len(n.PrivateSubnets))
	}
	return append(limits,
		cloud.Limit{Service: "ec2", Code: "L-0263D0A3", Name: "EC2-VPC Elastic IPs", Need: count, Used: s.usedAddresses}, gateways)
}

// demand is what the node groups start with: vCPUs on demand and spot, and TiB of disk.
func (s *state) demand(types map[string]ec2types.InstanceTypeInfo) (onDemand, spot, tib float64) {
	for _, g := range s.spec.NodeGroups {
		if g.Desired == nil || len(g.InstanceTypes) == 0 {
			continue
		}
		cores := 2.0 // of a type that nobody knows
		if v := types[g.InstanceTypes[0]].VCpuInfo; v != nil {
			cores = float64(aws.ToInt32(v.DefaultVCpus))
		}
		n := float64(*g.Desired)
		tib += n * float64(g.DiskSize) / 1024
		if g.CapacityType == "SPOT" {
			spot += n * cores
		} else {
			onDemand += n * cores
		}
	}
	return onDemand, spot, tib
}

func (s *state) usedVCPUs(spot bool) func(context.Context) (float64, error) {
	return func(ctx context.Context) (float64, error) { return s.runningVCPUs(ctx, spot) }
}

func (s *state) runningVCPUs(ctx context.Context, spot bool) (float64, error) {
	total := 0.0
	all, err := s.aws.Instances(ctx, cloud.Filter("instance-state-name", "pending", "running"))
	for _, i := range all {
		cores := int32(2)
		if i.CpuOptions != nil && i.CpuOptions.CoreCount != nil {
			cores = aws.ToInt32(i.CpuOptions.CoreCount) * max(aws.ToInt32(i.CpuOptions.ThreadsPerCore), 1)
		}
		if spot == (i.InstanceLifecycle == ec2types.InstanceLifecycleTypeSpot) {
			total += float64(cores)
		}
	}
	return total, err
}

// usedVPCs leaves out our own, which an unfinished run may have made already.
func (s *state) usedVPCs(ctx context.Context) (float64, error) {
	all, err := cloud.Paged(ctx, func(ctx context.Context, t *string) ([]ec2types.Vpc, *string, error) {
		o, err := cloud.EC2(s.aws).DescribeVpcs(ctx, &ec2.DescribeVpcsInput{NextToken: t})
		return field(o, err, func() ([]ec2types.Vpc, *string) { return o.Vpcs, o.NextToken })
	})
	return notMine(s, all, kindVPC, func(v ec2types.Vpc) []ec2types.Tag { return v.Tags }), err
}

// notMine counts what is not a part of this cluster.
func notMine[T any](s *state, all []T, kind string, tags func(T) []ec2types.Tag) float64 {
	n := 0.0
	for _, x := range all {
		if _, ours := s.mine(tags(x), kind); !ours {
			n++
		}
	}
	return n
}

func (s *state) usedAddresses(ctx context.Context) (float64, error) {
	o, err := cloud.EC2(s.aws).DescribeAddresses(ctx, &ec2.DescribeAddressesInput{})
	if err != nil {
		return 0, err
	}
	return notMine(s, o.Addresses, kindEIP, func(a ec2types.Address) []ec2types.Tag { return a.Tags }), nil
}

func (s *state) usedClusters(ctx context.Context) (float64, error) {
	all, err := cloud.Paged(ctx, func(ctx context.Context, t *string) ([]string, *string, error) {
		o, err := cloud.EKS(s.aws).ListClusters(ctx, &eks.ListClustersInput{NextToken: t})
		return field(o, err, func() ([]string, *string) { return o.Clusters, o.NextToken })
	})
	return float64(len(all)), err
}

func (s *state) usedProviders(ctx context.Context) (float64, error) {
	o, err := cloud.IAM(s.aws).ListOpenIDConnectProviders(ctx, &iam.ListOpenIDConnectProvidersInput{})
	if err != nil {
		return 0, err
	}
	return float64(len(o.OpenIDConnectProviderList)), nil
}

// usedGateways leaves out our own, like usedVPCs.
func (s *state) usedGateways(ctx context.Context) (float64, error) {
	all, err := cloud.Paged(ctx, func(ctx context.Context, t *string) ([]ec2types.InternetGateway, *string, error) {
		o, err := cloud.EC2(s.aws).DescribeInternetGateways(ctx, &ec2.DescribeInternetGatewaysInput{NextToken: t})
		return field(o, err, func() ([]ec2types.InternetGateway, *string) { return o.InternetGateways, o.NextToken })
	})
	return notMine(s, all, kindIGW, func(g ec2types.InternetGateway) []ec2types.Tag { return g.Tags }), err
}

// usedNATs is the number in the fullest zone: which zone ours will be in may not be known yet.
func (s *state) usedNATs(ctx context.Context) (float64, error) {
	all, err := cloud.Paged(ctx, func(ctx context.Context, t *string) ([]ec2types.NatGateway, *string, error) {
		o, err := cloud.EC2(s.aws).DescribeNatGateways(ctx, &ec2.DescribeNatGatewaysInput{Filter: []ec2types.Filter{cloud.Filter("state", "pending", "available")}, NextToken: t})
		return field(o, err, func() ([]ec2types.NatGateway, *string) { return o.NatGateways, o.NextToken })
	})
	by, subnets := map[string]float64{}, map[string]string{}
	for _, n := range all {
		if _, ours := s.mine(n.Tags, kindNAT); !ours && n.SubnetId != nil { // a regional one is in none
			subnets[aws.ToString(n.NatGatewayId)] = aws.ToString(n.SubnetId)
		}
	}
	if err != nil || len(subnets) == 0 {
		return 0, err
	}
	o, err := cloud.EC2(s.aws).DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: slices.Compact(slices.Sorted(maps.Values(subnets)))})
	if err != nil {
		return 0, err
	}
	zone := map[string]string{}
	for _, sub := range o.Subnets {
		zone[aws.ToString(sub.SubnetId)] = aws.ToString(sub.AvailabilityZone)
	}
	most := 0.0
	for _, sub := range subnets {
		by[zone[sub]]++
		most = max(most, by[zone[sub]])
	}
	return most, nil
}
