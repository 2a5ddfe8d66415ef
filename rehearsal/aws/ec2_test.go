package aws_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	emu "pipectl.dev/rehearsal/aws"
)

func filter(name string, values ...string) []ec2types.Filter {
	return []ec2types.Filter{{Name: &name, Values: values}}
}

func TestASmallPageSizeCatchesClientsThatReadOnePage(t *testing.T) {
	_, c := start(t, emu.Options{NoLag: true, PageSize: 2, Quotas: map[string]float64{"L-F678F1CE": 10}})
	for i := range 5 {
		must(c.ec2.CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String(fmt.Sprintf("10.%d.0.0/16", i)), TagSpecifications: ec2Tags("vpc", "n")}))(t)
	}
	first := must(c.ec2.DescribeVpcs(t.Context(), nil))(t)
	if len(first.Vpcs) != 2 || first.NextToken == nil {
		t.Errorf("first page: got %d VPCs, token %v", len(first.Vpcs), first.NextToken)
	}
	n := 0
	for p := ec2.NewDescribeVpcsPaginator(c.ec2, &ec2.DescribeVpcsInput{Filters: filter("tag:Name", "n")}); p.HasMorePages(); {
		n += len(must(p.NextPage(t.Context()))(t).Vpcs)
	}
	if n != 5 {
		t.Errorf("all pages: got %d VPCs, want 5", n)
	}
	_, err := c.ec2.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{NextToken: aws.String("bogus")})
	if got := code(t, err); got != "InvalidNextToken" {
		t.Errorf("a bogus token: got %q", got)
	}
}

func TestFilters(t *testing.T) {
	_, c := start(t, emu.Options{NoLag: true})
	a := must(c.ec2.CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16"), TagSpecifications: ec2Tags("vpc", "blog-a")}))(t)
	b := must(c.ec2.CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String("10.1.0.0/16")}))(t)
	must(c.ec2.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{*b.Vpc.VpcId}, Tags: []ec2types.Tag{{Key: aws.String("team"), Value: aws.String("x")}}}))(t)
	for name, tt := range map[string]struct {
		filters []ec2types.Filter
		want    []string
		code    string
	}{
		"by tag value":      {filter("tag:Name", "blog-a"), []string{*a.Vpc.VpcId}, ""},
		"by tag wildcard":   {filter("tag:Name", "blog-?"), []string{*a.Vpc.VpcId}, ""},
		"by tag key":        {filter("tag-key", "team"), []string{*b.Vpc.VpcId}, ""},
		"one of two values": {filter("cidr", "10.0.0.0/16", "10.1.0.0/16"), []string{*a.Vpc.VpcId, *b.Vpc.VpcId}, ""},
		"both of two":       {append(filter("tag-key", "team"), filter("cidr", "10.0.0.0/16")...), nil, ""},
		"an unknown filter": {filter("colour", "red"), nil, "InvalidParameterValue"},
	} {
		out, err := c.ec2.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{Filters: tt.filters})
		if got := code(t, err); got != tt.code {
			t.Errorf("%s: got error %q, want %q", name, got, tt.code)
		}
		if err != nil {
			continue
		}
		var got []string
		for _, v := range out.Vpcs {
			got = append(got, *v.VpcId)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
	must(c.ec2.DeleteTags(t.Context(), &ec2.DeleteTagsInput{Resources: []string{*b.Vpc.VpcId}, Tags: []ec2types.Tag{{Key: aws.String("team")}}}))(t)
	if out := must(c.ec2.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{Filters: filter("tag-key", "team")}))(t); len(out.Vpcs) != 0 {
		t.Error("the deleted tag still matches")
	}
}

func TestFreshIDsAreSometimesNotFoundForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := start(t, emu.Options{Seed: 7, Quotas: map[string]float64{"L-F678F1CE": 100}})
		lagged := 0
		for i := range 30 {
			v := must(c.ec2.CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String(fmt.Sprintf("10.%d.0.0/16", i))}))(t)
			in := &ec2.CreateSubnetInput{VpcId: v.Vpc.VpcId, CidrBlock: aws.String(fmt.Sprintf("10.%d.0.0/24", i))}
			_, err := c.ec2.CreateSubnet(t.Context(), in)
			if err == nil {
				continue
			}
			if got := code(t, err); got != "InvalidVpcID.NotFound" {
				t.Fatalf("got %q", got)
			}
			lagged++
			if out := must(c.ec2.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{Filters: filter("vpc-id", *v.Vpc.VpcId)}))(t); len(out.Vpcs) != 1 {
				t.Error("a look-up without the id does not see the VPC")
			}
			time.Sleep(2 * time.Second)
			must(c.ec2.CreateSubnet(t.Context(), in))(t)
		}
		if lagged == 0 || lagged == 30 {
			t.Errorf("%d of 30 ids lagged", lagged)
		}
	})
}

func TestEC2RefusesWhatTheRealOneRefuses(t *testing.T) {
	cloud, c := start(t, emu.Options{NoLag: true, Quotas: map[string]float64{"L-F678F1CE": 1, "L-0263D0A3": 1}})
	ctx := t.Context()
	v := *must(c.ec2.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")}))(t).Vpc.VpcId
	must(c.ec2.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: &v, CidrBlock: aws.String("10.0.1.0/24")}))(t)
	must(c.ec2.AllocateAddress(ctx, &ec2.AllocateAddressInput{}))(t)
	sg := *must(c.ec2.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{VpcId: &v, GroupName: aws.String("g"), Description: aws.String("d")}))(t).GroupId
	rules := []ec2types.IpPermission{{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(443), ToPort: aws.Int32(443), UserIdGroupPairs: []ec2types.UserIdGroupPair{{GroupId: &sg}}}}
	must(c.ec2.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &sg, IpPermissions: rules}))(t)
	subnetIn := func(cidr, zone string) error {
		_, err := c.ec2.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: &v, CidrBlock: &cidr, AvailabilityZone: &zone})
		return err
	}
	_, vpcLimit := c.ec2.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.1.0.0/16")})
	_, eipLimit := c.ec2.AllocateAddress(ctx, &ec2.AllocateAddressInput{})
	_, dry := c.ec2.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.1.0.0/16"), DryRun: aws.Bool(true)})
	_, duplicate := c.ec2.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &sg, IpPermissions: rules})
	_, badSpec := c.ec2.CreateInternetGateway(ctx, &ec2.CreateInternetGatewayInput{TagSpecifications: ec2Tags("vpc", "x")})
	_, unknown := c.ec2.DescribeVpnGateways(ctx, nil)
	_, malformed := c.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{"vpc-1"}})
	_, missing := c.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{"subnet-0123"}})
	_, twoInOne := c.ec2.ModifyVpcAttribute(ctx, &ec2.ModifyVpcAttributeInput{VpcId: &v, EnableDnsHostnames: &ec2types.AttributeBooleanValue{Value: aws.Bool(true)}, EnableDnsSupport: &ec2types.AttributeBooleanValue{Value: aws.Bool(true)}})
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"one VPC too many": {vpcLimit, "VpcLimitExceeded"}, "one address too many": {eipLimit, "AddressLimitExceeded"}, "a dry run": {dry, "DryRunOperation"},
		"an overlapping subnet": {subnetIn("10.0.1.128/25", "ap-northeast-2a"), "InvalidSubnet.Conflict"}, "a subnet outside": {subnetIn("10.9.0.0/24", "ap-northeast-2a"), "InvalidSubnet.Range"},
		"a zone of nowhere": {subnetIn("10.0.2.0/24", "ap-northeast-2z"), "InvalidParameterValue"}, "the same rule twice": {duplicate, "InvalidPermission.Duplicate"},
		"a tag specification of another kind": {badSpec, "InvalidParameterValue"}, "an action not emulated": {unknown, "InvalidAction"},
		"an id of another kind": {malformed, "InvalidSubnetID.Malformed"}, "an id of nothing": {missing, "InvalidSubnetID.NotFound"}, "two attributes at once": {twoInOne, "InvalidParameterCombination"},
	} {
		if got := code(t, tt.err); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
	if !strings.Contains(unknown.Error(), "DescribeVpnGateways") {
		t.Errorf("the refusal does not name the action: %v", unknown)
	}
	calls := cloud.Calls()
	if !slices.ContainsFunc(calls, func(c emu.Call) bool { return c.Action == "DescribeVpnGateways" && c.Error == "InvalidAction" }) {
		t.Error("the unknown action is not in the ledger")
	}
}

func TestAClientTokenMakesOneResource(t *testing.T) {
	_, c := start(t, emu.Options{NoLag: true})
	in := &ec2.CreateVolumeInput{AvailabilityZone: aws.String("ap-northeast-2a"), Size: aws.Int32(20), VolumeType: "gp3", ClientToken: aws.String("t")}
	a := must(c.ec2.CreateVolume(t.Context(), in))(t)
	b := must(c.ec2.CreateVolume(t.Context(), in))(t)
	if *a.VolumeId != *b.VolumeId {
		t.Errorf("two volumes of one token: %s, %s", *a.VolumeId, *b.VolumeId)
	}
	in.Size = aws.Int32(21)
	_, err := c.ec2.CreateVolume(t.Context(), in)
	if got := code(t, err); got != "IdempotentParameterMismatch" {
		t.Errorf("the token with another size: got %q", got)
	}
}

func volumeState(t *testing.T, c clients, id string) ec2types.Volume {
	t.Helper()
	return must(c.ec2.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{id}}))(t).Volumes[0]
}

func TestAVolumeGoesThroughItsStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world := emu.NewStandIn()
		cloud, c := start(t, emu.Options{World: world, NoLag: true})
		node := must(cloud.SeedInstance(emu.InstanceSeed{Zone: "ap-northeast-2a", PrivateIP: "172.31.0.10", Name: "old"}))(t)
		far := must(cloud.SeedInstance(emu.InstanceSeed{Zone: "ap-northeast-2c"}))(t)
		ctx := t.Context()
		found := must(c.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{Filters: append(filter("private-ip-address", "172.31.0.10"), filter("instance-state-name", "running")...)}))(t)
		if len(found.Reservations) != 1 || *found.Reservations[0].Instances[0].InstanceId != node.ID || *found.Reservations[0].Instances[0].Placement.AvailabilityZone != "ap-northeast-2a" {
			t.Fatalf("the seeded node: got %+v", found.Reservations)
		}
		v := *must(c.ec2.CreateVolume(ctx, &ec2.CreateVolumeInput{AvailabilityZone: aws.String("ap-northeast-2a"), Size: aws.Int32(20), VolumeType: "gp3", TagSpecifications: ec2Tags("volume", "home")}))(t).VolumeId
		attach := func(instance, device string) error {
			_, err := c.ec2.AttachVolume(ctx, &ec2.AttachVolumeInput{VolumeId: &v, InstanceId: &instance, Device: &device})
			return err
		}
		if got := code(t, attach(node.ID, "/dev/xvdf")); got != "IncorrectState" {
			t.Errorf("attaching while creating: got %q", got)
		}
		time.Sleep(3100 * time.Millisecond)
		for _, tt := range []struct{ instance, device, want string }{
			{far.ID, "/dev/xvdf", "InvalidVolume.ZoneMismatch"}, {node.ID, "/dev/xvda", "InvalidParameterValue"}, {"i-0123", "/dev/xvdf", "InvalidInstanceID.NotFound"}, {node.ID, "/dev/xvdf", ""}, {node.ID, "/dev/xvdg", "VolumeInUse"}} {
			if got := code(t, attach(tt.instance, tt.device)); got != tt.want {
				t.Errorf("attach to %s as %s: got %q, want %q", tt.instance, tt.device, got, tt.want)
			}
		}
		if s := volumeState(t, c, v); s.State != "in-use" || s.Attachments[0].State != "attaching" || len(world.Told()) != 0 {
			t.Errorf("at once: got %s, %s, told %v", s.State, s.Attachments[0].State, world.Told())
		}
		time.Sleep(3100 * time.Millisecond)
		if s := volumeState(t, c, v); s.Attachments[0].State != "attached" {
			t.Errorf("after three seconds: got %s", s.Attachments[0].State)
		}
		_, err := c.ec2.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: &v})
		if got := code(t, err); got != "VolumeInUse" {
			t.Errorf("deleting it attached: got %q", got)
		}
		snap := must(c.ec2.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: &v}))(t)
		must(c.ec2.DetachVolume(ctx, &ec2.DetachVolumeInput{VolumeId: &v}))(t)
		if s := volumeState(t, c, v); s.Attachments[0].State != "detaching" {
			t.Errorf("detaching: got %s", s.Attachments[0].State)
		}
		time.Sleep(4100 * time.Millisecond)
		if s := volumeState(t, c, v); s.State != "available" || len(s.Attachments) != 0 {
			t.Errorf("detached: got %s", s.State)
		}
		_, err = c.ec2.CreateVolume(ctx, &ec2.CreateVolumeInput{AvailabilityZone: aws.String("ap-northeast-2c"), SnapshotId: snap.SnapshotId, VolumeType: "gp3"})
		if got := code(t, err); got != "IncorrectState" {
			t.Errorf("a volume from a pending snapshot: got %q", got)
		}
		time.Sleep(61 * time.Second)
		copied := must(c.ec2.CreateVolume(ctx, &ec2.CreateVolumeInput{AvailabilityZone: aws.String("ap-northeast-2c"), SnapshotId: snap.SnapshotId, VolumeType: "gp3"}))(t)
		if *copied.Size != 20 {
			t.Errorf("the copy has %d GiB", *copied.Size)
		}
		must(c.ec2.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: &v}))(t)
		time.Sleep(2 * time.Second)
		want := []string{"attached " + v + " " + node.ID + " /dev/xvdf", "snapshot " + *snap.SnapshotId + " of " + v, "detached " + v + " " + node.ID, "volume " + *copied.VolumeId + " from " + *snap.SnapshotId, "volume deleted " + v}
		if got := world.Told(); !slices.Equal(got, want) {
			t.Errorf("the world was told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if left := cloud.Leftovers(nil); len(left) != 2 {
			t.Errorf("want the copy and the snapshot as leftovers, not what was seeded: got %v", left)
		}
	})
}

func TestAVolumeGrowsFourTimesADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud, c := start(t, emu.Options{})
		v := must(cloud.SeedVolume("", 10, nil))(t)
		resize := func(n int32) string {
			_, err := c.ec2.ModifyVolume(t.Context(), &ec2.ModifyVolumeInput{VolumeId: &v, Size: &n})
			return code(t, err)
		}
		if got := resize(9); got != "InvalidParameterValue" {
			t.Errorf("shrinking: got %q", got)
		}
		_, err := c.ec2.DescribeVolumesModifications(t.Context(), &ec2.DescribeVolumesModificationsInput{VolumeIds: []string{v}})
		if got := code(t, err); got != "InvalidVolumeModification.NotFound" {
			t.Errorf("a volume that was never changed: got %q", got)
		}
		for n := range int32(4) {
			if got := resize(11 + n); got != "" {
				t.Errorf("change %d: got %q", n+1, got)
			}
			if s := volumeState(t, c, v); *s.Size != 10+n {
				t.Errorf("change %d: has %d GiB at once", n+1, *s.Size)
			}
			for _, want := range []ec2types.VolumeModificationState{"modifying", "optimizing", "completed"} {
				m := must(c.ec2.DescribeVolumesModifications(t.Context(), &ec2.DescribeVolumesModificationsInput{VolumeIds: []string{v}}))(t)
				if got := m.VolumesModifications[0].ModificationState; got != want {
					t.Errorf("change %d is %s, want %s", n+1, got, want)
				}
				if want == "completed" {
					break
				}
				if got := resize(20); got != "IncorrectModificationState" {
					t.Errorf("a change during a change: got %q", got)
				}
				time.Sleep(30 * time.Second)
			}
		}
		if got := resize(15); got != "VolumeModificationRateExceeded" {
			t.Errorf("the fifth: got %q", got)
		}
		if s := volumeState(t, c, v); *s.Size != 14 {
			t.Errorf("size %d", *s.Size)
		}
	})
}

func TestPlacesAndTypes(t *testing.T) {
	_, c := start(t, emu.Options{PageSize: 7})
	zones := must(c.ec2.DescribeAvailabilityZones(t.Context(), &ec2.DescribeAvailabilityZonesInput{Filters: filter("opt-in-status", "opt-in-not-required")}))(t)
	if len(zones.AvailabilityZones) != 4 || *zones.AvailabilityZones[0].ZoneId != "apne2-az1" {
		t.Errorf("zones: got %d", len(zones.AvailabilityZones))
	}
	types := must(c.ec2.DescribeInstanceTypes(t.Context(), &ec2.DescribeInstanceTypesInput{InstanceTypes: []ec2types.InstanceType{"t3.small", "t4g.medium"}}))(t)
	for i, want := range []ec2types.ArchitectureType{"x86_64", "arm64"} {
		if got := types.InstanceTypes[i].ProcessorInfo.SupportedArchitectures; !slices.Equal(got, []ec2types.ArchitectureType{want}) {
			t.Errorf("architecture: got %v, want %s", got, want)
		}
	}
	if n := types.InstanceTypes[0].NetworkInfo; *n.MaximumNetworkInterfaces != 3 || *n.Ipv4AddressesPerInterface != 4 {
		t.Errorf("t3.small network: got %d x %d", *n.MaximumNetworkInterfaces, *n.Ipv4AddressesPerInterface)
	}
	var offered []string
	for p := ec2.NewDescribeInstanceTypeOfferingsPaginator(c.ec2, &ec2.DescribeInstanceTypeOfferingsInput{LocationType: "availability-zone", Filters: filter("instance-type", "t4g.small")}); p.HasMorePages(); {
		for _, o := range must(p.NextPage(t.Context()))(t).InstanceTypeOfferings {
			offered = append(offered, *o.Location)
		}
	}
	if want := []string{"ap-northeast-2a", "ap-northeast-2c", "ap-northeast-2d"}; !slices.Equal(offered, want) {
		t.Errorf("t4g.small: got %v, want %v", offered, want)
	}
	_, err := c.ec2.DescribeInstanceTypes(t.Context(), &ec2.DescribeInstanceTypesInput{InstanceTypes: []ec2types.InstanceType{"t9.huge"}})
	if got := code(t, err); got != "InvalidInstanceType" {
		t.Errorf("an unknown type: got %q", got)
	}
}
