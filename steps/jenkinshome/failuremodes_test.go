package jenkinshome

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pipectl.dev/steps"
)

// failureModes are what a move must survive with nothing lost, and the tests that let it happen and see that it is so: package directory and
// name.
var failureModes = map[string][]string{
	"a mover is killed in the middle of a copy": {"treecopy.TestACopyKilledAnywhereEndsEqualWhenRunAgain", "treecopy.TestTemporaryFilesOfEarlierRunsAreSwept",
		"treecopy/stream.TestAReceiverKilledAnywhereEndsEqualWhenRunAgain", "steps/jenkinshome.TestAMoveSurvivesTheDeathOfItsMover", "steps/jenkinshome.TestMoverPods"},
	"the machine stops before renamed data are on disk": {"treecopy.TestTheMarkerWaitsForTheDevice", "treecopy.TestACopyInterruptedByTheMachineIsReadAgain",
		"treecopy.TestAWriteBackThatFailedEarlyIsNotForgotten", "treecopy.TestWhatAFailedWriteBackLeftIsReadAgain", "steps/jenkinshome.TestRootPowerIsLostAtAnyMoment"},
	"a node is lost": {"steps/jenkinshome.TestANodeThatIsLostLeavesTheLastGoodCopy", "steps/jenkinshome.TestALostSourceLeavesTheLastGoodCopy", "steps/jenkinshome.TestAHomeThatGoesWithItsPodIsNotMissedOnTheVolume",
		"steps/jenkinshome.TestAbortDoesNotWaitForANodeThatIsLost"},
	"the target is full, of bytes, of inodes or of a quota": {"treecopy.TestRoomIsCheckedAhead", "treecopy.TestAFullTargetStopsThePassCleanly", "treecopy.TestAQuotaThatIsUsedUpStopsThePassCleanly",
		"treecopy.TestAFailedPassDeletesNothing", "steps/jenkinshome.TestRootAVolumeThatIsTooSmallIsNamedAndGrows", "steps/jenkinshome.TestWhatAMoverIsRefusedIsTold"},
	"the source changes while it is copied": {"treecopy.TestAFileThatChangesWhileItIsRead", "treecopy.TestEntriesThatVanish", "treecopy.TestDirectoriesThatVanishFromALivePass"},
	"Jenkins, or another pod, still writes during the last pass": {"steps/jenkinshome.TestWhatGoesWrongTurnsACutOverBack", "steps/jenkinshome.TestAPodThatOnlyReadsTheHomeOrEndsIsNoObstacle", "steps/jenkinshome.TestWhoSharesTheHome",
		"steps/jenkinshome.TestWhoSharesTheHomeInTheWholeCluster", "steps/jenkinshome.TestAPodOfAnotherNamespaceThatHasTheHomeTurnsTheCutOverBack",
		"steps/jenkinshome.TestAProcessOfTheNodeThatHasTheHomeOpenTurnsTheCutOverBack"},
	"permission is denied": {"treecopy.TestAnUnprivilegedCopy", "treecopy.TestRootThatIsRefusedFailsAndSaysWhy", "treecopy.TestAttributesThatTheTargetRefusesAreNoted", "treecopy.TestLabelsOfSELinuxStayBehindAndThatIsSaid",
		"steps/jenkinshome.TestMoverPods", "steps/jenkinshome.TestRefusedBeforeAnythingIsTouched", "steps/jenkinshome.TestWhatAMoverIsRefusedIsTold"},
	"names are odd or long":                {"treecopy.TestAnyNameSurvivesEscaping", "treecopy.TestAnyTreeArrivesEqualAndStaysEqualOverPasses", "treecopy.TestPathsLongerThanTheSystemTakes"},
	"files are sparse or huge":             {"treecopy.TestHolesAreKept", "treecopy.TestHolesTakeNoRoom"},
	"files are hard links":                 {"treecopy.TestHardLinksFollowTheSource", "treecopy.TestAFirstNameThatVanishesLeavesTheOtherOne"},
	"there are pipes, sockets and devices": {"treecopy.TestSocketsAreSkippedWithANoteAndPipesAreMadeAgain", "treecopy.TestDevicesAreRefused"},
	"symbolic links lead out":              {"treecopy.TestNobodyLeadsThePassOutOfTheSource", "treecopy.TestALinkInTheTargetIsReplacedNotFollowed", "treecopy.TestLinksThatLeadOutAreCopiedAsTheyAreAndTold"},
	"mounts are nested":                    {"treecopy.TestMountPointsInTheSource", "steps/jenkinshome.TestRefusedBeforeAnythingIsTouched"},
	"clocks differ":                        {"treecopy.TestAChangeThatKeepsSizeAndTimeIsFoundByTheManifest", "treecopy.TestTheRestOfASecondArrives", "kube.TestLeaseIsHeldByOneAndTakenFromTheDead", "kube.TestLeasesAreJudgedByWhatIsSeenNotByClocks"},
	"something scales Jenkins up again": {"steps/jenkinshome.TestWhatGoesWrongTurnsACutOverBack", "steps/jenkinshome.TestMigrateRefusals", "steps/jenkinshome.TestAPodOnTheNewClaimTurnsTheCutOverBack",
		"kube.TestPausedApplicationsAreRestoredExactly"},
	"two moves run at once": {"steps/jenkinshome.TestASecondMoverIsRefusedAndToldWhoMoves", "steps/jenkinshome.TestAMoverWhoseLeaseWentToAnotherStops", "steps/jenkinshome.TestTwoSourceClustersDoNotShareAVolume",
		"steps/jenkinshome.TestTheMarkerOnTheVolumeRefusesASecondSourceWhereTagsAreLost", "steps/jenkinshome.TestAFinishedMoveIsNotTakenForThatOfAnotherJenkins"},
	"the target is not empty, or is the wrong volume": {"treecopy.TestGuardsOfTheTarget", "treecopy.TestNothingIsDeletedFromASharedTarget", "steps/jenkinshome.TestAMoverRefusesWhatItMustNotWriteTo",
		"steps/jenkinshome.TestAClaimThatDoesNotServeIsRefused", "steps/jenkinshome.TestAClaimThatIsNotMountedIsNotWrittenTo", "steps/jenkinshome/device.TestWhatSomebodyElseMountedIsTheVolume"},
	"source and target are swapped": {"treecopy.TestACopyIsNotCopiedBackOverItsSource", "treecopy.TestAnEmptySourceDoesNotEmptyTheTarget", "steps/jenkinshome.TestAHomeThatLostItsJobsDoesNotEmptyTheCopy",
		"steps/jenkinshome.TestAHomeThatIsOnTheDataVolumeIsNotMovedOntoItself"},
	"the switch fails": {"steps/jenkinshome.TestANewJenkinsThatDiffersIsTurnedBack", "steps/jenkinshome.TestNobodyTakesTheVolume", "rehearsal.TestAHomeTravelsBetweenTwoClaimsOfOneCluster"},
	"a rollback is wanted after the new Jenkins started": {"steps/jenkinshome.TestANewJenkinsThatDiffersIsTurnedBack", "steps/jenkinshome.TestARollbackSurvivesTheDeathOfItsOrchestrator",
		"steps/jenkinshome.TestARolledBackMoveGoesByTheClaimThatIsMadeAnew"},
	"a second Jenkins starts on the old home later": {"steps/jenkinshome.TestTheOldClaimOutlivesItsChartUntilTheMoveIsTurnedBack", "steps/jenkinshome.TestAnOldJenkinsStartedAfterTheMoveIsTold", "steps/jenkinshome.TestMoveNeverLosesAJenkins"},
	"pipectl itself dies between two phases":        {"steps/jenkinshome.TestAMoveSurvivesTheDeathOfItsOrchestrator", "steps/jenkinshome.TestTheStageIsTakenUpAgainAfterItsAgentEnded", "steps/jenkinshome.TestMoveVerbs"},
	"secrets get into logs or results":              {"steps/jenkinshome.TestTheTokenIsNowhereButInItsSecret", "steps/jenkinshome.TestKeysAreNowhereButInTheirSecrets"},
	"AWS throttles, or a token expires in a long copy": {"steps/jenkinshome.TestTheCloudMisbehaves", "steps/jenkinshome.TestEveryAWSCallOfAMoveMayGoWrong", "cloud.TestAThrottledCallIsTriedTenTimes",
		"cloud.TestATokenOfAServiceAccountIsReadAgain"},
}

func TestEveryFailureModeHasATest(t *testing.T) {
	if len(failureModes) != 24 {
		t.Errorf("%d failure modes, want 24", len(failureModes))
	}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	have := map[string]bool{}
	for _, dir := range []string{"treecopy", "treecopy/stream", "kube", "cloud", "rehearsal", "steps/jenkinshome", "steps/jenkinshome/device"} {
		files, err := filepath.Glob(filepath.Join("../..", dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
				have[dir+"."+m[1]] = true
			}
		}
	}
	for mode, tests := range failureModes {
		for _, name := range tests {
			if !have[name] {
				t.Errorf("%s: there is no %s", mode, name)
			}
		}
	}
}

func TestANodeThatIsLostLeavesTheLastGoodCopy(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		copied := s.tagged(tagCopied)
		s.old.remove(oldPod) // the workload still wants one, and no node can run it
		s.old.remove("/api/v1/nodes/node-1")
		s.noMover = true
		if _, err := s.migrate(t.Context(), pre.Move, "run-1"); steps.Classify(err).Category != steps.Unhealthy || !steps.Classify(err).Retryable {
			t.Errorf("migrate: %v", err)
		}
		if _, err := s.verify(t.Context(), pre.Move); code(err) != "NotMoved" {
			t.Errorf("a new Jenkins is accepted on a copy of a running one: %v", err)
		}
		if s.state() != Precopied || copied == "" || s.tagged(tagCopied) != copied {
			t.Errorf("state %s, copied at %q, now %q", s.state(), copied, s.tagged(tagCopied))
		}
		a, k := s.openers()
		p := s.precopySpec()
		r, err := NewManager(a, k, Options{}).Status(t.Context(), s.env("run-2"), Stages{Precopy: &p})
		if err != nil || !strings.Contains(r.Text(), copied) {
			t.Errorf("status: %v\n%s", err, r.Text())
		}
	})
}

func (s *stage) tagged(key string) string { return s.ebs().Tags[key] }
