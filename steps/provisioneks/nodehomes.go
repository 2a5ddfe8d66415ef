package provisioneks

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"pipectl.dev/cloud"
)

// findStayers finds the node groups that an earlier `nat: none` put into public subnets. A group cannot leave its subnets, so there it stays
// though the network has NAT now. Where no public subnet gives out addresses there is none, and EKS is not asked.
func (s *state) findStayers(ctx context.Context) error {
	if s.spec.Network.exists() || s.spec.Network.NAT == "none" {
		return nil
	}
	subnets, err := s.look.subnets.Get(ctx, "stayers")
	if err != nil {
		return err
	}
	public := map[string]bool{}
	for _, sub := range subnets {
		name, ok := s.mine(sub.Tags, kindSubnet)
		if ok && kindOfSubnet(name, s.spec.Name) == "public" && aws.ToBool(sub.MapPublicIpOnLaunch) {
			public[aws.ToString(sub.SubnetId)] = true
		}
	}
	if len(public) == 0 {
		return nil
	}
	var names []string
	for _, g := range s.spec.NodeGroups {
		names = append(names, g.Name)
	}
	groups, err := besides(names, func(name string) (*ekstypes.Nodegroup, error) { return s.describeGroup(ctx, name) })
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
	subnets, err := s.look.subnets.Get(ctx, "homes")
	if err != nil {
		return nil, err
	}
	kinds := map[string]string{}
	for _, sub := range subnets {
		if name, ok := s.mine(sub.Tags, kindSubnet); ok {
			kinds[aws.ToString(sub.SubnetId)] = kindOfSubnet(name, s.spec.Name)
		}
	}
	names, err := s.groupNames(ctx)
	if err != nil {
		return nil, err
	}
	var out []error
	for _, name := range names {
		g, err := s.describeGroup(ctx, name)
		if err != nil {
			return nil, err
		}
		if g == nil || g.Status == ekstypes.NodegroupStatusDeleting || len(g.Subnets) == 0 {
			continue
		}
		if have := kinds[g.Subnets[0]]; have != "" && have != "public" {
			out = append(out, precondition("NodesWouldBeCutOff", fmt.Sprintf("network.nat: none wants nodes in public subnets, and node group %s is in %s ones, which it cannot leave", name, have),
				"write nat: single or per-az, or take the node group out of the file and `run --prune` first"))
		}
	}
	return out, nil
}

// kindOfSubnet reads private or public from the name of a part, such as blog/private-1.
func kindOfSubnet(name, cluster string) string {
	kind, _, _ := strings.Cut(strings.TrimPrefix(name, cluster+"/"), "-")
	return kind
}
