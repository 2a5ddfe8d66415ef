package catalog_test

import "testing"

// features are what other provisioning tools can do, or what their users miss, each with the tests that show what the steps do about it.
var features = map[string][]string{
	"zones by id that EKS supports, those of volumes first":   {"provisioneks.TestZonesThatHoldVolumesOfThePipelineComeFirst", "provisioneks.TestVolumesZoneComesFirst", "provisioneks.TestControlPlaneIsMadeInTheZonesThatEKSNames"},
	"subnets cut from a range, and overlaps found":            {"provisioneks.TestSpecIsCheckedWhenItIsLoaded", "provisioneks.TestOtherShapesOfNetworkLiveAndGo"},
	"NAT: single, per zone, regional, none":                   {"provisioneks.TestOtherShapesOfNetworkLiveAndGo", "provisioneks.TestNATOfANetworkThatStandsChangesWithoutCuttingNodesOff", "provisioneks.TestNATIsAddedBesideNodesInPublicSubnets"},
	"subnets tagged for load balancers":                       {"provisioneks.TestWhatTheFileDoesNotSayIsSafe", "provisioneks.TestVPCOfSomebodyElseIsUsedAndLeftAsItIs"},
	"endpoint for some addresses, the caller's among them":    {"provisioneks.TestCallerIsNotShutOutByAChange", "provisioneks.TestPreflightFindsBeforeTheFirstWriteWhatWouldFailLater"},
	"logs where asked for, whose group goes with the cluster": {"provisioneks.TestWhatTheFileDoesNotSayIsSafe", "provisioneks.TestLogGroupIsRetainedForDaysAndGoesWithTheCluster"},
	"secrets under a key where asked for":                     {"provisioneks.TestKeyIsAddedToAClusterAndStays", "provisioneks.TestClusterIsMadeWithItsKey", "provisioneks.TestKeyIsCheckedBeforeTheFirstWrite"},
	"access entries, no ConfigMap, nobody locked out":         {"provisioneks.TestWhatTheFileDoesNotSayIsSafe", "provisioneks.TestAccessBecomesWhatTheFileSaysAndNoMore", "provisioneks.TestCallerWhoseRoleHasAPathIsKnownAgain"},
	"no security groups besides EKS's own":                    {"provisioneks.TestWhatTheFileDoesNotSayIsSafe"},
	"managed node groups":                                     {"provisioneks.TestClusterIsMadeOnceKeptAndRemoved", "provisioneks.TestStoppedNodeGroupHasNoNodesAndComesBack"},
	"launch templates: IMDSv2, encrypted disks, own images":   {"provisioneks.TestWhatTheFileDoesNotSayIsSafe", "provisioneks.TestImageOfOnesOwnIsRolledOutToTheNodes", "provisioneks.TestNodesOfAnImageOfOnesOwnAreToldTheirCluster"},
	"labels, taints, update config, new images":               {"provisioneks.TestChangesToANodeGroupAreShownThenRolledOut", "provisioneks.TestReleaseOfTheImageFollowsOnlyTheFile"},
	"an OIDC provider without a thumbprint":                   {"provisioneks.TestWhatTheFileDoesNotSayIsSafe"},
	"trust policies with sub and aud always":                  {"bindirsa.TestRoleIsBoundProvenKeptAndTakenBack", "bindirsa.TestFaultsOfATrustStatement", "bindirsa.TestWildcardsAreRefusedUnlessAskedFor"},
	"boundary, path, inline and managed policies":             {"bindirsa.TestRoleHasPathBoundaryAndPoliciesOfTheSpec"},
	"size of a trust policy counted before the call":          {"bindirsa.TestTooManyServiceAccountsForOneTrustPolicy"},
	"Pod Identity": {"bindirsa.TestPodIdentityIsBoundKeptAndTakenBack", "bindirsa.TestFromIRSAToPodIdentityAndBack", "bindirsa.TestPodIdentityFailures", "bindirsa.TestPodIdentityIsProvenWithTheTokenOfAPod", "bindirsa.TestEachRefusalOfAPodHasItsRemedy"},
	"version of an add-on: default, latest, pinned, checked": {"installaddon.TestPinnedVersionIsCheckedKeptAndChangedOnlyByTheSpec", "installaddon.TestLatestIsChosenOnceAndToldLater"},
	"conflicts of an add-on":                                 {"installaddon.TestConflictsAreSolvedAsTheSpecSays", "installaddon.TestConflictWithAnotherToolIsExplained"},
	"an add-on that goes with its cluster is not deleted":    {"installaddon.TestDownLeavesAnAddonThatGoesWithItsCluster", "installaddon.TestDownRemovesAnAddonWhoseClusterStays"},
	"a kubeconfig, and its path in the result":               {"provisioneks.TestKubeconfigIsMergedAndHoldsNoToken", "provisioneks.TestKubeconfigOfAnExistingClusterIsAllThatIsWritten"},
	"what controllers made, by class":                        {"provisioneks.TestDownRemovesWhatControllersMadeAndKeepsTheVolumesOfClaims", "provisioneks.TestLoadBalancersOfOthersAreLeftAlone", "provisioneks.TestDownNamesWhatBlocksItThenGoesOn"},
	"a plan against the world, without a state file":         {"provisioneks.TestDriftIsNamedFieldByFieldThenMended", "provisioneks.TestWhatAWSCannotChangeIsRefusedWithTheFieldNamed"},
	"what exists is adopted, never replaced":                 {"provisioneks.TestVPCOfSomebodyElseIsUsedAndLeftAsItIs", "provisioneks.TestExistingClusterIsReadAndNothingElse", "provisioneks.TestClusterOfSomebodyElseIsRefusedAndLeftAlone"},
	"a deadline leaves what can be resumed":                  {"provisioneks.TestInterruptedWhileTheClusterIsMadeCarriesOn", "provisioneks.TestUpgradeCutOffCarriesOn"},
	"ten attempts for a throttled call":                      {"cloud.TestAThrottledCallIsTriedTenTimes"},
	"tags and tokens in place of a state file":               {"catalog.TestEveryCallMayGoWrong"},
	"one set of tags, on all, at creation":                   {"provisioneks.TestAllThatIsMadeHasTheTagsOfTheSpec", "provisioneks.TestTagsThatDifferAreMendedInPlace"},
}

func TestEveryFeatureHasItsTests(t *testing.T) {
	if len(features) != 28 {
		t.Fatalf("%d features, want 28", len(features))
	}
	for what, tests := range features {
		t.Run(what, func(t *testing.T) { held(t, tests) })
	}
}
