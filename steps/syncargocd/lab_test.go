package syncargocd_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

func TestApplicationThatAppearsLaterIsSyncedOnceAndThenLeftAlone(t *testing.T) {
	ways(t, func(a *argo) {
		t := a.t
		name := "shop-" + a.way
		head := a.commit(map[string]string{"shop/web.yaml": web("shop", "", "nginx:1")})
		with := "apps: [{name: " + name + "}]\nhealthyFor: 1s\n"
		p := a.plan(with)
		if p.Outputs != nil || p.Changes[0].Action != "update" {
			t.Errorf("plan before it exists: %+v", p)
		}
		time.AfterFunc(time.Second, func() { a.app(name, "shop", "") })
		out := a.synced(with)
		got := out.Apps[name]
		if !got.Changed || got.Revision != head || got.Sync != "Synced" || got.Health != "Healthy" || len(got.Resources) == 0 {
			t.Errorf("first sync: %+v, want revision %s", got, head)
		}
		if diff := cmp.Diff(map[string]string{name: "http://shop." + name + ".svc:8080"}, out.URLs); diff != "" {
			t.Errorf("urls (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"nginx:1"}, got.Images); diff != "" {
			t.Errorf("images (-want +got):\n%s", diff)
		}
		before := a.syncs(name)
		if p = a.plan(with); p.Outputs == nil || p.Changes[0].Action != "keep" {
			t.Errorf("plan afterwards: %+v", p)
		}
		if out = a.synced(with); out.Apps[name].Changed {
			t.Errorf("second sync: %+v", out)
		}
		if after := a.syncs(name); after != before {
			t.Errorf("%d operations were written for nothing", after-before)
		}
		def, env, in := a.stage(with)
		if raw, found, err := def.Observe(t.Context(), env, in); err != nil || !found || !strings.Contains(string(raw), head) {
			t.Errorf("observe: %s %v %v", raw, found, err)
		}
		a.commit(map[string]string{"shop/web.yaml": web("shop", "  replicas: 2\n", "nginx:2"), "shop/more.yaml": config("more", "x")})
		drift := strings.Join(a.plan(with).Changes[0].Drift, "\n")
		for _, w := range []string{"ConfigMap " + name + "/more: create", "Deployment " + name + "/shop: update: spec.replicas: have 1, want 2"} {
			if !strings.Contains(drift, w) {
				t.Errorf("plan of a change: no %q in:\n%s", w, drift)
			}
		}
		got = a.synced(with + "maxParallel: 1\n").Apps[name]
		if diff := cmp.Diff([][]string{{"nginx:1"}, {"nginx:2"}}, [][]string{got.ImagesBefore, got.Images}); diff != "" {
			t.Errorf("images before and after (-want +got):\n%s", diff)
		}
	})
}

func TestWhatIsLiveIsAlwaysTheNewestCommit(t *testing.T) { // R4, R16
	ways(t, func(a *argo) {
		name := "busy-" + a.way
		a.commit(map[string]string{"busy/cm.yaml": config("busy", "start")})
		a.app(name, "busy", "")
		for i := range 10 {
			n := strings.Repeat("x", i+1)
			head := a.commit(map[string]string{"busy/cm.yaml": config("busy", n)})
			out := a.synced("apps: [{name: " + name + ", want: {pushed: " + head + "}}]\nhealthyFor: 100ms\n").Apps[name]
			if live := a.value(name, "busy"); out.Revision != head || live != n || !out.Changed {
				a.t.Errorf("round %d: %+v, live %q, want commit %s", i, out, live, head)
			}
		}
		pushed := a.commit(map[string]string{"busy/cm.yaml": config("busy", "ours")})
		head := a.commit(map[string]string{"busy/cm.yaml": config("busy", "theirs")})
		with := "apps: [{name: " + name + ", want: {%s: " + pushed + "}}]\nhealthyFor: 100ms\n"
		a.fails(fmt.Sprintf(with, "commit"), "WrongRevision", "wanted is "+pushed)
		if out := a.synced(fmt.Sprintf(with, "pushed")).Apps[name]; out.Revision != head || a.value(name, "busy") != "theirs" {
			a.t.Errorf("a branch that moved on since the push: %+v, want %s", out, head)
		}
	})
}

func TestFailuresAreFoundEarlyAndSayWhy(t *testing.T) {
	ways(t, func(a *argo) {
		t, s := a.t, "-"+a.way
		a.commit(map[string]string{
			"refused/bad.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: refused}\nspec: {ports: [{port: 99999999}]}\n",
			"slow/web.yaml":    strings.Replace(web("slow", "", "nginx"), "spec: {containers", "spec: {nodeSelector: {no-such: node}, containers", 1),
			"pull/web.yaml":    web("pull", "", "registry.invalid/web:1"),
			"crash/web.yaml":   strings.Replace(web("crash", "", "pipectl:test"), "name: web,", "name: web, command: [\"false\"],", 1),
		})
		for _, path := range []string{"refused", "slow", "pull", "crash"} {
			a.app(path+s, path, "")
		}
		a.app("nopath"+s, "no/such/path", "")
		a.app("norepo"+s, "slow", "")
		a.patch("norepo"+s, `{"spec":{"source":{"repoURL":"file:///no/such/repository"}}}`)
		a.app("noproject"+s, "slow", "")
		a.patch("noproject"+s, `{"spec":{"project":"nobody"}}`)
		a.app("nobranch"+s, "slow", "")
		a.patch("nobranch"+s, `{"spec":{"source":{"targetRevision":"no-such-branch"}}}`)
		for name, test := range map[string]struct {
			with, code string
			exit       int
			says       string
		}{
			"R12: a path that is not in Git":                    {"apps: [{name: nopath%}]", "ComparisonError", 17, "app path does not exist"},
			"R5: a repository that is missing":                  {"apps: [{name: norepo%}]", "ComparisonError", 17, "repository not found"},
			"a branch that is missing":                          {"apps: [{name: nobranch%}]", "ComparisonError", 17, "no-such-branch"},
			"a project that is missing":                         {"apps: [{name: noproject%}]", "InvalidSpecError", 17, "nobody"},
			"a manifest that is refused":                        {"apps: [{name: refused%}]", "SyncFailed", 17, "99999999"},
			"pods that fit on no node":                          {"apps: [{name: slow%}]\ntimeout: 8s", "TimedOut", 15, "Unschedulable"},
			"pods without an image":                             {"apps: [{name: pull%}]\ndegradedGrace: 3s", "ImagePullBackOff", 17, "registry.invalid/web:1"},
			"R6: pods that crash again and again":               {"apps: [{name: crash%}]\ndegradedGrace: 3s", "CrashLoopBackOff", 17, "exit code 1"},
			"an app that never appears":                         {"apps: [{name: nobody%}]\nappear: 1s", "AppNotFound", 10, "did not appear"},
			"a selection that finds nothing":                    {"apps: [{selector: test=nobody}]\nappear: 1s", "AppsNotFound", 10, "found 0 of 1"},
			"an ApplicationSet that does not exist":             {"apps: [{applicationSet: nobody}]\nappear: 1s", "AppsNotFound", 10, "does not exist"},
			"R16: a commit that the branch does not have":       {"apps: [{name: slow%, want: {commit: " + strings.Repeat("a", 40) + "}}]", "WrongRevision", 18, "wanted is aaaa"},
			"resources that the Application does not have":      {"apps: [{name: slow%, resources: ['apps:DaemonSet:web']}]", "NoSuchResource", 10, "no resource"},
			"revisions for an Application that has one source":  {"apps: [{name: slow%, revisions: [a, b]}]", "OneSource", 2, "one source"},
			"several that fail in different ways, as one error": {"apps: [{name: nopath%}, {name: nobody%}]\nappear: 1s", "SomeFailed", 16, "2 of 2"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				b := &argo{t: t, client: a.client, opener: a.opener, repo: a.repo, way: a.way}
				_, err := b.sync(strings.ReplaceAll(test.with, "%", s))
				if err == nil {
					t.Fatal("succeeded")
				}
				if e := steps.Classify(err); e.Code != test.code || e.Category.ExitCode() != test.exit || !strings.Contains(e.Message, test.says) {
					t.Errorf("got %s, exit %d: %v", e.Code, e.Category.ExitCode(), err)
				}
			})
		}
	})
}

func TestAnErrorThatWasRememberedIsAskedForAgain(t *testing.T) { // R13
	ways(t, func(a *argo) {
		name := "cached-" + a.way
		a.commit(map[string]string{"k/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: k\n"})
		a.app(name, "k", "")
		a.fails("apps: [{name: "+name+"}]", "ComparisonError", "Failed to unmarshal")
		a.commit(map[string]string{"k/cm.yaml": config("k", "ok")})
		if out := a.synced("apps: [{name: " + name + "}]\nhealthyFor: 100ms\n"); !out.Apps[name].Changed || a.value(name, "k") != "ok" {
			a.t.Errorf("after the mend: %+v", out)
		}
	})
}

const project = `
apiVersion: argoproj.io/v1alpha1
kind: AppProject
metadata: {name: closed, namespace: argocd}
spec:
  sourceRepos: ["*"]
  destinations: [{server: "*", namespace: "*"}]
  clusterResourceWhitelist: [{group: "*", kind: "*"}]
  syncWindows: [{kind: allow, schedule: "0 3 1 1 *", duration: 1h, applications: ["*"]}]
`

func TestClosedSyncWindowIsNotWaitedFor(t *testing.T) { // R7
	ways(t, func(a *argo) {
		t, name := a.t, "windowed-"+a.way
		a.commit(map[string]string{"w/cm.yaml": config("w", "x")})
		a.apply(project)
		a.app(name, "w", "")
		a.patch(name, `{"spec":{"project":"closed"}}`)
		_, err := a.sync("apps: [{name: " + name + "}]")
		if e := steps.Classify(err); e.Code != "BlockedByWindow" || e.Category.ExitCode() != 13 || !strings.Contains(e.Message, "opens at") || !strings.Contains(e.Message, "-01-01T03:00:00Z") {
			t.Errorf("got %v", err)
		}
		if op := a.object(kube.ApplicationRef("argocd", name))["operation"]; op != nil {
			t.Errorf("an operation was left to wait: %v", op)
		}
		if drift := strings.Join(a.plan("apps: [{name: " + name + "}]").Changes[0].Drift, "\n"); !strings.Contains(drift, "opens at") {
			t.Errorf("the plan does not tell of the window:\n%s", drift)
		}
		// Somebody else's waits in it: that is told, and left alone.
		a.patch(name, `{"operation":{"sync":{},"initiatedBy":{"username":"other"}}}`)
		a.until("the operation waits", func() bool {
			return strings.Contains(a.field(name, "status", "operationState", "message"), "blocked by sync window")
		})
		_, err = a.sync("apps: [{name: " + name + "}]\ntimeout: 30s")
		if e := steps.Classify(err); e.Code != "BlockedByWindow" || !strings.Contains(e.Message, "opens at") {
			t.Errorf("with an operation that waits: %v", err)
		}
		if phase := a.field(name, "status", "operationState", "phase"); phase != "Running" {
			t.Errorf("the other's operation is %s", phase)
		}
	})
}

func TestOperationsOfOthersAreWaitedForAndAdopted(t *testing.T) { // R1, R2, R3, R9
	ways(t, func(a *argo) {
		t, name := a.t, "others-"+a.way
		a.commit(map[string]string{"o/cm.yaml": config("o", "one"), "o/slow.yaml": slow(3)})
		a.app(name, "o", "")
		other := func(revision string) { // returns once it began: on a busy machine it may have ended as well
			before := a.field(name, "status", "operationState", "startedAt")
			a.patch(name, `{"operation":{"sync":{"revision":"`+revision+`","syncOptions":["CreateNamespace=true"]},"info":[{"name":"pipectl.dev/run","value":"another"}],"initiatedBy":{"username":"other"}}}`)
			a.until("it runs", func() bool { return a.field(name, "status", "operationState", "startedAt") != before })
		}
		other("")
		out := a.synced("apps: [{name: " + name + "}]\nhealthyFor: 100ms\n").Apps[name]
		if out.Changed || a.syncs(name) != 1 || a.value(name, "o") != "one" {
			t.Errorf("what another operation delivered was synced again: %+v, %d syncs", out, a.syncs(name))
		}
		old := a.git("rev-parse", "HEAD")
		head := a.commit(map[string]string{"o/cm.yaml": config("o", "two")})
		other(old)
		out = a.synced("apps: [{name: " + name + "}]\nhealthyFor: 100ms\n").Apps[name]
		if !out.Changed || out.Revision != head || a.syncs(name) != 3 || a.value(name, "o") != "two" {
			t.Errorf("after an operation that delivered something else: %+v, %d syncs", out, a.syncs(name))
		}
		// The end of one that failed is not taken for ours.
		a.commit(map[string]string{"o/cm.yaml": strings.Replace(config("o", "x"), "{name: o}", "{name: o, labels: {a: 'not a label!'}}", 1)})
		a.fails("apps: [{name: "+name+"}]", "SyncFailed", "not a label!")
		a.commit(map[string]string{"o/cm.yaml": config("o", "three")})
		if a.synced("apps: [{name: " + name + "}]\nhealthyFor: 100ms\n"); a.value(name, "o") != "three" {
			t.Error("after a failure")
		}
	})
}

func TestAnOperationThatNobodyWorksOnIsReplaced(t *testing.T) { // R8
	ways(t, func(a *argo) {
		name := "orphan-" + a.way
		a.commit(map[string]string{"p/cm.yaml": config("p", "x")})
		a.app(name, "p", "")
		a.until("it is compared", func() bool { return a.field(name, "status", "sync", "status") == "OutOfSync" })
		a.patch(name, `{"operation":null,"status":{"operationState":{"phase":"Running","startedAt":"2020-01-01T00:00:00Z","operation":{"sync":{},"initiatedBy":{"username":"gone"}}}}}`)
		if out := a.synced("apps: [{name: " + name + "}]\nhealthyFor: 100ms\n"); !out.Apps[name].Changed || a.value(name, "p") != "x" {
			a.t.Errorf("%+v", out)
		}
	})
}

func TestOnATimeoutOnlyOurOwnOperationIsStopped(t *testing.T) {
	ways(t, func(a *argo) {
		name := "late-" + a.way
		a.commit(map[string]string{"l/cm.yaml": config("l", "x"), "l/slow.yaml": slow(300)})
		a.app(name, "l", "")
		a.fails("apps: [{name: "+name+"}]\ntimeout: 5s\n", "TimedOut", "not done after 5s")
		a.until("ours ends", func() bool { return a.field(name, "status", "operationState", "phase") == "Failed" })
		a.patch(name, `{"operation":{"sync":{"syncOptions":["CreateNamespace=true"]},"initiatedBy":{"username":"other"}}}`)
		a.until("the other's runs", func() bool { return a.field(name, "status", "operationState", "phase") == "Running" })
		a.fails("apps: [{name: "+name+"}]\ntimeout: 3s\n", "TimedOut", "not done after 3s")
		if phase := a.field(name, "status", "operationState", "phase"); phase != "Running" {
			a.t.Errorf("the other's operation is %s: %v", phase, a.operation(name))
		}
		a.patch(name, `{"status":{"operationState":{"phase":"Terminating"}}}`)
	})
}

func TestAnApplicationThatChangesDuringTheSyncIsSyncedAsItIsThen(t *testing.T) { // R11
	ways(t, func(a *argo) {
		name := "moving-" + a.way
		a.commit(map[string]string{"before/cm.yaml": config("c", "before"), "before/slow.yaml": slow(3), "after/cm.yaml": config("c", "after")})
		a.app(name, "before", "")
		done := make(chan error, 1)
		go func() { _, err := a.sync("apps: [{name: " + name + "}]\nhealthyFor: 100ms\n"); done <- err }()
		a.until("it runs", func() bool { return a.field(name, "status", "operationState", "phase") == "Running" })
		a.patch(name, `{"spec":{"source":{"path":"after"}}}`)
		if err := <-done; err != nil {
			a.t.Fatal(err)
		}
		if live := a.value(name, "c"); live != "after" {
			a.t.Errorf("live is what the Application said before: %q", live)
		}
	})
}

func TestLostConnectionsAndServersThatRestartAreSurvived(t *testing.T) { // R14, R5
	ways(t, func(a *argo) {
		name := "lost-" + a.way
		head := a.commit(map[string]string{"net/cm.yaml": config("c", "x"), "net/slow.yaml": slow(6)})
		a.app(name, "net", "")
		with, b := "apps: [{name: "+name+"}]\nhealthyFor: 100ms\n", server.argo
		if a.way == "cluster" {
			with, b = "cluster: {kubeconfig: "+server.kubeconfig+"}\n"+with, server.kube
		}
		done := make(chan error, 1)
		go func() {
			out, err := a.sync(with)
			if err == nil && out.Apps[name].Revision != head {
				a.t.Errorf("%+v", out)
			}
			done <- err
		}()
		a.until("it runs", func() bool { return a.field(name, "status", "operationState", "phase") == "Running" })
		b.set(true)
		select {
		case err := <-done:
			b.set(false)
			a.t.Fatalf("ended while nobody answered: %v", err)
		case <-time.After(3 * time.Second):
		}
		b.set(false)
		if err := <-done; err != nil {
			a.t.Fatal(err)
		}
		if n := a.syncs(name); n != 1 {
			a.t.Errorf("%d syncs, want 1", n)
		}
	})
}

func TestARefreshMarkThatSomebodyElseRemovesIsSetAgain(t *testing.T) { // R5
	ways(t, func(a *argo) {
		t, name := a.t, "mark-"+a.way
		ref := kube.ApplicationRef("argocd", name)
		a.commit(map[string]string{"m/cm.yaml": config("m", "x")})
		a.app(name, "m", "")
		a.until("it is compared", func() bool { return a.field(name, "status", "sync", "status") == "OutOfSync" })
		head := a.commit(map[string]string{"m/cm.yaml": config("m", "y")})
		stop := make(chan struct{})
		defer close(stop)
		go func() { // removes the first mark it sees, as the end of a comparison that began before does
			for {
				select {
				case <-stop:
					return
				default:
				}
				if obj, err := a.client.Get(t.Context(), ref); err == nil && obj != nil && obj.GetAnnotations()["argocd.argoproj.io/refresh"] != "" {
					_, _ = a.client.MergePatch(t.Context(), ref, []byte(`{"metadata":{"annotations":{"argocd.argoproj.io/refresh":null}}}`))
					return
				}
			}
		}()
		if out := a.synced("apps: [{name: " + name + "}]\nhealthyFor: 100ms\n"); out.Apps[name].Revision != head || a.value(name, "m") != "y" {
			t.Errorf("%+v", out)
		}
	})
}

func TestACommitThatIsNotTheHeadCanBeSynced(t *testing.T) { // R16
	ways(t, func(a *argo) {
		t, name := a.t, "pinned-"+a.way
		old := a.commit(map[string]string{"h/cm.yaml": config("h", "old")})
		a.commit(map[string]string{"h/cm.yaml": config("h", "new")})
		a.app(name, "h", "")
		with := "apps: [{name: " + name + ", revision: " + old + "}]\nhealthyFor: 100ms\n"
		if out := a.synced(with).Apps[name]; out.Revision != old || a.value(name, "h") != "old" {
			t.Errorf("%+v, live %s", out, a.value(name, "h"))
		}
		if out := a.synced(with).Apps[name]; out.Changed || a.syncs(name) != 1 {
			t.Errorf("again: %+v, %d syncs", out, a.syncs(name))
		}
		a.patch(name, `{"spec":{"syncPolicy":{"automated":{"enabled":true}}}}`)
		a.until("it synced itself", func() bool { return a.value(name, "h") == "new" })
		a.fails(with, "AutomatedElsewhere", "syncs itself to HEAD")
	})
}

func TestOptionsOfTheApplicationAreKeptAndOursLaidOver(t *testing.T) { // R15
	ways(t, func(a *argo) {
		t, name := a.t, "options-"+a.way
		a.commit(map[string]string{"s/cm.yaml": config("s", "x"), "s/extra.yaml": config("extra", "x")})
		a.app(name, "s", ", retry: {limit: 2}")
		op := func() map[string]any { return a.operation(name) }
		with := "apps: [{name: " + name + "}]\nhealthyFor: 100ms\nserverSideApply: true\n"
		a.synced(with)
		sync, _ := op()["sync"].(map[string]any)
		if diff := cmp.Diff([]any{"CreateNamespace=true", "ServerSideApply=true"}, sync["syncOptions"]); diff != "" {
			t.Errorf("options (-want +got):\n%s", diff)
		}
		if retry, _ := op()["retry"].(map[string]any); retry["limit"] != int64(2) {
			t.Errorf("retry: %v", retry)
		}
		a.commit(map[string]string{"s/cm.yaml": config("s", "y"), "s/extra.yaml": ""})
		dry := a.synced(with + "prune: true\ndryRun: true\n").Apps[name]
		if dry.Changed || a.value(name, "s") != "x" || len(dry.Resources) == 0 {
			t.Errorf("dry run: %+v, live %q", dry, a.value(name, "s"))
		}
		a.synced("apps: [{name: " + name + ", resources: [':ConfigMap:s']}]\nhealthyFor: 100ms\n")
		if a.value(name, "s") != "y" || a.value(name, "extra") != "x" {
			t.Errorf("resources: s %q, extra %q", a.value(name, "s"), a.value(name, "extra"))
		}
		a.fails(with, "StaysOutOfSync", "extra")
		out := a.synced(with + "prune: true\nretry: {limit: 1}\n").Apps[name]
		if a.value(name, "extra") != "" || !slices.ContainsFunc(out.Resources, func(r syncResource) bool { return r.Name == "extra" && r.Action == "Pruned" }) {
			t.Errorf("prune: %+v", out)
		}
		if retry, _ := op()["retry"].(map[string]any); retry["limit"] != int64(1) {
			t.Errorf("retry of ours: %v", retry)
		}
	})
}

func TestAControllerThatSomebodyStoppedIsNotWaitedFor(t *testing.T) {
	a := start(t)
	a.commit(map[string]string{"z/cm.yaml": config("z", "x")})
	a.app("asleep", "z", "")
	w := kube.Workload{Kind: "StatefulSet", Namespace: "argocd", Name: "argocd-application-controller"}
	if err := a.client.Scale(t.Context(), w, 1, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.client.Scale(context.WithoutCancel(t.Context()), w, 0, 1); err != nil {
			t.Error(err)
		}
	})
	with := "apps: [{name: asleep}]\n"
	if p := a.plan(with); p.Outputs != nil || !strings.Contains(strings.Join(p.Changes[0].Drift, ""), "has no replicas") {
		t.Errorf("plan: %+v", p)
	}
	_, err := a.sync(with)
	if e := steps.Classify(err); e.Code != "ControllerStopped" || e.Category.ExitCode() != 10 {
		t.Errorf("got %v", err)
	}
	if a.get(kube.ApplicationRef("argocd", "asleep")).GetAnnotations()["argocd.argoproj.io/refresh"] != "" {
		t.Error("a controller that does not run was asked")
	}
}

func TestDependentsWaitAndReleaseStopsWhatApplyStartsAgain(t *testing.T) {
	a := start(t)
	a.commit(map[string]string{"db/web.yaml": web("db", "", "postgres"), "front/web.yaml": web("front", "  replicas: 2\n", "nginx")})
	a.app("db", "db", "")
	a.app("front", "front", "")
	with := "apps: [{name: front, dependsOn: [db]}, {name: db}]\nhealthyFor: 1s\n"
	a.synced(with)
	if diff := cmp.Diff([]string{"change_start db", "change_done db", "change_start front", "change_done front"}, a.order()); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	def, env, in := a.stage(with)
	if err := def.Release(t.Context(), env, in); err != nil {
		t.Fatal(err)
	}
	for _, w := range []kube.Workload{{Kind: "StatefulSet", Namespace: "argocd", Name: "argocd-application-controller"},
		{Kind: "Deployment", Namespace: "db", Name: "db"}, {Kind: "Deployment", Namespace: "front", Name: "front"}} {
		st, found, err := a.client.ReadWorkload(t.Context(), w)
		pods, podErr := a.client.PodsOf(t.Context(), w)
		if err != nil || podErr != nil || !found || st.Replicas != 0 || len(pods) != 0 {
			t.Errorf("%s after release: %d replicas, %d pods, %v %v", w, st.Replicas, len(pods), err, podErr)
		}
	}
	if err := def.Release(t.Context(), env, in); err != nil {
		t.Errorf("second release: %v", err)
	}
	if p := a.plan(with); p.Outputs != nil || !strings.Contains(strings.Join(p.Changes[0].Drift, ""), "argocd-application-controller was stopped by down, and run starts it again") {
		t.Errorf("plan after release: %+v", p)
	}
	if a.get(kube.ApplicationRef("argocd", "db")).GetAnnotations()["argocd.argoproj.io/refresh"] != "" {
		t.Error("plan asked a controller that does not run")
	}
	a.synced(with)
	for w, want := range map[kube.Workload]int32{{Kind: "Deployment", Namespace: "db", Name: "db"}: 1, {Kind: "Deployment", Namespace: "front", Name: "front"}: 2} {
		st, _, err := a.client.ReadWorkload(t.Context(), w)
		if err != nil || st.Replicas != want || st.Ready != want || st.PausedFrom != nil {
			t.Errorf("%s after apply: %d of %d replicas ready, note %v, %v", w, st.Ready, st.Replicas, st.PausedFrom, err)
		}
	}
}
