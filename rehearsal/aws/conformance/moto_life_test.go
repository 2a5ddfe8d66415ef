//go:build conformance

package conformance

import (
	"cmp"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// TestMotoTakesThePipeline runs one life of the pipeline against moto and against the emulator: there, again, down, back, and gone with
// the volume. Both must see the same writes, and moto must be left as it was found.
func TestMotoTakesThePipeline(t *testing.T) {
	moto, motoURL := newFront(t, startMoto(t))
	ours, oursURL := newFront(t, nil)
	at := map[*front]client{moto: newClient(t, motoURL), ours: newClient(t, oursURL)}
	for _, phase := range []struct {
		name  string
		verb  []string
		quiet bool // must write nothing
		left  []string
	}{
		{name: "run", verb: []string{"run", "--yes"}},
		{name: "again", verb: []string{"run", "--yes"}, quiet: true},
		{name: "status", verb: []string{"status"}, quiet: true},
		{name: "down", verb: []string{"down", "--yes"}, left: []string{"describe-volumes"}},
		{name: "back", verb: []string{"run", "--yes"}},
		{name: "destroy", verb: []string{"destroy", "--with-data", "conform", "--yes"}, left: []string{"describe-snapshots"}},
	} {
		seen := map[*front]map[string]int{}
		began := time.Now()
		for f, c := range at {
			c.pipectl(t, phase.verb[0], phase.verb[1:]...)
			calls := f.take()
			t.Logf("%s: %d calls after %s", phase.name, len(calls), time.Since(began).Round(100*time.Millisecond))
			seen[f] = writes(calls)
		}
		if diff := gocmp.Diff(seen[ours], seen[moto]); diff != "" {
			t.Errorf("%s: writes differ (-emulator +moto):\n%s", phase.name, diff)
		}
		if phase.quiet && len(seen[moto]) > 0 {
			t.Errorf("%s: wrote %v to moto", phase.name, seen[moto])
		}
		if phase.left != nil {
			if diff := gocmp.Diff(phase.left, leftIn(t, at[moto])); diff != "" {
				t.Errorf("%s: left in moto (-want +got):\n%s", phase.name, diff)
			}
		}
		moto.take() // what leftIn asked
	}
	for _, op := range slices.Sorted(maps.Keys(motoLacks)) {
		if !moto.used[op] {
			t.Errorf("moto no longer lacks %s: strike it from the table", op)
		}
		t.Logf("moto lacks %s: %s", op, motoLacks[op].reason)
	}
	for _, what := range slices.Sorted(maps.Keys(notAsked)) {
		t.Logf("not run against moto: %s: %s", what, notAsked[what])
	}
}

// writes counts the calls that changed something, but for those that take and release locks.
func writes(calls []call) map[string]int {
	out := map[string]int{}
	for _, c := range calls {
		service, action, _ := strings.Cut(c.op, ":")
		reads := slices.ContainsFunc([]string{"Describe", "List", "Get", "Simulate"}, func(p string) bool { return strings.HasPrefix(action, p) })
		if c.done && !reads && service != "ssm" {
			out[c.op]++
		}
	}
	return out
}

// questions find what pipectl made, each by a listing and a query that is empty when there is nothing.
var questions = map[string]string{
	"ec2 describe-vpcs":                  "Vpcs[].VpcId",
	"ec2 describe-subnets":               "Subnets[].SubnetId",
	"ec2 describe-internet-gateways":     "InternetGateways[].InternetGatewayId",
	"ec2 describe-nat-gateways":          "NatGateways[?State!='deleted'].NatGatewayId",
	"ec2 describe-route-tables":          "RouteTables[].RouteTableId",
	"ec2 describe-addresses":             "Addresses[].AllocationId",
	"ec2 describe-launch-templates":      "LaunchTemplates[].LaunchTemplateName",
	"ec2 describe-volumes":               "Volumes[].VolumeId",
	"ec2 describe-snapshots":             "Snapshots[].SnapshotId",
	"ec2 describe-security-groups":       "SecurityGroups[].GroupId",
	"eks list-clusters":                  "clusters",
	"iam list-roles":                     "Roles[?!starts_with(Path, '/aws-service-role/')].RoleName",
	"iam list-open-id-connect-providers": "OpenIDConnectProviderList[].Arn",
}

// filters is what a listing calls its filters, where it is not "Filters".
var filters = map[string]string{"describe-nat-gateways": "Filter"}

// leftIn lists the kinds of which something is left.
func leftIn(t *testing.T, c client) []string {
	t.Helper()
	var left []string
	for _, q := range slices.Sorted(maps.Keys(questions)) {
		service, listing, _ := strings.Cut(q, " ")
		args := []string{service, listing, "--output", "text", "--query", questions[q]}
		if service == "ec2" {
			args = append(args, "--cli-input-json", `{"`+cmp.Or(filters[listing], "Filters")+`":[{"Name":"tag-key","Values":["pipectl.dev/identity"]}]}`)
		}
		cmd := exec.Command(venv(t, "aws"), args...)
		cmd.Env = c.env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("aws %s: %v\n%s", q, err, out)
		}
		if strings.TrimSpace(string(out)) != "" {
			left = append(left, listing)
		}
	}
	return left
}
