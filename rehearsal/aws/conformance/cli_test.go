//go:build conformance

package conformance

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	emulator "pipectl.dev/rehearsal/aws"
)

// answer is what shapes.py says of one call.
type answer struct {
	Call     string
	Error    string
	Findings []string // what the service's model does not have so
	Paths    []string // the fields that are there, such as ".Vpcs[].VpcId"
}

// ask makes the calls of testdata/calls.json with the aws CLI at an endpoint, with the names that kept has.
func ask(t *testing.T, c client, endpoint string, kept map[string]string) []answer {
	t.Helper()
	var job struct {
		Endpoint string            `json:"endpoint"`
		Calls    json.RawMessage   `json:"calls"`
		Kept     map[string]string `json:"kept"`
	}
	var err error
	if job.Calls, err = os.ReadFile("testdata/calls.json"); err != nil {
		t.Fatal(err)
	}
	job.Endpoint, job.Kept = endpoint, kept
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
	for _, a := range ask(t, theirs, moto.String(), motoBalancers(t, theirs, moto.String())) {
		motos[a.Call] = a
	}
	asked, compared, spared := map[string]bool{}, 0, map[string]bool{}
	for _, a := range ask(t, ours, oursURL, map[string]string{"key": "secrets", "image": ourImage}) {
		asked[a.Call] = true
		if a.Error != "" {
			t.Errorf("%s: %s", a.Call, a.Error)
			continue
		}
		understood(t, a, spared)
		if motoAnswers(t, motos[a.Call]) {
			compared++
			noFewer(t, a, motos[a.Call], spared)
		}
	}
	stillDiffer(t, spared)
	t.Logf("%d calls understood, %d of them compared with moto", len(asked), compared)
}

// understood fails for what the service's model does not have as the emulator answered it.
func understood(t *testing.T, a answer, spared map[string]bool) {
	t.Helper()
	for _, f := range a.Findings {
		field, what, _ := strings.Cut(f, ": ")
		if key := excuse(a.Call + " " + field); key != "" {
			spared[key] = true
			continue
		}
		t.Errorf("%s %s: %s", a.Call, field, what)
	}
}

// motoAnswers reports whether there is something to compare with, and fails where motoMute says otherwise.
func motoAnswers(t *testing.T, m answer) bool {
	t.Helper()
	reason := motoMute[m.Call]
	switch {
	case m.Error == "" && reason != "":
		t.Errorf("moto answers %s: strike it from the table", m.Call)
	case m.Error != "" && reason == "":
		t.Errorf("%s: no answer of moto to compare with: %s", m.Call, strings.Join(strings.Fields(m.Error), " "))
	case m.Error != "":
		t.Logf("%s: not compared with moto: %s", m.Call, reason)
	}
	return m.Error == ""
}

// noFewer fails for a field that moto's answer has and the emulator's lacks, and where moto's has nothing to compare.
func noFewer(t *testing.T, a, moto answer, spared map[string]bool) {
	t.Helper()
	if looks.MatchString(strings.Fields(a.Call)[1]) && len(moto.Paths) < 2 {
		t.Errorf("%s: moto's answer is empty, so that nothing is compared", a.Call)
	}
	for _, path := range moto.Paths {
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

const ourImage = "ami-0123456789abcdef0"

// balancers gives the emulator load balancers as controllers in a cluster make them, and a key: the product only looks at those.
func balancers(t *testing.T, c *emulator.Cloud) {
	t.Helper()
	c.SeedKey("secrets", "Enabled")
	c.SeedImage(emulator.Image{ID: ourImage, Arch: "x86_64"})
	var subnets []string
	for _, r := range c.Resources() {
		if r.Kind == "subnet" {
			subnets = append(subnets, r.ID)
		}
	}
	for _, kind := range []string{"classic", "network"} {
		if err := c.SeedLoadBalancer(emulator.LoadBalancerSeed{Name: kind, Kind: kind, Subnets: subnets[:1], Group: true, Tags: map[string]string{"kubernetes.io/cluster/conform": "owned"}}); err != nil {
			t.Fatal(err)
		}
	}
}

// motoBalancers gives moto the same, by the CLI, and returns what names differ there.
func motoBalancers(t *testing.T, c client, endpoint string) map[string]string {
	t.Helper()
	aws := func(args ...string) string {
		cmd := exec.Command(venv(t, "aws"), append(args, "--endpoint-url", endpoint, "--output", "text")...)
		cmd.Env = c.env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("aws %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	found := strings.Fields(aws("ec2", "describe-subnets", "--filters", "Name=tag-key,Values=pipectl.dev/identity", "--query", "Subnets[0].[SubnetId,VpcId]"))
	owned := "Key=kubernetes.io/cluster/conform,Value=owned"
	aws("elb", "create-load-balancer", "--load-balancer-name", "classic", "--subnets", found[0], "--tags", owned,
		"--listeners", "Protocol=TCP,LoadBalancerPort=80,InstanceProtocol=TCP,InstancePort=30080")
	balancer := aws("elbv2", "create-load-balancer", "--name", "network", "--type", "network", "--subnets", found[0], "--tags", owned, "--query", "LoadBalancers[0].LoadBalancerArn")
	group := aws("elbv2", "create-target-group", "--name", "network", "--protocol", "TCP", "--port", "80", "--vpc-id", found[1], "--query", "TargetGroups[0].TargetGroupArn")
	aws("elbv2", "create-listener", "--load-balancer-arn", balancer, "--protocol", "TCP", "--port", "80", "--default-actions", "Type=forward,TargetGroupArn="+group)
	image := aws("ec2", "describe-images", "--query", "Images[?Architecture=='x86_64' && Platform==null] | [0].ImageId")
	aws("ec2", "run-instances", "--image-id", image, "--instance-type", "t3.small", "--subnet-id", found[0])
	return map[string]string{"image": image, "key": aws("kms", "create-key", "--query", "KeyMetadata.KeyId")}
}
