package catalog_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
)

// faults are the ways of AWS that every provisioning tool must survive, each with the tests that show that the steps do.
var faults = [...]struct {
	what  string
	tests []string // package and test
}{
	{"IAM has not spread a role yet, in the words of a role that is wrong", []string{"provisioneks.TestWhatPassesByItselfIsWaitedFor", "provisioneks.TestRoleThatIsWrongIsToldAtOnce", "provisioneks.TestFreshRoleThatStaysRefusedIsToldAfterTwoMinutes"}},
	{"a service-linked role is still being made", []string{"provisioneks.TestWhatPassesByItselfIsWaitedFor", "provisioneks.TestFirstClusterOfAnAccountNeedsServiceLinkedRoles"}},
	{"a role is not found right after it was made", []string{"provisioneks.TestWhatPassesByItselfIsWaitedFor"}},
	{"a fresh principal is not valid in a policy yet", []string{"bindirsa.TestPrincipalThatIAMDoesNotSeeYetIsWaitedFor"}},
	{"in use: it exists, it is being updated, something hangs on it", []string{"provisioneks.TestInUseMeansThreeThings", "provisioneks.TestClusterOfSomebodyElseIsRefusedAndLeftAlone"}},
	{"gone is told in more than one way", []string{"cloud.TestGoneIsToldInSeveralWays"}},
	{"throttling inside a wait", []string{"provisioneks.TestThrottledPollsAreNotYetAndNoFailure", "cloud.TestAThrottledCallIsTriedTenTimes", "installaddon.TestThrottledPollsAreNotFailures"}},
	{"a look at a fresh thing finds nothing", []string{"provisioneks.TestWhatPassesByItselfIsWaitedFor", "catalog.TestEveryCallMayGoWrong"}},
	{"an add-on without a node is degraded for a quarter of an hour", []string{"installaddon.TestAddonWaitsForTheFirstNodeThatIsReady", "installaddon.TestDegradedMayPassAndIsToldWhenItDoesNot"}},
	{"an add-on's role, conflicts and service account", []string{"installaddon.TestRefusalsOfCreateAddon", "installaddon.TestConflictWithAnotherToolIsExplained"}},
	{"a zone that hosts no control plane", []string{"provisioneks.TestControlPlaneIsMadeInTheZonesThatEKSNames", "provisioneks.TestPreflightFindsBeforeTheFirstWriteWhatWouldFailLater"}},
	{"a zone that is full", []string{"provisioneks.TestGroupIsMadeWithoutAZoneThatIsFull", "provisioneks.TestNodeGroupWithoutCapacityFailsAtOnceAndIsReplaced"}},
	{"nodes that never join", []string{"provisioneks.TestNodesThatCannotJoinAreDiagnosedLongBeforeEKSGivesUp", "provisioneks.TestNetworkPluginThatFailedIsNamedWhenNodesStayUnready"}},
	{"quotas", []string{"provisioneks.TestLimitIsNamedAndNotTriedAgain", "provisioneks.TestPreflightFindsBeforeTheFirstWriteWhatWouldFailLater", "bindirsa.TestTooManyServiceAccountsForOneTrustPolicy", "bindirsa.TestTooManyPoliciesForOneRole"}},
	{"credentials that end in the middle", []string{"provisioneks.TestCredentialsThatEndTooSoon", "catalog.TestEveryCallMayGoWrong"}},
	{"something still hangs on what is to go", []string{"provisioneks.TestDownNamesWhatBlocksItThenGoesOn", "provisioneks.TestDownRemovesWhatControllersMadeAndKeepsTheVolumesOfClaims"}},
	{"EC2 does not know yet what it has just made", []string{"provisioneks.TestWhatPassesByItselfIsWaitedFor"}},
	{"calls without a client token", []string{"catalog.TestEveryCallMayGoWrong"}},
	{"one update of a cluster at a time", []string{"provisioneks.TestDriftIsNamedFieldByFieldThenMended", "provisioneks.TestInUseMeansThreeThings"}},
	{"refusals of a service account's token", []string{"catalog.TestEachRefusalOfATokenHasItsRemedy", "bindirsa.TestRoleFollowsARecreatedCluster"}},
}

var homes = map[string]string{"provisioneks": "../provisioneks", "installaddon": "../installaddon", "bindirsa": "../bindirsa", "catalog": ".", "cloud": "../../cloud"}

func TestEveryKnownFaultHasItsTests(t *testing.T) {
	if len(faults) != 20 {
		t.Fatalf("%d faults, want 20", len(faults))
	}
	for i, f := range faults {
		t.Run(strconv.Itoa(i+1)+" "+f.what, func(t *testing.T) { held(t, f.tests) })
	}
}

// held fails where there is none of the tests, each given as package and name, or one is not there.
func held(t *testing.T, tests []string) {
	t.Helper()
	if len(tests) == 0 {
		t.Error("no test")
	}
	for _, name := range tests {
		pkg, test, _ := strings.Cut(name, ".")
		if !slices.Contains(testsIn(t, homes[pkg]), test) {
			t.Errorf("%s is no test of package %s", test, pkg)
		}
	}
}

func TestEachRefusalOfATokenHasItsRemedy(t *testing.T) {
	const small = "{name: blog, network: {nat: none}}"
	plain := strings.NewReplacer("permissionsBoundary: arn:aws:iam::aws:policy/PowerUserAccess\n", "").Replace(roleYAML)
	for name, c := range map[string]struct {
		code, message string
		times         int
		hint          string // "" where it passes by itself
	}{
		"the issuer of a cluster that was made again": {"InvalidIdentityToken", "No OpenIDConnect provider found in your account for https://oidc.example", -1, "run the stage that makes the cluster again"},
		"keys that are not public":                    {"InvalidIdentityToken", "Couldn't retrieve verification key from your identity provider", -1, "its JWKS must be public"},
		"a subject or audience that does not match":   {"AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", -1, "compare its sub and aud"},
		"an issuer that AWS does not reach":           {"IDPCommunicationError", "An error occurred while trying to communicate with the identity provider", -1, "AWS could not reach the issuer"},
		"an issuer that AWS does not reach at first":  {"IDPCommunicationError", "An error occurred while trying to communicate with the identity provider", 2, ""},
		"a trust policy that is still spreading":      {"AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", 3, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 97})
				p := client(w, w.Kube("blog", cloudtest.Node("ip-10-0-1-5")))
				if _, err := w.Apply(t.Context(), p.steps["provision-eks"], cloudtest.Input(t, small)); err != nil {
					t.Fatal(err)
				}
				w.AddFault(emulator.Fault{Service: "sts", Action: "AssumeRoleWithWebIdentity", Kind: "refuse", Code: c.code, Message: c.message, Times: c.times})
				_, err := w.Apply(t.Context(), p.steps["bind-irsa"], cloudtest.Input(t, plain))
				if c.hint == "" {
					if err != nil {
						t.Error(err)
					}
					return
				}
				if err == nil {
					t.Fatal("want the refusal told")
				}
				if e := steps.Classify(err); e.Code != "ProofFailed" || !strings.Contains(strings.Join(e.Hints, " "), c.hint) {
					t.Errorf("got %v, hints %q, want %q", err, e.Hints, c.hint)
				}
			})
		})
	}
}

// testsIn are the names of the tests in a directory.
func testsIn(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(dir + "/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if name, ok := strings.CutPrefix(line, "func "); ok && strings.HasPrefix(name, "Test") {
				names = append(names, name[:strings.IndexByte(name, '(')])
			}
		}
	}
	return names
}
