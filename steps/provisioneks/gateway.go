package provisioneks

import (
	"context"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pipectl.dev/cloud"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

func (s *state) findIGW(ctx context.Context, reader string) (*ec2types.InternetGateway, error) {
	igws, err := s.look.igws.Get(ctx, reader)
	if err != nil {
		return nil, err
	}
	for _, g := range igws {
		if _, ok := s.mine(g.Tags, kindIGW); ok {
			return &g, nil
		}
	}
	return nil, nil
}

func internetGateway(sp Spec) resource {
	id := reconcile.ID(kindIGW, sp.Name)
	return resource{
		Kind: kindIGW, Name: sp.Name,
		Observe: func(ctx context.Context, s *state) (status, error) {
			g, err := s.findIGW(ctx, id)
			if err != nil || g == nil {
				return absent, err
			}
			s.igwID = aws.ToString(g.InternetGatewayId)
			return status{Exists: true, Ready: true, ID: s.igwID}, nil
		},
		Create: func(ctx context.Context, s *state) error {
			defer s.look.igws.Changed()
			found := func(ctx context.Context) (bool, error) {
				g, err := s.findIGW(ctx, id)
				return g != nil, err
			}
			return s.once(ctx, found, func(ctx context.Context) error {
				_, err := cloud.EC2(s.aws).CreateInternetGateway(ctx, &ec2.CreateInternetGatewayInput{
					TagSpecifications: cloud.TagAtCreate(ec2types.ResourceTypeInternetGateway, s.tags(kindIGW, sp.Name)),
				}, cloud.Careful)
				return err
			})
		},
		Delete: func(ctx context.Context, s *state) error {
			defer s.look.igws.Changed()
			_, err := cloud.EC2(s.aws).DeleteInternetGateway(ctx, &ec2.DeleteInternetGatewayInput{InternetGatewayId: &s.igwID})
			return err
		},
	}
}

func igwAttachment(sp Spec) resource {
	id := reconcile.ID(kindIGWAttached, sp.Name)
	return resource{
		Kind: kindIGWAttached, Name: sp.Name, Needs: []string{reconcile.ID(kindVPC, sp.Name), reconcile.ID(kindIGW, sp.Name)},
		Observe: func(ctx context.Context, s *state) (status, error) {
			g, err := s.findIGW(ctx, id)
			if err != nil || g == nil || len(g.Attachments) == 0 {
				return absent, err
			}
			to := aws.ToString(g.Attachments[0].VpcId)
			return status{Exists: true, Ready: true, ID: to, Foreign: s.vpcID != "" && to != s.vpcID}, nil
		},
		Create: func(ctx context.Context, s *state) error {
			defer s.look.igws.Changed()
			return s.settle(ctx, func(ctx context.Context) error {
				_, err := cloud.EC2(s.aws).AttachInternetGateway(ctx, &ec2.AttachInternetGatewayInput{InternetGatewayId: &s.igwID, VpcId: &s.vpcID})
				if cloud.IsExists(err) {
					return nil
				}
				return err
			})
		},
		Delete: func(ctx context.Context, s *state) error {
			defer s.look.igws.Changed()
			_, err := cloud.EC2(s.aws).DetachInternetGateway(ctx, &ec2.DetachInternetGatewayInput{InternetGatewayId: &s.igwID, VpcId: &s.vpcID})
			if cloud.Code(err) == "Gateway.NotAttached" {
				return nil
			}
			return err
		},
	}
}

func (s *state) findAddress(ctx context.Context, reader, name string) (*ec2types.Address, error) {
	all, err := s.look.addresses.Get(ctx, reader)
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		if n, ok := s.mine(a.Tags, kindEIP); ok && n == name {
			return &a, nil
		}
	}
	return nil, nil
}

func address(p *natPart) resource {
	id := reconcile.ID(kindEIP, p.name)
	return resource{
		Kind: kindEIP, Name: p.name,
		Observe: func(ctx context.Context, s *state) (status, error) {
			a, err := s.findAddress(ctx, id, p.name)
			if err != nil || a == nil {
				return absent, err
			}
			p.address = aws.ToString(a.AllocationId)
			return status{Exists: true, Ready: true, ID: p.address, Detail: aws.ToString(a.PublicIp)}, nil
		},
		Create: func(ctx context.Context, s *state) error {
			defer s.look.addresses.Changed()
			found := func(ctx context.Context) (bool, error) {
				a, err := s.findAddress(ctx, id, p.name)
				return a != nil, err
			}
			return s.once(ctx, found, func(ctx context.Context) error {
				_, err := cloud.EC2(s.aws).AllocateAddress(ctx, &ec2.AllocateAddressInput{
					Domain:            ec2types.DomainTypeVpc,
					TagSpecifications: cloud.TagAtCreate(ec2types.ResourceTypeElasticIp, s.tags(kindEIP, p.name)),
				}, cloud.Careful)
				return err
			})
		},
		Delete: func(ctx context.Context, s *state) error {
			defer s.look.addresses.Changed()
			return s.aws.Retry(ctx, time.Minute, func(err error) bool { return cloud.Code(err) == "AuthFailure" }, func(ctx context.Context) error {
				// EC2 calls an address that is still mapped a lack of permission.
				_, err := cloud.EC2(s.aws).ReleaseAddress(ctx, &ec2.ReleaseAddressInput{AllocationId: &p.address})
				return err
			})
		},
	}
}

// findNAT gives the live gateway of that name; deleted ones stay listed for an hour. dead are their ids.
func (s *state) findNAT(ctx context.Context, reader, name string) (live *ec2types.NatGateway, dead []string, err error) {
	nats, err := s.look.nats.Get(ctx, reader)
	if err != nil {
		return nil, nil, err
	}
	for _, n := range nats {
		if tag, ok := s.mine(n.Tags, kindNAT); !ok || tag != name {
			continue
		}
		if gone := n.State == ec2types.NatGatewayStateDeleted || n.State == ec2types.NatGatewayStateFailed || n.State == ec2types.NatGatewayStateDeleting && !s.down; gone {
			dead = append(dead, aws.ToString(n.NatGatewayId))
			if n.State == ec2types.NatGatewayStateFailed && s.madeNow(kindNAT, name) {
				return nil, dead, &steps.Error{Code: "NatGatewayFailed", Category: steps.Unhealthy, Message: aws.ToString(n.FailureCode) + ": " + aws.ToString(n.FailureMessage)}
			}
			continue
		}
		live = &n
	}
	slices.Sort(dead)
	return live, dead, nil
}

func natGateway(sp Spec, p *natPart) resource {
	id := reconcile.ID(kindNAT, p.name)
	r := resource{
		Kind: kindNAT, Name: p.name, Expect: 105 * time.Second, Gone: 79 * time.Second,
		Needs: []string{reconcile.ID(kindIGWAttached, sp.Name)},
		Observe: func(ctx context.Context, s *state) (status, error) {
			n, _, err := s.findNAT(ctx, id, p.name)
			if err != nil || n == nil {
				return absent, err
			}
			p.natID = aws.ToString(n.NatGatewayId)
			return status{Exists: true, Ready: n.State == ec2types.NatGatewayStateAvailable, Detail: string(n.State), ID: p.natID}, nil
		},
		Create: func(ctx context.Context, s *state) error {
			defer s.look.nats.Changed()
			return s.createNAT(ctx, p)
		},
		Delete: func(ctx context.Context, s *state) error {
			defer s.look.nats.Changed()
			_, err := cloud.EC2(s.aws).DeleteNatGateway(ctx, &ec2.DeleteNatGatewayInput{NatGatewayId: &p.natID})
			return err
		},
	}
	if !p.regional {
		r.Needs = append(r.Needs, reconcile.ID(kindEIP, p.name))
	}
	if p.subnet != nil {
		r.Needs = append(r.Needs, reconcile.ID(kindSubnet, p.subnet.name))
	}
	return r
}

// createNAT asks for the gateway with a token that changes once an earlier gateway of that name is dead: AWS would answer with that one.
func (s *state) createNAT(ctx context.Context, p *natPart) error {
	_, dead, err := s.findNAT(ctx, "create "+p.name, p.name)
	if err != nil {
		return err
	}
	s.markMade(kindNAT, p.name)
	soon := func(err error) bool {
		return cloud.IsNotFound(err) || slices.Contains([]string{"InvalidSubnet", "Resource.AlreadyAssociated", "NotAvailable"}, cloud.Code(err))
	}
	in := &ec2.CreateNatGatewayInput{ConnectivityType: ec2types.ConnectivityTypePublic, TagSpecifications: cloud.TagAtCreate(ec2types.ResourceTypeNatgateway, s.tags(kindNAT, p.name))}
	if p.regional { // without AvailabilityZoneAddresses EC2 allocates addresses itself, in each zone that has network interfaces
		in.AvailabilityMode, in.VpcId = ec2types.AvailabilityModeRegional, &s.vpcID
		in.ClientToken = aws.String(cloud.ClientToken(s.owner, kindNAT, p.name, s.vpcID, dead))
	} else {
		in.AllocationId, in.SubnetId = &p.address, &p.subnet.id
		in.ClientToken = aws.String(cloud.ClientToken(s.owner, kindNAT, p.name, p.address, p.subnet.id, dead))
	}
	return s.aws.Retry(ctx, 2*time.Minute, soon, func(ctx context.Context) error {
		_, err := cloud.EC2(s.aws).CreateNatGateway(ctx, in)
		return err
	})
}
