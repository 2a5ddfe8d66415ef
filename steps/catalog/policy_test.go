package catalog_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
)

const (
	limitedKey  = "REHEARSALFIXTURE0002"
	limitedUser = "arn:aws:iam::111122223333:user/limited"
)

// liveAs lives a whole life as a user of whom the account knows policy only; "" is a user who may do all. What others do to the account
// they do as themselves.
func (l life) liveAs(t *testing.T, policy string) (calls []emulator.Call, left []string, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := emulator.Options{Seed: 31, LagLists: true, Access: []emulator.AccessKey{
			{ID: emulator.FixtureAccessKey, Secret: emulator.FixtureSecretKey},
			{ID: limitedKey, Secret: emulator.FixtureSecretKey, Principal: limitedUser},
		}}
		if policy != "" {
			o.IdentityPolicies = map[string]string{limitedUser: policy}
		}
		w := cloudtest.New(t, o)
		k := l.cluster(w)
		for _, p := range l.phases {
			if p.before != nil {
				p.before(t, w)
			}
			if err = p.run(t.Context(), t, w, clientAs(w, k, limitedKey)); err != nil {
				err = fmt.Errorf("%s: %w", p.name, err)
				break
			}
		}
		calls = slices.DeleteFunc(w.Calls(), func(c emulator.Call) bool { return c.Principal != limitedUser })
		left = inventory(w)
	})
	return calls, left, err
}

// goesOnWithout are actions whose refusal a step answers by knowing less, or by another way, and not by an error.
var goesOnWithout = map[string]string{
	"ec2:DescribeImages":                      "an image of one's own is not looked at before",
	"ec2:DescribeInstances":                   "vCPUs in use are not counted before",
	"eks:DescribeClusterVersions":             "a plan tells no dates of support, and a version that is not known shows when the cluster is made",
	"eks:ListClusters":                        "clusters are not counted before",
	"iam:ListOpenIDConnectProviders":          "providers are not counted before; one whose cluster is gone is looked for when it is removed",
	"iam:ListRoles":                           "roles are not counted before",
	"iam:SimulatePrincipalPolicy":             "a missing permission shows at its call instead",
	"kms:DescribeKey":                         "the key is not looked at before: EKS says what is wrong with it",
	"servicequotas:GetServiceQuota":           "quotas are not looked at before",
	"servicequotas:GetAWSDefaultServiceQuota": "quotas are not looked at before",
	"sts:GetCallerIdentity":                   "STS answers everybody",
	"sts:AssumeRoleWithWebIdentity":           "is not signed: the role's trust policy decides",
}

// TestTheWrittenPolicyIsEnoughAndNoMore lives every life under exactly the policy that its calls make, then again without each one of the
// actions: then the error must name it.
func TestTheWrittenPolicyIsEnoughAndNoMore(t *testing.T) {
	tried := map[string]bool{}
	for _, l := range lives() {
		calls, want, err := l.liveAs(t, "")
		if err != nil {
			t.Fatal(err)
		}
		policy := emulator.LeastPolicy(calls, cloud.TagIdentity)
		_, got, err := l.liveAs(t, document(t, policy, ""))
		if err != nil {
			t.Errorf("%s: under its own policy: %v\n%s", l.name, err, document(t, policy, ""))
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: leaves something else under its own policy (-want +got):\n%s", l.name, diff)
		}
		for _, action := range actionsOf(policy) {
			if tried[action] {
				continue
			}
			tried[action] = true
			t.Run(l.name+" without "+action, func(t *testing.T) {
				t.Parallel()
				_, _, err := l.liveAs(t, document(t, policy, action))
				if err == nil {
					if goesOnWithout[action] == "" {
						t.Error("nobody missed it: the policy allows too much")
					}
					return
				}
				if code := steps.Classify(err).Category.ExitCode(); code != 11 || !strings.Contains(err.Error(), action) {
					t.Errorf("ends with exit %d, want 11 and the action named: %v", code, err)
				}
			})
		}
	}
	t.Logf("%d actions taken away one by one", len(tried))
}

func actionsOf(p emulator.Policy) []string {
	var out []string
	for _, s := range p.Statement {
		out = append(out, s.Action...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// document is a policy as JSON, without one action.
func document(t *testing.T, p emulator.Policy, without string) string {
	t.Helper()
	less := emulator.Policy{Version: p.Version}
	for _, s := range p.Statement {
		s.Action = slices.DeleteFunc(slices.Clone(s.Action), func(a string) bool { return a == without })
		if len(s.Action) > 0 {
			less.Statement = append(less.Statement, s)
		}
	}
	text, err := json.Marshal(less)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
