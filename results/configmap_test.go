package results

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

func inMap(c *kube.Client, ns string) *ConfigMap {
	return NewConfigMap(c, Place{Namespace: ns, ConfigMap: "stages"}, blog, lab)
}

func data(t *testing.T, c *kube.Client, ns string) map[string]string {
	t.Helper()
	cm, err := c.Typed.CoreV1().ConfigMaps(ns).Get(t.Context(), "stages", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return cm.Data
}

func TestAWorkloadTakesOutputsFromTheConfigMap(t *testing.T) {
	t.Parallel()
	c := cluster(t, "cm-outputs")
	s := inMap(c, "cm-outputs")
	put := func(stage string, status steps.Status, outputs string) map[string]string {
		t.Helper()
		r := sample(stage)
		r.Status, r.Outputs = status, nil
		if outputs != "" {
			r.Outputs = []byte(outputs)
		}
		if err := s.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		out := data(t, c, "cm-outputs")
		maps.DeleteFunc(out, func(k, _ string) bool { return k == "role.json" || k == "roles.json" })
		return out
	}
	for _, step := range []struct {
		stage, outputs string
		status         steps.Status
		want           map[string]string
	}{
		{"roles", `{"n":1}`, steps.Succeeded, map[string]string{"roles.n": "1"}},
		{"role", `{"roleArn":"arn:x","list":["a"],"json":"kept apart","old":true,"password":{"sensitive":"password"}}`, steps.Succeeded,
			map[string]string{"roles.n": "1", "role.roleArn": "arn:x", "role.list": `["a"]`, "role.old": "true"}},
		{"role", "", steps.Failed, map[string]string{"roles.n": "1", "role.roleArn": "arn:x", "role.list": `["a"]`, "role.old": "true"}},
		{"role", `{"roleArn":"arn:y"}`, steps.Succeeded, map[string]string{"roles.n": "1", "role.roleArn": "arn:y"}},
		{"role", "", steps.Destroyed, map[string]string{"roles.n": "1"}},
	} {
		if diff := cmp.Diff(step.want, put(step.stage, step.status, step.outputs)); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", step.stage, step.status, diff)
		}
	}
}

func TestAConfigMapStaysWithinItsLimit(t *testing.T) {
	t.Parallel()
	c := cluster(t, "cm-limit")
	s := inMap(c, "cm-limit")
	for i := range 12 {
		if err := s.Append(t.Context(), fmt.Sprintf("run%02d", i), []byte(`{"x":"`+strings.Repeat("x", 80_000)+`"}`)); err != nil {
			t.Fatal(err)
		}
	}
	r := sample("home")
	r.Outputs = []byte(`{"text":"` + strings.Repeat("y", 200_000) + `"}`) // twice: in the result and as plain text
	if err := s.Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	runs, err := s.Runs(t.Context())
	if err != nil || len(runs) == 12 || len(runs) < 7 || runs[len(runs)-1] != "run11" {
		t.Errorf("the oldest runs make room, no more than needed: %v, %v", runs, err)
	}
	r.Stage, r.Outputs = "claim", []byte(`{"text":"`+strings.Repeat("z", 600_000)+`"}`)
	err = s.Put(t.Context(), r)
	if e := steps.Classify(err); e == nil || e.Code != "ResultTooLarge" || !strings.Contains(err.Error(), "Kubernetes takes 1048576; the largest is claim.") || len(e.Hints) == 0 || !strings.Contains(e.Hints[0], "s3://BUCKET/PREFIX") {
		t.Errorf("got %v", err)
	}
	if got, err := s.Get(t.Context(), "home"); err != nil || got == nil {
		t.Errorf("what was there is kept: %v, %v", got, err)
	}
	err = s.PutSensitive(t.Context(), "db", map[string]string{"password": strings.Repeat("p", configMapLimit+1)})
	if e := steps.Classify(err); e.Code != "ResultTooLarge" || !strings.Contains(err.Error(), "secret cm-limit/stages-sensitive: would hold 1048577 bytes") || strings.Contains(err.Error(), "ppp") {
		t.Errorf("a Secret: %v", err)
	}
	// The API server's own limit is the one that we count with.
	full := inMap(c, "cm-full")
	cluster(t, "cm-full")
	size := configMapLimit - len(`{"x":""}`+"\n")
	if err := full.Append(t.Context(), "r", []byte(`{"x":"`+strings.Repeat("x", size)+`"}`)); err != nil {
		t.Errorf("exactly the limit: %v", err)
	}
	full.limit++
	if err := full.Append(t.Context(), "r", nil); !kube.HasCode(err, "Rejected") {
		t.Errorf("one byte more: %v", err)
	}
}

func TestOldRunsGoByCount(t *testing.T) {
	t.Parallel()
	c := cluster(t, "cm-count")
	s := inMap(c, "cm-count")
	for i := range configMapRuns + 3 {
		if err := s.Append(t.Context(), fmt.Sprintf("run%03d", i), []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
	}
	runs, err := s.Runs(t.Context())
	if err != nil || len(runs) != configMapRuns || runs[0] != "run003" {
		t.Errorf("%d runs from %v, %v", len(runs), runs, err)
	}
}

func TestAConfigMapOfSomebodyElseIsLeftAlone(t *testing.T) {
	t.Parallel()
	c := cluster(t, "cm-foreign")
	mine := map[string]string{"app.json": `{"kind":"Settings"}`}
	_, err := c.Typed.CoreV1().ConfigMaps("cm-foreign").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "stages"}, Data: mine}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := inMap(c, "cm-foreign")
	if err := s.Put(t.Context(), sample("home")); !hasCode(err, ForeignResult) {
		t.Errorf("put: %v", err)
	}
	if err := s.Append(t.Context(), "r", []byte("{}")); !hasCode(err, ForeignResult) {
		t.Errorf("append: %v", err)
	}
	if diff := cmp.Diff(mine, data(t, c, "cm-foreign")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	cluster(t, "cm-empty")
	if _, err := c.Typed.CoreV1().ConfigMaps("cm-empty").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "stages"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	empty := inMap(c, "cm-empty")
	for range 2 {
		if err := empty.Put(t.Context(), sample("home")); err != nil {
			t.Errorf("an empty one that was there before: %v", err)
		}
	}
	another := NewConfigMap(c, Place{Namespace: "cm-empty", ConfigMap: "stages"}, Owner{Pipeline: "shop"}, lab)
	if err := another.Put(t.Context(), sample("home")); !hasCode(err, ForeignResult) {
		t.Errorf("another pipeline's result is overwritten: %v", err)
	}
}

func TestAMissingNamespaceSaysWhatToDo(t *testing.T) {
	t.Parallel()
	s := inMap(cluster(t, "cm-other"), "cm-nowhere")
	err := s.Put(t.Context(), sample("home"))
	if e := steps.Classify(err); e == nil || e.Code != "NoNamespace" || e.Category != steps.Precondition || !slices.ContainsFunc(e.Hints, func(h string) bool { return strings.Contains(h, "create the namespace") }) {
		t.Errorf("got %v", err)
	}
}

func TestAConfigMapThatVanishesIsMadeAgain(t *testing.T) {
	t.Parallel()
	c := cluster(t, "cm-gone")
	s := inMap(c, "cm-gone")
	if err := s.Append(t.Context(), "r", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	read := s.public.read
	gone := false
	s.public.read = func(ctx context.Context) (kube.Record, error) {
		r, err := read(ctx)
		if !gone { // between the read and the write
			gone = true
			if err := c.Typed.CoreV1().ConfigMaps("cm-gone").Delete(ctx, "stages", metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		}
		return r, err
	}
	if err := s.Put(t.Context(), sample("home")); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(t.Context(), "home"); err != nil || got == nil {
		t.Errorf("%v, %v", got, err)
	}
}
