package aws_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	emu "pipectl.dev/rehearsal/aws"
)

func trust(service string) *string {
	return aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"` + service + `"},"Action":"sts:AssumeRole"}]}`)
}

func ec2Tags(kind ec2types.ResourceType, name string) []ec2types.TagSpecification {
	return []ec2types.TagSpecification{{ResourceType: kind, Tags: []ec2types.Tag{{Key: aws.String("Name"), Value: aws.String(name)}}}}
}

// stack is the network, roles and cluster of the post.
type stack struct {
	clients
	ctx                                       context.Context
	vpc, igw, nat, eip, publicRT, privateRT   string
	public, private, assocs                   []string
	clusterRole, nodeRole, irsaRole, provider string
	issuer                                    string
}

func (s *stack) network(t *testing.T) {
	v := must(s.ec2.CreateVpc(s.ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16"), TagSpecifications: ec2Tags("vpc", "blog")}))(t)
	s.vpc = *v.Vpc.VpcId
	must(s.ec2.ModifyVpcAttribute(s.ctx, &ec2.ModifyVpcAttributeInput{VpcId: &s.vpc, EnableDnsHostnames: &ec2types.AttributeBooleanValue{Value: aws.Bool(true)}}))(t)
	for i, zone := range []string{"a", "b", "c"} {
		for _, kind := range []int{1, 4} {
			out := must(s.ec2.CreateSubnet(s.ctx, &ec2.CreateSubnetInput{VpcId: &s.vpc, CidrBlock: aws.String(fmt.Sprintf("10.0.%d.0/24", kind+i)),
				AvailabilityZone: aws.String("ap-northeast-2" + zone), TagSpecifications: ec2Tags("subnet", zone)}))(t)
			if kind == 1 {
				s.private = append(s.private, *out.Subnet.SubnetId)
			} else {
				s.public = append(s.public, *out.Subnet.SubnetId)
			}
		}
	}
	s.igw = *must(s.ec2.CreateInternetGateway(s.ctx, &ec2.CreateInternetGatewayInput{}))(t).InternetGateway.InternetGatewayId
	must(s.ec2.AttachInternetGateway(s.ctx, &ec2.AttachInternetGatewayInput{InternetGatewayId: &s.igw, VpcId: &s.vpc}))(t)
	s.publicRT = s.routeTable(t, s.public)
	s.privateRT = s.routeTable(t, s.private)
	must(s.ec2.CreateRoute(s.ctx, &ec2.CreateRouteInput{RouteTableId: &s.publicRT, DestinationCidrBlock: aws.String("0.0.0.0/0"), GatewayId: &s.igw}))(t)
	s.eip = *must(s.ec2.AllocateAddress(s.ctx, &ec2.AllocateAddressInput{Domain: "vpc"}))(t).AllocationId
	s.nat = *must(s.ec2.CreateNatGateway(s.ctx, &ec2.CreateNatGatewayInput{SubnetId: &s.public[0], AllocationId: &s.eip, ClientToken: aws.String("nat-1")}))(t).NatGateway.NatGatewayId
}

func (s *stack) routeTable(t *testing.T, subnets []string) string {
	id := *must(s.ec2.CreateRouteTable(s.ctx, &ec2.CreateRouteTableInput{VpcId: &s.vpc}))(t).RouteTable.RouteTableId
	for _, sn := range subnets {
		out := must(s.ec2.AssociateRouteTable(s.ctx, &ec2.AssociateRouteTableInput{RouteTableId: &id, SubnetId: &sn}))(t)
		s.assocs = append(s.assocs, *out.AssociationId)
	}
	return id
}

func (s *stack) role(t *testing.T, name string, trust *string, policies ...string) string {
	out := must(s.iam.CreateRole(s.ctx, &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: trust}))(t)
	for _, p := range policies {
		must(s.iam.AttachRolePolicy(s.ctx, &iam.AttachRolePolicyInput{RoleName: &name, PolicyArn: aws.String("arn:aws:iam::aws:policy/" + p)}))(t)
	}
	return *out.Role.Arn
}

func (s *stack) cluster(t *testing.T) {
	s.clusterRole = s.role(t, "blog-cluster", trust("eks.amazonaws.com"), "AmazonEKSClusterPolicy")
	s.nodeRole = s.role(t, "blog-node", trust("ec2.amazonaws.com"), "AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryReadOnly")
	in := &eks.CreateClusterInput{Name: aws.String("blog"), RoleArn: &s.clusterRole, ClientRequestToken: aws.String("token-1"),
		ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: append(append([]string{}, s.private...), s.public...)},
		AccessConfig:       &ekstypes.CreateAccessConfigRequest{AuthenticationMode: ekstypes.AuthenticationModeApi}}
	_, err := s.eks.CreateCluster(s.ctx, in)
	if got := code(t, err); got != "InvalidParameterException" {
		t.Fatalf("a role that has not propagated: got %q, want InvalidParameterException", got)
	}
	time.Sleep(10 * time.Second)
	must(s.eks.CreateCluster(s.ctx, in))(t)
	again := must(s.eks.CreateCluster(s.ctx, in))(t)
	if again.Cluster.Status != ekstypes.ClusterStatusCreating {
		t.Fatalf("the same token: got status %s", again.Cluster.Status)
	}
}

func (s *stack) status(t *testing.T) ekstypes.ClusterStatus {
	out, err := s.eks.DescribeCluster(s.ctx, &eks.DescribeClusterInput{Name: aws.String("blog")})
	if code(t, err) == "ResourceNotFoundException" {
		return "gone"
	}
	if out.Cluster.Identity != nil {
		s.issuer = *out.Cluster.Identity.Oidc.Issuer
	}
	return out.Cluster.Status
}

func (s *stack) natState(t *testing.T) ec2types.NatGatewayState {
	out := must(s.ec2.DescribeNatGateways(s.ctx, &ec2.DescribeNatGatewaysInput{NatGatewayIds: []string{s.nat}}))(t)
	return out.NatGateways[0].State
}

func (s *stack) nodes(t *testing.T) {
	for _, name := range []string{"node-group-1", "node-group-2"} {
		lt := must(s.ec2.CreateLaunchTemplate(s.ctx, &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("blog-" + name),
			LaunchTemplateData: &ec2types.RequestLaunchTemplateData{
				MetadataOptions:     &ec2types.LaunchTemplateInstanceMetadataOptionsRequest{HttpTokens: "required", HttpPutResponseHopLimit: aws.Int32(2)},
				BlockDeviceMappings: []ec2types.LaunchTemplateBlockDeviceMappingRequest{{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.LaunchTemplateEbsBlockDeviceRequest{VolumeSize: aws.Int32(20), VolumeType: "gp3", Encrypted: aws.Bool(true)}}},
				TagSpecifications:   []ec2types.LaunchTemplateTagSpecificationRequest{{ResourceType: "instance", Tags: []ec2types.Tag{{Key: aws.String("team"), Value: aws.String("blog")}}}},
			}}))(t)
		must(s.eks.CreateNodegroup(s.ctx, &eks.CreateNodegroupInput{ClusterName: aws.String("blog"), NodegroupName: &name, NodeRole: &s.nodeRole, Subnets: s.private,
			InstanceTypes: []string{"t3.small"}, AmiType: ekstypes.AMITypesAl2023X8664Standard, ScalingConfig: &ekstypes.NodegroupScalingConfig{MinSize: aws.Int32(1), DesiredSize: aws.Int32(2), MaxSize: aws.Int32(3)},
			LaunchTemplate: &ekstypes.LaunchTemplateSpecification{Id: lt.LaunchTemplate.LaunchTemplateId, Version: aws.String("1")}}))(t)
	}
}

func (s *stack) nodesIn(t *testing.T, want ekstypes.NodegroupStatus) bool {
	out := must(s.eks.ListNodegroups(s.ctx, &eks.ListNodegroupsInput{ClusterName: aws.String("blog")}))(t)
	for _, name := range out.Nodegroups {
		g, err := s.eks.DescribeNodegroup(s.ctx, &eks.DescribeNodegroupInput{ClusterName: aws.String("blog"), NodegroupName: &name})
		if code(t, err) == "ResourceNotFoundException" || g.Nodegroup.Status != want { // it may have gone since it was listed
			return false
		}
	}
	return want != "" || len(out.Nodegroups) == 0
}

func (s *stack) irsa(t *testing.T) {
	host := strings.TrimPrefix(s.issuer, "https://")
	s.provider = *must(s.iam.CreateOpenIDConnectProvider(s.ctx, &iam.CreateOpenIDConnectProviderInput{Url: &s.issuer, ClientIDList: []string{"sts.amazonaws.com"}}))(t).OpenIDConnectProviderArn
	s.irsaRole = s.role(t, "blog-ebs-csi", irsaTrust(s.provider, host, "StringEquals", "system:serviceaccount:kube-system:ebs-csi-controller-sa"), "service-role/AmazonEBSCSIDriverPolicy")
}

func irsaTrust(provider, host, operator, sub string) *string {
	conditions := map[string]map[string]string{"StringEquals": {host + ":aud": "sts.amazonaws.com"}}
	if conditions[operator] == nil {
		conditions[operator] = map[string]string{}
	}
	conditions[operator][host+":sub"] = sub
	doc, _ := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{"Effect": "Allow",
		"Principal": map[string]string{"Federated": provider}, "Action": "sts:AssumeRoleWithWebIdentity", "Condition": conditions}}})
	return aws.String(string(doc))
}

func (s *stack) addon(t *testing.T) ekstypes.AddonStatus {
	out := must(s.eks.DescribeAddon(s.ctx, &eks.DescribeAddonInput{ClusterName: aws.String("blog"), AddonName: aws.String("aws-ebs-csi-driver")}))(t)
	return out.Addon.Status
}

// create builds it all and returns the elapsed virtual time.
func (s *stack) create(t *testing.T) time.Duration {
	began := time.Now()
	s.network(t)
	s.cluster(t)
	poll(t, "nat", func() (bool, error) { return s.natState(t) == ec2types.NatGatewayStateAvailable, nil })
	must(s.ec2.CreateRoute(s.ctx, &ec2.CreateRouteInput{RouteTableId: &s.privateRT, DestinationCidrBlock: aws.String("0.0.0.0/0"), NatGatewayId: &s.nat}))(t)
	poll(t, "cluster", func() (bool, error) { return s.status(t) == ekstypes.ClusterStatusActive, nil })
	s.nodes(t)
	s.irsa(t)
	poll(t, "nodes", func() (bool, error) { return s.nodesIn(t, ekstypes.NodegroupStatusActive), nil })
	must(s.eks.CreateAddon(s.ctx, &eks.CreateAddonInput{ClusterName: aws.String("blog"), AddonName: aws.String("aws-ebs-csi-driver"), ServiceAccountRoleArn: &s.irsaRole}))(t)
	poll(t, "addon", func() (bool, error) { return s.addon(t) == ekstypes.AddonStatusActive, nil })
	return time.Since(began)
}

func (s *stack) deleteRole(t *testing.T, name string) {
	out := must(s.iam.ListAttachedRolePolicies(s.ctx, &iam.ListAttachedRolePoliciesInput{RoleName: &name}))(t)
	for _, p := range out.AttachedPolicies {
		must(s.iam.DetachRolePolicy(s.ctx, &iam.DetachRolePolicyInput{RoleName: &name, PolicyArn: p.PolicyArn}))(t)
	}
	must(s.iam.DeleteRole(s.ctx, &iam.DeleteRoleInput{RoleName: &name}))(t)
}

// destroy takes it all down and returns the elapsed virtual time.
func (s *stack) destroy(t *testing.T) time.Duration {
	began := time.Now()
	_, err := s.eks.DeleteCluster(s.ctx, &eks.DeleteClusterInput{Name: aws.String("blog")})
	if got := code(t, err); got != "ResourceInUseException" {
		t.Fatalf("deleting a cluster with node groups: got %q", got)
	}
	for _, name := range []string{"node-group-1", "node-group-2"} {
		must(s.eks.DeleteNodegroup(s.ctx, &eks.DeleteNodegroupInput{ClusterName: aws.String("blog"), NodegroupName: &name}))(t)
	}
	poll(t, "nodes gone", func() (bool, error) { return s.nodesIn(t, ""), nil })
	must(s.eks.DeleteCluster(s.ctx, &eks.DeleteClusterInput{Name: aws.String("blog")}))(t)
	must(s.ec2.DeleteNatGateway(s.ctx, &ec2.DeleteNatGatewayInput{NatGatewayId: &s.nat}))(t)
	_, err = s.ec2.DetachInternetGateway(s.ctx, &ec2.DetachInternetGatewayInput{InternetGatewayId: &s.igw, VpcId: &s.vpc})
	if err == nil || !strings.Contains(err.Error(), "has some mapped public address(es)") {
		t.Fatalf("detaching the gateway while the NAT gateway has its address: got %v", err)
	}
	poll(t, "nat gone", func() (bool, error) { return s.natState(t) == ec2types.NatGatewayStateDeleted, nil })
	must(s.ec2.ReleaseAddress(s.ctx, &ec2.ReleaseAddressInput{AllocationId: &s.eip}))(t)
	poll(t, "cluster gone", func() (bool, error) { return s.status(t) == "gone", nil })
	for _, name := range []string{"blog-cluster", "blog-node", "blog-ebs-csi"} {
		s.deleteRole(t, name)
	}
	must(s.iam.DeleteOpenIDConnectProvider(s.ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: &s.provider}))(t)
	for _, name := range []string{"node-group-1", "node-group-2"} {
		must(s.ec2.DeleteLaunchTemplate(s.ctx, &ec2.DeleteLaunchTemplateInput{LaunchTemplateName: aws.String("blog-" + name)}))(t)
	}
	s.deleteNetwork(t)
	return time.Since(began)
}

func (s *stack) deleteNetwork(t *testing.T) {
	_, err := s.ec2.DeleteVpc(s.ctx, &ec2.DeleteVpcInput{VpcId: &s.vpc})
	if got := code(t, err); got != "DependencyViolation" {
		t.Fatalf("deleting a VPC with subnets: got %q", got)
	}
	for _, id := range s.assocs {
		must(s.ec2.DisassociateRouteTable(s.ctx, &ec2.DisassociateRouteTableInput{AssociationId: &id}))(t)
	}
	for _, id := range []string{s.publicRT, s.privateRT} {
		must(s.ec2.DeleteRouteTable(s.ctx, &ec2.DeleteRouteTableInput{RouteTableId: &id}))(t)
	}
	for _, id := range append(append([]string{}, s.public...), s.private...) {
		must(s.ec2.DeleteSubnet(s.ctx, &ec2.DeleteSubnetInput{SubnetId: &id}))(t)
	}
	must(s.ec2.DetachInternetGateway(s.ctx, &ec2.DetachInternetGatewayInput{InternetGatewayId: &s.igw, VpcId: &s.vpc}))(t)
	must(s.ec2.DeleteInternetGateway(s.ctx, &ec2.DeleteInternetGatewayInput{InternetGatewayId: &s.igw}))(t)
	must(s.ec2.DeleteVpc(s.ctx, &ec2.DeleteVpcInput{VpcId: &s.vpc}))(t)
}

// nolag keeps IAM propagation and switches the read-after-create lag of ids off.
var nolag = map[string]time.Duration{"ec2:lag": 0}

func TestTheStackOfThePostComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world := emu.NewStandIn()
		cloud, c := start(t, emu.Options{World: world, Durations: nolag})
		s := &stack{clients: c, ctx: t.Context()}
		took := s.create(t)
		if took < 681*time.Second || took > 720*time.Second {
			t.Errorf("create took %s of virtual time", took)
		}
		if b := cloud.LowerBound(0); b.Create != (10+510+115+46)*time.Second || b.Delete != 0 {
			t.Errorf("lower bound: got %s for create (%v), %s for delete", b.Create, b.CreatePath, b.Delete)
		}
		s.proveIRSA(t, world)
		mark := cloud.Mark()
		took = s.destroy(t)
		if b := cloud.LowerBound(mark); b.Delete != (380+150)*time.Second || b.Create != 0 {
			t.Errorf("lower bound: got %s for delete (%v), %s for create", b.Delete, b.DeletePath, b.Create)
		}
		if took < 530*time.Second || took > 560*time.Second {
			t.Errorf("delete took %s of virtual time", took)
		}
		if left := cloud.Leftovers(nil); len(left) > 0 {
			t.Errorf("left over: %v", left)
		}
		told := strings.Join(world.Told(), "\n")
		for _, want := range []string{"cluster creating blog 1.34", "nodes joined blog node-group-1 2", "addon blog aws-ebs-csi-driver true", "nodes leaving blog 2", "cluster deleted blog"} {
			if !strings.Contains(told, want) {
				t.Errorf("the world was not told %q", want)
			}
		}
	})
}

func (s *stack) proveIRSA(t *testing.T, world *emu.StandIn) {
	for _, tt := range []struct{ account, want string }{{"ebs-csi-controller-sa", ""}, {"other", "AccessDenied"}} {
		token := must(world.Token("blog", "kube-system", tt.account, "sts.amazonaws.com"))(t)
		out, err := s.sts.AssumeRoleWithWebIdentity(s.ctx, &sts.AssumeRoleWithWebIdentityInput{RoleArn: &s.irsaRole, RoleSessionName: aws.String("proof"), WebIdentityToken: &token})
		if got := code(t, err); got != tt.want {
			t.Fatalf("assume by %s: got %q, want %q", tt.account, got, tt.want)
		}
		if err != nil {
			continue
		}
		cfg := s.cfg.Copy()
		cfg.Credentials = fixed{AccessKeyID: *out.Credentials.AccessKeyId, SecretAccessKey: *out.Credentials.SecretAccessKey, SessionToken: *out.Credentials.SessionToken}
		who := must(sts.NewFromConfig(cfg).GetCallerIdentity(s.ctx, nil))(t)
		if want := "arn:aws:sts::111122223333:assumed-role/blog-ebs-csi/proof"; *who.Arn != want {
			t.Errorf("caller identity: got %s, want %s", *who.Arn, want)
		}
	}
}
