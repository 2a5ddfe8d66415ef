package provisioneks

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

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
