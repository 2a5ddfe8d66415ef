package provisioneks

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/steps/reconcile"
)

const everywhere = "0.0.0.0/0"

func (s *state) findTable(ctx context.Context, reader, name string) (*ec2types.RouteTable, error) {
	tables, err := s.look.tables.Get(ctx, reader)
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		if n, ok := s.mine(t.Tags, kindTable); ok && n == name {
			return &t, nil
		}
	}
	return nil, nil
}

func routeTable(sp Spec, p *tablePart) resource {
	id := reconcile.ID(kindTable, p.name)
	return resource{
		Kind: kindTable, Name: p.name, Needs: []string{reconcile.ID(kindVPC, sp.Name)},
		Observe: func(ctx context.Context, s *state) (status, error) {
			t, err := s.findTable(ctx, id, p.name)
			if err != nil || t == nil {
				return absent, err
			}
			p.id = aws.ToString(t.RouteTableId)
			return status{Exists: true, Ready: true, ID: p.id}, nil
		},
		Create: func(ctx context.Context, s *state) error {
			defer s.look.tables.Changed()
			found := func(ctx context.Context) (bool, error) {
				t, err := s.findTable(ctx, "create "+p.name, p.name)
				return t != nil, err
			}
			// The token covers this run's own retries; what a run before made a second ago is only to be found by its tags.
			return s.once(ctx, found, func(ctx context.Context) error {
				return s.settle(ctx, func(ctx context.Context) error {
					_, err := cloud.EC2(s.aws).CreateRouteTable(ctx, &ec2.CreateRouteTableInput{
						VpcId: &s.vpcID, ClientToken: s.token(kindTable, p.name, s.vpcID),
						TagSpecifications: cloud.TagAtCreate(ec2types.ResourceTypeRouteTable, s.tags(kindTable, p.name)),
					})
					return err
				})
			})
		},
		Delete: func(ctx context.Context, s *state) error {
			defer s.look.tables.Changed()
			return s.deleteTable(ctx, p)
		},
	}
}

// deleteTable frees the table's subnets first: a table in use cannot be removed.
func (s *state) deleteTable(ctx context.Context, p *tablePart) error {
	t, err := s.findTable(ctx, "delete "+p.name, p.name)
	if err != nil || t == nil {
		return err
	}
	for _, a := range t.Associations {
		_, err := cloud.EC2(s.aws).DisassociateRouteTable(ctx, &ec2.DisassociateRouteTableInput{AssociationId: a.RouteTableAssociationId})
		if err != nil && !cloud.IsNotFound(err) {
			return err
		}
	}
	_, err = cloud.EC2(s.aws).DeleteRouteTable(ctx, &ec2.DeleteRouteTableInput{RouteTableId: &p.id})
	return err
}

func defaultRoute(sp Spec, p *tablePart) resource {
	id := reconcile.ID(kindRoute, p.name)
	needs := []string{reconcile.ID(kindTable, p.name)}
	if p.nat != nil {
		needs = append(needs, reconcile.ID(kindNAT, p.nat.name))
	} else {
		needs = append(needs, reconcile.ID(kindIGWAttached, sp.Name))
	}
	return resource{
		Kind: kindRoute, Name: p.name, Needs: needs,
		Observe: func(ctx context.Context, s *state) (status, error) {
			t, err := s.findTable(ctx, id, p.name)
			if err != nil || t == nil {
				return absent, err
			}
			for _, r := range t.Routes {
				if aws.ToString(r.DestinationCidrBlock) != everywhere {
					continue
				}
				var d owned.Drift
				if !s.down {
					d.Mend("target", aws.ToString(r.NatGatewayId)+aws.ToString(r.GatewayId), s.wayOut(p))
				}
				return status{Exists: true, Ready: r.State == ec2types.RouteStateActive, Detail: string(r.State), ID: p.id, Drift: d}, nil
			}
			return absent, nil
		},
		Create: func(ctx context.Context, s *state) error {
			defer s.look.tables.Changed()
			return s.settle(ctx, func(ctx context.Context) error {
				_, err := cloud.EC2(s.aws).CreateRoute(ctx, &ec2.CreateRouteInput{
					RouteTableId: &p.id, DestinationCidrBlock: aws.String(everywhere), NatGatewayId: p.natTarget(), GatewayId: s.igwTarget(p),
				})
				if cloud.IsExists(err) {
					return nil
				}
				return err
			})
		},
		Update: func(ctx context.Context, s *state, _ []string) error {
			defer s.look.tables.Changed()
			_, err := cloud.EC2(s.aws).ReplaceRoute(ctx, &ec2.ReplaceRouteInput{
				RouteTableId: &p.id, DestinationCidrBlock: aws.String(everywhere), NatGatewayId: p.natTarget(), GatewayId: s.igwTarget(p),
			})
			return err
		},
	}
}

// wayOut is where the table's default route should lead.
func (s *state) wayOut(p *tablePart) string {
	if p.nat != nil {
		return p.nat.natID
	}
	return s.igwID
}

func (p *tablePart) natTarget() *string {
	if p.nat == nil {
		return nil
	}
	return &p.nat.natID
}

func (s *state) igwTarget(p *tablePart) *string {
	if p.nat != nil {
		return nil
	}
	return &s.igwID
}

func association(p *tablePart, sub *subnetPart) resource {
	id := reconcile.ID(kindAssociation, sub.name)
	in := func(t ec2types.RouteTable) *ec2types.RouteTableAssociation {
		for _, a := range t.Associations {
			if aws.ToString(a.SubnetId) == sub.id {
				return &a
			}
		}
		return nil
	}
	needs := []string{reconcile.ID(kindTable, p.name), reconcile.ID(kindSubnet, sub.name)}
	if p.public || p.nat != nil { // a subnet that comes from another table finds its way out there
		needs = append(needs, reconcile.ID(kindRoute, p.name))
	}
	return resource{
		Kind: kindAssociation, Name: sub.name, Needs: needs,
		Update: func(ctx context.Context, s *state, _ []string) error {
			defer s.look.tables.Changed()
			return s.moveSubnet(ctx, p, sub)
		},
		Observe: func(ctx context.Context, s *state) (status, error) {
			t, err := s.findTable(ctx, id, p.name)
			if err != nil || sub.id == "" {
				return absent, err
			}
			if t == nil { // planned
				return s.associatedElsewhere(ctx, p, sub)
			}
			a := in(*t)
			if a == nil {
				return s.associatedElsewhere(ctx, p, sub)
			}
			ready := a.AssociationState == nil || !slices.Contains([]ec2types.RouteTableAssociationStateCode{"associating"}, a.AssociationState.State)
			return status{Exists: true, Ready: ready, ID: aws.ToString(a.RouteTableAssociationId)}, nil
		},
		Create: func(ctx context.Context, s *state) error {
			defer s.look.tables.Changed()
			return s.settle(ctx, func(ctx context.Context) error {
				_, err := cloud.EC2(s.aws).AssociateRouteTable(ctx, &ec2.AssociateRouteTableInput{RouteTableId: &p.id, SubnetId: &sub.id})
				if cloud.IsExists(err) {
					return nil
				}
				return err
			})
		},
	}
}

// associatedElsewhere is the status of a subnet that is not with its table p.
func (s *state) associatedElsewhere(ctx context.Context, p *tablePart, sub *subnetPart) (status, error) {
	if s.down {
		return absent, nil
	}
	a, name, err := s.elsewhere(ctx, "elsewhere "+sub.name, p.name, sub)
	if err != nil || a == nil {
		return absent, err
	}
	var d owned.Drift
	d.Mend("routeTable", name, p.name)
	return status{Exists: true, Ready: true, ID: aws.ToString(a.RouteTableAssociationId), Drift: d}, nil
}
