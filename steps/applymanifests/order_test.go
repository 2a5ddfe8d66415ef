package applymanifests_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"pipectl.dev/steps"
)

// backwards stands in the worst order: an object of a kind that its definition, further down, brings, in a namespace that comes last.
const backwards = `
apiVersion: shop.example.com/v1
kind: Crate
metadata: {name: one, namespace: docks}
spec: {size: 3}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: old, namespace: docks}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crates.shop.example.com}
spec:
  group: shop.example.com
  names: {kind: Crate, plural: crates, singular: crate, listKind: CrateList}
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
---
apiVersion: v1
kind: Namespace
metadata: {name: docks}
`

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

// told are the changes that a stage reported, as "event kind/name".
func (u *use) told(kinds ...steps.EventType) []string {
	var out []string
	for _, e := range u.events {
		for _, k := range kinds {
			if e.Type == k {
				out = append(out, string(e.Type)+" "+string(e.Change.Action)+" "+e.Change.Kind+"/"+e.Change.Name)
			}
		}
	}
	u.events = nil
	return out
}

func TestObjectsGoInTheOrderThatTheyNeedAndAreToldOneByOne(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "all.yaml")
	if err := os.WriteFile(file, []byte(backwards), 0o600); err != nil {
		t.Fatal(err)
	}
	u := stage(t, "order", dir)
	in := u.input("{cluster: {kubeconfig: LAB}, paths: [all.yaml], prune: true}")
	if got := actions(u.plan(in).Changes); got["create"] != 4 || len(got) != 1 {
		t.Errorf("a plan where not even the kind exists: %v", got)
	}
	u.apply(in)
	done := u.told(steps.ChangeDone)
	place := func(name string) int {
		for i, line := range done {
			if strings.HasSuffix(line, name) {
				return i
			}
		}
		t.Fatalf("%s is not told: %v", name, done)
		return 0
	}
	if place("/docks") > place("crates.shop.example.com") || place("crates.shop.example.com") > place("docks/one") || place("/docks") > place("docks/old") {
		t.Errorf("order: %v", done)
	}
	if again := u.plan(in).Changes; actions(again)["keep"] != 4 || len(actions(again)) != 1 {
		t.Errorf("planned again: %v", changes(again))
	}
	// The kind's definition and two objects go; the list is told before the first is deleted.
	if err := os.WriteFile(file, []byte("apiVersion: v1\nkind: Namespace\nmetadata: {name: docks}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: new, namespace: docks}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	u.events = nil
	u.apply(in)
	var deletes []string
	for _, line := range u.told(steps.ChangeStart, steps.ChangeDone) {
		if strings.Contains(line, " delete ") {
			deletes = append(deletes, strings.Fields(line)[0])
		}
	}
	want := []string{string(steps.ChangeStart), string(steps.ChangeStart), string(steps.ChangeStart), string(steps.ChangeDone), string(steps.ChangeDone), string(steps.ChangeDone)}
	if diff := cmp.Diff(want, deletes); diff != "" {
		t.Errorf("deletes (-want +got):\n%s", diff)
	}
}

func TestAConflictSaysWhoOwnsWhichFieldAndChangesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "cm.yaml"), []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shared, namespace: default}\ndata: {a: '1', b: '1', c: '1'}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	u := stage(t, "conflict", dir)
	in := u.input("{cluster: {kubeconfig: LAB}, paths: [cm.yaml]}")
	u.apply(in)
	api := u.client.Dynamic.Resource(configMaps).Namespace("default")
	take := func(manager string, data map[string]any) {
		t.Helper()
		o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "shared"}, "data": data}}
		if _, err := api.Apply(t.Context(), "shared", o, metav1.ApplyOptions{FieldManager: manager, Force: true}); err != nil {
			t.Fatal(err)
		}
	}
	take("argocd-controller", map[string]any{"a": "2", "b": "2"})
	take("kubectl-edit", map[string]any{"c": "2"})
	before, err := api.Get(t.Context(), "shared", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const want = `ConfigMap default/shared: apply: data.a, data.b are owned by "argocd-controller"; data.c is owned by "kubectl-edit"`
	check := func(what string, err error) {
		t.Helper()
		var e *steps.Error
		if !errors.As(err, &e) || e.Category != steps.Conflict || e.Category.ExitCode() != 12 || !strings.HasSuffix(err.Error(), want[strings.Index(want, "data.a"):]) {
			t.Errorf("%s: %v", what, err)
			return
		}
		hints := strings.Join(e.Hints, "\n")
		for _, part := range []string{"argocd-controller: Argo CD applies this object too", "kubectl-edit: somebody changed it by kubectl", "--force-conflicts --field-manager=pipectl"} {
			if !strings.Contains(hints, part) {
				t.Errorf("%s: no %q in hints:\n%s", what, part, hints)
			}
		}
	}
	_, err = u.def.Apply(t.Context(), u.env, in)
	check("apply", err)
	_, err = u.def.Plan(t.Context(), u.env, in)
	check("plan", err)
	after, err := api.Get(t.Context(), "shared", metav1.GetOptions{})
	if err != nil || after.GetResourceVersion() != before.GetResourceVersion() {
		t.Errorf("something was written: %v", err)
	}
	// What the hint proposes works.
	take("pipectl", map[string]any{"a": "1", "b": "1", "c": "1"})
	u.apply(in)
}
