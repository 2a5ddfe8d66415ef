package provisioneks

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"pipectl.dev/cloud"
)

// layout is the list of parts whose number depends on the spec, each with the slots its resource writes what it learned into. On the way
// up it follows the spec; on the way down it also holds what is found under our tags but stands in no spec any more.
type layout struct {
	zones   []string // of the subnets, by index
	private []*subnetPart
	public  []*subnetPart
	nats    []*natPart
	tables  []*tablePart
	groups  []*groupPart
}

type subnetPart struct {
	name, cidr, zone string
	public           bool
	zoneAsked        bool // the spec names the zone itself
	id               string
}

type natPart struct {
	name           string
	regional       bool        // of the VPC, with addresses of AWS's own
	subnet         *subnetPart // of a zonal one
	address, natID string
}

// regionalNAT is the name of a regional gateway: another than that of a zonal one, so that each is there while the other takes its place.
const regionalNAT = "nat-regional"

type tablePart struct {
	name    string
	nat     *natPart // the default route's target; nil: the internet gateway, or none where private
	public  bool
	subnets []*subnetPart
	id      string
}

type groupPart struct {
	NodeGroup
	subnets         []*subnetPart
	templateID      string
	templateVersion string
	arn             string
	release         string   // of the image, as the spec asks; "": any
	short           []string // zones that had no room for its nodes: it is made without them
	tags            map[string]string
	diagnosed       bool // it was looked into why its nodes do not join
}

// plan lays out what the spec wants.
func (s *state) layOut(zones []string) error {
	n := s.spec.Network
	l := layout{zones: zones}
	if !n.exists() {
		l.private = s.subnetParts("private", n.PrivateSubnets, zones)
		l.public = s.subnetParts("public", n.PublicSubnets, zones)
		s.tableParts(&l)
	} else {
		for i, id := range n.SubnetIDs {
			l.private = append(l.private, &subnetPart{name: id, zone: at(zones, i), id: id})
		}
	}
	for i, g := range s.spec.NodeGroups {
		p, nodes := &groupPart{NodeGroup: g}, l.private
		if s.inPublic(g.Name) {
			nodes = l.public
		}
		for _, sub := range nodes {
			if len(g.Zones) == 0 || slices.Contains(g.Zones, sub.zone) {
				p.subnets = append(p.subnets, sub)
			}
		}
		l.groups = append(l.groups, p)
		for j, z := range g.Zones {
			if z != "" && !slices.ContainsFunc(nodes, func(x *subnetPart) bool { return x.zone == z }) && !s.down {
				return precondition("ZoneWithoutSubnet", fmt.Sprintf("nodeGroups[%d].zones[%d]: %s has no subnet; the network is in %s", i, j, z, strings.Join(zones, ", ")),
					"add the zone and a subnet for it to `network`, or move the volume")
			}
		}
	}
	s.lay = l
	return nil
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return ""
}

func (s *state) subnetParts(kind string, ranges, zones []string) []*subnetPart {
	var out []*subnetPart
	for i, r := range ranges {
		out = append(out, &subnetPart{
			name: s.name(kind + "-" + strconv.Itoa(i+1)), cidr: r, zone: at(zones, i),
			public: kind == "public", zoneAsked: len(s.spec.Network.Zones) > 0,
		})
	}
	return out
}

func (s *state) tableParts(l *layout) {
	switch {
	case len(l.private) == 0 || s.spec.Network.NAT == "none":
	case s.spec.Network.NAT == "per-az":
		for i := range l.private {
			l.nats = append(l.nats, &natPart{name: s.name("nat-" + strconv.Itoa(i+1)), subnet: l.public[i]})
		}
	case s.spec.Network.NAT == "regional":
		l.nats = []*natPart{{name: s.name(regionalNAT), regional: true}}
	default:
		l.nats = []*natPart{{name: s.name("nat-1"), subnet: l.public[0]}}
	}
	if len(l.public) > 0 {
		l.tables = append(l.tables, &tablePart{name: s.name("public"), public: true, subnets: l.public})
	}
	switch {
	case len(l.private) == 0:
	case len(l.nats) > 1:
		for i, p := range l.private {
			l.tables = append(l.tables, &tablePart{name: s.name("private-" + strconv.Itoa(i+1)), nat: l.nats[i], subnets: []*subnetPart{p}})
		}
	default:
		t := &tablePart{name: s.name("private"), subnets: l.private}
		if len(l.nats) == 1 {
			t.nat = l.nats[0]
		}
		l.tables = append(l.tables, t)
	}
}

// adopt adds to the layout what is there under our tags but in no spec any more, so that it is removed too.
func (s *state) adopt(ctx context.Context) error {
	subs, err := s.look.subnets.Get(ctx, "layout")
	if err != nil {
		return cloud.Explain(err)
	}
	for _, sub := range subs {
		if name, ok := s.mine(sub.Tags, kindSubnet); ok && !slices.ContainsFunc(s.subnets(), func(p *subnetPart) bool { return p.name == name }) {
			s.lay.private = append(s.lay.private, &subnetPart{name: name, id: aws.ToString(sub.SubnetId)})
		}
	}
	if err := s.adoptGateways(ctx); err != nil {
		return err
	}
	tables, err := s.look.tables.Get(ctx, "layout")
	if err != nil {
		return cloud.Explain(err)
	}
	for _, t := range tables {
		if name, ok := s.mine(t.Tags, kindTable); ok && !slices.ContainsFunc(s.lay.tables, func(p *tablePart) bool { return p.name == name }) {
			s.lay.tables = append(s.lay.tables, &tablePart{name: name})
		}
	}
	return s.adoptGroups(ctx)
}

func (s *state) adoptGateways(ctx context.Context) error {
	add := func(name string, ok bool) {
		if ok && !slices.ContainsFunc(s.lay.nats, func(p *natPart) bool { return p.name == name }) {
			s.lay.nats = append(s.lay.nats, &natPart{name: name})
		}
	}
	nats, err := s.look.nats.Get(ctx, "layout")
	if err != nil {
		return cloud.Explain(err)
	}
	for _, n := range nats {
		add(s.mine(n.Tags, kindNAT))
	}
	addresses, err := s.look.addresses.Get(ctx, "layout")
	if err != nil {
		return cloud.Explain(err)
	}
	for _, a := range addresses {
		add(s.mine(a.Tags, kindEIP))
	}
	return nil
}

func (s *state) adoptGroups(ctx context.Context) error {
	add := func(name string) {
		if !slices.ContainsFunc(s.lay.groups, func(p *groupPart) bool { return p.Name == name }) {
			s.lay.groups = append(s.lay.groups, &groupPart{NodeGroup: NodeGroup{Name: name}})
		}
	}
	names, err := s.groupNames(ctx)
	if err != nil {
		return cloud.Explain(err)
	}
	for _, n := range names {
		add(n)
	}
	templates, err := s.look.templates.Get(ctx, "layout")
	if err != nil {
		return cloud.Explain(err)
	}
	for _, t := range templates {
		if name, ok := s.mine(t.Tags, kindTemplate); ok {
			add(strings.TrimPrefix(name, s.spec.Name+"/"))
		}
	}
	return nil
}

func (s *state) subnets() []*subnetPart { return slices.Concat(s.lay.private, s.lay.public) }
