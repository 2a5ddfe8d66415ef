package provisioneks

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"pipectl.dev/cloud"
	"pipectl.dev/steps"
)

// outputs tells what the resources learned.
func (s *state) outputs() Outputs {
	out := Outputs{
		Cluster: s.ref(s.cluster), OIDC: OIDC{Issuer: s.issuer(), ProviderARN: s.providerARN}, VPCID: s.vpcID,
		SubnetIDs: SubnetIDs{Private: ids(s.lay.private), Public: ids(s.lay.public)},
		Zones:     append([]string{}, s.lay.zones...), NodeGroups: []NodeGroupInfo{},
	}
	out.Kubeconfig = s.kubeconfigFile()
	for _, g := range s.lay.groups {
		out.NodeGroups = append(out.NodeGroups, NodeGroupInfo{
			Name: g.Name, ARN: g.arn, InstanceTypes: append([]string{}, g.InstanceTypes...), Zones: append([]string{}, g.zones()...), RoleARN: s.nodeRole,
		})
	}
	return out
}

func ids(parts []*subnetPart) []string {
	out := []string{}
	for _, p := range parts {
		if p.id != "" {
			out = append(out, p.id)
		}
	}
	return out
}

func (s *state) ref(c *ekstypes.Cluster) steps.ClusterRef {
	e := &steps.EKSCluster{
		Name: aws.ToString(c.Name), Region: s.aws.Region, ARN: aws.ToString(c.Arn), Endpoint: aws.ToString(c.Endpoint), Version: aws.ToString(c.Version),
	}
	if c.CertificateAuthority != nil {
		e.CertificateAuthority = aws.ToString(c.CertificateAuthority.Data)
	}
	if c.CreatedAt != nil {
		e.CreatedAt = c.CreatedAt.UTC().Format(time.RFC3339)
	}
	return steps.ClusterRef{EKS: e}
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
