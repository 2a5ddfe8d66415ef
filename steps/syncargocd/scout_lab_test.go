package syncargocd_test

import (
	"fmt"
	"testing"

	"pipectl.dev/kube"
)

func TestOneComparisonStandsForTheApplicationsOfARepository(t *testing.T) {
	ways(t, func(a *argo) {
		t, name := a.t, func(i int) string { return fmt.Sprintf("shared-%s-%d", a.way, i) }
		files := map[string]string{}
		for i := range 4 {
			files[fmt.Sprintf("p%d/cm.yaml", i)] = config(fmt.Sprintf("cm-%d", i), "first")
		}
		files["p4/cm.yaml"] = config("cm-3", "elsewhere")
		a.commit(files)
		for i := range 4 {
			a.app(name(i), fmt.Sprintf("p%d", i), "")
			a.patch(name(i), `{"metadata":{"labels":{"shared":"`+a.way+`"}}}`)
		}
		with := "apps: [{selector: shared=" + a.way + ", expect: 4}]\nrefresh: shared\nhealthyFor: 100ms\n"
		// changed syncs, and wants only these changed, and all at head.
		changed := func(what, head string, want ...int) {
			t.Helper()
			out := a.synced(with)
			for i := range 4 {
				app, should := out.Apps[name(i)], false
				for _, w := range want {
					should = should || w == i
				}
				if app.Changed != should || app.Sync != "Synced" || head != "" && app.Revision != head {
					t.Errorf("%s: %d is %+v, want changed %v at %s", what, i, app, should, head)
				}
			}
		}
		changed("at first", "", 0, 1, 2, 3)
		changed("again", "")
		if p := a.plan(with); len(p.Changes) != 4 || p.Outputs == nil {
			t.Errorf("a plan of what is in sync: %+v", p)
		}
		head := a.commit(map[string]string{"p2/cm.yaml": config("cm-2", "second")})
		changed("after a push", head, 2)
		if got := a.value(name(2), "cm-2"); got != "second" {
			t.Errorf("live is %q", got)
		}
		if _, err := a.client.MergePatch(t.Context(), kube.ObjectRef{APIVersion: "v1", Kind: "ConfigMap", Namespace: name(1), Name: "cm-1"}, []byte(`{"data":{"value":"by hand"}}`)); err != nil {
			t.Fatal(err)
		}
		a.until("Argo CD sees what was done by hand", func() bool { return a.field(name(1), "status", "sync", "status") == "OutOfSync" })
		changed("after a change by hand", head, 1)
		if got := a.value(name(1), "cm-1"); got != "first" {
			t.Errorf("live is %q", got)
		}
		a.patch(name(3), `{"spec":{"source":{"path":"p4"}}}`)
		changed("after another path", head, 3)
		if got := a.value(name(3), "cm-3"); got != "elsewhere" {
			t.Errorf("live is %q", got)
		}
	})
}
