package provisioneks_test

import (
	"slices"
	"testing"

	"pipectl.dev/cloud/cloudtest/calls"
	"pipectl.dev/steps/provisioneks"
)

// implied are actions that AWS wants for a call of another name: tags at creation, roles that are passed on, instances of a launch template.
var implied = []string{"ec2:CreateTags", "ec2:RunInstances", "eks:TagResource", "iam:PassRole", "iam:TagOpenIDConnectProvider", "iam:TagRole", "logs:TagResource"}

func TestPermissionsAskedForAreThoseOfTheCallsMade(t *testing.T) {
	var made []string
	for _, c := range calls.In(t, "*.go", "../../cloud/role.go", "../../cloud/loadbalancer.go", "../../cloud/logs.go") {
		action := c.IAM()
		made = append(made, action)
		if !slices.Contains(provisioneks.Actions(), action) && !slices.Contains(provisioneks.Optional(), action) {
			t.Errorf("%s calls %s, which the preflight does not ask IAM about", c.File, action)
		}
	}
	for _, a := range provisioneks.Actions() {
		if !slices.Contains(made, a) && !slices.Contains(implied, a) {
			t.Errorf("the preflight asks for %s, which nobody calls", a)
		}
	}
}
