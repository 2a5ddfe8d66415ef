package syncargocd_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/syncargocd"
)

func TestHooksOfASyncAreInItsResult(t *testing.T) {
	ways(t, func(a *argo) {
		t, name := a.t, "hooked-"+a.way
		after := strings.NewReplacer("name: slow,", "name: after,", "PreSync", "PostSync").Replace(slow(0))
		a.commit(map[string]string{"hooked/cm.yaml": config("c", "x"), "hooked/before.yaml": slow(1), "hooked/after.yaml": after})
		a.app(name, "hooked", "")
		with := "apps: [{name: " + name + "}]\nhealthyFor: 100ms\n"
		out := a.synced(with).Apps[name]
		for i := range out.Hooks {
			out.Hooks[i].Message = "" // Argo CD's own words
		}
		want := []syncargocd.Hook{{Kind: "Pod", Namespace: name, Name: "slow", Hook: "PreSync", Phase: "Succeeded"}, {Kind: "Pod", Namespace: name, Name: "after", Hook: "PostSync", Phase: "Succeeded"}}
		byName := func(a, b syncargocd.Hook) int { return strings.Compare(b.Name, a.Name) }
		if diff := cmp.Diff(want, slices.SortedFunc(slices.Values(out.Hooks), byName)); diff != "" || out.DurationSeconds < 1 {
			t.Errorf("hooks (-want +got):\n%s%+v", diff, out)
		}
		if out = a.synced(with).Apps[name]; len(out.Hooks) != 0 || len(out.Resources) != 0 {
			t.Errorf("nothing was synced: %+v", out)
		}
		// The last words of a hook that fails stand in the error.
		fails := strings.Replace(slow(0), `[sleep, "0"]`, `[sh, -c, "echo no space left > $PIPECTL_TERMINATION_LOG; exit 1"]`, 1)
		a.commit(map[string]string{"hooked/cm.yaml": config("c", "y"), "hooked/before.yaml": fails})
		a.fails(with, "SyncFailed", "no space left")
		if live := a.value(name, "c"); live != "x" {
			t.Errorf("the sync went on after its hook failed: %q", live)
		}
	})
}

func TestApplicationsOfAProjectAreSelected(t *testing.T) {
	ways(t, func(a *argo) {
		t, s, files := a.t, "-"+a.way, map[string]string{}
		a.apply(strings.NewReplacer("name: closed", "name: web"+s, `  syncWindows: [{kind: allow, schedule: "0 3 1 1 *", duration: 1h, applications: ["*"]}]`+"\n", "").Replace(project))
		names := []string{"ours", "too", "other"}
		for _, n := range names {
			files[n+"/cm.yaml"] = config("c", n)
		}
		a.commit(files)
		for _, n := range names {
			a.app(n+s, n, "")
			if n != "other" {
				a.patch(n+s, `{"spec":{"project":"web`+s+`"}}`)
			}
		}
		selects := func(entry string, want ...string) {
			t.Helper()
			got := slices.Sorted(maps.Keys(a.synced("apps: [{" + entry + ", project: web" + s + "}]\nhealthyFor: 100ms\n").Apps))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", entry, diff)
			}
		}
		selects("expect: 2", "ours"+s, "too"+s)
		selects("selector: 'test=too"+s+"'", "too"+s)
		if a.value("ours"+s, "c") != "ours" || a.value("other"+s, "c") != "" {
			t.Errorf("live: ours %q, other %q", a.value("ours"+s, "c"), a.value("other"+s, "c"))
		}
	})
}

// What another repository holds, Argo CD looks at again when the commit is another one, or when told to.
func TestAHardRefreshSeesWhatTheSameCommitBrings(t *testing.T) {
	ways(t, func(a *argo) {
		t, name, base := a.t, "hard-"+a.way, a.second()
		base.commit(map[string]string{"b/cm.yaml": config("b", "one"), "b/kustomization.yaml": "resources: [cm.yaml]\n"})
		head := a.commit(map[string]string{"hard/kustomization.yaml": "resources: ['file://" + base.repo + "//b?ref=main']\n"})
		a.app(name, "hard", "")
		with := "apps: [{name: " + name + "}]\nhealthyFor: 100ms\n"
		a.synced(with)
		base.commit(map[string]string{"b/cm.yaml": config("b", "two")})
		if out := a.synced(with).Apps[name]; out.Changed || a.value(name, "b") != "one" {
			t.Errorf("past the cache without being told: %+v, live %q", out, a.value(name, "b"))
		}
		if out := a.synced(with + "refresh: hard\n").Apps[name]; !out.Changed || out.Revision != head || a.value(name, "b") != "two" {
			t.Errorf("%+v, live %q", out, a.value(name, "b"))
		}
	})
}

// Our types are those of Argo CD 2.14: `enabled` is not among them, and must be there afterwards all the same.
func TestFieldsThatWeDoNotKnowSurvive(t *testing.T) {
	ways(t, func(a *argo) {
		t, name := a.t, "unknown-"+a.way
		a.commit(map[string]string{"u/cm.yaml": config("u", "x")})
		newer := strings.HasPrefix(release(), "v3.")
		a.app(name, "u", map[bool]string{true: ", automated: {enabled: false, selfHeal: true}"}[newer]) // 2.14 refuses what it does not know
		a.patch(name, `{"metadata":{"annotations":{"team.example.com/note":"kept"},"finalizers":["team.example.com/hold"]}}`)
		t.Cleanup(func() { // else it would stay for good
			_, _ = a.client.MergePatch(context.WithoutCancel(t.Context()), kube.ApplicationRef("argocd", name), []byte(`{"metadata":{"finalizers":null}}`))
		})
		known := func() map[string]any {
			app := a.object(kube.ApplicationRef("argocd", name))
			meta, _, _ := unstructured.NestedMap(app, "metadata")
			notes, _ := meta["annotations"].(map[string]any)
			delete(notes, "argocd.argoproj.io/refresh")
			return map[string]any{"spec": app["spec"], "labels": meta["labels"], "annotations": notes, "finalizers": meta["finalizers"]}
		}
		before := known()
		if _, found, _ := unstructured.NestedBool(before, "spec", "syncPolicy", "automated", "enabled"); found != newer {
			t.Fatalf("Argo CD %s: %v", release(), before)
		}
		a.synced("apps: [{name: " + name + "}]\nhealthyFor: 100ms\nserverSideApply: true\n")
		if diff := cmp.Diff(before, known()); diff != "" || a.value(name, "u") != "x" {
			t.Errorf("live %q, the Application (-before +after):\n%s", a.value(name, "u"), diff)
		}
	})
}

func TestNoMoreThanMaxParallelAreSyncedAtOnce(t *testing.T) {
	ways(t, func(a *argo) {
		t, s := a.t, "-"+a.way
		a.commit(map[string]string{"turn/cm.yaml": config("c", "x"), "turn/slow.yaml": slow(2)})
		names := []string{"turn-a" + s, "turn-b" + s, "turn-c" + s}
		for _, n := range names {
			a.app(n, "turn", "")
		}
		a.synced("apps: [{selector: 'test in (" + strings.Join(names, ", ") + ")', expect: 3}]\nmaxParallel: 1\nhealthyFor: 100ms\n")
		spans := map[string]string{} // from when it began to when it ended; times sort as text
		for _, n := range names {
			spans[a.field(n, "status", "operationState", "startedAt")] = a.field(n, "status", "operationState", "finishedAt")
		}
		last := ""
		for _, began := range slices.Sorted(maps.Keys(spans)) {
			if began < last {
				t.Errorf("two at once: %v", spans)
			}
			last = spans[began]
		}
		if len(spans) != 3 {
			t.Errorf("two began in one second: %v", spans)
		}
	})
}

func TestWhatAnApplicationSetOfAnAppOfAppsMakesIsAwaited(t *testing.T) { // R10
	ways(t, func(a *argo) {
		t, s := a.t, "-"+a.way
		a.commit(map[string]string{"leaf/cm.yaml": config("c", "x"), "trunk/set.yaml": strings.ReplaceAll(`
apiVersion: argoproj.io/v1alpha1
kind: ApplicationSet
metadata: {name: branches%, namespace: argocd}
spec:
  generators: [{list: {elements: [{limb: one}, {limb: two}]}}]
  template:
    metadata: {name: "{{limb}}-branch%"}
    spec:
      project: default
      destination: {server: "https://kubernetes.default.svc", namespace: "{{limb}}-branch%"}
      source: {repoURL: "file://`+a.repo+`", path: leaf, targetRevision: HEAD}
      syncPolicy: {syncOptions: [CreateNamespace=true]}
`, "%", s)})
		a.app("trunk"+s, "trunk", "")
		a.patch("trunk"+s, `{"spec":{"destination":{"namespace":"argocd"}}}`)
		t.Cleanup(func() {
			if api, _, err := a.client.Resource(kube.ObjectRef{APIVersion: "argoproj.io/v1alpha1", Kind: "ApplicationSet", Namespace: "argocd"}); err == nil {
				_ = api.Delete(t.Context(), "branches"+s, deleteNow)
			}
		})
		out := a.synced("apps: [{name: trunk" + s + ", children: sync}]\nhealthyFor: 100ms\n")
		if diff := cmp.Diff([]string{"one-branch" + s, "trunk" + s, "two-branch" + s}, slices.Sorted(maps.Keys(out.Apps))); diff != "" || a.value("two-branch"+s, "c") != "x" {
			t.Errorf("results (-want +got):\n%s, live %q", diff, a.value("two-branch"+s, "c"))
		}
	})
}

func TestAnAuthorityThatCannotBeReadIsBadInput(t *testing.T) {
	a := &argo{t: t, way: "server"}
	empty := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, ca := range map[string]string{"no certificate": "ca: nonsense", "no file": "caFile: /no/such/file", "both": "ca: x, caFile: y"} {
		_, err := a.sync("server: {url: 'https://localhost:1', token: x, " + ca + "}\napps: [{name: x}]\nappear: 1s\n")
		if e := steps.Classify(err); e == nil || e.Category.ExitCode() != 2 {
			t.Errorf("%s: %v", what, err)
		}
	}
}
