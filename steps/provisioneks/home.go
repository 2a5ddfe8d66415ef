package provisioneks

import (
	"cmp"
	"context"
	"fmt"
	"sort"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pipectl.dev/cloud"
)

// leastAddresses is how many addresses EKS wants free in each subnet of a control plane.
const leastAddresses = 6

// exists reports that the VPC is somebody else's: it is used, and nothing in it is changed.
func (n Network) exists() bool { return n.VPCID != "" || len(n.VPCTags) > 0 }

// findNetwork turns the tags that a VPC and its subnets are to be found by into their ids. On the way down what is gone is no error.
func (s *state) findNetwork(ctx context.Context) error {
	n := &s.spec.Network
	if n.VPCID == "" && len(n.VPCTags) > 0 {
		o, err := cloud.EC2(s.aws).DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: tagFilters(n.VPCTags)})
		switch {
		case err != nil:
			return err
		case len(o.Vpcs) == 1:
			n.VPCID = aws.ToString(o.Vpcs[0].VpcId)
		case !s.down:
			return notOne(n.VPCTags, o.Vpcs)
		}
	}
	if n.VPCID == "" || len(n.SubnetIDs) > 0 || len(n.SubnetTags) == 0 {
		return nil
	}
	o, err := cloud.EC2(s.aws).DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: append(tagFilters(n.SubnetTags), cloud.Filter("vpc-id", n.VPCID))})
	if err != nil {
		return err
	}
	sort.Slice(o.Subnets, func(i, j int) bool {
		a, b := &o.Subnets[i], &o.Subnets[j]
		return cmp.Or(cmp.Compare(aws.ToString(a.AvailabilityZone), aws.ToString(b.AvailabilityZone)), cmp.Compare(aws.ToString(a.SubnetId), aws.ToString(b.SubnetId))) < 0
	})
	for _, sub := range o.Subnets {
		n.SubnetIDs = append(n.SubnetIDs, aws.ToString(sub.SubnetId))
	}
	if len(n.SubnetIDs) < 2 && !s.down {
		return precondition("TooFewSubnets", fmt.Sprintf("network.subnetTags: %d subnets of %s have %s, EKS wants two zones at least", len(n.SubnetIDs), n.VPCID, strings.Join(labelText(n.SubnetTags), ", ")), "tag more of its subnets, or name them in network.subnetIds")
	}
	return nil
}

func tagFilters(tags map[string]string) []ec2types.Filter {
	var out []ec2types.Filter
	for _, text := range labelText(tags) {
		key, value, _ := strings.Cut(text, "=")
		out = append(out, cloud.Filter("tag:"+key, value))
	}
	return out
}

func notOne(tags map[string]string, found []ec2types.Vpc) error {
	text := strings.Join(labelText(tags), ", ")
	if len(found) == 0 {
		return precondition("NoSuchVPC", "network.vpcTags: no VPC of this region has "+text, "correct the tags, or name the VPC in network.vpcId")
	}
	var ids []string
	for _, v := range found {
		ids = append(ids, aws.ToString(v.VpcId))
	}
	return precondition("AmbiguousVPC", fmt.Sprintf("network.vpcTags: %s have %s, expected one", strings.Join(ids, ", "), text), "add a tag that only one has, or name it in network.vpcId")
}

// checkHome holds a VPC that exists against what EKS and its nodes need there: it cannot be mended by us.
func (s *state) checkHome(ctx context.Context) ([]error, error) {
	n := s.spec.Network
	if !n.exists() || s.env.Unknown("network.vpcId") || s.env.Unknown("network.subnetIds") || len(n.SubnetIDs) == 0 {
		return nil, nil
	}
	o, err := cloud.EC2(s.aws).DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: n.SubnetIDs})
	if err != nil {
		return nil, err
	}
	out := checkSubnets(n, o.Subnets)
	for _, attribute := range []ec2types.VpcAttributeName{ec2types.VpcAttributeNameEnableDnsSupport, ec2types.VpcAttributeNameEnableDnsHostnames} {
		a, err := cloud.EC2(s.aws).DescribeVpcAttribute(ctx, &ec2.DescribeVpcAttributeInput{VpcId: &n.VPCID, Attribute: attribute})
		if err != nil {
			return nil, err
		}
		if !isOn(a.EnableDnsSupport) && !isOn(a.EnableDnsHostnames) {
			out = append(out, precondition("NoDNS", fmt.Sprintf("network: %s of %s is off, and nodes find their control plane by name", attribute, n.VPCID),
				fmt.Sprintf("aws ec2 modify-vpc-attribute --vpc-id %s --%s '{\"Value\":true}'", n.VPCID, dashed(string(attribute)))))
		}
	}
	tables, err := cloud.EC2(s.aws).DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{Filters: []ec2types.Filter{cloud.Filter("vpc-id", n.VPCID)}})
	if err != nil {
		return nil, err
	}
	out = append(out, s.checkWaysOut(o.Subnets, tables.RouteTables)...)
	s.env.Checked("network", fmt.Sprintf("%s with %d subnets", n.VPCID, len(o.Subnets)), len(out) == 0)
	return out, nil
}

func dashed(attribute string) string {
	return map[string]string{"enableDnsSupport": "enable-dns-support", "enableDnsHostnames": "enable-dns-hostnames"}[attribute]
}

func checkSubnets(n Network, subnets []ec2types.Subnet) []error {
	var out []error
	zones := map[string]bool{}
	for _, sub := range subnets {
		id := aws.ToString(sub.SubnetId)
		zones[aws.ToString(sub.AvailabilityZone)] = true
		if vpc := aws.ToString(sub.VpcId); vpc != n.VPCID {
			out = append(out, precondition("SubnetElsewhere", fmt.Sprintf("network.subnetIds: %s is in %s, not in %s", id, vpc, n.VPCID), ""))
		}
		if free := aws.ToInt32(sub.AvailableIpAddressCount); free < leastAddresses {
			out = append(out, precondition("SubnetFull", fmt.Sprintf("network.subnetIds: %s has %d free addresses, EKS wants %d", id, free, leastAddresses), "use a larger subnet"))
		}
	}
	if len(zones) < 2 {
		out = append(out, precondition("TooFewZones", "network.subnetIds: all are in one zone, EKS wants two at least", "add a subnet in another zone"))
	}
	return out
}

// checkWaysOut finds subnets that nodes could not join from. Without any route they may still do, through endpoints of the VPC's own.
func (s *state) checkWaysOut(subnets []ec2types.Subnet, tables []ec2types.RouteTable) []error {
	var out []error
	if len(s.spec.NodeGroups) == 0 {
		return nil
	}
	for _, sub := range subnets {
		id := aws.ToString(sub.SubnetId)
		route := defaultRouteOf(tables, id)
		switch {
		case route == nil:
			s.env.Note("network: subnet " + id + " has no default route: nodes in it need endpoints of the VPC for ECR, S3, EC2 and STS")
		case route.State == ec2types.RouteStateBlackhole:
			out = append(out, precondition("NoWayOut", "network: the default route of subnet "+id+" leads nowhere", "mend its route table"))
		case strings.HasPrefix(aws.ToString(route.GatewayId), "igw-") && !aws.ToBool(sub.MapPublicIpOnLaunch):
			out = append(out, precondition("NoWayOut", "network: nodes in subnet "+id+" would get no public address, and its only way out is the internet gateway",
				"use subnets behind a NAT gateway, or have this one assign public addresses"))
		}
	}
	return out
}
