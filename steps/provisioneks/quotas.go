package provisioneks

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"pipectl.dev/cloud"
	"pipectl.dev/steps"
)

// quota is one limit that a new cluster may hit.
type quota struct {
	service, code, name string
	need                int
	used                func(context.Context) (int, error)
}

func (s *state) quotas() []quota {
	q := []quota{
		{"eks", "L-1194D53C", "EKS clusters", 1, s.usedClusters},
		{"iam", "L-858F3967", "OpenID Connect providers per account", 1, s.usedProviders},
		{"ec2", "L-1216C47A", "Running On-Demand Standard instances (vCPUs)", s.vcpus(), s.usedVCPUs},
	}
	if s.spec.Network.VPCID == "" {
		q = append(q, quota{"vpc", "L-F678F1CE", "VPCs per Region", 1, s.usedVPCs})
		if n := s.spec.Network; n.NAT != "none" && len(n.PrivateSubnets) > 0 {
			count := 1
			if n.NAT == "per-az" {
				count = len(n.PrivateSubnets)
			}
			q = append(q, quota{"ec2", "L-0263D0A3", "EC2-VPC Elastic IPs", count, s.usedAddresses})
		}
	}
	return q
}

// checkQuotas compares each quota with what is used and what the cluster takes. What our own earlier, unfinished run made is used already
// and needed no more, which only makes the check milder than it says.
func (s *state) checkQuotas(ctx context.Context) ([]error, error) {
	var out []error
	for _, q := range s.quotas() {
		limit, err := s.aws.Quota(ctx, q.service, q.code)
		if cloud.IsNotFound(err) || cloud.IsDenied(err) {
			continue // not readable: AWS will say it at the create call
		}
		if err != nil {
			return out, err
		}
		used, err := q.used(ctx)
		if cloud.IsDenied(err) {
			continue
		}
		if err != nil {
			return out, err
		}
		if used+q.need > int(limit) {
			out = append(out, &steps.Error{Code: "QuotaExceeded", Category: steps.Quota,
				Message: fmt.Sprintf("quota %q: %d of %d used, %d more needed", q.name, used, int(limit), q.need),
				Hints:   []string{fmt.Sprintf("remove what is not needed, or ask for more: aws service-quotas request-service-quota-increase --service-code %s --quota-code %s --desired-value %d", q.service, q.code, used+q.need)}})
		}
	}
	return out, nil
}

// vcpus is what the node groups start with, at two a node where the type does not tell; spot has a quota of its own.
func (s *state) vcpus() int {
	total := 0
	for _, g := range s.spec.NodeGroups {
		if g.CapacityType != "SPOT" && g.Desired != nil {
			total += 2 * int(*g.Desired)
		}
	}
	return total
}

func (s *state) usedVCPUs(ctx context.Context) (int, error) {
	total := 0
	in := &ec2.DescribeInstancesInput{Filters: []ec2types.Filter{cloud.Filter("instance-state-name", "pending", "running")}}
	for {
		o, err := cloud.EC2(s.aws).DescribeInstances(ctx, in)
		if err != nil {
			return 0, err
		}
		for _, r := range o.Reservations {
			for _, i := range r.Instances {
				cores := int32(2)
				if i.CpuOptions != nil && i.CpuOptions.CoreCount != nil {
					cores = aws.ToInt32(i.CpuOptions.CoreCount) * max(aws.ToInt32(i.CpuOptions.ThreadsPerCore), 1)
				}
				if i.InstanceLifecycle != ec2types.InstanceLifecycleTypeSpot {
					total += int(cores)
				}
			}
		}
		if in.NextToken = o.NextToken; aws.ToString(in.NextToken) == "" {
			return total, nil
		}
	}
}

// usedVPCs leaves out our own, which an unfinished run may have made already.
func (s *state) usedVPCs(ctx context.Context) (int, error) {
	n := 0
	in := &ec2.DescribeVpcsInput{}
	for {
		o, err := cloud.EC2(s.aws).DescribeVpcs(ctx, in)
		if err != nil {
			return 0, err
		}
		for _, v := range o.Vpcs {
			if _, ours := s.mine(v.Tags, kindVPC); !ours {
				n++
			}
		}
		if in.NextToken = o.NextToken; aws.ToString(in.NextToken) == "" {
			return n, nil
		}
	}
}

func (s *state) usedAddresses(ctx context.Context) (int, error) {
	o, err := cloud.EC2(s.aws).DescribeAddresses(ctx, &ec2.DescribeAddressesInput{})
	if err != nil {
		return 0, err
	}
	n := 0
	for _, a := range o.Addresses {
		if _, ours := s.mine(a.Tags, kindEIP); !ours {
			n++
		}
	}
	return n, nil
}

func (s *state) usedClusters(ctx context.Context) (int, error) {
	n := 0
	in := &eks.ListClustersInput{}
	for {
		o, err := s.aws.EKS.ListClusters(ctx, in)
		if err != nil {
			return 0, err
		}
		n += len(o.Clusters)
		if in.NextToken = o.NextToken; aws.ToString(in.NextToken) == "" {
			return n, nil
		}
	}
}

func (s *state) usedProviders(ctx context.Context) (int, error) {
	o, err := cloud.IAM(s.aws).ListOpenIDConnectProviders(ctx, &iam.ListOpenIDConnectProvidersInput{})
	if err != nil {
		return 0, err
	}
	return len(o.OpenIDConnectProviderList), nil
}
