package syncargocd_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pipectl.dev/kube"
	"pipectl.dev/kube/labtest"
)

// The API server itself dies, below a sync that waits and below Argo CD, and comes back over the same data. Argo CD may have a sync fail
// meanwhile, for one reason or another, and is told to try again.
func TestARestartOfTheAPIServerIsSurvived(t *testing.T) { // R14
	a := start(t) // by custom resources: argocd-server 2.14 does not always come back after such a restart by itself
	name, lab := "revived", labtest.Cluster(t)
	head := a.commit(map[string]string{name + "/cm.yaml": config("c", "x"), name + "/slow.yaml": slow(4)})
	a.app(name, name, "")
	set := func(running bool) {
		lab.Do(t, http.MethodPut, "/components/kube-apiserver", map[string]bool{"running": running})
	}
	def, env, in := a.stage("apps: [{name: " + name + "}]\nhealthyFor: 100ms\nretry: {limit: 5}\n")
	done := make(chan error, 1)
	go func() {
		raw, err := def.Apply(t.Context(), env, in)
		var out struct {
			Apps map[string]struct{ Revision string }
		}
		if err == nil {
			err = json.Unmarshal(raw, &out)
		}
		if err == nil && out.Apps[name].Revision != head {
			t.Errorf("%s, want revision %s", raw, head)
		}
		done <- err
	}()
	a.until("its hook runs", func() bool {
		phase, _, _ := unstructured.NestedString(a.object(kube.ObjectRef{APIVersion: "v1", Kind: "Pod", Namespace: name, Name: "slow"}), "status", "phase")
		return phase == "Running"
	})
	set(false)
	if _, err := a.client.Get(t.Context(), kube.ApplicationRef("argocd", name)); err == nil {
		t.Error("the API server answers")
	}
	set(true)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := a.syncs(name); n != 1 || a.value(name, "c") != "x" {
		t.Errorf("%d syncs, want 1; live %q", n, a.value(name, "c"))
	}
}
