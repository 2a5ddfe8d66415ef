package conformance

import (
	"cmp"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"pipectl.dev/cloud/cloudtest/calls"
)

// sdkName turns the CLI's names of services into those of the SDK's packages.
var sdkName = strings.NewReplacer("service-quotas ", "servicequotas ", "logs ", "cloudwatchlogs ", "s3api ", "s3 ")

var looks = regexp.MustCompile(`^(Describe|List|Get|Head|Simulate)`)

// written is how a call stands in source code that is made without a client of the SDK: of S3, or of the service that is named.
var written = regexp.MustCompile(`(?:\bcall\{name: |service: "([a-z-]+)", action: )"(\w+)"`)

// TestEveryLookIsAsked holds what the product's source describes, lists and gets against the calls whose answers `make conformance`
// compares, in both directions. It needs neither moto nor the CLI, so that a plain go test fails where a new call is compared by nothing.
func TestEveryLookIsAsked(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/calls.json")
	if err != nil {
		t.Fatal(err)
	}
	var asked []struct{ Call string }
	if err := json.Unmarshal(raw, &asked); err != nil {
		t.Fatal(err)
	}
	unused := map[string]bool{}
	for _, a := range asked {
		if _, action, _ := strings.Cut(a.Call, " "); looks.MatchString(action) {
			unused[sdkName.Replace(a.Call)] = true
		}
	}
	missing, used := map[string]string{}, map[string]bool{}
	look := func(call, file string) {
		if _, action, _ := strings.Cut(call, " "); !looks.MatchString(action) {
			return
		}
		if used[call] = true; !unused[call] {
			missing[call] = file
		}
	}
	source := []string{"../../../steps", "../../../cloud", "../../../cmd", "../../../results", "../../../kube", "../../../engine"}
	for _, c := range calls.In(t, source...) {
		look(c.Service+" "+c.Action, c.File)
	}
	calls.Each(t, written, func(file string, m []string) { look(cmp.Or(m[1], "s3")+" "+m[2], file) }, source...)
	for call, file := range missing {
		t.Errorf("%s, made in %s, is not among testdata/calls.json", call, file)
	}
	for call := range unused {
		if !used[call] {
			t.Errorf("%s is among testdata/calls.json, but no source makes it", call)
		}
	}
	if len(used) < 50 {
		t.Errorf("only %d calls were found in the source", len(used))
	}
}
