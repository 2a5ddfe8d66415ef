package catalog_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	"pipectl.dev/cloud/cloudtest/calls"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps/provisioneks"
)

const (
	homeYAML = "{name: jenkins-home, zone: ap-northeast-2a, size: 20Gi, snapshots: 1}"

	clusterYAML = `
name: blog
version: "1.33"
network: {cidr: 10.0.0.0/16, privateSubnets: [10.0.1.0/24, 10.0.2.0/24], publicSubnets: [10.0.4.0/24, 10.0.5.0/24], nat: single}
endpoint: {public: true}
logging: [api]
access: [{principalArn: "arn:aws:iam::111122223333:role/dev", policy: view}, {principalArn: "arn:aws:iam::111122223333:role/ops"}]
nodeGroups:
  - {name: node-group-1, instanceTypes: [t3.small], min: 1, desired: 2, max: 3, zones: [ap-northeast-2a]}
  - {name: node-group-2, instanceTypes: [t3.small], min: 1, desired: 1, max: 2}
`
	roleYAML = `
cluster: {eks: {name: blog, region: ap-northeast-2}}
roleName: csi
serviceAccounts: [{namespace: kube-system, name: ebs-csi-controller-sa}]
policyArns: [arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy]
permissionsBoundary: arn:aws:iam::aws:policy/PowerUserAccess
inlinePolicies: {logs: '{"Version":"2012-10-17","Statement":[]}'}
`
	addonYAML = `
cluster: {eks: {name: blog, region: ap-northeast-2, version: "1.33"}}
name: aws-ebs-csi-driver
roleArn: arn:aws:iam::111122223333:role/csi
`
)

const ownYAML = `
cluster: {context: kubeadm}
issuer: {bucket: issuers}
roleName: own
serviceAccounts: [{namespace: default, name: backup}]
`

// lives are what an account goes through. Together they make every call that the steps can make; see covered.
func lives() []life {
	created := []stage{{"data-volume", homeYAML}, {"provision-eks", clusterYAML}, {"bind-irsa", roleYAML}, {"install-addon", addonYAML}}
	changed := []stage{
		{"data-volume", strings.Replace(homeYAML, "20Gi", "25Gi", 1)},
		{"provision-eks", strings.NewReplacer(`"1.33"`, `"1.34"`, "endpoint: {public: true}", "endpoint: {public: true, publicCIDRs: [198.51.100.0/24]}\nlogRetentionDays: 7\nkmsKeyArn: arn:aws:kms:ap-northeast-2:111122223333:key/secrets", "[api]", "[api, audit]", "name: blog\n", "name: blog\ntags: {team: web}\n", "policy: view", "policy: edit, namespaces: [web], kubernetesGroups: [deployers]", `, {principalArn: "arn:aws:iam::111122223333:role/ops"}`, "",
			"desired: 2, max: 3", "releaseVersion: latest, desired: 2, max: 5, labels: {team: web}, diskSize: 30").Replace(clusterYAML)},
		{"bind-irsa", strings.NewReplacer("permissionsBoundary: arn:aws:iam::aws:policy/PowerUserAccess\n", "", "logs:", "more:").Replace(roleYAML)},
		{"install-addon", addonYAML + "configuration: '{\"node\":{}}'\n"},
	}
	create := phase{name: "create", stages: created, before: somebodyElsesRole}
	small := []stage{{"provision-eks", "{name: blog, network: {nat: none}, nodeGroups: [{name: main, instanceTypes: [t3.small]}]}"}}
	tagged := []stage{{"provision-eks", strings.Replace(small[0].with, "name: blog,", "name: blog, tags: {team: web},", 1)}}
	otherNodes := []stage{{"provision-eks", strings.Replace(small[0].with, "name: main", "name: other", 1)}}
	elsewhereZone := []stage{{"data-volume", strings.Replace(homeYAML, "2a,", "2c, relocate: true,", 1)}}
	agent := stage{"install-addon", "cluster: {eks: {name: blog, region: ap-northeast-2}}\nname: eks-pod-identity-agent\n"}
	const podRole = "cluster: {eks: {name: blog, region: ap-northeast-2}}\nroleName: pods\nserviceAccounts: [{namespace: ci, name: runner}]\n"
	pods := append(slices.Clone(small), agent, stage{"bind-irsa", podRole + "podIdentity: true\n"})
	tokens := append(slices.Clone(small), agent, stage{"bind-irsa", podRole})
	theirs := []stage{{"provision-eks", "{name: blog, existing: true}"}, {"bind-irsa", roleYAML}, {"install-addon", addonYAML}}
	own := []stage{{"bind-irsa", ownYAML}}
	gateways := func(nat string) []stage {
		return []stage{{"provision-eks", "{name: blog, network: {nat: " + nat + "}}"}}
	}
	network := func(more string) []stage {
		return []stage{{"provision-eks", "{name: blog, network: {vpcTags: {net: shared}, subnetTags: {tier: nodes}}, nodeGroups: [{name: main, instanceTypes: [t3.small], launchTemplate: {imageId: ami-0123456789abcdef0" + more + "}}]}"}}
	}
	return []life{
		{name: "own cluster", issuer: "https://s3.ap-northeast-2.amazonaws.com/issuers", phases: []phase{{name: "create", stages: own, before: ownCluster}, {name: "new keys", stages: own, before: newKeys}, {name: "down", stages: own, down: true}}},
		{name: "create", phases: []phase{create}},
		{name: "update", phases: []phase{create, {name: "update", stages: changed}}},
		{name: "repair", phases: []phase{create, {name: "repair", stages: created, before: vandals}}},
		{name: "other zone", phases: []phase{{name: "create", stages: created[:1]}, {name: "relocate", stages: elsewhereZone}, {name: "destroy", stages: elsewhereZone, down: true, withData: true}}},
		{name: "down", phases: []phase{create, {name: "destroy", stages: created, before: debris, down: true, withData: true}}},
		{name: "half gone", phases: []phase{create, {name: "down", stages: created, before: clusterRemovedByHand, down: true}}},
		{name: "theirs", phases: []phase{{name: "create", stages: theirs, before: somebodyElsesCluster}, {name: "again", stages: theirs, before: addonFailed}, {name: "down", stages: theirs, down: true}}},
		{name: "pods", phases: []phase{{name: "create", stages: pods, before: somebodyElsesRole}, {name: "repair", stages: pods, before: otherAssociation}, {name: "back to IRSA", stages: tokens}, {name: "pods again", stages: pods}, {name: "down", stages: pods, down: true}}},
		{name: "their network", phases: []phase{{name: "create", stages: network(""), before: somebodyElsesNetwork}, {name: "user data", stages: network(`, userData: "#!/bin/sh\n"`)}, {name: "down", stages: network(""), down: true}}},
		{name: "NAT", phases: []phase{{name: "one a zone", stages: gateways("per-az")}, {name: "regional", stages: gateways("regional")}, {name: "none", stages: gateways("none")}}},
		{name: "no NAT", phases: []phase{{name: "create", stages: tagged}, {name: "other nodes", stages: otherNodes, prune: true}, {name: "down", stages: small, down: true}}},
	}
}

// ownCluster is what a cluster that EKS does not run needs: a bucket that shows everybody the documents of its issuer.
func ownCluster(t *testing.T, w *cloudtest.World) {
	t.Helper()
	if err := errors.Join(w.MakeBucket("issuers"), w.Publish("issuers", ".well-known/openid-configuration", "openid/v1/jwks")); err != nil {
		t.Fatal(err)
	}
}

// newKeys are those of a control plane that was set up anew; somebody took the audience off the provider besides.
func newKeys(t *testing.T, w *cloudtest.World) {
	t.Helper()
	if err := w.RotateKeys(); err != nil {
		t.Fatal(err)
	}
	must[*iam.RemoveClientIDFromOpenIDConnectProviderOutput](t)(cloud.IAM(session(t, w)).RemoveClientIDFromOpenIDConnectProvider(t.Context(), &iam.RemoveClientIDFromOpenIDConnectProviderInput{
		OpenIDConnectProviderArn: aws.String("arn:aws:iam::111122223333:oidc-provider/s3.ap-northeast-2.amazonaws.com/issuers"), ClientID: aws.String("sts.amazonaws.com")}))
}

func somebodyElsesRole(_ *testing.T, w *cloudtest.World) {
	w.SeedRole("dev", `{"Version":"2012-10-17","Statement":[]}`)
	w.SeedRole("ops", `{"Version":"2012-10-17","Statement":[]}`)
	w.SeedKey("secrets", "Enabled")
}

func session(t *testing.T, w *cloudtest.World) *cloud.Session {
	t.Helper()
	s, err := w.Open(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// vandals change by hand what a run can mend: tags, routes, trust policies, the provider's audience; and they leave a node group failed.
func vandals(t *testing.T, w *cloudtest.World) {
	s, ctx := session(t, w), t.Context()
	must[*eks.DeleteNodegroupOutput](t)(cloud.EKS(s).DeleteNodegroup(ctx, &eks.DeleteNodegroupInput{ClusterName: aws.String("blog"), NodegroupName: aws.String("node-group-2")}))
	time.Sleep(10 * time.Minute) // of virtual time, until it is gone
	w.AddFault(emulator.Fault{Service: "eks", Action: "CreateNodegroup", Kind: "capacity"})
	if _, err := w.Apply(ctx, provisioneks.New(w.Open, nil), cloudtest.Input(t, clusterYAML)); err == nil {
		t.Fatal("a node group without capacity comes up")
	}
	ours := cloud.OwnedBy(w.Env().Identity.String())
	volumes := must[*ec2.DescribeVolumesOutput](t)(cloud.EC2(s).DescribeVolumes(ctx, &ec2.DescribeVolumesInput{Filters: append(ours, cloud.Filter("tag:"+cloud.TagKind, "ec2:Volume"), cloud.Filter("tag:"+cloud.TagName, "jenkins-home"))}))
	must[*ec2.DeleteTagsOutput](t)(cloud.EC2(s).DeleteTags(ctx, &ec2.DeleteTagsInput{Resources: []string{*volumes.Volumes[0].VolumeId}, Tags: []ec2types.Tag{{Key: aws.String("ebs.csi.aws.com/cluster")}}}))
	igws := must[*ec2.DescribeInternetGatewaysOutput](t)(cloud.EC2(s).DescribeInternetGateways(ctx, &ec2.DescribeInternetGatewaysInput{Filters: ours}))
	tables := must[*ec2.DescribeRouteTablesOutput](t)(cloud.EC2(s).DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{Filters: append(ours, cloud.Filter("tag:"+cloud.TagName, "blog/private"))}))
	must[*ec2.ReplaceRouteOutput](t)(cloud.EC2(s).ReplaceRoute(ctx, &ec2.ReplaceRouteInput{RouteTableId: tables.RouteTables[0].RouteTableId, DestinationCidrBlock: aws.String("0.0.0.0/0"), GatewayId: igws.InternetGateways[0].InternetGatewayId}))
	must[*iam.UpdateAssumeRolePolicyOutput](t)(cloud.IAM(s).UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: aws.String("csi"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)}))
	must[*iam.DeleteRolePermissionsBoundaryOutput](t)(cloud.IAM(s).DeleteRolePermissionsBoundary(ctx, &iam.DeleteRolePermissionsBoundaryInput{RoleName: aws.String("csi")}))
	must[*iam.AttachRolePolicyOutput](t)(cloud.IAM(s).AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("csi"), PolicyArn: aws.String("arn:aws:iam::aws:policy/AmazonEKSClusterPolicy")}))
	providers := must[*iam.ListOpenIDConnectProvidersOutput](t)(cloud.IAM(s).ListOpenIDConnectProviders(ctx, &iam.ListOpenIDConnectProvidersInput{}))
	must[*iam.RemoveClientIDFromOpenIDConnectProviderOutput](t)(cloud.IAM(s).RemoveClientIDFromOpenIDConnectProvider(ctx, &iam.RemoveClientIDFromOpenIDConnectProviderInput{
		OpenIDConnectProviderArn: providers.OpenIDConnectProviderList[0].Arn, ClientID: aws.String("sts.amazonaws.com")}))
}

// debris is what must go too: a snapshot beyond the number that is kept, and what controllers in the cluster left in its VPC.
func debris(t *testing.T, w *cloudtest.World) {
	s, owner := session(t, w), w.Env().Identity.String()
	id, err := w.SeedVolume("ap-northeast-2c", 20, nil)
	if err != nil {
		t.Fatal(err)
	}
	must[*ec2.CreateSnapshotOutput](t)(cloud.EC2(s).CreateSnapshot(t.Context(), &ec2.CreateSnapshotInput{
		VolumeId: &id, TagSpecifications: cloud.TagAtCreate(ec2types.ResourceTypeSnapshot, cloud.Tags(owner, "ec2:Snapshot", "jenkins-home")),
	}))
	time.Sleep(2 * time.Minute) // of virtual time, until it is completed
	subnets := must[*ec2.DescribeSubnetsOutput](t)(cloud.EC2(s).DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{Filters: cloud.OwnedBy(owner)}))
	for _, sub := range subnets.Subnets {
		if _, err := w.SeedInterface(*sub.SubnetId, "aws-K8S-i-0123", map[string]string{"cluster.k8s.amazonaws.com/name": "blog"}); err != nil {
			t.Fatal(err)
		}
	}
	group := must[*ec2.CreateSecurityGroupOutput](t)(cloud.EC2(s).CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{
		VpcId: subnets.Subnets[0].VpcId, GroupName: aws.String("k8s-elb-a1b2"), Description: aws.String("for a service"),
		TagSpecifications: cloud.TagAtCreate(ec2types.ResourceTypeSecurityGroup, map[string]string{"kubernetes.io/cluster/blog": "owned"}),
	}))
	time.Sleep(5 * time.Second) // until it can be seen
	must[*ec2.AuthorizeSecurityGroupIngressOutput](t)(cloud.EC2(s).AuthorizeSecurityGroupIngress(t.Context(), &ec2.AuthorizeSecurityGroupIngressInput{
		GroupId: group.GroupId, IpPermissions: []ec2types.IpPermission{{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(80), ToPort: aws.Int32(80),
			UserIdGroupPairs: []ec2types.UserIdGroupPair{{GroupId: group.GroupId}}}}}))
	for i, kind := range []string{"classic", "network"} {
		err := w.SeedLoadBalancer(emulator.LoadBalancerSeed{Name: kind, Kind: kind, Subnets: []string{*subnets.Subnets[i].SubnetId}, Group: true,
			Tags: map[string]string{"kubernetes.io/cluster/blog": "owned", "kubernetes.io/service-name": "web/" + kind}})
		if err != nil {
			t.Fatal(err)
		}
	}
	must[*ec2.CreateVolumeOutput](t)(cloud.EC2(s).CreateVolume(t.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String("ap-northeast-2a"), Size: aws.Int32(8),
		TagSpecifications: cloud.TagAtCreate(ec2types.ResourceTypeVolume, map[string]string{"kubernetes.io/cluster/blog": "owned",
			"kubernetes.io/created-for/pvc/name": "data-0", "kubernetes.io/created-for/pvc/namespace": "db"})}))
}

// clusterRemovedByHand leaves what surrounded it, and a provider whose issuer nobody can tell any more.
func clusterRemovedByHand(t *testing.T, w *cloudtest.World) {
	s := session(t, w)
	for _, g := range []string{"node-group-1", "node-group-2"} {
		must[*eks.DeleteNodegroupOutput](t)(cloud.EKS(s).DeleteNodegroup(t.Context(), &eks.DeleteNodegroupInput{ClusterName: aws.String("blog"), NodegroupName: &g}))
	}
	time.Sleep(10 * time.Minute)
	must[*eks.DeleteClusterOutput](t)(cloud.EKS(s).DeleteCluster(t.Context(), &eks.DeleteClusterInput{Name: aws.String("blog")}))
	time.Sleep(5 * time.Minute)
}

// otherAssociation gives the pods another role by hand.
func otherAssociation(t *testing.T, w *cloudtest.World) {
	s, ctx := session(t, w), t.Context()
	const trust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"]}]}`
	other := w.SeedRole("other", trust)
	list := must[*eks.ListPodIdentityAssociationsOutput](t)(cloud.EKS(s).ListPodIdentityAssociations(ctx, &eks.ListPodIdentityAssociationsInput{ClusterName: aws.String("blog")}))
	must[*eks.UpdatePodIdentityAssociationOutput](t)(cloud.EKS(s).UpdatePodIdentityAssociation(ctx, &eks.UpdatePodIdentityAssociationInput{
		ClusterName: aws.String("blog"), AssociationId: list.Associations[0].AssociationId, RoleArn: &other}))
}

// somebodyElsesNetwork is a VPC with two subnets that give their nodes public addresses.
func somebodyElsesNetwork(t *testing.T, w *cloudtest.World) {
	api, ctx := cloud.EC2(session(t, w)), t.Context()
	tags := func(kind ec2types.ResourceType, key, value string) []ec2types.TagSpecification {
		return cloud.TagAtCreate(kind, map[string]string{key: value})
	}
	vpc := must[*ec2.CreateVpcOutput](t)(api.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.9.0.0/16"), TagSpecifications: tags(ec2types.ResourceTypeVpc, "net", "shared")})).Vpc.VpcId
	igw := must[*ec2.CreateInternetGatewayOutput](t)(api.CreateInternetGateway(ctx, &ec2.CreateInternetGatewayInput{})).InternetGateway.InternetGatewayId
	time.Sleep(time.Minute) // of virtual time, until both can be seen
	must[*ec2.ModifyVpcAttributeOutput](t)(api.ModifyVpcAttribute(ctx, &ec2.ModifyVpcAttributeInput{VpcId: vpc, EnableDnsHostnames: &ec2types.AttributeBooleanValue{Value: aws.Bool(true)}}))
	must[*ec2.AttachInternetGatewayOutput](t)(api.AttachInternetGateway(ctx, &ec2.AttachInternetGatewayInput{InternetGatewayId: igw, VpcId: vpc}))
	table := must[*ec2.CreateRouteTableOutput](t)(api.CreateRouteTable(ctx, &ec2.CreateRouteTableInput{VpcId: vpc})).RouteTable.RouteTableId
	time.Sleep(time.Minute)
	must[*ec2.CreateRouteOutput](t)(api.CreateRoute(ctx, &ec2.CreateRouteInput{RouteTableId: table, DestinationCidrBlock: aws.String("0.0.0.0/0"), GatewayId: igw}))
	for i, zone := range []string{"a", "b"} {
		sub := must[*ec2.CreateSubnetOutput](t)(api.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: vpc, CidrBlock: aws.String("10.9." + strconv.Itoa(i) + ".0/24"), AvailabilityZone: aws.String("ap-northeast-2" + zone),
			TagSpecifications: tags(ec2types.ResourceTypeSubnet, "tier", "nodes")})).Subnet.SubnetId
		time.Sleep(time.Minute)
		must[*ec2.ModifySubnetAttributeOutput](t)(api.ModifySubnetAttribute(ctx, &ec2.ModifySubnetAttributeInput{SubnetId: sub, MapPublicIpOnLaunch: &ec2types.AttributeBooleanValue{Value: aws.Bool(true)}}))
		must[*ec2.AssociateRouteTableOutput](t)(api.AssociateRouteTable(ctx, &ec2.AssociateRouteTableInput{RouteTableId: table, SubnetId: sub}))
	}
}

func somebodyElsesCluster(t *testing.T, w *cloudtest.World) {
	env := w.Env()
	env.Identity.Pipeline = "theirs"
	somebodyElsesRole(t, w)
	must[[]byte](t)(bytesOf(provisioneks.New(w.Open, nil).Apply(t.Context(), env, cloudtest.Input(t, clusterYAML))))
}

func bytesOf(raw json.RawMessage, err error) ([]byte, error) { return raw, err }

// addonFailed is what an update by hand may do to an add-on.
func addonFailed(t *testing.T, w *cloudtest.World) { w.FailAddon("blog", "aws-ebs-csi-driver") }

// elsewhere are calls that no life here makes, and where they are put to the test.
var elsewhere = map[string]string{
	"ec2:AttachVolume": "jenkinshome: TestEveryAWSCallOfAMoveMayGoWrong", "ec2:DetachVolume": "the same", "ec2:DeleteTags": "the same",
	"iam:ListRoleTags": "cloud: only looking for what left the file asks, and writes nothing", "eks:ListAddons": "cloud: the same",
	"s3:ListObjectsV2": "results: TestTheBucketKeepsTheNewestRuns, only the store of results lists", "ec2:DescribeRegions": "cloud: only status --all-regions asks, and writes nothing",
}

// written is how a call stands in source code that is made without a client of the SDK: of S3, or of the service that is named.
var written = regexp.MustCompile(`(?:\bcall\{name: |service: "([a-z-]+)", action: )"(\w+)"`)

// covered fails when the source of a step, or of what steps share in package cloud, has a call that went wrong in no life.
func covered(t *testing.T, disturbed map[string]bool) {
	t.Helper()
	made := map[string]string{}
	for _, c := range calls.In(t, "../*/*.go", "../../cloud/*.go") {
		if c.Service != "ssm" { // locks, and a look at an image's newest release
			made[c.IAM()] = filepath.Base(filepath.Dir(c.File)) + "/" + filepath.Base(c.File)
		}
	}
	calls.Each(t, written, func(file string, m []string) {
		made[cmp.Or(m[1], "s3")+":"+m[2]] = filepath.Base(filepath.Dir(file)) + "/" + filepath.Base(file)
	}, "../../cloud/*.go")
	for _, c := range slices.Sorted(maps.Keys(made)) {
		if !disturbed[c] && elsewhere[c] == "" {
			t.Errorf("%s (%s) goes wrong in no scenario: let a life make it", c, made[c])
		}
	}
}
