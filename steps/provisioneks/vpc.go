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

func (s *state) findVPC(ctx context.Context, reader string) (*ec2types.Vpc, error) {
	vpcs, err := s.look.vpcs.Get(ctx, reader)
	if err != nil {
		return nil, err
	}
	for _, v := range vpcs {
		if _, ok := s.mine(v.Tags, kindVPC); ok {
			return &v, nil
		}
	}
	return nil, nil
}

func vpc(sp Spec) resource {
	id := reconcile.ID(kindVPC, sp.Name)
	return resource{
		Kind: kindVPC, Name: sp.Name, Expect: time.Second,
		Observe: func(ctx context.Context, s *state) (status, error) {
			v, err := s.findVPC(ctx, id)
			if err != nil || v == nil {
				return absent, err
			}
			s.vpcID = aws.ToString(v.VpcId)
			var d owned.Drift
			if !s.down {
				d.Fixed("network.cidr", aws.ToString(v.CidrBlock), sp.Network.CIDR)
			}
			return status{Exists: true, Ready: v.State == ec2types.VpcStateAvailable, Detail: string(v.State), ID: s.vpcID, Drift: d}, nil
		},
		Create: func(ctx context.Context, s *state) error {
			defer s.look.vpcs.Changed()
			found := func(ctx context.Context) (bool, error) {
				v, err := s.findVPC(ctx, id)
				return v != nil, err
			}
			return s.once(ctx, found, func(ctx context.Context) error {
				_, err := cloud.EC2(s.aws).CreateVpc(ctx, &ec2.CreateVpcInput{
					CidrBlock:         &sp.Network.CIDR,
					TagSpecifications: cloud.TagAtCreate(ec2types.ResourceTypeVpc, s.tags(kindVPC, sp.Name)),
				}, cloud.Careful)
				return err
			})
		},
		Update: nothingToMend,
		Delete: func(ctx context.Context, s *state) error {
			defer s.look.vpcs.Changed()
			_, err := cloud.EC2(s.aws).DeleteVpc(ctx, &ec2.DeleteVpcInput{VpcId: &s.vpcID})
			return s.swept(ctx, "", err)
		},
	}
}

// nothingToMend stands where all drift is of the kind that cannot be changed: the refusal then names the fields.
func nothingToMend(context.Context, *state, []string) error { return nil }

// vpcDNS lets instances have DNS names and private endpoints resolve: EKS demands both attributes.
func vpcDNS(sp Spec) resource {
	return resource{
		Kind: kindDNS, Name: sp.Name, Needs: []string{reconcile.ID(kindVPC, sp.Name)},
		Observe: func(ctx context.Context, s *state) (status, error) {
			if s.vpcID == "" || s.down {
				return absent, nil
			}
			for _, name := range []ec2types.VpcAttributeName{ec2types.VpcAttributeNameEnableDnsSupport, ec2types.VpcAttributeNameEnableDnsHostnames} {
				o, err := cloud.EC2(s.aws).DescribeVpcAttribute(ctx, &ec2.DescribeVpcAttributeInput{VpcId: &s.vpcID, Attribute: name})
				if cloud.IsNotFound(err) {
					return absent, nil
				}
				if err != nil {
					return absent, err
				}
				if !isOn(o.EnableDnsSupport) && !isOn(o.EnableDnsHostnames) {
					return absent, nil
				}
			}
			return status{Exists: true, Ready: true, ID: s.vpcID}, nil
		},
		Create: func(ctx context.Context, s *state) error {
			on := &ec2types.AttributeBooleanValue{Value: aws.Bool(true)}
			return s.settle(ctx, func(ctx context.Context) error {
				// One attribute a call: EC2 takes no more.
				_, err := cloud.EC2(s.aws).ModifyVpcAttribute(ctx, &ec2.ModifyVpcAttributeInput{VpcId: &s.vpcID, EnableDnsSupport: on})
				if err == nil {
					_, err = cloud.EC2(s.aws).ModifyVpcAttribute(ctx, &ec2.ModifyVpcAttributeInput{VpcId: &s.vpcID, EnableDnsHostnames: on})
				}
				return err
			})
		},
	}
}

func isOn(v *ec2types.AttributeBooleanValue) bool { return v != nil && aws.ToBool(v.Value) }
