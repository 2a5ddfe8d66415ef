package aws_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
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

	emu "pipectl.dev/rehearsal/aws"
)

// ready builds the stack as far as an ACTIVE cluster with egress, without lags.
func ready(t *testing.T, opt emu.Options) (*emu.Cloud, *stack) {
	t.Helper()
	if opt.Durations == nil {
		opt.Durations = nolag
	}
	cloud, c := start(t, opt)
	s := &stack{clients: c, ctx: t.Context()}
	s.network(t)
	s.cluster(t)
	poll(t, "nat", func() (bool, error) { return s.natState(t) == ec2types.NatGatewayStateAvailable, nil })
	must(s.ec2.CreateRoute(s.ctx, &ec2.CreateRouteInput{RouteTableId: &s.privateRT, DestinationCidrBlock: aws.String("0.0.0.0/0"), NatGatewayId: &s.nat}))(t)
	poll(t, "cluster", func() (bool, error) { return s.status(t) == ekstypes.ClusterStatusActive, nil })
	return cloud, s
}

func (s *stack) group(change func(*eks.CreateNodegroupInput)) error {
	in := &eks.CreateNodegroupInput{ClusterName: aws.String("blog"), NodegroupName: aws.String("g"), NodeRole: &s.nodeRole, Subnets: s.private, InstanceTypes: []string{"t3.small"},
		ScalingConfig: &ekstypes.NodegroupScalingConfig{MinSize: aws.Int32(1), DesiredSize: aws.Int32(1), MaxSize: aws.Int32(2)}}
	if change != nil {
		change(in)
	}
	_, err := s.eks.CreateNodegroup(s.ctx, in)
	return err
}

func (s *stack) groupNow(t *testing.T) *ekstypes.Nodegroup {
	t.Helper()
	return must(s.eks.DescribeNodegroup(s.ctx, &eks.DescribeNodegroupInput{ClusterName: aws.String("blog"), NodegroupName: aws.String("g")}))(t).Nodegroup
}

func TestCreateClusterRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := start(t, emu.Options{Durations: nolag, Region: "us-east-1"})
		c.cfg.Region = "us-east-1"
		c = connect(c.cfg)
		v := *must(c.ec2.CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")}))(t).Vpc.VpcId
		subnets := map[string]string{}
		for i, zone := range []string{"a", "b", "e"} {
			subnets[zone] = *must(c.ec2.CreateSubnet(t.Context(), &ec2.CreateSubnetInput{VpcId: &v, CidrBlock: aws.String("10.0." + string(rune('0'+i)) + ".0/24"), AvailabilityZone: aws.String("us-east-1" + zone)}))(t).Subnet.SubnetId
		}
		s := &stack{clients: c, ctx: t.Context()}
		good := s.role(t, "good", trust("eks.amazonaws.com"), "AmazonEKSClusterPolicy")
		bare := s.role(t, "bare", trust("eks.amazonaws.com"))
		wrong := s.role(t, "wrong", trust("ec2.amazonaws.com"), "AmazonEKSClusterPolicy")
		time.Sleep(11 * time.Second)
		for name, tt := range map[string]struct {
			version, role, zones, want string
		}{
			"a version that is gone":        {"1.27", good, "ab", "InvalidParameterException: unsupported Kubernetes version 1.27"},
			"a version out of support":      {"1.30", good, "ab", "unsupported Kubernetes version 1.30"},
			"one zone":                      {"1.34", good, "a", "at least two different AZs"},
			"a zone without control planes": {"1.34", good, "ae", "UnsupportedAvailabilityZoneException"},
			"a role that trusts another":    {"1.34", wrong, "ab", "could not be assumed because it does not exist or the trusted entity is not correct"},
			"a role without the policy":     {"1.34", bare, "ab", "Amazon EKS Managed Policies"},
			"a role of nobody":              {"1.34", good + "x", "ab", "could not be assumed"},
			"all is right":                  {"1.33", good, "ab", ""},
			"taken":                         {"1.34", good, "ab", "Cluster already exists with name: taken"},
		} {
			var ids []string
			for _, z := range tt.zones {
				ids = append(ids, subnets[string(z)])
			}
			cluster := strings.Map(func(r rune) rune {
				if r < 'a' {
					return '-'
				}
				return r
			}, name)
			if name == "taken" {
				must(c.eks.CreateCluster(t.Context(), &eks.CreateClusterInput{Name: &cluster, RoleArn: &tt.role, ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: ids}}))(t)
			}
			_, err := c.eks.CreateCluster(t.Context(), &eks.CreateClusterInput{Name: &cluster, Version: &tt.version, RoleArn: &tt.role, ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: ids}})
			if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: got %v, want %q", name, err, tt.want)
			}
			if zones, ok := asType[*ekstypes.UnsupportedAvailabilityZoneException](err); ok && !slices.Contains(zones.ValidZones, "us-east-1a") {
				t.Errorf("valid zones: got %v", zones.ValidZones)
			}
		}
	})
}

func TestCreateNodegroupRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s := ready(t, emu.Options{})
		lt := must(s.ec2.CreateLaunchTemplate(s.ctx, &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("custom"), LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: aws.String("ami-1")}}))(t)
		spec := &ekstypes.LaunchTemplateSpecification{Id: lt.LaunchTemplate.LaunchTemplateId}
		for name, tt := range map[string]struct {
			change func(*eks.CreateNodegroupInput)
			want   string
		}{
			"an AMI id as type":      {func(in *eks.CreateNodegroupInput) { in.AmiType = "ami-0123" }, "enum value set"},
			"Amazon Linux 2 on 1.34": {func(in *eks.CreateNodegroupInput) { in.AmiType = "AL2_x86_64" }, "AMI Type AL2_x86_64 is only supported for kubernetes versions 1.32 or earlier"},
			"arm on an x86 AMI": {func(in *eks.CreateNodegroupInput) {
				in.AmiType, in.InstanceTypes = "AL2023_x86_64_STANDARD", []string{"t4g.medium"}
			}, "[t4g.medium] is not a valid instance type for requested amiType AL2023_x86_64_STANDARD"},
			"a type of nowhere":            {func(in *eks.CreateNodegroupInput) { in.InstanceTypes = []string{"t9.huge"} }, "do not exist: [t9.huge]"},
			"sizes upside down":            {func(in *eks.CreateNodegroupInput) { in.ScalingConfig.DesiredSize = aws.Int32(3) }, "can't be greater than max size"},
			"the cluster's role":           {func(in *eks.CreateNodegroupInput) { in.NodeRole = &s.clusterRole }, "trusted entity is not correct"},
			"an image and a version":       {func(in *eks.CreateNodegroupInput) { in.LaunchTemplate, in.Version = spec, aws.String("1.34") }, "when specifying an image id in your launch template"},
			"a disk beside a template":     {func(in *eks.CreateNodegroupInput) { in.LaunchTemplate, in.DiskSize = spec, aws.Int32(50) }, "Disk size must be specified within the launch template"},
			"a release of another version": {func(in *eks.CreateNodegroupInput) { in.ReleaseVersion = aws.String("1.31.2-20250101") }, "Requested release version"},
		} {
			if err := s.group(tt.change); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: got %v, want %q", name, err, tt.want)
			}
		}
	})
}

func TestNodeGroupsFailAsTheRealOnesDo(t *testing.T) {
	for name, tt := range map[string]struct {
		faults string
		change func(*stack, *testing.T)
		input  func(*stack, *eks.CreateNodegroupInput)
		code   ekstypes.NodegroupIssueCode
		within time.Duration
	}{
		"no capacity": {"eks:CreateNodegroup=capacity", nil, nil, "AsgInstanceLaunchFailures", 2 * time.Minute},
		"a private subnet without a route to the NAT gateway": {"", func(s *stack, t *testing.T) {
			must(s.ec2.DeleteRoute(s.ctx, &ec2.DeleteRouteInput{RouteTableId: &s.privateRT, DestinationCidrBlock: aws.String("0.0.0.0/0")}))(t)
		}, nil, "NodeCreationFailure", 25 * time.Minute},
		"a role without the CNI policy": {"", func(s *stack, t *testing.T) {
			must(s.iam.DetachRolePolicy(s.ctx, &iam.DetachRolePolicyInput{RoleName: aws.String("blog-node"), PolicyArn: aws.String("arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy")}))(t)
		}, nil, "NodeCreationFailure", 25 * time.Minute},
		"a public subnet that gives no public address": {"", nil, func(s *stack, in *eks.CreateNodegroupInput) { in.Subnets = s.public }, "Ec2SubnetInvalidConfiguration", 2 * time.Minute},
		"a type that the zone does not offer": {"", nil, func(s *stack, in *eks.CreateNodegroupInput) {
			in.InstanceTypes, in.AmiType = []string{"m6g.large"}, "AL2023_ARM_64_STANDARD"
		}, "AsgInstanceLaunchFailures", 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, s := ready(t, emu.Options{Faults: must(emu.ParseFaults(tt.faults))(t)})
				if tt.change != nil {
					tt.change(s, t)
				}
				if err := s.group(func(in *eks.CreateNodegroupInput) {
					if tt.input != nil {
						tt.input(s, in)
					}
				}); err != nil {
					t.Fatal(err)
				}
				took := poll(t, "failure", func() (bool, error) { return s.groupNow(t).Status == "CREATE_FAILED", nil })
				if got := s.groupNow(t).Health.Issues[0].Code; got != tt.code || took > tt.within {
					t.Errorf("got %s after %s, want %s within %s", got, took, tt.code, tt.within)
				}
				must(s.eks.DeleteNodegroup(s.ctx, &eks.DeleteNodegroupInput{ClusterName: aws.String("blog"), NodegroupName: aws.String("g")}))(t)
			})
		})
	}
}

func TestANodeGroupGrowsAndShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world := emu.NewStandIn()
		_, s := ready(t, emu.Options{World: world})
		if err := s.group(nil); err != nil {
			t.Fatal(err)
		}
		_, err := s.eks.DeleteNodegroup(s.ctx, &eks.DeleteNodegroupInput{ClusterName: aws.String("blog"), NodegroupName: aws.String("g")})
		if got := code(t, err); got != "ResourceInUseException" {
			t.Errorf("deleting it while it is created: got %q", got)
		}
		poll(t, "group", func() (bool, error) { return s.groupNow(t).Status == "ACTIVE", nil })
		for _, n := range []int32{2, 1} {
			out := must(s.eks.UpdateNodegroupConfig(s.ctx, &eks.UpdateNodegroupConfigInput{ClusterName: aws.String("blog"), NodegroupName: aws.String("g"), ScalingConfig: &ekstypes.NodegroupScalingConfig{DesiredSize: &n}}))(t)
			poll(t, "update", func() (bool, error) {
				u := must(s.eks.DescribeUpdate(s.ctx, &eks.DescribeUpdateInput{Name: aws.String("blog"), NodegroupName: aws.String("g"), UpdateId: out.Update.Id}))(t)
				return u.Update.Status == ekstypes.UpdateStatusSuccessful, nil
			})
		}
		told := world.Told()
		if want := []string{"nodes joined blog g 1", "nodes joined blog g 1", "nodes leaving blog 1"}; !slices.Equal(told[1:], want) {
			t.Errorf("the world was told %v, want %v", told[1:], want)
		}
	})
}

func TestAnAddonWithoutNodesIsDegradedForALongTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s := ready(t, emu.Options{})
		create := func(name, version string) error {
			in := &eks.CreateAddonInput{ClusterName: aws.String("blog"), AddonName: &name}
			if version != "" {
				in.AddonVersion = &version
			}
			_, err := s.eks.CreateAddon(s.ctx, in)
			return err
		}
		if err := create("aws-ebs-csi-driver", "v1.20.0-eksbuild.1"); err == nil || !strings.Contains(err.Error(), "Addon version specified is not supported") {
			t.Errorf("an old version: got %v", err)
		}
		for _, name := range []string{"aws-ebs-csi-driver", "vpc-cni"} {
			if err := create(name, ""); err != nil {
				t.Fatal(err)
			}
		}
		poll(t, "degraded", func() (bool, error) { return s.addon(t) == "DEGRADED", nil })
		cni := must(s.eks.DescribeAddon(s.ctx, &eks.DescribeAddonInput{ClusterName: aws.String("blog"), AddonName: aws.String("vpc-cni")}))(t)
		if cni.Addon.Status != "ACTIVE" {
			t.Errorf("a DaemonSet needs no node, got %s", cni.Addon.Status)
		}
		if err := s.group(nil); err != nil {
			t.Fatal(err)
		}
		if took := poll(t, "active", func() (bool, error) { return s.addon(t) == "ACTIVE", nil }); took < 13*time.Minute {
			t.Errorf("EKS looked again after %s", took)
		}
	})
}

func TestVersionsFollowTheEmulatedDate(t *testing.T) {
	for today, want := range map[string]map[string]ekstypes.VersionStatus{
		"2026-11-22": {"1.35": "STANDARD_SUPPORT", "1.34": "STANDARD_SUPPORT", "1.33": "EXTENDED_SUPPORT", "1.32": "EXTENDED_SUPPORT", "1.31": "EXTENDED_SUPPORT"},
		"2026-12-03": {"1.35": "STANDARD_SUPPORT", "1.34": "EXTENDED_SUPPORT", "1.33": "EXTENDED_SUPPORT", "1.32": "EXTENDED_SUPPORT"},
	} {
		at := must(time.Parse(time.DateOnly, today))(t)
		_, c := start(t, emu.Options{Today: at, PageSize: 2})
		got := map[string]ekstypes.VersionStatus{}
		for p := eks.NewDescribeClusterVersionsPaginator(c.eks, &eks.DescribeClusterVersionsInput{}); p.HasMorePages(); {
			for _, v := range must(p.NextPage(t.Context()))(t).ClusterVersions {
				got[*v.ClusterVersion] = v.VersionStatus
				if v.DefaultVersion != (*v.ClusterVersion == "1.34") {
					t.Errorf("default of %s: %t", *v.ClusterVersion, v.DefaultVersion)
				}
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: got %v", today, got)
		}
		for v, status := range want {
			if got[v] != status {
				t.Errorf("%s: %s is %s, want %s", today, v, got[v], status)
			}
		}
	}
	_, c := start(t, emu.Options{})
	addons := must(c.eks.DescribeAddonVersions(t.Context(), &eks.DescribeAddonVersionsInput{AddonName: aws.String("aws-ebs-csi-driver"), KubernetesVersion: aws.String("1.34")}))(t)
	defaults := 0
	for _, v := range addons.Addons[0].AddonVersions {
		if v.Compatibilities[0].DefaultVersion {
			defaults++
		}
	}
	if defaults != 1 {
		t.Errorf("%d default versions of the add-on", defaults)
	}
}

func TestClusterConfigChangesOneThingAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s := ready(t, emu.Options{})
		update := func(in *eks.UpdateClusterConfigInput) error {
			in.Name = aws.String("blog")
			_, err := s.eks.UpdateClusterConfig(s.ctx, in)
			return err
		}
		private := &eks.UpdateClusterConfigInput{ResourcesVpcConfig: &ekstypes.VpcConfigRequest{EndpointPrivateAccess: aws.Bool(true)}}
		if err := update(private); err != nil {
			t.Fatal(err)
		}
		if got := code(t, update(&eks.UpdateClusterConfigInput{AccessConfig: &ekstypes.UpdateAccessConfigRequest{AuthenticationMode: "API"}})); got != "ResourceInUseException" {
			t.Errorf("a second update meanwhile: got %q", got)
		}
		_, err := s.eks.DeleteCluster(s.ctx, &eks.DeleteClusterInput{Name: aws.String("blog")})
		if got := code(t, err); got != "ResourceInUseException" {
			t.Errorf("deleting it meanwhile: got %q", got)
		}
		poll(t, "update", func() (bool, error) { return s.status(t) == "ACTIVE", nil })
		out := must(s.eks.DescribeCluster(s.ctx, &eks.DescribeClusterInput{Name: aws.String("blog")}))(t)
		if v := out.Cluster.ResourcesVpcConfig; !v.EndpointPrivateAccess || !v.EndpointPublicAccess || *v.VpcId != s.vpc || *v.ClusterSecurityGroupId == "" {
			t.Errorf("got %+v", v)
		}
		private.ClientRequestToken = nil
		if err := update(private); err == nil || !strings.Contains(err.Error(), "already at the desired configuration") {
			t.Errorf("the same once more: got %v", err)
		}
	})
}

func csi(t *testing.T, cloud *emu.Cloud, in map[string]string) (int, string) {
	t.Helper()
	body, _ := json.Marshal(in)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://emulator/_pipectl/csi", bytes.NewReader(body))
	out := must(cloud.RoundTripper().RoundTrip(req))(t)
	b, _ := io.ReadAll(out.Body)
	return out.StatusCode, string(b)
}

func TestTheCSIDriverAttachesAsItsRole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world := emu.NewStandIn()
		cloud, s := ready(t, emu.Options{World: world, EvaluateRoles: true})
		s.irsa(t)
		bare := s.role(t, "bare", irsaTrust(s.provider, strings.TrimPrefix(s.issuer, "https://"), "StringEquals", "system:serviceaccount:kube-system:ebs-csi-controller-sa"))
		if err := s.group(func(in *eks.CreateNodegroupInput) { in.Subnets = s.private[:1] }); err != nil {
			t.Fatal(err)
		}
		poll(t, "group", func() (bool, error) { return s.groupNow(t).Status == "ACTIVE", nil })
		node := must(s.ec2.DescribeInstances(s.ctx, &ec2.DescribeInstancesInput{Filters: filter("tag:eks:cluster-name", "blog")}))(t).Reservations[0].Instances[0]
		volume := must(cloud.SeedVolume("ap-northeast-2a", 20, nil))(t)
		token := must(world.Token("blog", "kube-system", "ebs-csi-controller-sa", "sts.amazonaws.com"))(t)
		foreign := must(world.Token("blog", "default", "default", "sts.amazonaws.com"))(t)
		for _, tt := range []struct {
			name, action, role, token string
			status                    int
			want                      string
		}{
			{"a foreign token", "attach", s.irsaRole, foreign, 403, "Not authorized to perform sts:AssumeRoleWithWebIdentity"},
			{"a role without the policy", "attach", bare, token, 403, "UnauthorizedOperation"},
			{"the node's role", "attach", "", "", 403, "UnauthorizedOperation"},
			{"the driver", "attach", s.irsaRole, token, 200, "/dev/xvda"},
			{"the driver again", "attach", s.irsaRole, token, 200, "/dev/xvda"},
			{"letting go", "detach", s.irsaRole, token, 200, ""},
			{"letting go again", "detach", s.irsaRole, token, 200, ""},
		} {
			status, body := csi(t, cloud, map[string]string{"cluster": "blog", "action": tt.action, "volumeID": volume, "nodeID": *node.InstanceId, "roleArn": tt.role, "token": tt.token})
			if status != tt.status || !strings.Contains(body, tt.want) {
				t.Errorf("%s: got %d %s, want %d %s", tt.name, status, body, tt.status, tt.want)
			}
		}
		told := world.Told()
		if got := told[len(told)-2:]; !strings.HasPrefix(got[0], "attached "+volume) || !strings.HasPrefix(got[1], "detached "+volume) {
			t.Errorf("the world was told %v", got)
		}
		calls := cloud.Calls()
		attach := slices.IndexFunc(calls, func(c emu.Call) bool { return c.Action == "AttachVolume" && c.OK() })
		if attach < 0 || calls[attach].Principal != "arn:aws:sts::111122223333:assumed-role/blog-ebs-csi/ebs-csi" {
			t.Errorf("the ledger does not show the driver's session: %v", calls[attach])
		}
	})
}
