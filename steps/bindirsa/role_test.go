package bindirsa_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps/bindirsa"
)

const fullRole = csi + `
roleName: csi
path: /team/
permissionsBoundary: arn:aws:iam::aws:policy/PowerUserAccess
inlinePolicies: {keys: '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*"}]}'}
`

// roleText tells what a role has: path, boundary, managed and inline policies.
func roleText(t *testing.T, w *cloudtest.World) string {
	t.Helper()
	api, name := cloud.IAM(session(t, w)), aws.String("csi")
	r, err := api.GetRole(t.Context(), &iam.GetRoleInput{RoleName: name})
	if err != nil {
		t.Fatal(err)
	}
	out := []string{aws.ToString(r.Role.Path)}
	if b := r.Role.PermissionsBoundary; b != nil {
		out = append(out, aws.ToString(b.PermissionsBoundaryArn))
	}
	attached, err := api.ListAttachedRolePolicies(t.Context(), &iam.ListAttachedRolePoliciesInput{RoleName: name})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range attached.AttachedPolicies {
		out = append(out, aws.ToString(p.PolicyArn))
	}
	inline, err := api.ListRolePolicies(t.Context(), &iam.ListRolePoliciesInput{RoleName: name})
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(strings.Join(append(out, inline.PolicyNames...), " "), "arn:aws:iam::aws:policy/", "")
}

func TestRoleHasPathBoundaryAndPoliciesOfTheSpec(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, k := world(t, emulator.Options{Seed: 26})
		d := bindirsa.New(w.Open, k.Open)
		run := func(text, want string) {
			t.Helper()
			if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, text)); err != nil {
				t.Fatal(err)
			}
			if got := roleText(t, w); got != want {
				t.Errorf("the role has %s, want %s", got, want)
			}
			mark := w.Mark()
			if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, text)); err != nil {
				t.Fatal(err)
			}
			if _, writes := w.Count(mark); writes != 0 {
				t.Errorf("%d writes with nothing to do", writes)
			}
		}
		run(fullRole, "/team/ PowerUserAccess service-role/AmazonEBSCSIDriverPolicy keys")
		run(strings.NewReplacer("PowerUserAccess", "AmazonEKSClusterPolicy", "keys:", "more:").Replace(fullRole), "/team/ AmazonEKSClusterPolicy service-role/AmazonEBSCSIDriverPolicy more")
		bare := strings.Join(slices.DeleteFunc(strings.Split(fullRole, "\n"), func(line string) bool {
			return strings.HasPrefix(line, "permissionsBoundary") || strings.HasPrefix(line, "inlinePolicies") || strings.HasPrefix(line, "policyArns")
		}), "\n")
		run(bare, "/team/")
		mark := w.Mark()
		_, err := w.Apply(t.Context(), d, cloudtest.Input(t, strings.Replace(bare, "path: /team/", "path: /other/", 1)))
		if err == nil || !strings.Contains(err.Error(), "path: have /team/, want /other/") {
			t.Errorf("another path, which IAM cannot give: %v", err)
		}
		if _, writes := w.Count(mark); writes != 0 {
			t.Errorf("%d writes", writes)
		}
	})
}
