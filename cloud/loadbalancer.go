package cloud

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancing"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancing/types"
	elbv2 "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbv2types "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// LoadBalancer is one that controllers of a Kubernetes cluster made, classic or not.
type LoadBalancer struct {
	Name    string
	ARN     string // "" of a classic one
	Kind    string // classic, network, application
	Service string // Service or Ingress that it is for, as namespace/name; "" where no tag tells
	State   string
	Groups  []string // ids of its security groups
}

// ID is what AWS knows it by.
func (l LoadBalancer) ID() string {
	if l.ARN != "" {
		return l.ARN
	}
	return l.Name
}

// Tags by which the controllers mark what they make for a cluster and for what.
const (
	clusterTagPrefix = "kubernetes.io/cluster/"
	controllerTag    = "elbv2.k8s.aws/cluster"
)

var serviceTags = []string{"kubernetes.io/service-name", "service.k8s.aws/stack", "ingress.k8s.aws/stack"}

// ofCluster reports whether tags say that a controller of the cluster made the thing. A shared one is not the cluster's.
func ofCluster(tags map[string]string, cluster string) bool {
	return tags[clusterTagPrefix+cluster] == "owned" || tags[controllerTag] == cluster
}

func serviceOf(tags map[string]string) string {
	for _, k := range serviceTags {
		if v := tags[k]; v != "" {
			return v
		}
	}
	return ""
}

// LoadBalancers are those that controllers of the cluster made in vpc.
func (s *Session) LoadBalancers(ctx context.Context, cluster, vpc string) ([]LoadBalancer, error) {
	newer, err := s.newerBalancers(ctx, cluster, vpc)
	if err != nil {
		return nil, err
	}
	classic, err := s.classicBalancers(ctx, cluster, vpc)
	return append(newer, classic...), err
}

// tagPage is how many load balancers one call tells the tags of.
const tagPage = 20

func (s *Session) newerBalancers(ctx context.Context, cluster, vpc string) ([]LoadBalancer, error) {
	byARN := map[string]LoadBalancer{}
	var arns []string
	all, err := Paged(ctx, func(ctx context.Context, marker *string) ([]elbv2types.LoadBalancer, *string, error) {
		o, err := ELBv2(s).DescribeLoadBalancers(ctx, &elbv2.DescribeLoadBalancersInput{Marker: marker})
		if err != nil {
			return nil, nil, err
		}
		return o.LoadBalancers, o.NextMarker, nil
	})
	if err != nil {
		return nil, err
	}
	for _, b := range all {
		if aws.ToString(b.VpcId) != vpc {
			continue
		}
		l := LoadBalancer{Name: aws.ToString(b.LoadBalancerName), ARN: aws.ToString(b.LoadBalancerArn), Kind: string(b.Type), Groups: b.SecurityGroups}
		if b.State != nil {
			l.State = string(b.State.Code)
		}
		byARN[l.ARN], arns = l, append(arns, l.ARN)
	}
	tags, err := s.balancerTags(ctx, arns)
	if err != nil {
		return nil, err
	}
	var out []LoadBalancer
	for _, arn := range arns {
		if l := byARN[arn]; ofCluster(tags[arn], cluster) {
			l.Service = serviceOf(tags[arn])
			out = append(out, l)
		}
	}
	return out, nil
}

// balancerTags are the tags of load balancers and target groups, by ARN.
func (s *Session) balancerTags(ctx context.Context, arns []string) (map[string]map[string]string, error) {
	out := map[string]map[string]string{}
	for some := range slices.Chunk(arns, tagPage) {
		o, err := ELBv2(s).DescribeTags(ctx, &elbv2.DescribeTagsInput{ResourceArns: some})
		if err != nil {
			return nil, err
		}
		for _, d := range o.TagDescriptions {
			out[aws.ToString(d.ResourceArn)] = tagMap(d.Tags, func(t elbv2types.Tag) (key, value *string) { return t.Key, t.Value })
		}
	}
	return out, nil
}

func (s *Session) classicBalancers(ctx context.Context, cluster, vpc string) ([]LoadBalancer, error) {
	byName := map[string]LoadBalancer{}
	var names []string
	all, err := Paged(ctx, func(ctx context.Context, marker *string) ([]elbtypes.LoadBalancerDescription, *string, error) {
		o, err := ELB(s).DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{Marker: marker})
		if err != nil {
			return nil, nil, err
		}
		return o.LoadBalancerDescriptions, o.NextMarker, nil
	})
	if err != nil {
		return nil, err
	}
	for _, b := range all {
		if aws.ToString(b.VPCId) == vpc {
			l := LoadBalancer{Name: aws.ToString(b.LoadBalancerName), Kind: "classic", Groups: b.SecurityGroups}
			byName[l.Name], names = l, append(names, l.Name)
		}
	}
	var out []LoadBalancer
	for some := range slices.Chunk(names, tagPage) {
		o, err := ELB(s).DescribeTags(ctx, &elb.DescribeTagsInput{LoadBalancerNames: some})
		if err != nil {
			return nil, err
		}
		for _, d := range o.TagDescriptions {
			tags := tagMap(d.Tags, func(t elbtypes.Tag) (key, value *string) { return t.Key, t.Value })
			if l := byName[aws.ToString(d.LoadBalancerName)]; ofCluster(tags, cluster) {
				l.Service = serviceOf(tags)
				out = append(out, l)
			}
		}
	}
	return out, nil
}

// DeleteLoadBalancer removes one. Its target groups stay: see TargetGroups.
func (s *Session) DeleteLoadBalancer(ctx context.Context, l LoadBalancer) error {
	if l.ARN == "" {
		_, err := ELB(s).DeleteLoadBalancer(ctx, &elb.DeleteLoadBalancerInput{LoadBalancerName: &l.Name})
		return err
	}
	_, err := ELBv2(s).DeleteLoadBalancer(ctx, &elbv2.DeleteLoadBalancerInput{LoadBalancerArn: &l.ARN})
	if IsNotFound(err) {
		return nil
	}
	return err
}

// TargetGroups are the ARNs of those that controllers of the cluster made in vpc and that no load balancer uses (any more). They are found
// by their own tags, so that a run that was killed after it removed a load balancer leaves none behind.
func (s *Session) TargetGroups(ctx context.Context, cluster, vpc string) ([]string, error) {
	var lone []string
	all, err := Paged(ctx, func(ctx context.Context, marker *string) ([]elbv2types.TargetGroup, *string, error) {
		o, err := ELBv2(s).DescribeTargetGroups(ctx, &elbv2.DescribeTargetGroupsInput{Marker: marker})
		if err != nil {
			return nil, nil, err
		}
		return o.TargetGroups, o.NextMarker, nil
	})
	if err != nil {
		return nil, err
	}
	for _, g := range all {
		if aws.ToString(g.VpcId) == vpc && len(g.LoadBalancerArns) == 0 {
			lone = append(lone, aws.ToString(g.TargetGroupArn))
		}
	}
	tags, err := s.balancerTags(ctx, lone)
	return slices.DeleteFunc(lone, func(arn string) bool { return !ofCluster(tags[arn], cluster) }), err
}

// DeleteTargetGroup removes one; one that is gone is success.
func (s *Session) DeleteTargetGroup(ctx context.Context, arn string) error {
	_, err := ELBv2(s).DeleteTargetGroup(ctx, &elbv2.DeleteTargetGroupInput{TargetGroupArn: &arn})
	if IsNotFound(err) {
		return nil
	}
	return err
}
