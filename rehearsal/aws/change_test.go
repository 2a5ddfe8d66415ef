package aws_test

import (
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	emu "pipectl.dev/rehearsal/aws"
)

func TestClusterNodesAndAddonMoveToTheNextVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s := ready(t, emu.Options{})
		ctx, blog, csiName := s.ctx, aws.String("blog"), aws.String("aws-ebs-csi-driver")
		s.irsa(t)
		if err := s.group(nil); err != nil {
			t.Fatal(err)
		}
		poll(t, "group", func() (bool, error) { return s.groupNow(t).Status == "ACTIVE", nil })
		must(s.eks.CreateAddon(ctx, &eks.CreateAddonInput{ClusterName: blog, AddonName: csiName, ServiceAccountRoleArn: &s.irsaRole, AddonVersion: aws.String("v1.48.0-eksbuild.2")}))(t)
		poll(t, "addon", func() (bool, error) { return s.addon(t) == "ACTIVE", nil })

		_, err := s.eks.UpdateClusterVersion(ctx, &eks.UpdateClusterVersionInput{Name: blog, Version: aws.String("1.36")})
		if got := code(t, err); got != "InvalidParameterException" {
			t.Errorf("two versions at once: got %q", got)
		}
		must(s.eks.UpdateClusterVersion(ctx, &eks.UpdateClusterVersionInput{Name: blog, Version: aws.String("1.35")}))(t)
		poll(t, "version", func() (bool, error) { return s.status(t) == "ACTIVE", nil })
		before := s.groupNow(t)
		must(s.eks.UpdateNodegroupVersion(ctx, &eks.UpdateNodegroupVersionInput{ClusterName: blog, NodegroupName: aws.String("g")}))(t)
		poll(t, "group version", func() (bool, error) { return s.groupNow(t).Status == "ACTIVE", nil })
		if after := s.groupNow(t); *before.Version != "1.34" || *after.Version != "1.35" {
			t.Errorf("group version: %s, then %s", *before.Version, *after.Version)
		}
		must(s.eks.UpdateAddon(ctx, &eks.UpdateAddonInput{ClusterName: blog, AddonName: csiName, AddonVersion: aws.String("v1.53.0-eksbuild.1")}))(t)
		poll(t, "addon update", func() (bool, error) { return s.addon(t) == "ACTIVE", nil })
		out := must(s.eks.DescribeAddon(ctx, &eks.DescribeAddonInput{ClusterName: blog, AddonName: csiName}))(t).Addon
		if *out.AddonVersion != "v1.53.0-eksbuild.1" || *out.ServiceAccountRoleArn != s.irsaRole {
			t.Errorf("add-on: got %+v", out)
		}
		must(s.eks.DeleteAddon(ctx, &eks.DeleteAddonInput{ClusterName: blog, AddonName: csiName}))(t)
		poll(t, "addon gone", func() (bool, error) {
			return len(must(s.eks.ListAddons(ctx, &eks.ListAddonsInput{ClusterName: blog}))(t).Addons) == 0, nil
		})
	})
}

func TestAnAddonWhoseRoleDoesNotTrustItIsDegradedUntilTheRoleIsChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s := ready(t, emu.Options{})
		s.irsa(t)
		other := s.role(t, "other", irsaTrust(s.provider, s.issuer[len("https://"):], "StringEquals", "system:serviceaccount:default:other"))
		if err := s.group(nil); err != nil {
			t.Fatal(err)
		}
		poll(t, "group", func() (bool, error) { return s.groupNow(t).Status == "ACTIVE", nil })
		in := &eks.CreateAddonInput{ClusterName: aws.String("blog"), AddonName: aws.String("aws-ebs-csi-driver"), ServiceAccountRoleArn: &other}
		must(s.eks.CreateAddon(s.ctx, in))(t)
		poll(t, "degraded", func() (bool, error) { return s.addon(t) == "DEGRADED", nil })
		must(s.eks.UpdateAddon(s.ctx, &eks.UpdateAddonInput{ClusterName: in.ClusterName, AddonName: in.AddonName, ServiceAccountRoleArn: &s.irsaRole}))(t)
		if took := poll(t, "active", func() (bool, error) { return s.addon(t) == "ACTIVE", nil }); took > 2*time.Minute {
			t.Errorf("it took %s", took)
		}
	})
}

func TestPoliciesOfRolesAndProviders(t *testing.T) {
	_, c := start(t, emu.Options{NoLag: true})
	ctx, name := t.Context(), aws.String("r")
	must(c.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: trust("ec2.amazonaws.com")}))(t)
	doc := aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:Get*","Resource":"*"}]}`)
	must(c.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: name, PolicyName: aws.String("in"), PolicyDocument: doc}))(t)
	got := must(c.iam.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: name, PolicyName: aws.String("in")}))(t)
	if plain, _ := url.QueryUnescape(*got.PolicyDocument); plain != *doc {
		t.Errorf("inline policy: got %s", plain)
	}
	if l := must(c.iam.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: name}))(t).PolicyNames; !slices.Equal(l, []string{"in"}) {
		t.Errorf("inline policies: got %v", l)
	}
	must(c.iam.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: name, PolicyName: aws.String("in")}))(t)
	p := must(c.iam.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("own"), PolicyDocument: doc}))(t).Policy
	must(c.iam.PutRolePermissionsBoundary(ctx, &iam.PutRolePermissionsBoundaryInput{RoleName: name, PermissionsBoundary: p.Arn}))(t)
	if r := must(c.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: name}))(t).Role; *r.PermissionsBoundary.PermissionsBoundaryArn != *p.Arn {
		t.Errorf("boundary: got %+v", r.PermissionsBoundary)
	}
	must(c.iam.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: name, PolicyDocument: trust("eks.amazonaws.com")}))(t)
	must(c.iam.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: name, PolicyArn: p.Arn}))(t)
	_, err := c.iam.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: p.Arn})
	if got := code(t, err); got != "DeleteConflict" {
		t.Errorf("deleting an attached policy: got %q", got)
	}
	idp := must(c.iam.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://x"), ClientIDList: []string{"a"}, Tags: []iamtypes.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}))(t).OpenIDConnectProviderArn
	must(c.iam.AddClientIDToOpenIDConnectProvider(ctx, &iam.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: idp, ClientID: aws.String("b")}))(t)
	must(c.iam.TagOpenIDConnectProvider(ctx, &iam.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: idp, Tags: []iamtypes.Tag{{Key: aws.String("l"), Value: aws.String("w")}}}))(t)
	if l := must(c.iam.ListOpenIDConnectProviderTags(ctx, &iam.ListOpenIDConnectProviderTagsInput{OpenIDConnectProviderArn: idp}))(t).Tags; len(l) != 2 {
		t.Errorf("provider tags: got %v", l)
	}
	if o := must(c.iam.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: idp}))(t); !slices.Equal(o.ClientIDList, []string{"a", "b"}) {
		t.Errorf("clients: got %v", o.ClientIDList)
	}
}

func TestChangesToTheNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud, c := start(t, emu.Options{Durations: nolag})
		s := &stack{clients: c, ctx: t.Context()}
		s.network(t)
		ctx := s.ctx
		must(c.ec2.ModifySubnetAttribute(ctx, &ec2.ModifySubnetAttributeInput{SubnetId: &s.public[0], MapPublicIpOnLaunch: &ec2types.AttributeBooleanValue{Value: aws.Bool(true)}}))(t)
		if sn := must(c.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: s.public[:1]}))(t).Subnets[0]; !*sn.MapPublicIpOnLaunch {
			t.Error("public addresses are off")
		}
		early := &ec2.CreateRouteInput{RouteTableId: &s.privateRT, DestinationCidrBlock: aws.String("0.0.0.0/0"), NatGatewayId: &s.nat}
		_, err := c.ec2.CreateRoute(ctx, early)
		if got := code(t, err); got != "InvalidNatGatewayID.NotFound" {
			t.Errorf("a route to a pending NAT gateway: got %q", got)
		}
		time.Sleep(106 * time.Second)
		must(c.ec2.CreateRoute(ctx, early))(t)
		must(c.ec2.CreateRoute(ctx, early))(t)
		_, err = c.ec2.CreateRoute(ctx, &ec2.CreateRouteInput{RouteTableId: &s.privateRT, DestinationCidrBlock: aws.String("0.0.0.0/0"), GatewayId: &s.igw})
		if got := code(t, err); got != "RouteAlreadyExists" {
			t.Errorf("another route to the same place: got %q", got)
		}
		must(c.ec2.DeleteNatGateway(ctx, &ec2.DeleteNatGatewayInput{NatGatewayId: &s.nat}))(t)
		time.Sleep(80 * time.Second)
		rt := must(c.ec2.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{RouteTableIds: []string{s.privateRT}}))(t).RouteTables[0]
		if rt.Routes[1].State != "blackhole" {
			t.Errorf("the route to the deleted NAT gateway is %s", rt.Routes[1].State)
		}
		again := must(c.ec2.CreateNatGateway(ctx, &ec2.CreateNatGatewayInput{SubnetId: &s.public[0], AllocationId: &s.eip, ClientToken: aws.String("nat-1")}))(t)
		if *again.NatGateway.NatGatewayId != s.nat || again.NatGateway.State != "deleted" {
			t.Errorf("the token of a deleted NAT gateway: got %s %s", *again.NatGateway.NatGatewayId, again.NatGateway.State)
		}
		a := *must(c.ec2.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{VpcId: &s.vpc, GroupName: aws.String("a"), Description: aws.String("d")}))(t).GroupId
		b := *must(c.ec2.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{VpcId: &s.vpc, GroupName: aws.String("b"), Description: aws.String("d")}))(t).GroupId
		perms := []ec2types.IpPermission{{IpProtocol: aws.String("-1"), UserIdGroupPairs: []ec2types.UserIdGroupPair{{GroupId: &a}}}}
		must(c.ec2.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &b, IpPermissions: perms}))(t)
		_, err = c.ec2.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: &a})
		if got := code(t, err); got != "DependencyViolation" {
			t.Errorf("deleting a group that another names: got %q", got)
		}
		must(c.ec2.RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: &b, IpPermissions: perms}))(t)
		must(c.ec2.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: &a}))(t)
		if dup := cloud.Duplicates("Name"); len(dup) != 3 {
			t.Errorf("subnets come in three pairs of one name: got %v", dup)
		}
	})
}

func TestSnapshotsAreFoundByTag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud, c := start(t, emu.Options{NoLag: true})
		v := must(cloud.SeedVolume("ap-northeast-2a", 20, map[string]string{"k": "v"}))(t)
		s := must(c.ec2.CreateSnapshot(t.Context(), &ec2.CreateSnapshotInput{VolumeId: &v, TagSpecifications: ec2Tags("snapshot", "keep")}))(t)
		time.Sleep(61 * time.Second)
		got := must(c.ec2.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: filter("tag:Name", "keep")}))(t).Snapshots
		if len(got) != 1 || *got[0].SnapshotId != *s.SnapshotId || got[0].State != "completed" || *got[0].VolumeSize != 20 || *got[0].VolumeId != v {
			t.Errorf("got %+v", got)
		}
		must(c.ec2.DeleteSnapshot(t.Context(), &ec2.DeleteSnapshotInput{SnapshotId: s.SnapshotId}))(t)
		if got := must(c.ec2.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{}))(t).Snapshots; len(got) != 0 {
			t.Errorf("deleted: got %d", len(got))
		}
	})
}
