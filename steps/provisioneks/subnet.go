package provisioneks

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/steps/reconcile"
)

func (s *state) findSubnet(ctx context.Context, reader, name string) (*ec2types.Subnet, error) {
	subs, err := s.look.subnets.Get(ctx, reader)
	if err != nil {
		return nil, err
	}
	for _, sub := range subs {
		if n, ok := s.mine(sub.Tags, kindSubnet); ok && n == name {
			return &sub, nil
		}
	}
	return nil, nil
}

func subnet(sp Spec, p *subnetPart) resource {
	id := reconcile.ID(kindSubnet, p.name)
	return resource{
		Kind: kindSubnet, Name: p.name, Needs: []string{reconcile.ID(kindVPC, sp.Name)}, Expect: time.Second,
		Observe: func(ctx context.Context, s *state) (status, error) {
			sub, err := s.findSubnet(ctx, id, p.name)
			if err != nil || sub == nil {
				return absent, err
			}
			p.id = aws.ToString(sub.SubnetId)
			var d owned.Drift
			if !s.down {
				d.Fixed("cidr", aws.ToString(sub.CidrBlock), p.cidr)
				if p.zoneAsked {
					d.Fixed("zone", aws.ToString(sub.AvailabilityZone), p.zone)
				}
			}
			return status{Exists: true, Ready: sub.State == ec2types.SubnetStateAvailable, Detail: string(sub.State), ID: p.id, Drift: d}, nil
		},
		Create: func(ctx context.Context, s *state) error {
			defer s.look.subnets.Changed()
			found := func(ctx context.Context) (bool, error) {
				sub, err := s.findSubnet(ctx, id, p.name)
				return sub != nil, err
			}
			return s.once(ctx, found, func(ctx context.Context) error {
				return s.settle(ctx, func(ctx context.Context) error { return s.createSubnet(ctx, p) })
			})
		},
		Update: nothingToMend,
		Delete: func(ctx context.Context, s *state) error {
			defer s.look.subnets.Changed()
			_, err := cloud.EC2(s.aws).DeleteSubnet(ctx, &ec2.DeleteSubnetInput{SubnetId: &p.id})
			return s.swept(ctx, p.id, err)
		},
	}
}

func (s *state) createSubnet(ctx context.Context, p *subnetPart) error {
	tags := s.tags(kindSubnet, p.name)
	// Where load balancers go, for the controllers that make them.
	tags["kubernetes.io/cluster/"+s.spec.Name] = "shared"
	if p.public {
		tags["kubernetes.io/role/elb"] = "1"
	} else {
		tags["kubernetes.io/role/internal-elb"] = "1"
	}
	_, err := cloud.EC2(s.aws).CreateSubnet(ctx, &ec2.CreateSubnetInput{
		VpcId: &s.vpcID, CidrBlock: &p.cidr, AvailabilityZone: &p.zone,
		TagSpecifications: cloud.TagAtCreate(ec2types.ResourceTypeSubnet, tags),
	}, cloud.Careful)
	return err
}

// publicIPs gives nodes in a public subnet an address of their own: without NAT it is their only way out.
func publicIPs(p *subnetPart) resource {
	id := reconcile.ID(kindPublicIPs, p.name)
	return resource{
		Kind: kindPublicIPs, Name: p.name, Needs: []string{reconcile.ID(kindSubnet, p.name)},
		Observe: func(ctx context.Context, s *state) (status, error) {
			sub, err := s.findSubnet(ctx, id, p.name)
			if err != nil || sub == nil || !aws.ToBool(sub.MapPublicIpOnLaunch) {
				return absent, err
			}
			return status{Exists: true, Ready: true, ID: p.id}, nil
		},
		Create: func(ctx context.Context, s *state) error {
			defer s.look.subnets.Changed()
			return s.settle(ctx, func(ctx context.Context) error {
				_, err := cloud.EC2(s.aws).ModifySubnetAttribute(ctx, &ec2.ModifySubnetAttributeInput{
					SubnetId: &p.id, MapPublicIpOnLaunch: &ec2types.AttributeBooleanValue{Value: aws.Bool(true)},
				})
				return err
			})
		},
	}
}
