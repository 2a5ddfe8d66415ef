package aws_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	emu "pipectl.dev/rehearsal/aws"
)

// The SDK skips elements that it does not know, so a misspelt one shows only as a field left nil.
func TestEC2DescriptionsReachTheSDK(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s := ready(t, emu.Options{})
		ctx := s.ctx
		rt := must(s.ec2.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{Filters: filter("association.subnet-id", s.private[0])}))(t).RouteTables[0]
		i := slices.IndexFunc(rt.Routes, func(r ec2types.Route) bool { return aws.ToString(r.NatGatewayId) == s.nat })
		if *rt.RouteTableId != s.privateRT || *rt.VpcId != s.vpc || len(rt.Associations) != 3 || i < 0 || rt.Routes[i].State != "active" || *rt.Routes[i].DestinationCidrBlock != "0.0.0.0/0" {
			t.Errorf("route table: got %+v", rt)
		}
		main := must(s.ec2.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{Filters: append(filter("association.main", "true"), filter("vpc-id", s.vpc)...)}))(t).RouteTables
		if len(main) != 1 || !*main[0].Associations[0].Main {
			t.Errorf("main route table: got %+v", main)
		}
		nat := must(s.ec2.DescribeNatGateways(ctx, &ec2.DescribeNatGatewaysInput{Filter: filter("vpc-id", s.vpc)}))(t).NatGateways[0]
		if a := nat.NatGatewayAddresses[0]; *a.AllocationId != s.eip || *a.NetworkInterfaceId == "" || *a.PublicIp == "" || *nat.SubnetId != s.public[0] || nat.CreateTime == nil {
			t.Errorf("NAT gateway: got %+v", nat)
		}
		eip := must(s.ec2.DescribeAddresses(ctx, &ec2.DescribeAddressesInput{AllocationIds: []string{s.eip}}))(t).Addresses[0]
		if eip.AssociationId == nil || *eip.NetworkInterfaceId != *nat.NatGatewayAddresses[0].NetworkInterfaceId {
			t.Errorf("address: got %+v", eip)
		}
		_, err := s.ec2.ReleaseAddress(ctx, &ec2.ReleaseAddressInput{AllocationId: &s.eip})
		if got := code(t, err); got != "InvalidIPAddress.InUse" {
			t.Errorf("releasing it: got %q", got)
		}
		igw := must(s.ec2.DescribeInternetGateways(ctx, &ec2.DescribeInternetGatewaysInput{Filters: filter("attachment.vpc-id", s.vpc)}))(t).InternetGateways[0]
		if *igw.InternetGatewayId != s.igw || *igw.Attachments[0].VpcId != s.vpc {
			t.Errorf("gateway: got %+v", igw)
		}
		sn := must(s.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: s.private[:1]}))(t).Subnets[0]
		if *sn.AvailabilityZone != "ap-northeast-2a" || *sn.AvailabilityZoneId != "apne2-az1" || *sn.CidrBlock != "10.0.1.0/24" || *sn.AvailableIpAddressCount != 250 || *sn.Tags[0].Value != "a" {
			t.Errorf("subnet: got %+v", sn)
		}
		attr := must(s.ec2.DescribeVpcAttribute(ctx, &ec2.DescribeVpcAttributeInput{VpcId: &s.vpc, Attribute: "enableDnsHostnames"}))(t)
		if !*attr.EnableDnsHostnames.Value {
			t.Error("DNS host names are off")
		}
		groups := must(s.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: filter("tag:kubernetes.io/cluster/blog", "owned")}))(t).SecurityGroups
		if len(groups) != 1 || *groups[0].IpPermissions[0].UserIdGroupPairs[0].GroupId != *groups[0].GroupId || *groups[0].IpPermissionsEgress[0].IpRanges[0].CidrIp != "0.0.0.0/0" {
			t.Errorf("cluster security group: got %+v", groups)
		}
		enis := must(s.ec2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{Filters: filter("description", "Amazon EKS blog")}))(t).NetworkInterfaces
		if len(enis) != 2 || *enis[0].Groups[0].GroupId != *groups[0].GroupId || !*enis[0].RequesterManaged || *enis[0].VpcId != s.vpc {
			t.Errorf("control plane interfaces: got %+v", enis)
		}
		_, err = s.ec2.DeleteSubnet(ctx, &ec2.DeleteSubnetInput{SubnetId: enis[0].SubnetId})
		if got := code(t, err); got != "DependencyViolation" {
			t.Errorf("deleting their subnet: got %q", got)
		}
		tags := must(s.ec2.DescribeTags(ctx, &ec2.DescribeTagsInput{Filters: filter("resource-id", s.vpc)}))(t).Tags
		if len(tags) != 1 || *tags[0].Key != "Name" || tags[0].ResourceType != "vpc" {
			t.Errorf("tags: got %+v", tags)
		}
	})
}

func TestLaunchTemplatesReachNodesAndTheSDK(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s := ready(t, emu.Options{})
		ctx := s.ctx
		s.nodes(t)
		poll(t, "nodes", func() (bool, error) { return s.nodesIn(t, "ACTIVE"), nil })
		name := aws.String("blog-node-group-1")
		v := must(s.ec2.DescribeLaunchTemplateVersions(ctx, &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateName: name, Versions: []string{"$Latest"}}))(t).LaunchTemplateVersions[0]
		d := v.LaunchTemplateData
		if d.MetadataOptions.HttpTokens != "required" || *d.MetadataOptions.HttpPutResponseHopLimit != 2 || *d.BlockDeviceMappings[0].Ebs.VolumeSize != 20 || !*d.BlockDeviceMappings[0].Ebs.Encrypted ||
			d.TagSpecifications[0].ResourceType != "instance" || *d.TagSpecifications[0].Tags[0].Key != "team" {
			t.Errorf("template data: got %+v", d)
		}
		must(s.ec2.CreateLaunchTemplateVersion(ctx, &ec2.CreateLaunchTemplateVersionInput{LaunchTemplateName: name, LaunchTemplateData: &ec2types.RequestLaunchTemplateData{EbsOptimized: aws.Bool(true)}}))(t)
		must(s.ec2.ModifyLaunchTemplate(ctx, &ec2.ModifyLaunchTemplateInput{LaunchTemplateName: name, DefaultVersion: aws.String("2")}))(t)
		lt := must(s.ec2.DescribeLaunchTemplates(ctx, &ec2.DescribeLaunchTemplatesInput{LaunchTemplateNames: []string{*name}}))(t).LaunchTemplates[0]
		if *lt.DefaultVersionNumber != 2 || *lt.LatestVersionNumber != 2 {
			t.Errorf("template: got %+v", lt)
		}
		out := must(s.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{Filters: filter("tag:eks:nodegroup-name", "node-group-1")}))(t)
		if len(out.Reservations) != 2 {
			t.Fatalf("%d nodes", len(out.Reservations))
		}
		i := out.Reservations[0].Instances[0]
		if !slices.ContainsFunc(i.Tags, func(t ec2types.Tag) bool { return *t.Key == "team" && *t.Value == "blog" }) || i.State.Name != "running" ||
			*i.BlockDeviceMappings[0].Ebs.VolumeId == "" || !strings.HasPrefix(*i.PrivateDnsName, "ip-10-0-") || i.InstanceType != "t3.small" {
			t.Errorf("node: got %+v", i)
		}
		g := must(s.eks.DescribeNodegroup(ctx, &eks.DescribeNodegroupInput{ClusterName: aws.String("blog"), NodegroupName: aws.String("node-group-1")}))(t).Nodegroup
		if *g.LaunchTemplate.Id == "" || *g.LaunchTemplate.Version != "1" || *g.ScalingConfig.DesiredSize != 2 || g.AmiType != "AL2023_x86_64_STANDARD" || g.CreatedAt == nil || *g.ReleaseVersion == "" || len(g.Resources.AutoScalingGroups) != 1 {
			t.Errorf("node group: got %+v", g)
		}
	})
}

func TestEKSDescriptionsReachTheSDK(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s := ready(t, emu.Options{PageSize: 1})
		ctx, blog := s.ctx, aws.String("blog")
		cl := must(s.eks.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: blog}))(t).Cluster
		if *cl.Version != "1.34" || *cl.Arn != "arn:aws:eks:ap-northeast-2:111122223333:cluster/blog" || *cl.Endpoint == "" || *cl.CertificateAuthority.Data == "" ||
			cl.AccessConfig.AuthenticationMode != "API" || cl.CreatedAt == nil || len(cl.ResourcesVpcConfig.SubnetIds) != 6 || len(cl.Logging.ClusterLogging) != 1 {
			t.Errorf("cluster: got %+v", cl)
		}
		must(s.eks.TagResource(ctx, &eks.TagResourceInput{ResourceArn: cl.Arn, Tags: map[string]string{"a": "1", "b": "2"}}))(t)
		must(s.eks.UntagResource(ctx, &eks.UntagResourceInput{ResourceArn: cl.Arn, TagKeys: []string{"a"}}))(t)
		if got := must(s.eks.ListTagsForResource(ctx, &eks.ListTagsForResourceInput{ResourceArn: cl.Arn}))(t).Tags; len(got) != 1 || got["b"] != "2" {
			t.Errorf("tags: got %v", got)
		}
		admin := aws.String("arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy")
		role := s.role(t, "dev", trust("ec2.amazonaws.com"))
		must(s.eks.CreateAccessEntry(ctx, &eks.CreateAccessEntryInput{ClusterName: blog, PrincipalArn: &role, Tags: map[string]string{"x": "y"}}))(t)
		_, err := s.eks.CreateAccessEntry(ctx, &eks.CreateAccessEntryInput{ClusterName: blog, PrincipalArn: &role})
		if got := code(t, err); got != "ResourceInUseException" {
			t.Errorf("the entry twice: got %q", got)
		}
		must(s.eks.AssociateAccessPolicy(ctx, &eks.AssociateAccessPolicyInput{ClusterName: blog, PrincipalArn: &role, PolicyArn: admin, AccessScope: &ekstypes.AccessScope{Type: "cluster"}}))(t)
		if got := must(s.eks.ListAssociatedAccessPolicies(ctx, &eks.ListAssociatedAccessPoliciesInput{ClusterName: blog, PrincipalArn: &role}))(t).AssociatedAccessPolicies; len(got) != 1 || *got[0].PolicyArn != *admin || got[0].AccessScope.Type != "cluster" {
			t.Errorf("associated policies: got %+v", got)
		}
		if got := must(s.eks.DescribeAccessEntry(ctx, &eks.DescribeAccessEntryInput{ClusterName: blog, PrincipalArn: &role}))(t).AccessEntry; *got.Username != "arn:aws:sts::111122223333:assumed-role/dev/{{SessionName}}" || got.Tags["x"] != "y" {
			t.Errorf("entry: got %+v", got)
		}
		var entries []string
		for p := eks.NewListAccessEntriesPaginator(s.eks, &eks.ListAccessEntriesInput{ClusterName: blog}); p.HasMorePages(); {
			entries = append(entries, must(p.NextPage(ctx))(t).AccessEntries...)
		}
		if want := []string{role, "arn:aws:iam::111122223333:user/rehearsal"}; !slices.Equal(entries, want) {
			t.Errorf("entries: got %v, want %v", entries, want)
		}
		must(s.eks.DisassociateAccessPolicy(ctx, &eks.DisassociateAccessPolicyInput{ClusterName: blog, PrincipalArn: &role, PolicyArn: admin}))(t)
		must(s.eks.DeleteAccessEntry(ctx, &eks.DeleteAccessEntryInput{ClusterName: blog, PrincipalArn: &role}))(t)
		s.podIdentity(t)
	})
}

func (s *stack) podIdentity(t *testing.T) {
	blog := aws.String("blog")
	role := s.role(t, "pods", aws.String(`{"Statement":[{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"]}]}`))
	in := &eks.CreatePodIdentityAssociationInput{ClusterName: blog, Namespace: aws.String("ns"), ServiceAccount: aws.String("sa"), RoleArn: &role}
	_, err := s.eks.CreatePodIdentityAssociation(s.ctx, in)
	if got := code(t, err); got != "InvalidParameterException" {
		t.Errorf("a role that has not propagated: got %q", got)
	}
	poll(t, "role", func() (bool, error) {
		_, err := s.eks.CreatePodIdentityAssociation(s.ctx, in)
		return err == nil, nil
	})
	list := must(s.eks.ListPodIdentityAssociations(s.ctx, &eks.ListPodIdentityAssociationsInput{ClusterName: blog, Namespace: aws.String("ns")}))(t).Associations
	if len(list) != 1 || *list[0].ServiceAccount != "sa" {
		t.Fatalf("associations: got %+v", list)
	}
	got := must(s.eks.DescribePodIdentityAssociation(s.ctx, &eks.DescribePodIdentityAssociationInput{ClusterName: blog, AssociationId: list[0].AssociationId}))(t).Association
	if *got.RoleArn != role {
		t.Errorf("association: got %+v", got)
	}
	must(s.eks.DeletePodIdentityAssociation(s.ctx, &eks.DeletePodIdentityAssociationInput{ClusterName: blog, AssociationId: list[0].AssociationId}))(t)
}

func TestProvidersReachTheSDK(t *testing.T) {
	_, c := start(t, emu.Options{})
	arn := must(c.iam.CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://issuer.example/x"), ClientIDList: []string{"sts.amazonaws.com"}}))(t).OpenIDConnectProviderArn
	out := must(c.iam.GetOpenIDConnectProvider(t.Context(), &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn}))(t)
	if *out.Url != "issuer.example/x" || !slices.Equal(out.ClientIDList, []string{"sts.amazonaws.com"}) || len(out.ThumbprintList) != 1 || out.CreateDate == nil {
		t.Errorf("got %+v", out)
	}
	must(c.iam.DeleteOpenIDConnectProvider(t.Context(), &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn}))(t)
	_, err := c.iam.GetOpenIDConnectProvider(t.Context(), &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn})
	if got := code(t, err); got != "NoSuchEntity" {
		t.Errorf("deleted: got %q", got)
	}
}
