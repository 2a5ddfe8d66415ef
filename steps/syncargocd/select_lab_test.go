package syncargocd_test

import (
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

type syncResource = syncargocd.Resource

// operation is the last operation of an Application, as Argo CD took it up.
func (a *argo) operation(app string) map[string]any {
	a.t.Helper()
	op, _, _ := unstructured.NestedMap(a.object(kube.ApplicationRef("argocd", app)), "status", "operationState", "operation")
	return op
}

// order is when work on which Application began and ended.
func (a *argo) order() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var order []string
	for _, e := range a.events {
		if e.Type == steps.ChangeDone || e.Type == steps.ChangeStart {
			order = append(order, string(e.Type)+" "+e.Change.Name)
		}
	}
	return order
}

func TestSelectionsAndWaves(t *testing.T) {
	ways(t, func(a *argo) {
		t, s := a.t, "-"+a.way
		files := map[string]string{}
		for _, n := range []string{"one", "two", "three"} {
			files[n+"/cm.yaml"] = config(n, n)
		}
		a.commit(files)
		for _, n := range []string{"one", "two", "three"} {
			a.app(n+s, n, "")
			a.patch(n+s, `{"metadata":{"labels":{"team":"web`+s+`"}}}`)
		}
		a.patch("one"+s, `{"metadata":{"labels":{"first":"yes"}}}`)
		out := a.synced(strings.ReplaceAll("apps: [{group: others, selector: 'team=web%,!first', expect: 2, wave: 1}, {group: first, selector: 'team=web%,first'}]\nhealthyFor: 100ms\n", "%", s))
		if diff := cmp.Diff([]string{"one" + s, "three" + s, "two" + s}, slices.Sorted(maps.Keys(out.Apps))); diff != "" {
			t.Errorf("selected (-want +got):\n%s", diff)
		}
		if order := a.order(); len(order) < 2 || order[1] != "change_done one"+s {
			t.Errorf("the lower wave was not done first: %v", order)
		}
		a.fails(strings.ReplaceAll("apps: [{selector: 'team=web%', expect: 4}]\nappear: 1s\n", "%", s), "AppsNotFound", "found 3 of 4")
	})
}

func TestChildrenOfAnAppOfAppsAreAwaited(t *testing.T) { // R10
	ways(t, func(a *argo) {
		t, root, first, second := a.t, "root-"+a.way, "first-"+a.way, "second-"+a.way
		a.commit(map[string]string{"first/cm.yaml": config("c", "x"), "second/cm.yaml": config("c", "x"), "second/slow.yaml": slow(2),
			"root/first.yaml": a.manifest(first, "first", ""), "root/second.yaml": a.manifest(second, "second", ", automated: {}")})
		a.app(root, "root", "")
		a.patch(root, `{"spec":{"destination":{"namespace":"argocd"}}}`)
		a.gone(first, second)
		with := "apps: [{name: " + root + "}]\nhealthyFor: 100ms\n"
		a.fails(with, "NeedsSync", "no automatic sync")
		if a.value(first, "c") != "" {
			t.Error("a child was synced that nobody asked for")
		}
		out := a.synced("apps: [{name: " + root + ", children: sync}]\nhealthyFor: 100ms\n")
		if diff := cmp.Diff([]string{first, root, second}, slices.Sorted(maps.Keys(out.Apps))); diff != "" {
			t.Errorf("results (-want +got):\n%s", diff)
		}
		if a.value(first, "c") != "x" || a.value(second, "c") != "x" {
			t.Error("a child is not live")
		}
	})
}

func TestChildrenOfAnApplicationSetAreAwaited(t *testing.T) {
	ways(t, func(a *argo) {
		t, s := a.t, "-"+a.way
		a.commit(map[string]string{"set/cm.yaml": config("c", "x")})
		a.apply(strings.ReplaceAll(`
apiVersion: argoproj.io/v1alpha1
kind: ApplicationSet
metadata: {name: fleet%, namespace: argocd}
spec:
  generators: [{list: {elements: [{team: a}, {team: b}, {team: c}]}}]
  template:
    metadata: {name: "{{team}}-fleet%"}
    spec:
      project: default
      destination: {server: "https://kubernetes.default.svc", namespace: "{{team}}-fleet%"}
      source: {repoURL: "file://`+a.repo+`", path: set, targetRevision: HEAD}
      syncPolicy: {syncOptions: [CreateNamespace=true]}
`, "%", s))
		t.Cleanup(func() {
			if api, _, err := a.client.Resource(kube.ObjectRef{APIVersion: "argoproj.io/v1alpha1", Kind: "ApplicationSet", Namespace: "argocd"}); err == nil {
				_ = api.Delete(t.Context(), "fleet"+s, deleteNow)
			}
		})
		out := a.synced("apps: [{applicationSet: fleet" + s + ", expect: 3}]\nhealthyFor: 100ms\n")
		if diff := cmp.Diff([]string{"a-fleet" + s, "b-fleet" + s, "c-fleet" + s}, slices.Sorted(maps.Keys(out.Apps))); diff != "" {
			t.Errorf("results (-want +got):\n%s", diff)
		}
		if a.value("b-fleet"+s, "c") != "x" {
			t.Error("a child is not live")
		}
		if _, err := a.client.MergePatch(t.Context(), kube.ObjectRef{APIVersion: "argoproj.io/v1alpha1", Kind: "ApplicationSet", Namespace: "argocd", Name: "fleet" + s},
			[]byte(`{"spec":{"generators":[{"list":{"elements":[{"team":"a"},{"team":"a"}]}}]}}`)); err != nil {
			t.Fatal(err)
		}
		a.fails("apps: [{applicationSet: fleet"+s+", expect: 4}]\n", "ApplicationSetFailed", "duplicate name")
	})
}

func TestAfterAFailureFailFastBeginsNothing(t *testing.T) {
	ways(t, func(a *argo) {
		t, s := a.t, "-"+a.way
		a.commit(map[string]string{"ok/cm.yaml": config("c", "x"), "bad/cm.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 99999999}]}\n"})
		a.app("bad"+s, "bad", "")
		for _, n := range []string{"ok", "later"} {
			a.app(n+s, "ok", "")
		}
		a.fails(strings.ReplaceAll("apps: [{name: bad%}, {name: ok%}, {name: later%, dependsOn: [bad%]}]\nhealthyFor: 100ms\n", "%", s), "SyncFailed", "was not synced, since application bad"+s+" failed")
		if a.value("ok"+s, "c") != "x" || a.value("later"+s, "c") != "" {
			t.Errorf("continue: ok %q, later %q", a.value("ok"+s, "c"), a.value("later"+s, "c"))
		}
		for _, n := range []string{"bad", "ok", "later"} {
			a.patch(n+s, `{"spec":{"destination":{"namespace":"`+n+s+`-fast"}}}`)
		}
		a.fails(strings.ReplaceAll("apps: [{name: bad%}, {name: ok%, wave: 1}, {name: later%}]\nmaxParallel: 1\nonFailure: failFast\nhealthyFor: 100ms\n", "%", s), "SyncFailed", "was not synced")
		if a.value("ok"+s+"-fast", "c") != "" {
			t.Error("failFast: a later wave was begun")
		}
	})
}

func TestTheServersCertificateAndTokenAreChecked(t *testing.T) {
	a := start(t)
	a.way = "server"
	authority := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(authority, []byte(server.ca), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		server, code string
		exit         int
	}{
		"a certificate that nobody vouches for": {"url: " + server.url + ", token: " + server.token, "ServerCertificate", 10},
		"a token of nobody":                     {"insecure: true, url: " + server.url + ", token: nobody", "Unauthorized", 11},
		"plain http":                            {"url: 'http://localhost:1', token: x", "ServerURL", 2},
		"an authority in a file":                {"url: " + server.url + ", token: " + server.token + ", caFile: " + authority, "AppNotFound", 10}, // of x: the server has answered
		"nobody there":                          {"insecure: true, url: 'http://localhost:1', token: x", "ServerUnreachable", 14},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := a.sync("server: {" + test.server + "}\napps: [{name: x}]\nappear: 1s\n")
			if e := steps.Classify(err); e.Code != test.code || e.Category.ExitCode() != test.exit {
				t.Errorf("got %s, exit %d: %v", e.Code, e.Category.ExitCode(), err)
			}
			if err != nil && strings.Contains(err.Error(), server.token) {
				t.Error("the token is in the error")
			}
		})
	}
}
