package syncargocd_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// races names, by its number in the research, each way in which a sync or its status may deceive, with what it is and the tests that
// stage it on the real Argo CD.
var races = map[int]struct {
	what  string
	tests []func(*testing.T)
}{
	1:  {"a request over a running operation is lost", tests(TestOperationsOfOthersAreWaitedForAndAdopted)},
	2:  {"the operation that ended was not ours", tests(TestOperationsOfOthersAreWaitedForAndAdopted, TestOnATimeoutOnlyOurOwnOperationIsStopped)},
	3:  {"the state shown is that of the operation before", tests(TestOperationsOfOthersAreWaitedForAndAdopted)},
	4:  {"the operation is done, the status is older", tests(TestWhatIsLiveIsAlwaysTheNewestCommit)},
	5:  {"a refresh is dropped, or never answered", tests(TestARefreshMarkThatSomebodyElseRemovesIsSetAgain, TestFailuresAreFoundEarlyAndSayWhy)},
	6:  {"healthy for a moment, or sick for one", tests(TestHealthOfAMomentIsNotBelieved, TestASicknessThatPassesIsNoFailure)},
	7:  {"a sync window closes, and the operation waits in it", tests(TestClosedSyncWindowIsNotWaitedFor)},
	8:  {"a running state that nobody works on", tests(TestAnOperationThatNobodyWorksOnIsReplaced, TestAControllerThatRestartsCarriesOn)},
	9:  {"the automatic sync begins between look and request", tests(TestOperationsOfOthersAreWaitedForAndAdopted, TestAnAutomaticSyncIsAdopted)},
	10: {"an app of apps is healthy before its children", tests(TestChildrenOfAnAppOfAppsAreAwaited, TestChildrenOfChildrenAreAwaited, TestWhatAnApplicationSetOfAnAppOfAppsMakesIsAwaited)},
	11: {"the Application changes during the sync", tests(TestAnApplicationThatChangesDuringTheSyncIsSyncedAsItIsThen)},
	12: {"healthy beside an error of comparison", tests(TestFailuresAreFoundEarlyAndSayWhy)},
	13: {"an error is cached by the repo server", tests(TestAnErrorThatWasRememberedIsAskedForAgain, TestAnErrorThatIsCachedForTheSameCommitIsAskedForAgain)},
	14: {"the watch is lost", tests(TestLostConnectionsAndServersThatRestartAreSurvived, TestARestartOfTheAPIServerIsSurvived, TestASyncBelowWhichTheAPIServerDiedIsMadeAgain)},
	15: {"options of the Application are not in the operation", tests(TestOptionsOfTheApplicationAreKeptAndOursLaidOver)},
	16: {"what Argo CD knows of Git is old", tests(TestWhatIsLiveIsAlwaysTheNewestCommit, TestACommitThatIsNotTheHeadCanBeSynced)},
	17: {"YAML that begins with a brace is read as JSON", tests(TestYAMLThatBeginsWithABraceIsExplained)},
}

func tests(t ...func(*testing.T)) []func(*testing.T) { return t }

func TestEveryRaceHasATest(t *testing.T) {
	for n := 1; n <= 17; n++ {
		if r := races[n]; r.what == "" || len(r.tests) == 0 {
			t.Errorf("R%d has no test", n)
		}
	}
	if len(races) != 17 {
		t.Errorf("%d races, want 17", len(races))
	}
}

// The release that a run names must be the one that works: since 3 the status does not tell the health of each resource, and says so.
func TestTheReleaseIsTheOneThatTheRunNames(t *testing.T) {
	a := start(t)
	a.commit(map[string]string{"v/cm.yaml": config("v", "x")})
	a.app("release", "v", "")
	a.synced("apps: [{name: release}]\nhealthyFor: 100ms\n")
	if source := a.field("release", "status", "resourceHealthSource"); (source == "appTree") != strings.HasPrefix(release(), "v3.") {
		t.Errorf("Argo CD %s: resourceHealthSource %q", release(), source)
	}
}

func TestAnErrorThatIsCachedForTheSameCommitIsAskedForAgain(t *testing.T) { // R13
	ways(t, func(a *argo) {
		name, base := "base-"+a.way, filepath.Join(t.TempDir(), "base")
		head := a.commit(map[string]string{"b/kustomization.yaml": "resources: ['file://" + base + "//b?ref=main']\n"})
		a.app(name, "b", "")
		with := "apps: [{name: " + name + "}]\nhealthyFor: 100ms\n"
		a.until("the error is cached", func() bool {
			a.patch(name, `{"metadata":{"annotations":{"argocd.argoproj.io/refresh":"normal"}}}`)
			return strings.Contains(fmt.Sprint(a.object(kube.ApplicationRef("argocd", name))["status"]), "(cached)")
		})
		other := &argo{t: a.t, repo: base}
		if err := os.MkdirAll(base, 0o755); err != nil { //nolint:gosec // Argo CD reads it
			a.t.Fatal(err)
		}
		other.git("init", "-q", "-b", "main")
		other.commit(map[string]string{"b/cm.yaml": config("b", "ok"), "b/kustomization.yaml": "resources: [cm.yaml]\n"})
		if out := a.synced(with).Apps[name]; !out.Changed || out.Revision != head || a.value(name, "b") != "ok" {
			a.t.Errorf("what was missing is there now, and the commit is the same: %+v", out)
		}
	})
}

// TestYAMLThatBeginsWithABraceIsExplained: Argo CD 2.14 does not read it, and says so without the reason; 3 does.
func TestYAMLThatBeginsWithABraceIsExplained(t *testing.T) { // R17
	ways(t, func(a *argo) {
		flow := "{apiVersion: v1, kind: ConfigMap, metadata: {name: j}, data: {value: x}}\n"
		a.commit(map[string]string{"alone/cm.yaml": flow, "after/cm.yaml": `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "i"}}` + "\n---\n" + flow})
		for _, path := range []string{"alone", "after"} {
			name := "brace-" + path + "-" + a.way
			a.app(name, path, "")
			_, err := a.sync("apps: [{name: " + name + "}]\nhealthyFor: 100ms\n")
			if strings.HasPrefix(release(), "v3.") {
				if err != nil || a.value(name, "j") != "x" {
					a.t.Errorf("%s: live %q, %v", path, a.value(name, "j"), err)
				}
				continue
			}
			if err == nil {
				a.t.Fatalf("%s: Argo CD reads it after all", path)
			}
			e := steps.Classify(err)
			if e.Code != "ComparisonError" || e.Category.ExitCode() != 17 || !strings.Contains(e.Message, "cm.yaml") || !strings.Contains(strings.Join(e.Hints, ""), "begins with `{`") {
				a.t.Errorf("%s: got %s, exit %d: %v, hints %q", path, e.Code, e.Category.ExitCode(), err, e.Hints)
			}
		}
	})
}

func TestHealthOfAMomentIsNotBelieved(t *testing.T) { // R6
	ways(t, func(a *argo) {
		name := "moment-" + a.way
		a.commit(map[string]string{"m/web.yaml": strings.Replace(web("m", "", "pipectl:test"), "name: web,", `name: web, command: [sleep, "4"],`, 1)})
		a.app(name, "m", "")
		a.fails("apps: [{name: "+name+"}]\nhealthyFor: 20s\ndegradedGrace: 2s\n", "CrashLoopBackOff", "exit code 0")
	})
}

func TestASicknessThatPassesIsNoFailure(t *testing.T) { // R6
	ways(t, func(a *argo) {
		name := "patient-" + a.way
		text := strings.Replace(web("p", "  progressDeadlineSeconds: 1\n", "nginx"), "spec: {containers", "spec: {nodeSelector: {later: "+name+"}, containers", 1)
		a.commit(map[string]string{"p/web.yaml": text})
		a.app(name, "p", "")
		done := make(chan error, 1)
		go func() { _, err := a.sync("apps: [{name: " + name + "}]\nhealthyFor: 1s\n"); done <- err }()
		a.until("it is Degraded", func() bool { return a.field(name, "status", "health", "status") == "Degraded" })
		a.label(`{"later":"` + name + `"}`)
		if err := <-done; err != nil {
			a.t.Fatal(err)
		}
		if h := a.field(name, "status", "health", "status"); h != "Healthy" {
			a.t.Errorf("succeeded while %s", h)
		}
	})
}

// label adds labels to the lab's node.
func (a *argo) label(labels string) {
	a.t.Helper()
	node := kube.ObjectRef{APIVersion: "v1", Kind: "Node", Name: "ip-10-0-1-10"}
	if _, err := a.client.MergePatch(a.t.Context(), node, []byte(`{"metadata":{"labels":`+labels+`}}`)); err != nil {
		a.t.Fatal(err)
	}
}

func TestAControllerThatRestartsCarriesOn(t *testing.T) { // R8, R14
	ways(t, func(a *argo) {
		name := "restart-" + a.way
		head := a.commit(map[string]string{"r/cm.yaml": config("r", "x"), "r/slow.yaml": slow(6)})
		a.app(name, "r", "")
		done := make(chan error, 1)
		go func() {
			out, err := a.sync("apps: [{name: " + name + "}]\nhealthyFor: 100ms\n")
			if err == nil && (out.Apps[name].Revision != head || a.value(name, "r") != "x") {
				a.t.Errorf("%+v", out)
			}
			done <- err
		}()
		a.until("it runs", func() bool { return a.field(name, "status", "operationState", "phase") == "Running" })
		a.restart("argocd-application-controller")
		if a.way == "server" {
			a.restart("argocd-server")
		}
		if err := <-done; err != nil {
			a.t.Fatal(err)
		}
		if n := a.syncs(name); n != 1 {
			a.t.Errorf("%d syncs, want 1", n)
		}
	})
}

// restart deletes the pods of one of Argo CD's programs: what owns them makes new ones.
func (a *argo) restart(program string) {
	a.t.Helper()
	api, _, err := a.client.Resource(kube.ObjectRef{APIVersion: "v1", Kind: "Pod", Namespace: "argocd"})
	if err != nil {
		a.t.Fatal(err)
	}
	if err := api.DeleteCollection(a.t.Context(), deleteNow, listLabel("app.kubernetes.io/name="+program)); err != nil {
		a.t.Fatal(err)
	}
}

func TestAnAutomaticSyncIsAdopted(t *testing.T) { // R9
	ways(t, func(a *argo) {
		name := "auto-" + a.way
		a.commit(map[string]string{"a/cm.yaml": config("a", "one")})
		a.app(name, "a", ", automated: {}")
		a.until("it synced itself", func() bool { return a.value(name, "a") == "one" })
		for i := range 5 {
			value := fmt.Sprint("round ", i)
			head := a.commit(map[string]string{"a/cm.yaml": config("a", value)})
			// The comparison that we ask for starts the automatic sync at the same moment as we would.
			out := a.synced("apps: [{name: " + name + "}]\nhealthyFor: 100ms\n").Apps[name]
			if out.Revision != head || a.value(name, "a") != value {
				a.t.Errorf("%s: %+v, live %q, want %s", value, out, a.value(name, "a"), head)
			}
		}
		if n := a.syncs(name); n != 6 {
			a.t.Errorf("%d syncs of 6 commits", n)
		}
	})
}
