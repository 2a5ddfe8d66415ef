package applymanifests_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

const oven = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ovens.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Oven, plural: ovens, singular: oven}
  versions:
    - name: v1
      served: true
      storage: true
      subresources: {status: {}}
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
apiVersion: example.com/v1
kind: Oven
metadata: {name: bread}
spec: {heat: HEAT}
`

// A definition and a resource of it in one list, with the test as the controller.
func TestACustomResourceIsWaitedForByItsConditions(t *testing.T) {
	dir := t.TempDir()
	write := func(heat string) {
		if err := os.WriteFile(filepath.Join(dir, "oven.yaml"), []byte(strings.Replace(oven, "HEAT", heat, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("1")
	u := stage(t, "oven", dir)
	in := u.input("{cluster: {kubeconfig: LAB}, paths: [oven.yaml], timeout: 1m}")
	ref := kube.ObjectRef{APIVersion: "example.com/v1", Kind: "Oven", Namespace: "default", Name: "bread"}
	says := func(status string) error {
		api, _, err := u.client.Resource(ref)
		if err != nil {
			return err
		}
		_, err = api.Patch(t.Context(), ref.Name, types.MergePatchType, []byte(`{"status":`+status+`}`), metav1.PatchOptions{}, "status")
		return err
	}
	applied := make(chan error, 1)
	apply := func() { _, err := u.def.Apply(t.Context(), u.env, in); applied <- err }
	waits := func(what string) {
		t.Helper()
		deadline := time.After(30 * time.Second)
		for !u.waitedFor(what) {
			select {
			case err := <-applied:
				t.Fatalf("it ended before %q: %v", what, err)
			case <-deadline:
				t.Fatalf("it did not wait for %q", what)
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	ends := func() error { t.Helper(); return <-applied }

	go apply()
	waits("no status yet")
	if err := says(`{"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "False", "message": "heating up"}]}`); err != nil {
		t.Fatal(err)
	}
	waits("not Ready: heating up")
	if err := says(`{"conditions": [{"type": "Ready", "status": "True"}]}`); err != nil {
		t.Fatal(err)
	}
	if err := ends(); err != nil {
		t.Fatal(err)
	}
	if p := u.plan(in); p.Outputs == nil {
		t.Errorf("plan of what is Ready: %v", changes(p.Changes))
	}
	write("2")
	go apply()
	waits("has not seen the change yet")
	if err := says(`{"observedGeneration": 2, "conditions": [{"type": "Stalled", "status": "True", "message": "door open"}]}`); err != nil {
		t.Fatal(err)
	}
	if e := steps.Classify(ends()); e.Category != steps.Unhealthy || !strings.Contains(e.Message, "door open") {
		t.Errorf("a resource that is Stalled: %v", e)
	}
	if p := u.plan(in); p.Outputs != nil || actions(p.Changes)["update"] != 1 {
		t.Errorf("plan of what is Stalled: %v", changes(p.Changes))
	}
}
