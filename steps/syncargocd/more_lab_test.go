package syncargocd_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// second makes another repository with the same helpers.
func (a *argo) second() *argo {
	other := &argo{t: a.t, client: a.client, opener: a.opener, repo: a.t.TempDir(), way: a.way}
	other.git("init", "-q", "-b", "main")
	return other
}

func TestAnApplicationOfSeveralSourcesIsSyncedAtTheRevisionsAskedFor(t *testing.T) {
	ways(t, func(a *argo) {
		t, name, b := a.t, "many-"+a.way, a.second()
		firstA, firstB := a.commit(map[string]string{"x/cm.yaml": config("x", "1")}), b.commit(map[string]string{"two/cm.yaml": config("two", "1")})
		a.app(name, "x", "")
		a.patch(name, `{"spec":{"source":null,"sources":[{"repoURL":"file://`+a.repo+`","path":"x","targetRevision":"HEAD"},{"repoURL":"file://`+b.repo+`","path":"two","targetRevision":"main"}]}}`)
		with := "apps: [{name: " + name + "}]\nhealthyFor: 100ms\n"
		out := a.synced(with).Apps[name]
		if diff := cmp.Diff([]string{firstA, firstB}, out.Revisions); diff != "" || a.value(name, "x") != "1" || a.value(name, "two") != "1" {
			t.Errorf("first sync (-want +got):\n%s%+v", diff, out)
		}
		if out = a.synced(with).Apps[name]; out.Changed || a.syncs(name) != 1 {
			t.Errorf("again: %+v, %d syncs", out, a.syncs(name))
		}
		secondA, secondB := a.commit(map[string]string{"x/cm.yaml": config("x", "2")}), b.commit(map[string]string{"two/cm.yaml": config("two", "2")})
		if drift := strings.Join(a.plan(with).Changes[0].Drift, "\n"); !strings.Contains(drift, "ConfigMap "+name+"/x: update") || !strings.Contains(drift, "ConfigMap "+name+"/two: update") {
			t.Errorf("plan of a change in each: %s", drift)
		}
		// The second stays at its first commit while the first goes on.
		out = a.synced("apps: [{name: " + name + ", revisions: ['', " + firstB + "]}]\nhealthyFor: 100ms\n").Apps[name]
		if diff := cmp.Diff([]string{secondA, firstB}, out.Revisions); diff != "" || a.value(name, "x") != "2" || a.value(name, "two") != "1" {
			t.Errorf("one revision given (-want +got):\n%s%+v, live %s %s", diff, out, a.value(name, "x"), a.value(name, "two"))
		}
		out = a.synced("apps: [{name: " + name + ", want: {pushed: " + secondB + "}}]\nhealthyFor: 100ms\n").Apps[name]
		if diff := cmp.Diff([]string{secondA, secondB}, out.Revisions); diff != "" || a.value(name, "two") != "2" {
			t.Errorf("pushed to the second (-want +got):\n%s%+v", diff, out)
		}
		a.fails("apps: [{name: "+name+", revision: "+secondA+"}]", "ManySources", "several sources")
		a.fails("apps: [{name: "+name+", revisions: [a, b, c]}]", "ManySources", "as many sources")
		a.fails("apps: [{name: "+name+", want: {commit: "+strings.Repeat("a", 40)+"}}]", "WrongRevision", "wanted is aaaa")
	})
}

func TestImagesThatAreWantedMustBeInUse(t *testing.T) {
	ways(t, func(a *argo) {
		name := "images-" + a.way
		a.commit(map[string]string{"i/web.yaml": web("i", "", "nginx:1")})
		a.app(name, "i", "")
		with := "apps: [{name: " + name + ", want: {images: ['%']}}]\nhealthyFor: 100ms\n"
		a.synced(strings.Replace(with, "%", "nginx:1", 1))
		a.fails(strings.Replace(with, "%", "nginx:2", 1), "WrongImages", "does not use nginx:2, but nginx:1")
		drift := strings.Join(a.plan(strings.Replace(with, "%", "nginx:2", 1)).Changes[0].Drift, "\n")
		if !strings.Contains(drift, "images: have nginx:1, want nginx:2") {
			a.t.Errorf("plan: %s", drift)
		}
		a.commit(map[string]string{"i/web.yaml": web("i", "", "nginx:2")})
		out := a.synced(strings.Replace(with, "%", "nginx:2", 1)).Apps[name]
		if diff := cmp.Diff([]string{"nginx:2"}, out.Images); diff != "" {
			a.t.Errorf("images (-want +got):\n%s", diff)
		}
	})
}

func TestApplicationsInAnyNamespaceAreFound(t *testing.T) {
	ways(t, func(a *argo) {
		t, name, namespace := a.t, "away-"+a.way, "team-"+a.way
		a.commit(map[string]string{"away/cm.yaml": config("c", "x")})
		a.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: " + namespace + "}\n")
		a.apply("apiVersion: argoproj.io/v1alpha1\nkind: AppProject\nmetadata: {name: " + namespace + ", namespace: argocd}\nspec: {sourceRepos: ['*'], sourceNamespaces: [" + namespace +
			"], destinations: [{server: '*', namespace: '*'}], clusterResourceWhitelist: [{group: '*', kind: '*'}]}\n")
		text := strings.Replace(a.manifest(name, "away", ""), "namespace: argocd", "namespace: "+namespace, 1)
		a.apply(strings.Replace(text, "project: default", "project: "+namespace, 1))
		ref := kube.ApplicationRef(namespace, name)
		t.Cleanup(func() {
			if api, _, err := a.client.Resource(ref); err == nil {
				_ = api.Delete(t.Context(), name, deleteNow)
			}
		})
		for _, entry := range []string{"name: " + name, "selector: test=" + name, "group: all"} {
			with := "apps: [{" + entry + ", namespace: " + namespace + "}]\nhealthyFor: 100ms\n"
			out := a.synced(with)
			got, found := out.Apps[namespace+"/"+name]
			if !found || got.Sync != "Synced" || a.value(name, "c") != "x" {
				t.Errorf("%s: %+v, live %q", entry, out, a.value(name, "c"))
			}
			if p := a.plan(with); p.Outputs == nil {
				t.Errorf("%s: plan afterwards: %+v", entry, p.Changes)
			}
		}
		a.commit(map[string]string{"away/cm.yaml": config("c", "y")})
		got, notes := a.drift("apps: [{name: " + name + ", namespace: " + namespace + "}]\n")
		if !strings.Contains(got, "ConfigMap "+name+`/c: update: data.value: have "x", want "y"`) || notes != "" {
			t.Errorf("notes %q, plan of a change:\n%s", notes, got)
		}
		a.fails("apps: [{name: "+name+"}]\nappear: 1s\n", "AppNotFound", "did not appear")
	})
}

func TestSomeResourcesCanBeLeftOut(t *testing.T) {
	ways(t, func(a *argo) {
		t, name := a.t, "part-"+a.way
		a.commit(map[string]string{"f/a.yaml": config("a", "1"), "f/b.yaml": config("b", "1"), "f/web.yaml": web("w", "", "nginx:1")})
		a.app(name, "f", "")
		a.synced("apps: [{name: " + name + "}]\nhealthyFor: 100ms\n")
		a.commit(map[string]string{"f/a.yaml": config("a", "2"), "f/b.yaml": config("b", "2"), "f/web.yaml": web("w", "", "nginx:2")})
		out := a.synced("apps: [{name: " + name + ", resources: ['!:ConfigMap:b', '!apps:*:*']}]\nhealthyFor: 100ms\n").Apps[name]
		if a.value(name, "a") != "2" || a.value(name, "b") != "1" || slices.Contains(out.Images, "nginx:2") {
			t.Errorf("a %q, b %q, %+v", a.value(name, "a"), a.value(name, "b"), out)
		}
		with := "apps: [{name: " + name + ", resources: ['apps:Deployment:" + name + "/w']}]\nhealthyFor: 100ms\n"
		if out = a.synced(with).Apps[name]; !slices.Contains(out.Images, "nginx:2") || a.value(name, "b") != "1" {
			t.Errorf("b %q, %+v", a.value(name, "b"), out)
		}
		if out = a.synced(with).Apps[name]; out.Changed {
			t.Errorf("again: %+v", out)
		}
	})
}

func TestChildrenOfChildrenAreAwaited(t *testing.T) { // R10
	ways(t, func(a *argo) {
		t, s := a.t, "-"+a.way
		below := func(name, path string) string {
			return strings.Replace(a.manifest(name, path, ", automated: {}"), "kubernetes.default.svc\", namespace: "+name, "kubernetes.default.svc\", namespace: argocd", 1)
		}
		a.commit(map[string]string{"top/mid.yaml": below("mid"+s, "mid"), "mid/leaf.yaml": a.manifest("leaf"+s, "leaf", ", automated: {}"), "leaf/cm.yaml": config("c", "x"), "leaf/slow.yaml": slow(2)})
		a.app("top"+s, "top", "")
		a.patch("top"+s, `{"spec":{"destination":{"namespace":"argocd"}}}`)
		a.gone("mid"+s, "leaf"+s)
		out := a.synced("apps: [{name: top" + s + "}]\nhealthyFor: 100ms\n")
		if diff := cmp.Diff([]string{"leaf" + s, "mid" + s, "top" + s}, slices.Sorted(maps.Keys(out.Apps))); diff != "" || a.value("leaf"+s, "c") != "x" {
			t.Errorf("results (-want +got):\n%s, live %q", diff, a.value("leaf"+s, "c"))
		}
	})
}

func TestADenyWindowBlocksUntilItEnds(t *testing.T) { // R7
	ways(t, func(a *argo) {
		name := "denied-" + a.way
		a.commit(map[string]string{"d/cm.yaml": config("d", "x")})
		a.apply(strings.NewReplacer("name: closed", "name: frozen-"+a.way, "kind: allow", "kind: deny", "0 3 1 1 *", "* * * * *", "duration: 1h", "duration: 2h").Replace(project))
		a.app(name, "d", "")
		a.patch(name, `{"spec":{"project":"frozen-`+a.way+`"}}`)
		_, err := a.sync("apps: [{name: " + name + "}]\n")
		if e := steps.Classify(err); e.Code != "BlockedByWindow" || e.Category.ExitCode() != 13 || strings.Contains(e.Message, "opens at") {
			a.t.Errorf("a window without end: %v", err) // each minute it begins anew
		}
		a.apply(strings.NewReplacer("name: closed", "name: frozen-"+a.way, "kind: allow", "kind: deny", `schedule: "0 3 1 1 *", duration: 1h`, `schedule: "* * * * *", duration: 2h, manualSync: true`).Replace(project))
		if a.synced("apps: [{name: " + name + "}]\nhealthyFor: 100ms\n"); a.value(name, "d") != "x" {
			a.t.Error("a window that lets syncs by hand through")
		}
	})
}
