package provisioneks

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"pipectl.dev/cloud"
)

// findStayers finds the node groups that an earlier `nat: none` put into public subnets. A group cannot leave its subnets, so there it stays
// though the network has NAT now. Where no public subnet gives out addresses there is none, and EKS is not asked.
func (s *state) findStayers(ctx context.Context) error {
	if s.spec.Network.exists() || s.spec.Network.NAT == "none" {
		return nil
	}
	public := map[string]bool{}
	err := s.ourSubnets(ctx, "stayers", func(kind string, sub ec2types.Subnet) {
		if kind == "public" && aws.ToBool(sub.MapPublicIpOnLaunch) {
			public[aws.ToString(sub.SubnetId)] = true
		}
	})
	if err != nil {
		return err
	}
	if len(public) == 0 {
		return nil
	}
	var names []string
	for _, g := range s.spec.NodeGroups {
		names = append(names, g.Name)
	}
	groups, err := s.describeGroups(ctx, names)
	for _, g := range groups {
		// One that failed, or that goes, is made anew where others are.
		goes := g.Status == ekstypes.NodegroupStatusCreateFailed || g.Status == ekstypes.NodegroupStatusDeleting || g.Status == ekstypes.NodegroupStatusDeleteFailed
		if name := aws.ToString(g.NodegroupName); !goes && len(g.Subnets) > 0 && public[g.Subnets[0]] && cloud.Ours(g.Tags, s.owner, kindGroup, s.name(name)) {
			s.stayers = append(s.stayers, name)
		}
	}
	return err
}

// inPublic reports whether the nodes of a group are in public subnets.
func (s *state) inPublic(group string) bool {
	return !s.spec.Network.exists() && (s.spec.Network.NAT == "none" || slices.Contains(s.stayers, group))
}

// givesAddresses reports whether nodes live in a public subnet: they need addresses of their own there.
func (s *state) givesAddresses(p *subnetPart) bool {
	return p.public && (s.spec.Network.NAT == "none" || slices.ContainsFunc(s.lay.groups, func(g *groupPart) bool {
		return s.inPublic(g.Name) && slices.Contains(g.subnets, p)
	}))
}

// checkHomes refuses a `network.nat` that would take the way out from under nodes that run, before anything is changed.
func (s *state) checkHomes(ctx context.Context) ([]error, error) {
	if s.spec.Network.exists() || s.spec.Network.NAT != "none" || s.env.Unknown("network.nat") {
		return nil, nil
	}
	kinds := map[string]string{}
	err := s.ourSubnets(ctx, "homes", func(kind string, sub ec2types.Subnet) { kinds[aws.ToString(sub.SubnetId)] = kind })
	if err != nil {
		return nil, err
	}
	names, err := s.groupNames(ctx)
	if err != nil {
		return nil, err
	}
	groups, err := s.describeGroups(ctx, names)
	if err != nil {
		return nil, err
	}
	var out []error
	for _, g := range groups {
		if g.Status == ekstypes.NodegroupStatusDeleting || len(g.Subnets) == 0 {
			continue
		}
		if have := kinds[g.Subnets[0]]; have != "" && have != "public" {
			out = append(out, precondition("NodesWouldBeCutOff", fmt.Sprintf("network.nat: none wants nodes in public subnets, and node group %s is in %s ones, which it cannot leave", aws.ToString(g.NodegroupName), have),
				"write nat: single or per-az, or take the node group out of the file and `run --prune` first"))
		}
	}
	return out, nil
}

// ourSubnets goes through the subnets that we made, which are private or public.
func (s *state) ourSubnets(ctx context.Context, reader string, use func(kind string, sub ec2types.Subnet)) error {
	all, err := s.look.subnets.Get(ctx, reader)
	for _, sub := range all {
		if name, ok := s.mine(sub.Tags, kindSubnet); ok {
			use(kindOfSubnet(name, s.spec.Name), sub)
		}
	}
	return err
}

// kindOfSubnet reads private or public from the name of a part, such as blog/private-1.
func kindOfSubnet(name, cluster string) string {
	kind, _, _ := strings.Cut(strings.TrimPrefix(name, cluster+"/"), "-")
	return kind
}
