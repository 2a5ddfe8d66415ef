package provisioneks_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pipectl.dev/steps/provisioneks"
)

var inputs = regexp.MustCompile(`&?\b(ec2|eks|iam|kms|sts|servicequotas|elb|elbv2|cloudwatchlogs|ssm)\.(\w+)Input\{`)

// iamService is the name of a service in IAM where it is not that of its Go package.
var iamService = map[string]string{"elb": "elasticloadbalancing", "elbv2": "elasticloadbalancing", "cloudwatchlogs": "logs"}

// implied are actions that AWS wants for a call of another name: tags at creation, roles that are passed on, instances of a launch template.
var implied = []string{"ec2:CreateTags", "ec2:RunInstances", "eks:TagResource", "iam:PassRole", "iam:TagOpenIDConnectProvider", "iam:TagRole", "logs:TagResource"}

func TestPermissionsAskedForAreThoseOfTheCallsMade(t *testing.T) {
	var made []string
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(files, "../../cloud/role.go", "../../cloud/loadbalancer.go", "../../cloud/logs.go") {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		for _, m := range inputs.FindAllStringSubmatch(string(text), -1) {
			service := m[1]
			if name, ok := iamService[service]; ok {
				service = name
			}
			action := service + ":" + m[2]
			made = append(made, action)
			if !slices.Contains(provisioneks.Actions(), action) && !slices.Contains(provisioneks.Optional(), action) {
				t.Errorf("%s calls %s, which the preflight does not ask IAM about", f, action)
			}
		}
	}
	for _, a := range provisioneks.Actions() {
		if !slices.Contains(made, a) && !slices.Contains(implied, a) {
			t.Errorf("the preflight asks for %s, which nobody calls", a)
		}
	}
}
