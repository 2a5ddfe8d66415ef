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
)

// Zones that host no EKS control plane. By id: zone names mean another zone in every account.
var zonesWithoutEKS = []string{"use1-az3", "usw1-az2", "cac1-az3"}

// zones decides which zone each subnet is in: where it is already, else as the spec says, else those of pinned node groups first (a
// volume does not move), then by name. The same world gives the same answer.
func (s *state) zones(ctx context.Context) ([]string, error) {
	n := s.spec.Network
	if n.exists() {
		return s.zonesOf(ctx, n)
	}
	zones := make([]string, max(len(n.PrivateSubnets), len(n.PublicSubnets)))
	copy(zones, n.Zones)
	for i := range zones {
		if zones[i] != "" {
			continue
		}
		for _, kind := range []string{"private", "public"} {
			sub, err := s.findSubnet(ctx, fmt.Sprintf("zones %s-%d", kind, i+1), s.name(fmt.Sprintf("%s-%d", kind, i+1)))
			if err != nil {
				return nil, err
			}
			if sub != nil && zones[i] == "" {
				zones[i] = aws.ToString(sub.AvailabilityZone)
			}
		}
	}
	if s.down || !slices.Contains(zones, "") {
		return zones, nil
	}
	return s.fillZones(ctx, zones)
}

func (s *state) fillZones(ctx context.Context, zones []string) ([]string, error) {
	usable, err := s.usableZones(ctx)
	if err != nil {
		return nil, err
	}
	offered, err := s.offerings(ctx)
	if err != nil {
		return nil, err
	}
	held, err := s.heldZones(ctx)
	if err != nil {
		return nil, err
	}
	order := preferred(s.spec.NodeGroups, usable, offered, held)
	for i := range zones {
		for _, z := range order {
			if zones[i] == "" && !slices.Contains(zones, z) {
				zones[i] = z
			}
		}
		if zones[i] == "" {
			return nil, precondition("TooFewZones", fmt.Sprintf("network: %d subnets of a kind need as many zones, but EKS and the instance types are only in %s",
				len(zones), strings.Join(order, ", ")), "list fewer subnets, or choose other nodeGroups[].instanceTypes")
		}
	}
	s.stranded = slices.DeleteFunc(held, func(z string) bool { return slices.Contains(zones, z) })
	return zones, nil
}

// heldZones are those of volumes that hold this pipeline's data: nodes anywhere else cannot use them.
func (s *state) heldZones(ctx context.Context) ([]string, error) {
	list, err := s.volumes(ctx, append(cloud.OwnedBy(s.owner), cloud.Filter("tag:"+cloud.TagKind, kindVolume))...)
	if err != nil && !cloud.IsDenied(err) {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(v ec2types.Volume) bool { // a node's own, or what was left behind in another zone
		return strings.Contains(cloud.EC2TagMap(v.Tags)[cloud.TagName], "/")
	})
	var zones []string
	for _, v := range slices.Concat(list, s.claimed) {
		zones = append(zones, aws.ToString(v.AvailabilityZone))
	}
	slices.Sort(zones)
	return slices.Compact(zones), nil
}

// preferred orders the usable zones: pinned ones first, then those that hold data, then by name, of these two those where every unpinned
// node group finds an instance type.
func preferred(groups []NodeGroup, usable []string, offered map[string][]string, held []string) []string {
	var order []string
	for _, g := range groups {
		for _, z := range g.Zones {
			if slices.Contains(usable, z) && !slices.Contains(order, z) {
				order = append(order, z)
			}
		}
	}
	rest := slices.DeleteFunc(slices.Clone(usable), func(z string) bool { return slices.Contains(held, z) })
	slices.Sort(rest)
	for _, z := range slices.Concat(slices.DeleteFunc(slices.Clone(held), func(z string) bool { return !slices.Contains(usable, z) }), rest) {
		fits := !slices.ContainsFunc(groups, func(g NodeGroup) bool { return len(g.Zones) == 0 && !offersAny(offered[z], g.InstanceTypes) })
		if fits && !slices.Contains(order, z) {
			order = append(order, z)
		}
	}
	return order
}

func offersAny(offered, types []string) bool {
	return slices.ContainsFunc(types, func(t string) bool { return slices.Contains(offered, t) })
}

// usableZones are the names of the zones that can host a control plane.
func (s *state) usableZones(ctx context.Context) ([]string, error) {
	o, err := cloud.EC2(s.aws).DescribeAvailabilityZones(ctx, &ec2.DescribeAvailabilityZonesInput{
		Filters: []ec2types.Filter{cloud.Filter("state", "available"), cloud.Filter("zone-type", "availability-zone")},
	})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, z := range o.AvailabilityZones {
		if !slices.Contains(zonesWithoutEKS, aws.ToString(z.ZoneId)) {
			names = append(names, aws.ToString(z.ZoneName))
		}
	}
	return names, nil
}

// offerings are the instance types of the spec that each zone has.
func (s *state) offerings(ctx context.Context) (map[string][]string, error) {
	var types []string
	for _, g := range s.spec.NodeGroups {
		types = append(types, g.InstanceTypes...)
	}
	by := map[string][]string{}
	if len(types) == 0 {
		return by, nil
	}
	all, err := cloud.Paged(ctx, func(ctx context.Context, t *string) ([]ec2types.InstanceTypeOffering, *string, error) {
		o, err := cloud.EC2(s.aws).DescribeInstanceTypeOfferings(ctx, &ec2.DescribeInstanceTypeOfferingsInput{
			LocationType: ec2types.LocationTypeAvailabilityZone, Filters: []ec2types.Filter{cloud.Filter("instance-type", sortedCopy(types)...)}, NextToken: t,
		})
		return field(o, err, func() ([]ec2types.InstanceTypeOffering, *string) { return o.InstanceTypeOfferings, o.NextToken })
	})
	for _, f := range all {
		by[aws.ToString(f.Location)] = append(by[aws.ToString(f.Location)], string(f.InstanceType))
	}
	return by, err
}

// zonesOf looks up the zones of subnets that exist, in the spec's order.
func (s *state) zonesOf(ctx context.Context, n Network) ([]string, error) {
	zones := make([]string, len(n.SubnetIDs))
	if len(zones) == 0 { // on the way down, when they are gone
		return zones, nil
	}
	o, err := cloud.EC2(s.aws).DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: n.SubnetIDs})
	if s.down && cloud.IsNotFound(err) {
		return zones, nil
	}
	if err != nil {
		return nil, err
	}
	for _, sub := range o.Subnets {
		if aws.ToString(sub.VpcId) != n.VPCID {
			return nil, precondition("SubnetElsewhere", fmt.Sprintf("network.subnetIds: %s is in %s, not in %s", aws.ToString(sub.SubnetId), aws.ToString(sub.VpcId), n.VPCID), "")
		}
		if i := slices.Index(n.SubnetIDs, aws.ToString(sub.SubnetId)); i >= 0 {
			zones[i] = aws.ToString(sub.AvailabilityZone)
		}
	}
	return zones, nil
}
