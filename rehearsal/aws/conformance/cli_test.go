//go:build conformance

package conformance

import (
	"bufio"
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pipectl.dev/cloud/cloudtest/calls"
	emulator "pipectl.dev/rehearsal/aws"
)

// answer is what shapes.py says of one call.
type answer struct {
	Call     string
	Error    string
	Findings []string // what the service's model does not have so
	Paths    []string // the fields that are there, such as ".Vpcs[].VpcId"
}

// ask makes the calls of testdata/calls.json with the aws CLI at an endpoint.
func ask(t *testing.T, c client, endpoint string) []answer {
	t.Helper()
	var job struct {
		Endpoint string          `json:"endpoint"`
		Calls    json.RawMessage `json:"calls"`
	}
	var err error
	if job.Calls, err = os.ReadFile("testdata/calls.json"); err != nil {
		t.Fatal(err)
	}
	job.Endpoint = endpoint
	in, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(venv(t, "python"), "shapes.py")
	var stdout, stderr bytes.Buffer
	cmd.Env = append(c.env, "AWS_MAX_ATTEMPTS=1") // an answer of 500 is a finding
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("shapes.py: %v\n%s", err, &stderr)
	}
	var out []answer
	for lines := bufio.NewScanner(&stdout); lines.Scan(); {
		var a answer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			t.Fatalf("shapes.py: %v: %s", err, lines.Text())
		}
		out = append(out, a)
	}
	return out
}

// rightInSpite are differences in which the emulator is right, or not wrong, each with what AWS documents in its API reference. A key
// that ends in * stands for all that begin so.
var rightInSpite = map[string]string{
	// Against the model.
	"ec2 DescribeInternetGateways .InternetGateways[].Attachments[].State": "InternetGatewayAttachment: 'For an internet gateway, the state is available when attached to a VPC'",
	"ec2 DescribeNetworkInterfaces .NetworkInterfaces[].InterfaceType":     "DescribeNetworkInterfaces, filter interface-type: the value of a NAT gateway's is nat_gateway; the enum of the model says natGateway",
	// Against moto.
	"ec2 ModifyVolume .VolumeModification.EndTime":                         "VolumeModification: the modification completion or failure time; it has only begun",
	"ec2 DescribeVpcs .Vpcs[].Ipv6CidrBlockAssociationSet":                 "Vpc: information about the IPv6 CIDR blocks associated with the VPC; there is none",
	"ec2 DescribeAddresses .Addresses[].InstanceId":                        "Address: the instance that the address is associated with (if any); it is a NAT gateway's",
	"ec2 DescribeInstanceTypes .InstanceTypes[].*":                         "InstanceTypeInfo: no member is required. The emulator tells of a type what decides about nodes and pods, and no more",
	"eks DescribeCluster .cluster.encryptionConfig":                        "Cluster: the encryption configuration for the cluster; it has none",
	"eks DescribeNodegroup .nodegroup.diskSize":                            "Nodegroup: 'If the node group was deployed with a launch template, then this value is null'",
	"eks DescribeNodegroup .nodegroup.remoteAccess*":                       "Nodegroup: 'If the node group was deployed with a launch template, then this value is null'",
	"eks DescribeNodegroup .nodegroup.resources.remoteAccessSecurityGroup": "NodegroupResources: the remote access security group; there is no remote access",
	"iam CreateRole .Role.RoleLastUsed":                                    "Role, RoleLastUsed: returned by GetRole and GetAccountAuthorizationDetails",
}

// whileItRuns are fields that moto has at once, and the emulator when a change has come so far, which it may have when it is asked about.
var whileItRuns = []string{"ec2 DescribeVolumesModifications .VolumesModifications[].EndTime"}

// excuse is the entry of rightInSpite or whileItRuns that covers a field, if one does.
func excuse(field string) string {
	for _, key := range slices.AppendSeq(slices.Clone(whileItRuns), maps.Keys(rightInSpite)) {
		if prefix, all := strings.CutSuffix(key, "*"); key == field || all && strings.HasPrefix(field, prefix) {
			return key
		}
	}
	return ""
}

// TestTheAWSCommandLineUnderstandsTheEmulator lets the aws CLI make every look that the product makes: its answers must have the form
// of the service's model, and no field fewer than moto's.
func TestTheAWSCommandLineUnderstandsTheEmulator(t *testing.T) {
	emulated, oursURL := newFront(t, nil)
	moto := startMoto(t)
	_, frontURL := newFront(t, moto)
	ours, theirs := newClient(t, oursURL), newClient(t, frontURL)
	ours.pipectl(t, "run", "--yes")
	theirs.pipectl(t, "run", "--yes")
	balancers(t, emulated.ours)
	motos := map[string]answer{}
	for _, a := range ask(t, theirs, moto.String()) {
		motos[a.Call] = a
	}
	asked, compared, spared := map[string]bool{}, 0, map[string]bool{}
	for _, a := range ask(t, ours, oursURL) {
		asked[sdkName.Replace(a.Call)] = true
		if a.Error != "" {
			t.Errorf("%s: %s", a.Call, a.Error)
			continue
		}
		for _, f := range a.Findings {
			field, what, _ := strings.Cut(f, ": ")
			if key := excuse(a.Call + " " + field); key != "" {
				spared[key] = true
				continue
			}
			t.Errorf("%s %s: %s", a.Call, field, what)
		}
		m := motos[a.Call]
		if m.Error != "" {
			t.Logf("%s: no answer of moto to compare with: %s", a.Call, strings.Join(strings.Fields(m.Error), " "))
			continue
		}
		compared++
		for _, path := range m.Paths {
			field := a.Call + " " + path
			switch {
			case slices.Contains(a.Paths, path):
			case excuse(field) != "":
				spared[excuse(field)] = true
			default:
				t.Errorf("%s: moto has it, the emulator has not", field)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(rightInSpite)) {
		if !spared[key] {
			t.Errorf("%s: no longer a difference: strike it from the table", key)
		}
	}
	t.Logf("%d calls understood, %d of them compared with moto", len(asked), compared)
	everyLookIsAsked(t, asked)
}

// balancers gives the emulator load balancers as controllers in a cluster make them, and a key: the product only looks at those.
func balancers(t *testing.T, c *emulator.Cloud) {
	t.Helper()
	c.SeedKey("secrets", "Enabled")
	var subnets []string
	for _, r := range c.Resources() {
		if r.Kind == "subnet" {
			subnets = append(subnets, r.ID)
		}
	}
	for _, kind := range []string{"classic", "network"} {
		if err := c.SeedLoadBalancer(emulator.LoadBalancerSeed{Name: kind, Kind: kind, Subnets: subnets[:1], Tags: map[string]string{"kubernetes.io/cluster/conform": "owned"}}); err != nil {
			t.Fatal(err)
		}
	}
}

// sdkName turns the CLI's names of services into those of the SDK's packages.
var sdkName = strings.NewReplacer("-", "", "logs ", "cloudwatchlogs ")

var looks = regexp.MustCompile(`^(Describe|List|Get|Simulate)`)

// everyLookIsAsked fails when the product's source makes a describe, list or get call that testdata/calls.json lacks.
func everyLookIsAsked(t *testing.T, asked map[string]bool) {
	t.Helper()
	missing := map[string]string{}
	for _, c := range calls.In(t, "../../../steps", "../../../cloud", "../../../cmd", "../../../results", "../../../kube") {
		if call := c.Service + " " + c.Action; looks.MatchString(c.Action) && c.Service != "kms" && !asked[call] {
			missing[call] = c.File
		}
	}
	for _, call := range slices.Sorted(maps.Keys(missing)) {
		t.Errorf("%s, made in %s, is not among testdata/calls.json", call, missing[call])
	}
}
