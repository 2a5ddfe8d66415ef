package provisioneks

import (
	"slices"

	"pipectl.dev/steps/reconcile"
)

// resources is the one list that plan, apply and down all read. The order on the critical path is role and subnets, control plane, node
// groups; everything else runs beside it.
func (s *state) resources() []resource {
	sp := s.spec
	rs := s.network()
	rs = append(rs, role(sp, clusterRole), role(sp, nodeRole))
	needs := []string{reconcile.ID(kindRole, s.name(clusterRole.part))}
	for _, p := range clusterPolicies {
		r := rolePolicy(sp, clusterRole, p)
		rs, needs = append(rs, r), append(needs, r.ID())
	}
	nodeNeeds := []string{reconcile.ID(kindRole, s.name(nodeRole.part)), reconcile.ID(kindCluster, sp.Name)}
	for _, p := range nodePolicies {
		r := rolePolicy(sp, nodeRole, p)
		rs, nodeNeeds = append(rs, r), append(nodeNeeds, r.ID())
	}
	if !sp.Network.exists() {
		needs = append(needs, reconcile.ID(kindDNS, sp.Name))
		for _, p := range s.clusterHome() {
			needs = append(needs, reconcile.ID(kindSubnet, p.name))
		}
	}
	if len(sp.Logging) > 0 || s.down {
		logs := logGroup(sp)
		rs, needs = append(rs, logs), append(needs, logs.ID())
	}
	rs = append(rs, cluster(sp, needs), oidcProvider(sp))
	for _, a := range sp.Access {
		rs = append(rs, accessEntry(sp, a))
	}
	for _, a := range s.left {
		rs = append(rs, retiredEntry(sp, a))
	}
	for _, g := range s.lay.groups {
		var tells []string // what the template tells of
		if g.LaunchTemplate.ImageID != "" && !s.down {
			tells = []string{reconcile.ID(kindCluster, sp.Name)}
		}
		rs = append(rs, launchTemplate(sp, g, tells), nodeGroup(sp, g, append(s.wayOutOf(g), append(nodeNeeds, reconcile.ID(kindTemplate, s.name(g.Name)))...)))
	}
	rs = append(rs, s.retiredGroups()...)
	rs = append(rs, s.giveBack()...)
	if !s.down && (len(sp.Tags) > 0 || s.tagged) {
		rs = append(rs, mendTags(sp, rs))
	}
	if sp.Kubeconfig != nil {
		rs = append(rs, kubeconfig(sp, reconcile.ID(kindCluster, sp.Name)))
	}
	return rs
}

// clusterHome is where the control plane's interfaces are: going up in its own subnets, going down they may be in any.
func (s *state) clusterHome() []*subnetPart {
	if s.down {
		return s.subnets()
	}
	return s.controlPlaneSubnets()
}

func (s *state) network() []resource {
	sp := s.spec
	if sp.Network.exists() {
		s.vpcID = sp.Network.VPCID
		return nil
	}
	rs := []resource{vpc(sp), vpcDNS(sp), internetGateway(sp), igwAttachment(sp)}
	for _, p := range s.subnets() {
		rs = append(rs, subnet(sp, p))
		if s.givesAddresses(p) {
			rs = append(rs, publicIPs(p))
		}
	}
	for _, n := range s.lay.nats {
		if !n.regional {
			rs = append(rs, address(n))
		}
		rs = append(rs, natGateway(sp, n))
	}
	for _, t := range s.lay.tables {
		rs = append(rs, routeTable(sp, t))
		if t.public || t.nat != nil {
			rs = append(rs, defaultRoute(sp, t))
		}
		for _, sub := range t.subnets {
			rs = append(rs, association(t, sub))
		}
	}
	return append(rs, s.retiredNetwork()...)
}

// wayOutOf lists what a node needs to reach the world: without it EKS waits 20 minutes for nodes that cannot join.
func (s *state) wayOutOf(g *groupPart) []string {
	var needs []string
	if s.spec.Network.exists() {
		return nil
	}
	for _, t := range s.lay.tables {
		for _, sub := range t.subnets {
			if !slices.Contains(g.subnets, sub) {
				continue
			}
			needs = append(needs, reconcile.ID(kindAssociation, sub.name))
			if t.public || t.nat != nil {
				needs = append(needs, reconcile.ID(kindRoute, t.name))
			}
			if s.givesAddresses(sub) {
				needs = append(needs, reconcile.ID(kindPublicIPs, sub.name))
			}
		}
	}
	return needs
}
