package aws_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	emu "pipectl.dev/rehearsal/aws"
)

func TestParseFaults(t *testing.T) {
	got, err := emu.ParseFaults("eks:CreateNodegroup=throttle*3, iam:*=lost-response,ec2:CreateVpc=500@2,eks:Describe*=delay(40s)*all")
	want := []emu.Fault{
		{Service: "eks", Action: "CreateNodegroup", Kind: "throttle", Times: 3}, {Service: "iam", Action: "*", Kind: "lost-response", Times: 1},
		{Service: "ec2", Action: "CreateVpc", Kind: "500", Times: 1, At: 2}, {Service: "eks", Action: "Describe*", Kind: "delay", Times: -1, Delay: 40 * time.Second},
	}
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(emu.Fault{})); d != "" {
		t.Error(d)
	}
	for in, hint := range map[string]string{"nonsense": "service:Action=kind", "ec2=500": "before '='", "ec2:X=melt": "want one of throttle", "ec2:X=500*0": "positive number", "ec2:X=500@x": "positive number", "ec2:X=delay(fast)": "delay"} {
		if _, err := emu.ParseFaults(in); err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("%s: got %v, want a word about %q", in, err, hint)
		}
	}
}

// createVpc makes one VPC without retries and says how it went and how many there are then.
func createVpc(t *testing.T, faults string) (string, int) {
	t.Helper()
	cloud := emu.New(emu.Options{NoLag: true, Faults: must(emu.ParseFaults(faults))(t)})
	defer cloud.Close()
	c := connect(oneTry(config(cloud.RoundTripper(), fixture)))
	_, err := c.ec2.CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")})
	what := ""
	if err != nil {
		what = err.Error()
	}
	return what, len(must(c.ec2.DescribeVpcs(t.Context(), nil))(t).Vpcs)
}

func TestFaultsOfACall(t *testing.T) {
	for fault, tt := range map[string]struct {
		want string
		vpcs int
	}{
		"ec2:CreateVpc=throttle": {"RequestLimitExceeded", 0}, "ec2:CreateVpc=500": {"InternalError", 0}, "ec2:CreateVpc=access-denied": {"ec2:CreateVpc", 0},
		"ec2:CreateVpc=expired-token": {"RequestExpired", 0}, "ec2:CreateVpc=reset": {"connection reset", 0}, "ec2:Create*=lost-response": {"connection reset", 1},
		"ec2:CreateVpc=500@2": {"", 1}, "iam:*=500": {"", 1}, "ec2:CreateVpc=capacity": {"InsufficientInstanceCapacity", 0},
	} {
		got, n := createVpc(t, fault)
		if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) || n != tt.vpcs {
			t.Errorf("%s: got %q and %d VPCs, want %q and %d", fault, got, n, tt.want, tt.vpcs)
		}
	}
}

func TestTheSDKRetriesThroughThrottlingInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud, c := start(t, emu.Options{NoLag: true, Faults: must(emu.ParseFaults("ec2:CreateVpc=throttle*2"))(t)})
		must(c.ec2.CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")}))(t)
		var got []string
		for _, call := range cloud.Calls() {
			got = append(got, call.Error)
		}
		if want := []string{"RequestLimitExceeded", "RequestLimitExceeded", ""}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestTheClientIsKilledAtTheNthWrite(t *testing.T) {
	for name, tt := range map[string]struct {
		before bool
		roles  int
	}{"after it is committed": {false, 2}, "before it is committed": {true, 1}} {
		killed := 0
		cloud := emu.New(emu.Options{NoLag: true, KillAt: 2, KillBefore: tt.before, Kill: func() { killed++ }})
		c := connect(oneTry(config(cloud.RoundTripper(), fixture)))
		var errs []bool
		for _, role := range []string{"a", "b", "c"} {
			_, _ = c.iam.GetRole(t.Context(), &iam.GetRoleInput{RoleName: &role})
			_, err := c.iam.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &role, AssumeRolePolicyDocument: trust("eks.amazonaws.com")})
			errs = append(errs, err != nil)
			if killed > 0 {
				break
			}
		}
		got := len(must(c.iam.ListRoles(t.Context(), nil))(t).Roles)
		if killed != 1 || got != tt.roles || !slices.Equal(errs, []bool{false, true}) {
			t.Errorf("%s: killed %d times, %d roles, errors %v", name, killed, got, errs)
		}
		cloud.Close()
	}
}

func TestOverLoopbackTheSameHolds(t *testing.T) {
	cloud := emu.New(emu.Options{NoLag: true, Speed: 1000, Faults: must(emu.ParseFaults("ec2:CreateInternetGateway=lost-response"))(t)})
	defer cloud.Close()
	server := httptest.NewServer(cloud)
	defer server.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	cfg := config(transport, fixture)
	cfg.BaseEndpoint = &server.URL
	c := connect(oneTry(cfg))
	s := &stack{clients: c, ctx: t.Context()}
	if _, err := c.ec2.CreateInternetGateway(t.Context(), nil); err == nil {
		t.Error("the lost response arrived")
	}
	s.network(t)
	if out := must(c.ec2.DescribeInternetGateways(t.Context(), nil))(t); len(out.InternetGateways) != 2 {
		t.Errorf("got %d gateways, want the lost one and the attached one", len(out.InternetGateways))
	}
	_, err := c.iam.GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("none")})
	if got := code(t, err); got != "NoSuchEntity" {
		t.Errorf("got %q", got)
	}
	if out := must(c.eks.ListClusters(t.Context(), nil))(t); len(out.Clusters) != 0 {
		t.Errorf("got %v", out.Clusters)
	}
}

func TestEqualSeedsMakeEqualWorlds(t *testing.T) {
	id := func(seed int64) string {
		_, c := start(t, emu.Options{Seed: seed})
		return *must(c.ec2.CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")}))(t).Vpc.VpcId
	}
	first, again, other := id(1), id(1), id(2)
	if first != again || first == other {
		t.Error("ids do not follow the seed")
	}
}

func TestJitterStaysWithinAFifth(t *testing.T) {
	spread := map[time.Duration]bool{}
	for seed := range int64(20) {
		synctest.Test(t, func(t *testing.T) {
			cloud, c := start(t, emu.Options{Seed: seed, Jitter: true, NoLag: true})
			must(c.ec2.CreateVolume(t.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String("ap-northeast-2a"), Size: aws.Int32(1)}))(t)
			took := cloud.Spans()[0].Took
			if took < 2400*time.Millisecond || took > 3600*time.Millisecond {
				t.Errorf("seed %d: %s", seed, took)
			}
			spread[took] = true
		})
	}
	if len(spread) < 10 {
		t.Errorf("only %d durations of 20 seeds", len(spread))
	}
}
