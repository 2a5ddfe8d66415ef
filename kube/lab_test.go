package kube_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"pipectl.dev/kube"
	"pipectl.dev/kube/labtest"
	"pipectl.dev/steps"
)

func TestMain(m *testing.M) { labtest.Main(m) }

var me = steps.Identity{Cluster: "uid-lab", Pipeline: "kube-test"}

func open(t *testing.T) *kube.Client {
	t.Helper()
	lab := labtest.Cluster(t)
	c, err := kube.Open(t.Context(), steps.ClusterRef{Kubeconfig: lab.Kubeconfig}, kube.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func withNode(t *testing.T) {
	t.Helper()
	lab := labtest.Cluster(t)
	nodeOnce.Do(func() {
		lab.AddNode(t, labtest.Node{Name: "ip-10-0-1-10", InstanceID: "i-1", PrivateIP: "10.0.1.10", Zone: "z-a", Region: "z", InstanceType: "t3.small"})
	})
}

var nodeOnce sync.Once

func objects(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for _, doc := range strings.Split(text, "\n---\n") {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
	return out
}

func namespace(t *testing.T, c *kube.Client, name string) string {
	t.Helper()
	if _, err := c.EnsureNamespace(t.Context(), name, me); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestRecordRefusesALostUpdate(t *testing.T) {
	c := open(t)
	ns := namespace(t, c, "records")
	one, two := "1", "2"
	first, err := c.ReadRecord(t.Context(), ns, "state")
	if err != nil || first.Version != "" {
		t.Fatalf("absent record: %+v, %v", first, err)
	}
	stored, err := c.WriteRecord(t.Context(), first, map[string]*string{"a": &one, "b": &one}, me)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteRecord(t.Context(), first, map[string]*string{"a": &two}, me); !kube.HasCode(err, kube.CodeConflict) {
		t.Errorf("second creation: %v", err)
	}
	next, err := c.WriteRecord(t.Context(), stored, map[string]*string{"a": &two, "b": nil}, me)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"a": "2"}, next.Data); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := c.WriteRecord(t.Context(), stored, map[string]*string{"a": &one}, me); !kube.HasCode(err, kube.CodeConflict) {
		t.Errorf("write over a change: %v", err)
	}
}

func TestLeaseIsHeldByOneAndTakenFromTheDead(t *testing.T) {
	c := open(t)
	locks := c.Locks(namespace(t, c, "locks"))
	alice := steps.Holder{RunID: "a", Who: "alice", Host: "h1", PID: 1}
	bob := steps.Holder{RunID: "b", Who: "bob", Host: "h2", PID: 1}
	held, err := locks.Lock(t.Context(), "id/stage", alice, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = locks.Lock(t.Context(), "id/stage", bob, 0)
	if !kube.HasCode(err, "Locked") || !strings.Contains(err.Error(), "alice") {
		t.Errorf("second holder: %v", err)
	}
	other, err := locks.Lock(t.Context(), "id/other", bob, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Release(t.Context()); err != nil {
		t.Error(err)
	}
	look := func() steps.LockState {
		t.Helper()
		all, err := locks.Look(t.Context(), []string{"id/stage", "id/never"}, bob)
		if err != nil {
			t.Fatal(err)
		}
		return all["id/stage"]
	}
	seen := look()
	if seen.Holder == nil || seen.Holder.Who != "alice" {
		t.Errorf("while alice holds it: %+v", seen)
	}
	if err := held.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if free := look(); free.Holder != nil || free.Turn != seen.Turn {
		t.Errorf("once it is free: %+v, before %+v", free, seen)
	}
	if who, err := locks.Unlock(t.Context(), "id/stage"); who != nil || err != nil {
		t.Errorf("unlock of a free lock: %v, %v", who, err)
	}
	dead := steps.Holder{RunID: "c", Who: "carol", Host: "h1", PID: 1 << 30} // no such process
	if _, err = locks.Lock(t.Context(), "id/stage", dead, 0); err != nil {
		t.Fatal(err)
	}
	held, err = locks.Lock(t.Context(), "id/stage", alice, 0)
	if err != nil {
		t.Fatalf("taking over from a dead process of the same host: %v", err)
	}
	if err := held.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTokenOfAServiceAccountSpeaksForIt(t *testing.T) {
	c := open(t)
	ns := namespace(t, c, "tokens")
	a := kube.JobAccount{Namespace: ns, Name: "mover", Owner: me}
	if err := c.EnsureJobAccount(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	token, expires, err := c.ServiceAccountToken(t.Context(), ns, "mover", []string{"https://issuer.invalid/labtest"}, 10*time.Minute)
	if err != nil || token == "" || time.Until(expires) < 5*time.Minute {
		t.Fatalf("token until %s: %v", expires, err)
	}
	cfg := *c.Config
	cfg.CertData, cfg.KeyData, cfg.CertFile, cfg.KeyFile, cfg.BearerToken = nil, nil, "", "", token
	_, err = kube.ForTest(&cfg).Typed.CoreV1().ConfigMaps(ns).List(t.Context(), metav1.ListOptions{})
	err = kube.Explain(err)
	if !kube.HasCode(err, kube.CodeForbidden) {
		t.Fatalf("a service account without rights: %v", err)
	}
	if hints := strings.Join(steps.Classify(err).Hints, " "); hints != "a role must allow verb list on configmaps in namespace tokens" {
		t.Errorf("hint: %q", hints)
	}
	if err := c.DeleteJobAccount(t.Context(), a); err != nil {
		t.Error(err)
	}
}

// The means of pausing is that of the Argo CD whose definition is there: before 3.1 there is no field to switch off an automatic sync.
func TestPausedApplicationsAreRestoredExactly(t *testing.T) {
	for _, test := range []struct { // in this order: a field that a definition takes away does no harm while the API server still takes it
		release string
		want    map[string]any
	}{
		{"v3.2.6", map[string]any{
			"root":  map[string]any{"automated": map[string]any{"enabled": false}},
			"child": map[string]any{"automated": map[string]any{"prune": true, "selfHeal": true, "enabled": false}, "syncOptions": []any{"A=b"}},
		}},
		{"v2.14.21", map[string]any{"root": map[string]any{}, "child": map[string]any{"syncOptions": []any{"A=b"}}}},
	} {
		t.Run(test.release, func(t *testing.T) { pausedAndResumed(t, test.release, test.want) })
	}
}

func pausedAndResumed(t *testing.T, release string, want map[string]any) {
	c := open(t)
	ns := namespace(t, c, "argocd-"+strings.ReplaceAll(release, ".", "-"))
	var definition []*unstructured.Unstructured
	for _, doc := range strings.Split(string(labtest.Upstream(t, "argo-cd/"+release+"/manifests/core-install.yaml")), "\n---\n") {
		if strings.Contains(doc, "name: applications.argoproj.io") {
			definition = append(definition, objects(t, doc)...)
		}
	}
	if _, err := c.Apply(t.Context(), definition, kube.ApplyOptions{Owner: &me}); err != nil {
		t.Fatal(err)
	}
	app := func(name, notes, policy string) string {
		return "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: " + name + ", namespace: " + ns + ", annotations: {" + notes + "}}\n" +
			"spec:\n  project: default\n  destination: {namespace: x}\n  source: {repoURL: 'https://example.com/r', path: p}\n" + policy
	}
	objs := objects(t, app("root", "", "  syncPolicy: {automated: {}}\n")+"---\n"+
		app("child", "argocd.argoproj.io/tracking-id: 'root:argoproj.io/Application:argocd/child'", "  syncPolicy: {automated: {prune: true, selfHeal: true}, syncOptions: [A=b]}\n")+"---\n"+
		app("manual", "", "  syncPolicy: {syncOptions: [A=b]}\n"))
	if _, err := c.Apply(t.Context(), objs, kube.ApplyOptions{Owner: &me}); err != nil {
		t.Fatal(err)
	}
	policies := func() map[string]any {
		t.Helper()
		out := map[string]any{}
		for _, name := range []string{"root", "child", "manual"} {
			obj, err := c.Get(t.Context(), kube.ApplicationRef(ns, name))
			if err != nil {
				t.Fatal(err)
			}
			out[name], _, _ = unstructured.NestedMap(obj.Object, "spec", "syncPolicy")
		}
		return out
	}
	before := policies()
	paused, err := c.PauseApplication(t.Context(), ns, "child")
	if err != nil {
		t.Fatal(err)
	}
	if len(paused) != 2 || paused[0].Name != "root" || paused[1].Name != "child" {
		t.Errorf("paused: %+v", paused)
	}
	want["manual"] = before["manual"]
	if diff := cmp.Diff(want, policies()); diff != "" {
		t.Errorf("while paused (-want +got):\n%s", diff)
	}
	again, err := c.PauseApplication(t.Context(), ns, "child")
	if err != nil || len(again) != 0 {
		t.Errorf("second pause: %+v, %v", again, err)
	}
	if err := c.ResumeApplications(t.Context(), paused); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, policies()); diff != "" {
		t.Errorf("after resuming (-before +after):\n%s", diff)
	}
}
