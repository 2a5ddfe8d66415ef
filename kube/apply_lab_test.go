package kube_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pipectl.dev/kube"
	"pipectl.dev/steps/reconcile"
)

const widgets = `
apiVersion: example.com/v1
kind: Widget
metadata: {name: one, namespace: apply-a}
spec: {size: 3}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  names: {kind: Widget, plural: widgets, singular: widget, listKind: WidgetList}
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: apply-a}
data: {a: "1"}
---
apiVersion: v1
kind: Namespace
metadata: {name: apply-a}
`

func TestApplyBringsKindsAndNamespacesBeforeWhatNeedsThem(t *testing.T) {
	c := open(t)
	objs := objects(t, widgets)
	planned, err := c.Diff(t.Context(), objs, kube.ApplyOptions{Owner: &me})
	if err != nil {
		t.Fatal(err)
	}
	done, err := c.Apply(t.Context(), objs, kube.ApplyOptions{Owner: &me})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"Widget apply-a/one create", "CustomResourceDefinition widgets.example.com create", "ConfigMap apply-a/settings create", "Namespace apply-a create"}
	if diff := cmp.Diff(want, verbs(planned)); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, verbs(done)); diff != "" {
		t.Errorf("apply (-want +got):\n%s", diff)
	}
	for i, s := range want {
		want[i] = strings.Replace(s, " create", " keep", 1)
	}
	if planned, err = c.Diff(t.Context(), objs, kube.ApplyOptions{Owner: &me}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, verbs(planned)); diff != "" {
		t.Errorf("second plan (-want +got):\n%s", diff)
	}
	if done, err = c.Apply(t.Context(), objs, kube.ApplyOptions{Owner: &me}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, verbs(done)); diff != "" {
		t.Errorf("second apply (-want +got):\n%s", diff)
	}
}

func verbs(as []kube.Applied) []string {
	var out []string
	for _, a := range as {
		out = append(out, a.Ref.String()+" "+string(a.Change.Action))
	}
	return out
}

func TestDiffNamesChangedFieldsButNoValueOfASecret(t *testing.T) {
	c := open(t)
	ns := namespace(t, c, "diff-a")
	before := objects(t, `
apiVersion: v1
kind: Secret
metadata: {name: s, namespace: `+ns+`}
data: {password: aHVudGVyMg==}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c, namespace: `+ns+`}
data: {a: "1", b: "2", c: `+strings.Repeat("x", 5000)+`}`)
	if _, err := c.Apply(t.Context(), before, kube.ApplyOptions{Owner: &me}); err != nil {
		t.Fatal(err)
	}
	after := objects(t, `
apiVersion: v1
kind: Secret
metadata: {name: s, namespace: `+ns+`}
data: {password: c2VzYW1l}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c, namespace: `+ns+`}
data: {a: "7", c: short}`)
	got, err := c.Diff(t.Context(), after, kube.ApplyOptions{Owner: &me})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"data.password: differs"}, got[0].Change.Drift); diff != "" {
		t.Errorf("secret (-want +got):\n%s", diff)
	}
	want := []string{`data.a: have "1", want "7"`, `data.b: have "2", want nothing`, `data.c: have "` + strings.Repeat("x", 76) + `..., want "short"`}
	if diff := cmp.Diff(want, got[1].Change.Drift); diff != "" {
		t.Errorf("configmap (-want +got):\n%s", diff)
	}
	// The same for programs.
	fields := [][]reconcile.FieldChange{{{Path: "data.password", Hidden: true}},
		{{Path: "data.a", Before: "1", After: "7"}, {Path: "data.b", Before: "2"}, {Path: "data.c", Long: true}}}
	if diff := cmp.Diff(fields, [][]reconcile.FieldChange{got[0].Change.Fields, got[1].Change.Fields}); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

func TestApplyTakesNoFieldOfAnotherManagerButItsOwnOfAnEarlierPatch(t *testing.T) {
	c := open(t)
	ns := namespace(t, c, "own-a")
	deploy := func(replicas int) []*unstructured.Unstructured {
		return objects(t, fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, namespace: %s}
spec:
  replicas: %d
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec: {containers: [{name: c, image: nginx}]}`, ns, replicas))
	}
	w := kube.Workload{Kind: "Deployment", Namespace: ns, Name: "d"}
	if _, err := c.Apply(t.Context(), deploy(2), kube.ApplyOptions{Owner: &me}); err != nil {
		t.Fatal(err)
	}
	if err := c.Pause(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	st, _, err := c.ReadWorkload(t.Context(), w)
	if err != nil || st.Replicas != 0 || st.PausedFrom == nil || *st.PausedFrom != 2 {
		t.Fatalf("paused workload: %+v, %v", st, err)
	}
	for _, in := range []string{ns, ""} {
		found, err := c.Paused(t.Context(), in)
		if st, ok := found[w]; err != nil || !ok || *st.PausedFrom != 2 || in != "" && len(found) != 1 {
			t.Errorf("paused in %q: %+v, %v", in, found, err)
		}
	}
	if _, err := c.Apply(t.Context(), deploy(2), kube.ApplyOptions{Owner: &me}); err != nil {
		t.Fatalf("our own patch stands in our way: %v", err)
	}
	if err := c.Resume(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if found, err := c.Paused(t.Context(), ns); err != nil || len(found) != 0 {
		t.Errorf("paused after it was resumed: %+v, %v", found, err)
	}
	if err := c.Scale(t.Context(), w, 5, 1); !kube.HasCode(err, kube.CodeConflict) {
		t.Errorf("scale from replicas it does not have: %v", err)
	}
	theirs := deploy(3)[0]
	api, _, err := c.Resource(kube.RefOf(theirs))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api.Apply(t.Context(), "d", theirs, metav1.ApplyOptions{FieldManager: "somebody", Force: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Apply(t.Context(), deploy(2), kube.ApplyOptions{Owner: &me}); !kube.HasCode(err, kube.CodeFieldConflict) || !strings.HasSuffix(err.Error(), `apply: spec.replicas is owned by "somebody"`) {
		t.Errorf("apply over another manager: %v", err)
	}
	other := me
	other.Pipeline = "another"
	if _, err := c.Apply(t.Context(), deploy(3), kube.ApplyOptions{Owner: &other}); !kube.HasCode(err, "NotOurs") {
		t.Errorf("apply over another pipeline: %v", err)
	}
}
