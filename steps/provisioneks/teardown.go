package provisioneks

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"pipectl.dev/cloud"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

// interfaces are the network interfaces in one subnet, or, where subnet is "", in the whole VPC.
func (s *state) interfaces(ctx context.Context, subnet string) ([]ec2types.NetworkInterface, error) {
	filter := cloud.Filter("vpc-id", s.vpcID)
	if subnet != "" {
		filter = cloud.Filter("subnet-id", subnet)
	}
	o, err := cloud.EC2(s.aws).DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{Filters: []ec2types.Filter{filter}})
	if err != nil {
		return nil, err
	}
	return o.NetworkInterfaces, nil
}

// swept clears the way when err says that something hangs on the subnet or VPC; err comes back, for another try.
func (s *state) swept(ctx context.Context, subnet string, err error) error {
	if !cloud.IsDependency(err) {
		return err
	}
	if sweepErr := s.sweep(ctx, subnet); sweepErr != nil {
		return sweepErr
	}
	return err
}

// sweep removes what the cluster's own controllers left: free network interfaces of pods, and security groups of load balancers.
func (s *state) sweep(ctx context.Context, subnet string) error {
	list, err := s.interfaces(ctx, subnet)
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.Status != ec2types.NetworkInterfaceStatusAvailable || !s.clusters(e) {
			continue
		}
		_, err := cloud.EC2(s.aws).DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: e.NetworkInterfaceId})
		if err != nil && !cloud.IsNotFound(err) && !cloud.IsDependency(err) {
			return err
		}
	}
	if subnet != "" {
		return nil
	}
	return s.sweepGroups(ctx)
}

// sweepGroups removes the security groups that the cluster's controllers made. They may name each other in their rules, which go first.
func (s *state) sweepGroups(ctx context.Context) error {
	o, err := cloud.EC2(s.aws).DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []ec2types.Filter{cloud.Filter("vpc-id", s.vpcID)}})
	if err != nil {
		return err
	}
	for _, g := range o.SecurityGroups {
		tags := cloud.EC2TagMap(g.Tags)
		if tags["kubernetes.io/cluster/"+s.spec.Name] != "owned" && tags["elbv2.k8s.aws/cluster"] != s.spec.Name {
			continue
		}
		if slices.ContainsFunc(g.IpPermissions, func(p ec2types.IpPermission) bool { return len(p.UserIdGroupPairs) > 0 }) {
			_, err := cloud.EC2(s.aws).RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: g.GroupId, IpPermissions: g.IpPermissions})
			if err != nil && !cloud.IsNotFound(err) {
				return err
			}
		}
		_, err := cloud.EC2(s.aws).DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: g.GroupId})
		if err != nil && !cloud.IsNotFound(err) && !cloud.IsDependency(err) {
			return err
		}
	}
	return nil
}

// clusters reports whether a network interface was made by our cluster's network plugin.
func (s *state) clusters(e ec2types.NetworkInterface) bool {
	tags := cloud.EC2TagMap(e.TagSet)
	return tags["cluster.k8s.amazonaws.com/name"] == s.spec.Name || tags["kubernetes.io/cluster/"+s.spec.Name] != "" || tags["eks:eni:owner"] != "" && strings.HasPrefix(aws.ToString(e.Description), "aws-K8S-")
}

// blockers names the network interfaces, and what others made, that keep a subnet, a gateway or the VPC from being removed.
func blockers(ctx context.Context, s *state, id string) string {
	kind, name, _ := strings.Cut(id, "/")
	subnet := ""
	for _, p := range s.subnets() {
		if kind == kindSubnet && p.name == name {
			subnet = p.id
		}
	}
	if subnet == "" && kind != kindVPC && kind != kindIGWAttached {
		return ""
	}
	list, err := s.interfaces(ctx, subnet)
	if err != nil {
		return ""
	}
	var out []string
	for _, e := range list {
		out = append(out, fmt.Sprintf("%s (%s)", aws.ToString(e.NetworkInterfaceId), aws.ToString(e.Description)))
	}
	if kind == kindVPC {
		out = append(out, s.strangers(ctx)...)
	}
	return strings.Join(out, ", ")
}

// strangers are subnets and security groups that others made in our VPC.
func (s *state) strangers(ctx context.Context) []string {
	var out []string
	inside := []ec2types.Filter{cloud.Filter("vpc-id", s.vpcID)}
	if o, err := cloud.EC2(s.aws).DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: inside}); err == nil {
		for _, x := range o.Subnets {
			out = append(out, aws.ToString(x.SubnetId))
		}
	}
	if o, err := cloud.EC2(s.aws).DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: inside}); err == nil {
		for _, x := range o.SecurityGroups {
			if aws.ToString(x.GroupName) != "default" {
				out = append(out, aws.ToString(x.GroupId)+" ("+aws.ToString(x.GroupName)+")")
			}
		}
	}
	return out
}

func (s *state) removeStaleProviders(ctx context.Context) error {
	arns, err := s.staleProviders(ctx)
	if err != nil {
		return err
	}
	for _, arn := range arns {
		_, err := cloud.IAM(s.aws).DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn})
		if err != nil && !cloud.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// priceOf is the item of the price table for what costs by the hour.
var priceOf = map[string]string{kindCluster: "eks:standard", kindNAT: "nat", kindEIP: "ipv4"}

// leftovers looks once more by tag, and fails when anything that costs money or stands in the way of the next run is still there.
func (s *state) leftovers(ctx context.Context) error {
	again := &state{aws: s.aws, env: s.env, spec: s.spec, owner: s.owner, caller: s.caller, down: true}
	again.look = again.newLooks()
	again.prefetch(ctx)
	if err := again.layOut(make([]string, len(s.lay.zones))); err != nil {
		return err
	}
	if err := again.adopt(ctx); err != nil {
		return err
	}
	changes, err := again.list(again.resources()).Plan(ctx, again)
	if err != nil {
		return err
	}
	var left []string
	for _, c := range changes {
		ours := !slices.Contains([]string{kindRoute, kindAssociation, kindIGWAttached, kindPublicIPs, kindKubeconfig}, c.Kind)
		if ours && c.Action != reconcile.Create && c.ID != "" && c.Action != reconcile.Refuse {
			item := priceOf[c.Kind]
			if c.Kind == kindNAT && c.Name == s.name(regionalNAT) {
				item = "nat:regional"
			}
			left = append(left, c.Kind+"/"+c.Name+" ("+c.ID+s.perDay(item, 1)+")")
		}
	}
	if len(left) == 0 {
		return nil
	}
	return &steps.Error{Code: "Leftovers", Category: steps.Partial, Retryable: true, Message: "still there: " + strings.Join(left, ", "),
		Hints: []string{"run `pipectl down` again; what others made in the VPC must go first"}}
}
