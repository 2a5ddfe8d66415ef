package provisioneks

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"pipectl.dev/cloud"
	"pipectl.dev/steps"
)

// suspicious is the age at which a node group that is still being made is looked into. EKS itself says that nodes do not join only after
// 20 minutes, and never why.
const suspicious = 5 * time.Minute

// neverJoins looks, once for a node group, for what keeps its nodes from joining. nil: nothing was found, or it is too early to look.
func (s *state) neverJoins(ctx context.Context, p *groupPart, g *ekstypes.Nodegroup, name string) error {
	if g.Status != ekstypes.NodegroupStatusCreating || s.aws.Since(aws.ToTime(g.CreatedAt)) < suspicious || p.diagnosed {
		return nil
	}
	p.diagnosed = true
	var causes, hints []string
	for _, look := range []func(context.Context, *groupPart, *ekstypes.Nodegroup) (cause, hint string, err error){
		s.noWayOut, s.endpointShut, s.roleIncomplete, s.noAccessEntry, s.networkPluginDown,
	} {
		cause, hint, err := look(ctx, p, g)
		if err != nil { // what cannot be looked at tells nothing: the wait goes on
			s.env.Note(fmt.Sprintf("%s: after %s its nodes have not joined; looking for the cause: %v", name, suspicious, cloud.Explain(err)))
			continue
		}
		if cause != "" {
			causes, hints = append(causes, cause), append(hints, hint)
		}
	}
	if len(causes) == 0 {
		s.env.Note(fmt.Sprintf("%s: after %s its nodes have not joined; route, endpoint, role, access entry and network plugin are in order, so the wait goes on", name, suspicious))
		return nil
	}
	return &steps.Error{Code: "NodesDoNotJoin", Category: steps.Unhealthy, Message: "the nodes cannot join: " + strings.Join(causes, "; "),
		Hints: append(hints, "then run again: what can be mended is, and a failed node group is replaced")}
}

// noWayOut looks at the default route of the group's subnets and what it leads to.
func (s *state) noWayOut(ctx context.Context, _ *groupPart, g *ekstypes.Nodegroup) (cause, hint string, err error) {
	tables, err := cloud.EC2(s.aws).DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{Filters: []ec2types.Filter{cloud.Filter("vpc-id", s.clusterVPC())}})
	if err != nil {
		return "", "", err
	}
	for _, subnet := range g.Subnets {
		route := defaultRouteOf(tables.RouteTables, subnet)
		switch {
		case route == nil:
			return "subnet " + subnet + " has no default route", "give its route table one to a NAT or internet gateway, or set network.nat", nil
		case route.State == ec2types.RouteStateBlackhole:
			return fmt.Sprintf("the default route of subnet %s leads to %s%s, which is gone", subnet, aws.ToString(route.NatGatewayId), aws.ToString(route.GatewayId)), "remove that route: the next run makes it anew", nil
		}
		if id := aws.ToString(route.NatGatewayId); id != "" {
			o, err := cloud.EC2(s.aws).DescribeNatGateways(ctx, &ec2.DescribeNatGatewaysInput{NatGatewayIds: []string{id}})
			if err != nil {
				return "", "", err
			}
			if len(o.NatGateways) == 1 && o.NatGateways[0].State != ec2types.NatGatewayStateAvailable {
				return fmt.Sprintf("NAT gateway %s is %s %s", id, o.NatGateways[0].State, aws.ToString(o.NatGateways[0].FailureMessage)), "remove it: the next run makes another", nil
			}
		}
	}
	return "", "", nil
}

// defaultRouteOf is the way out of a subnet: by its own table, else by the VPC's main one.
func defaultRouteOf(tables []ec2types.RouteTable, subnet string) *ec2types.Route {
	var table *ec2types.RouteTable
	for i, t := range tables {
		for _, a := range t.Associations {
			if aws.ToString(a.SubnetId) == subnet {
				table = &tables[i]
			} else if aws.ToBool(a.Main) && table == nil {
				table = &tables[i]
			}
		}
	}
	if table == nil {
		return nil
	}
	i := slices.IndexFunc(table.Routes, func(r ec2types.Route) bool { return aws.ToString(r.DestinationCidrBlock) == everywhere })
	if i < 0 {
		return nil
	}
	return &table.Routes[i]
}

// endpointShut: without the private endpoint, nodes come through the public one, from the address of their NAT gateway.
func (s *state) endpointShut(ctx context.Context, _ *groupPart, _ *ekstypes.Nodegroup) (cause, hint string, err error) {
	v := s.cluster.ResourcesVpcConfig
	if v == nil || v.EndpointPrivateAccess || slices.Contains(v.PublicAccessCidrs, everywhere) {
		return "", "", nil
	}
	o, err := cloud.EC2(s.aws).DescribeNatGateways(ctx, &ec2.DescribeNatGatewaysInput{Filter: []ec2types.Filter{cloud.Filter("vpc-id", s.clusterVPC()), cloud.Filter("state", "available")}})
	if err != nil {
		return "", "", err
	}
	for _, n := range o.NatGateways {
		for _, a := range n.NatGatewayAddresses {
			if ip := aws.ToString(a.PublicIp); ip != "" && !within(ip, v.PublicAccessCidrs) {
				return fmt.Sprintf("the endpoint is public only, for %s, and the nodes come from %s", strings.Join(v.PublicAccessCidrs, ", "), ip),
					"set endpoint.private: true, or add " + ip + "/32 to endpoint.publicCIDRs", nil
			}
		}
	}
	return "", "", nil
}

func within(ip string, cidrs []string) bool {
	addr, err := netip.ParseAddr(ip)
	return err == nil && slices.ContainsFunc(cidrs, func(c string) bool {
		p, err := netip.ParsePrefix(c)
		return err == nil && p.Contains(addr)
	})
}

func (s *state) roleIncomplete(ctx context.Context, _ *groupPart, g *ekstypes.Nodegroup) (cause, hint string, err error) {
	role := aws.ToString(g.NodeRole)
	role = role[strings.LastIndex(role, "/")+1:]
	o, err := cloud.IAM(s.aws).ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: &role})
	if cloud.IsNotFound(err) {
		return "the nodes' role " + role + " is gone", "run again: it is made anew", nil
	}
	if err != nil {
		return "", "", err
	}
	var have []string
	for _, a := range o.AttachedPolicies {
		have = append(have, aws.ToString(a.PolicyName))
	}
	for _, want := range nodePolicies {
		if !slices.Contains(have, want) && !(strings.HasPrefix(want, "AmazonEC2ContainerRegistry") && slices.Contains(have, "AmazonEC2ContainerRegistryPullOnly")) {
			return fmt.Sprintf("the nodes' role %s lacks %s", role, want), "run again: it is attached", nil
		}
	}
	return "", "", nil
}

// noAccessEntry: EKS makes one for the role of a node group; somebody may have taken it away.
func (s *state) noAccessEntry(ctx context.Context, _ *groupPart, g *ekstypes.Nodegroup) (cause, hint string, err error) {
	if c := s.cluster.AccessConfig; c == nil || c.AuthenticationMode == ekstypes.AuthenticationModeConfigMap {
		return "", "", nil
	}
	_, err = cloud.EKS(s.aws).DescribeAccessEntry(ctx, &eks.DescribeAccessEntryInput{ClusterName: &s.spec.Name, PrincipalArn: g.NodeRole})
	if cloud.IsNotFound(err) {
		return "the nodes' role has no access entry", fmt.Sprintf("aws eks create-access-entry --cluster-name %s --principal-arn %s --type EC2_LINUX", s.spec.Name, aws.ToString(g.NodeRole)), nil
	}
	return "", "", err
}

// networkPluginDown: nodes turn Ready only with the network plugin. One that EKS does not manage is not looked at.
func (s *state) networkPluginDown(ctx context.Context, _ *groupPart, _ *ekstypes.Nodegroup) (cause, hint string, err error) {
	o, err := cloud.EKS(s.aws).DescribeAddon(ctx, &eks.DescribeAddonInput{ClusterName: &s.spec.Name, AddonName: aws.String("vpc-cni")})
	if cloud.IsNotFound(err) {
		return "", "", nil
	}
	if err != nil {
		return "", "", err
	}
	if st := o.Addon.Status; st == ekstypes.AddonStatusCreateFailed || st == ekstypes.AddonStatusUpdateFailed {
		return fmt.Sprintf("the add-on vpc-cni is %s", st), "look at its issues: aws eks describe-addon --cluster-name " + s.spec.Name + " --addon-name vpc-cni", nil
	}
	return "", "", nil
}

// clusterVPC is the VPC that the cluster is in, whoever made it.
func (s *state) clusterVPC() string {
	if s.cluster != nil && s.cluster.ResourcesVpcConfig != nil {
		return aws.ToString(s.cluster.ResourcesVpcConfig.VpcId)
	}
	return s.vpcID
}
