package provisioneks

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pipectl.dev/cloud"
	"pipectl.dev/steps/reconcile"
)

// leftNetwork is what another `network.nat` made and the present one has no use for.
type leftNetwork struct {
	nats   []*natPart // gateways, and addresses without one
	tables []*tablePart
	routes []*tablePart // tables that stay, without their default route
}

// leftGateways finds it by its tags.
func (s *state) leftGateways(ctx context.Context) error {
	if s.spec.Network.exists() {
		return nil
	}
	nats, err := s.look.nats.Get(ctx, "left")
	if err != nil {
		return err
	}
	addresses, err := s.look.addresses.Get(ctx, "left")
	if err != nil {
		return err
	}
	tables, err := s.look.tables.Get(ctx, "left")
	if err != nil {
		return err
	}
	add := func(name string, ok bool) {
		same := func(p *natPart) bool { return p.name == name }
		if ok && !slices.ContainsFunc(s.lay.nats, same) && !slices.ContainsFunc(s.old.nats, same) {
			s.old.nats = append(s.old.nats, &natPart{name: name})
		}
	}
	for _, n := range nats {
		name, ok := s.mine(n.Tags, kindNAT)
		add(name, ok && stands(n))
	}
	for _, a := range addresses {
		add(s.mine(a.Tags, kindEIP))
	}
	for _, t := range tables {
		name, ok := s.mine(t.Tags, kindTable)
		i := slices.IndexFunc(s.lay.tables, func(p *tablePart) bool { return p.name == name })
		switch {
		case !ok:
		case i < 0:
			s.old.tables = append(s.old.tables, &tablePart{name: name})
		case !s.lay.tables[i].public && s.lay.tables[i].nat == nil && natRoute(t) != "":
			s.old.routes = append(s.old.routes, s.lay.tables[i])
		}
	}
	return nil
}

// stands reports a gateway that is there, or still going: its address is bound until it is gone.
func stands(n ec2types.NatGateway) bool {
	return n.State == ec2types.NatGatewayStatePending || n.State == ec2types.NatGatewayStateAvailable || n.State == ec2types.NatGatewayStateDeleting
}

// natRoute is the gateway that a table's default route leads to, "" where it has none.
func natRoute(t ec2types.RouteTable) string {
	for _, r := range t.Routes {
		if aws.ToString(r.DestinationCidrBlock) == everywhere {
			return aws.ToString(r.NatGatewayId)
		}
	}
	return ""
}

// retiredNetwork takes away what nothing leads to any more: every subnet has its new way out first, then old tables and routes go, then
// gateways, then their addresses.
func (s *state) retiredNetwork() []resource {
	var rs []resource
	var moved, freed []string
	for _, t := range s.lay.tables {
		for _, sub := range t.subnets {
			moved = append(moved, reconcile.ID(kindAssociation, sub.name))
		}
		if t.public || t.nat != nil {
			moved = append(moved, reconcile.ID(kindRoute, t.name))
		}
	}
	for _, t := range s.old.tables {
		r := routeTable(s.spec, t)
		r.Retired, r.Needs = true, moved
		rs, freed = append(rs, r), append(freed, r.ID())
	}
	for _, t := range s.old.routes {
		r := retiredRoute(t)
		r.Needs = append(r.Needs, moved...)
		rs, freed = append(rs, r), append(freed, r.ID())
	}
	for _, n := range s.old.nats {
		gateway, ip := natGateway(s.spec, n), address(n)
		gateway.Retired, gateway.Needs = true, slices.Concat(moved, freed)
		gateway.Observe = func(ctx context.Context, s *state) (status, error) { return s.oldNAT(ctx, n) }
		ip.Retired, ip.Needs = true, []string{gateway.ID()}
		rs = append(rs, gateway, ip)
	}
	return rs
}

// oldNAT looks for the gateway until it is gone, which is later than EC2 says that it goes.
func (s *state) oldNAT(ctx context.Context, p *natPart) (status, error) {
	all, err := s.look.nats.Get(ctx, "old "+p.name)
	if err != nil {
		return absent, err
	}
	for _, n := range all {
		if name, ok := s.mine(n.Tags, kindNAT); ok && name == p.name && stands(n) {
			p.natID = aws.ToString(n.NatGatewayId)
			return status{Exists: true, Ready: true, Detail: string(n.State), ID: p.natID}, nil
		}
	}
	return absent, nil
}

// retiredRoute is the way out of a private table that is to have none.
func retiredRoute(p *tablePart) resource {
	return resource{
		Kind: kindRoute, Name: p.name, Needs: []string{reconcile.ID(kindTable, p.name)}, Retired: true,
		Observe: func(ctx context.Context, s *state) (status, error) {
			t, err := s.findTable(ctx, "old route "+p.name, p.name)
			if err != nil || t == nil || natRoute(*t) == "" {
				return absent, err
			}
			return status{Exists: true, Ready: true, ID: p.id, Detail: natRoute(*t)}, nil
		},
		Delete: func(ctx context.Context, s *state) error {
			defer s.look.tables.Changed()
			_, err := cloud.EC2(s.aws).DeleteRoute(ctx, &ec2.DeleteRouteInput{RouteTableId: &p.id, DestinationCidrBlock: aws.String(everywhere)})
			return err
		},
	}
}

// elsewhere is the association of a subnet with another table than the one named, and that table's name or id; nil: it has none.
func (s *state) elsewhere(ctx context.Context, reader, table string, sub *subnetPart) (*ec2types.RouteTableAssociation, string, error) {
	tables, err := s.look.tables.Get(ctx, reader)
	if err != nil {
		return nil, "", err
	}
	for _, t := range tables {
		name, ok := s.mine(t.Tags, kindTable)
		if !ok || name == table {
			continue
		}
		for _, a := range t.Associations {
			if aws.ToString(a.SubnetId) == sub.id && sub.id != "" {
				return &a, name, nil
			}
		}
	}
	return nil, "", nil
}

// moveSubnet gives a subnet its new table in one call: it is never without one.
func (s *state) moveSubnet(ctx context.Context, p *tablePart, sub *subnetPart) error {
	a, _, err := s.elsewhere(ctx, "move "+sub.name, p.name, sub)
	if err != nil || a == nil {
		return err
	}
	return s.settle(ctx, func(ctx context.Context) error {
		_, err := cloud.EC2(s.aws).ReplaceRouteTableAssociation(ctx, &ec2.ReplaceRouteTableAssociationInput{AssociationId: a.RouteTableAssociationId, RouteTableId: &p.id})
		return err
	})
}
