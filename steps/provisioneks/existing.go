package provisioneks

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/steps"
)

// planExisting changes nothing in AWS: all that may be missing is the kubeconfig of this machine.
func (s *state) planExisting(ctx context.Context) (steps.Plan[Outputs], error) {
	out, err := s.known(ctx)
	if err != nil {
		return steps.Plan[Outputs]{}, err
	}
	plan := steps.Plan[Outputs]{}
	if plan.Changes, err = s.onThisMachine().Plan(ctx, s); err == nil && keepsAll(plan.Changes) {
		plan.Outputs = &out
	}
	return plan, err
}

func (s *state) applyExisting(ctx context.Context) (Outputs, error) {
	if _, err := s.known(ctx); err != nil {
		return Outputs{}, err
	}
	if err := s.onThisMachine().Apply(ctx, s); err != nil {
		return Outputs{}, err
	}
	return s.outputs(), nil
}

// onThisMachine is what an existing cluster may be given: nothing that AWS knows of.
func (s *state) onThisMachine() owned.List[state] {
	if s.spec.Kubeconfig == nil {
		return s.list(nil)
	}
	return s.list([]resource{kubeconfig(s.spec)})
}

// known is a cluster that must be there, for nobody here makes it.
func (s *state) known(ctx context.Context) (Outputs, error) {
	out, found, err := s.existing(ctx)
	if err == nil && !found {
		err = precondition("ClusterNotFound", "cluster "+s.spec.Name+" does not exist in "+s.aws.Region, "correct `name` or `region`, or drop `existing: true` to make it")
	}
	return out, err
}

// existing reads a cluster that somebody else made.
func (s *state) existing(ctx context.Context) (Outputs, bool, error) {
	c, err := s.look.cluster.Get(ctx, "existing")
	if err != nil || c == nil {
		return Outputs{}, false, cloud.Explain(err)
	}
	if c.Status != ekstypes.ClusterStatusActive && c.Status != ekstypes.ClusterStatusUpdating {
		return Outputs{}, false, precondition("ClusterNotReady", "cluster "+s.spec.Name+" is "+string(c.Status), "wait until it is ACTIVE")
	}
	s.cluster = c
	if v := c.ResourcesVpcConfig; v != nil {
		s.vpcID = aws.ToString(v.VpcId)
		for _, id := range v.SubnetIds {
			s.lay.private = append(s.lay.private, &subnetPart{id: id})
		}
	}
	if s.issuer() != "" {
		arn := s.providerOf(s.issuer())
		_, err := cloud.IAM(s.aws).GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn})
		if err == nil {
			s.providerARN = arn
		} else if !cloud.IsNotFound(err) && !cloud.IsDenied(err) {
			return Outputs{}, false, cloud.Explain(err)
		}
	}
	return s.outputs(), true, nil
}
