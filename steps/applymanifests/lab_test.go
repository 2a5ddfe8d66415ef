package applymanifests_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pipectl.dev/cloud"
	"pipectl.dev/kube"
	"pipectl.dev/kube/labtest"
	"pipectl.dev/steps"
	"pipectl.dev/steps/applymanifests"
)

func TestMain(m *testing.M) { labtest.Main(m) }

// use is one stage against the lab.
type use struct {
	t      *testing.T
	def    steps.Definition
	env    steps.Env
	client *kube.Client

	mu     sync.Mutex
	events []steps.Event
}

// waitedFor reports whether a wait has said this.
func (u *use) waitedFor(text string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.ContainsFunc(u.events, func(e steps.Event) bool { return strings.Contains(e.Message, text) })
}

func stage(t *testing.T, pipeline, dir string) *use {
	t.Helper()
	lab := labtest.Cluster(t)
	opener := kube.NewOpener(kube.Options{})
	client, err := opener(t.Context(), steps.ClusterRef{Kubeconfig: lab.Kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	u := &use{t: t, def: applymanifests.New(cloud.NewOpener(cloud.Options{}), opener), client: client}
	u.env = steps.Env{Identity: steps.Identity{Cluster: "lab", Pipeline: pipeline}, Stage: "manifests", RunID: "run", Dir: dir,
		Record: func(e steps.Event) { u.mu.Lock(); defer u.mu.Unlock(); u.events = append(u.events, e) }}
	return u
}

func (u *use) input(text string) steps.Input {
	u.t.Helper()
	var doc yaml.Node
	text = strings.ReplaceAll(text, "LAB", labtest.Cluster(u.t).Kubeconfig)
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		u.t.Fatal(err)
	}
	return steps.Input{File: "test.yaml", With: &doc}
}

func (u *use) plan(in steps.Input) steps.ErasedPlan {
	u.t.Helper()
	p, err := u.def.Plan(u.t.Context(), u.env, in)
	if err != nil {
		u.t.Fatal(err)
	}
	return p
}

func (u *use) apply(in steps.Input) applymanifests.Outputs {
	u.t.Helper()
	raw, err := u.def.Apply(u.t.Context(), u.env, in)
	if err != nil {
		u.t.Fatal(err)
	}
	var out applymanifests.Outputs
	if err := json.Unmarshal(raw, &out); err != nil {
		u.t.Fatal(err)
	}
	return out
}

func actions(cs []steps.Change) map[steps.Verb]int {
	out := map[steps.Verb]int{}
	for _, c := range cs {
		out[c.Action]++
	}
	return out
}

func changes(cs []steps.Change) []string {
	var out []string
	for _, c := range cs {
		out = append(out, string(c.Action)+" "+c.Kind+"/"+c.Name)
	}
	slices.Sort(out)
	return out
}

func TestArgoCDIsInstalledFromItsPinnedKustomizationAndKeptAfterwards(t *testing.T) {
	lab := labtest.Cluster(t)
	lab.AddNode(t, labtest.Node{Name: "ip-10-0-1-10", InstanceID: "i-1", PrivateIP: "10.0.1.10", Zone: "z-a", Region: "z", InstanceType: "t3.small"})
	core := labtest.Upstream(t, "argo-cd/v3.2.6/manifests/core-install.yaml")
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(core) }))
	defer mirror.Close()
	t.Setenv(applymanifests.MirrorsEnv, "https://raw.githubusercontent.com/="+mirror.URL+"/")
	dir, err := filepath.Abs("../../pipelines")
	if err != nil {
		t.Fatal(err)
	}
	u := stage(t, "blog", dir)
	in := u.input(`
cluster: {kubeconfig: LAB}
paths: [gitops/argocd]
set:
  - {kind: Application, name: root, field: spec.source.repoURL, value: "file:///nowhere"}
secrets:
  - {namespace: argocd, name: gitops-repo, labels: {argocd.argoproj.io/secret-type: repository}, data: {url: "file:///nowhere", password: hunter2}}
  - {namespace: jenkins, name: jenkins-admin, data: {password: hunter2}}
  - {namespace: argocd, name: argocd-secret, generate: [server.secretkey]}
timeout: 3m
`)
	planned := u.plan(in)
	if planned.Outputs != nil || actions(planned.Changes)["create"] != len(planned.Changes) {
		t.Errorf("first plan: %v", changes(planned.Changes))
	}
	out := u.apply(in)
	if !slices.Contains(out.Applied, "StatefulSet argocd/argocd-application-controller") || !slices.ContainsFunc(out.Images, func(i string) bool { return strings.HasPrefix(i, "quay.io/argoproj/argocd:v3.2.6") }) {
		t.Errorf("outputs: %+v", out)
	}
	again := u.plan(in)
	if n := actions(again.Changes); again.Outputs == nil || n["keep"] != len(again.Changes) {
		for _, c := range again.Changes {
			if c.Action != "keep" {
				t.Errorf("second plan: %s %s/%s: %v", c.Action, c.Kind, c.Name, c.Drift)
			}
		}
	}
	key := func() string {
		t.Helper()
		secret, err := u.client.Get(t.Context(), kube.ObjectRef{APIVersion: "v1", Kind: "Secret", Namespace: "argocd", Name: "argocd-secret"})
		if err != nil {
			t.Fatal(err)
		}
		value, _, _ := unstructured.NestedString(secret.Object, "data", "server.secretkey")
		return value
	}
	first := key()
	u.apply(in)
	if first == "" || key() != first {
		t.Errorf("generated value: %d characters at first, kept: %v", len(first), key() == first)
	}
	raw, found, err := u.def.Observe(t.Context(), u.env, in)
	if err != nil || !found {
		t.Fatalf("observe: %v, %v", found, err)
	}
	var seen applymanifests.Outputs
	if err := json.Unmarshal(raw, &seen); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(out, seen); diff != "" {
		t.Errorf("observe differs from apply (-apply +observe):\n%s", diff)
	}
	shown, err := json.Marshal([]any{u.events, planned, again, out})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(shown), "hunter2") || strings.Contains(string(shown), "aHVudGVyMg") {
		t.Error("a Secret's value got out")
	}
}

func TestChangesArePlannedAppliedPrunedAndRemoved(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	u := stage(t, "little", dir)
	in := u.input("{cluster: {kubeconfig: LAB}, paths: ['.'], namespace: little, prune: true, secrets: [{namespace: made, name: s, data: {k: v}}]}")
	file("ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: little}\n")
	file("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '1'}\n")
	file("b.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n")
	u.apply(in)
	if err := os.Remove(filepath.Join(dir, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	file("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '2'}\n")
	want := []string{"delete k8s:ConfigMap/little/b", "keep k8s:Namespace/little", "keep k8s:Secret/made/s", "update k8s:ConfigMap/little/a"}
	if diff := cmp.Diff(want, changes(u.plan(in).Changes)); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	u.apply(in)
	gone := func(r kube.ObjectRef) bool {
		t.Helper()
		obj, err := u.client.Get(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return obj == nil
	}
	cmRef := func(ns, name string) kube.ObjectRef {
		return kube.ObjectRef{APIVersion: "v1", Kind: "ConfigMap", Namespace: ns, Name: name}
	}
	if !gone(cmRef("little", "b")) || gone(cmRef("little", "a")) {
		t.Error("prune took the wrong one")
	}
	other := stage(t, "other", dir)
	if _, err := other.def.Plan(t.Context(), other.env, in); !kube.HasCode(err, "NotOurs") {
		t.Errorf("plan of another pipeline over the same objects: %v", err)
	}
	stranger := u.input("{cluster: {kubeconfig: LAB}, secrets: [{namespace: made, name: theirs, data: {k: v}}]}")
	other.apply(stranger)
	if err := u.def.Delete(t.Context(), u.env, in, steps.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if !gone(cmRef("little", "a")) || !gone(kube.ObjectRef{APIVersion: "v1", Kind: "Namespace", Name: "little"}) {
		t.Error("delete left what is ours")
	}
	if gone(kube.ObjectRef{APIVersion: "v1", Kind: "Secret", Namespace: "made", Name: "theirs"}) {
		t.Error("delete took another pipeline's Secret with the namespace")
	}
	if err := u.def.Delete(t.Context(), u.env, in, steps.DeleteOptions{}); err != nil {
		t.Errorf("second delete: %v", err)
	}
}

func TestUnhealthyWorkloadIsPlannedAgainAndFailsWithItsReason(t *testing.T) {
	dir := t.TempDir()
	text := "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: sick}\nspec:\n  selector: {matchLabels: {a: b}}\n  template:\n    metadata: {labels: {a: b}}\n" +
		"    spec: {nodeSelector: {no-such: node}, containers: [{name: c, image: nginx}]}\n"
	if err := os.WriteFile(filepath.Join(dir, "d.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	u := stage(t, "sick", dir)
	in := u.input("{cluster: {kubeconfig: LAB}, paths: [d.yaml], timeout: 2s}")
	_, err := u.def.Apply(t.Context(), u.env, in)
	if e := steps.Classify(err); e.Category != steps.Unhealthy || !strings.Contains(e.Message, "Unschedulable") {
		t.Errorf("apply: %v", err)
	}
	p := u.plan(in)
	if p.Outputs != nil || actions(p.Changes)["update"] != 1 {
		t.Errorf("plan over an unhealthy workload: %v", changes(p.Changes))
	}
}
