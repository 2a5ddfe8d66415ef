package syncargocd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"

	"pipectl.dev/kube"
	"pipectl.dev/kube/labtest"
	"pipectl.dev/steps"
	"pipectl.dev/steps/syncargocd"
)

func TestMain(m *testing.M) { labtest.Main(m) }

var identity = steps.Identity{Cluster: "lab", Pipeline: "sync-test"}

// argo is the lab with Argo CD in it, and a Git repository.
type argo struct {
	t      *testing.T
	client *kube.Client
	opener kube.Opener
	repo   string

	mu     sync.Mutex
	events []steps.Event
}

// installed says that an earlier test of this process brought Argo CD.
var installed bool

var deleteNow metav1.DeleteOptions

func start(t *testing.T) *argo {
	t.Helper()
	lab := labtest.Cluster(t)
	a := &argo{t: t, opener: kube.NewOpener(kube.Options{}), repo: t.TempDir()}
	var err error
	if a.client, err = a.opener(t.Context(), steps.ClusterRef{Kubeconfig: lab.Kubeconfig}); err != nil {
		t.Fatal(err)
	}
	if !installed {
		lab.AddNode(t, labtest.Node{Name: "ip-10-0-1-10", InstanceID: "i-1", PrivateIP: "10.0.1.10", Zone: "z-a", Region: "z", InstanceType: "t3.large"})
		a.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: argocd}\n")
		a.apply(string(labtest.Upstream(t, "argo-cd/v3.2.6/manifests/core-install.yaml")))
		// The server would bring these two; the core of Argo CD has none, and syncs nothing without them.
		a.apply(`
apiVersion: v1
kind: Secret
metadata: {name: argocd-secret, namespace: argocd, labels: {app.kubernetes.io/part-of: argocd}}
data: {server.secretkey: bm90aGluZyBpcyBzaWduZWQ=}
---
apiVersion: argoproj.io/v1alpha1
kind: AppProject
metadata: {name: default, namespace: argocd}
spec: {sourceRepos: ["*"], destinations: [{server: "*", namespace: "*"}], clusterResourceWhitelist: [{group: "*", kind: "*"}]}
`)
		installed = true
	}
	a.git("init", "-q", "-b", "main")
	return a
}

func (a *argo) apply(text string) {
	a.t.Helper()
	var objs []*unstructured.Unstructured
	dec := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(text)), 4096)
	for {
		o := &unstructured.Unstructured{}
		if dec.Decode(&o.Object) != nil {
			break
		}
		if len(o.Object) > 0 {
			objs = append(objs, o)
		}
	}
	if _, err := a.client.Apply(a.t.Context(), objs, kube.ApplyOptions{Namespace: "argocd"}); err != nil {
		a.t.Fatal(err)
	}
}

func (a *argo) git(args ...string) string {
	a.t.Helper()
	cmd := exec.CommandContext(a.t.Context(), "git", append([]string{"-C", a.repo, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...) //nolint:gosec // a test's own arguments
	out, err := cmd.CombinedOutput()
	if err != nil {
		a.t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit writes files and returns the commit.
func (a *argo) commit(files map[string]string) string {
	a.t.Helper()
	for name, text := range files {
		path := filepath.Join(a.repo, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // Argo CD reads it
			a.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // Argo CD reads it
			a.t.Fatal(err)
		}
	}
	a.git("add", "-A")
	a.git("commit", "-q", "-m", "change")
	return a.git("rev-parse", "HEAD")
}

// app makes an Application that follows a directory of the repository.
func (a *argo) app(name, path, more string) {
	a.t.Helper()
	a.apply(`
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: ` + name + `, namespace: argocd}
spec:
  project: default
  destination: {server: "https://kubernetes.default.svc", namespace: ` + name + `}
  source: {repoURL: "file://` + a.repo + `", path: ` + path + `, targetRevision: HEAD}
  syncPolicy: {syncOptions: [CreateNamespace=true]}
` + more)
	a.t.Cleanup(func() { // without a finalizer the Application goes and its resources stay
		api, _, err := a.client.Resource(kube.ApplicationRef("argocd", name))
		if err == nil {
			_ = api.Delete(context.WithoutCancel(a.t.Context()), name, deleteNow)
		}
	})
}

func (a *argo) stage(with string) (steps.Definition, steps.Env, steps.Input) {
	a.t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte("cluster: {kubeconfig: "+labtest.Cluster(a.t).Kubeconfig+"}\n"+with), &doc); err != nil {
		a.t.Fatal(err)
	}
	env := steps.Env{Identity: identity, Stage: "apps", RunID: a.t.Name(), Record: func(e steps.Event) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.events = append(a.events, e)
	}}
	return syncargocd.New(a.opener, syncargocd.Options{}), env, steps.Input{File: "test.yaml", With: &doc}
}

func (a *argo) sync(with string) (syncargocd.Outputs, error) {
	a.t.Helper()
	def, env, in := a.stage(with)
	raw, err := def.Apply(a.t.Context(), env, in)
	var out syncargocd.Outputs
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	return out, err
}

func (a *argo) plan(with string) steps.ErasedPlan {
	a.t.Helper()
	def, env, in := a.stage(with)
	p, err := def.Plan(a.t.Context(), env, in)
	if err != nil {
		a.t.Fatal(err)
	}
	return p
}

func (a *argo) get(ref kube.ObjectRef) *unstructured.Unstructured {
	a.t.Helper()
	obj, err := a.client.Get(a.t.Context(), ref)
	if err != nil {
		a.t.Fatal(err)
	}
	return obj
}

func (a *argo) syncs(app string) int {
	history, _, _ := unstructured.NestedSlice(a.get(kube.ApplicationRef("argocd", app)).Object, "status", "history")
	return len(history)
}

func web(name string, replicas, image string) string {
	return `
apiVersion: apps/v1
kind: Deployment
metadata: {name: ` + name + `}
spec:
` + replicas + `  selector: {matchLabels: {app: ` + name + `}}
  template:
    metadata: {labels: {app: ` + name + `}}
    spec: {containers: [{name: web, image: "` + image + `"}]}
---
apiVersion: v1
kind: Service
metadata: {name: ` + name + `}
spec: {selector: {app: ` + name + `}, ports: [{port: 8080}]}
`
}

func TestApplicationThatAppearsLaterIsSyncedOnceAndThenLeftAlone(t *testing.T) {
	a := start(t)
	head := a.commit(map[string]string{"shop/web.yaml": web("shop", "", "nginx:1")})
	with := "apps: [{name: shop}]\nhealthyFor: 1s\n"
	p := a.plan(with)
	if p.Outputs != nil || p.Changes[0].Action != "update" {
		t.Errorf("plan before it exists: %+v", p)
	}
	time.AfterFunc(time.Second, func() { a.app("shop", "shop", "") })
	out, err := a.sync(with)
	if err != nil {
		t.Fatal(err)
	}
	got := out.Apps["shop"]
	if !got.Changed || got.Revision != head || got.Sync != "Synced" || got.Health != "Healthy" || len(got.Resources) == 0 {
		t.Errorf("first sync: %+v, want revision %s", got, head)
	}
	if diff := cmp.Diff(map[string]string{"shop": "http://shop.shop.svc:8080"}, out.URLs); diff != "" {
		t.Errorf("urls (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"nginx:1"}, got.Images); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	before := a.syncs("shop")
	if p = a.plan(with); p.Outputs == nil || p.Changes[0].Action != "keep" {
		t.Errorf("plan afterwards: %+v", p)
	}
	if out, err = a.sync(with); err != nil || out.Apps["shop"].Changed {
		t.Errorf("second sync: %+v, %v", out, err)
	}
	if after := a.syncs("shop"); after != before {
		t.Errorf("%d operations were written for nothing", after-before)
	}
	def, env, in := a.stage(with)
	if raw, found, err := def.Observe(t.Context(), env, in); err != nil || !found || !strings.Contains(string(raw), head) {
		t.Errorf("observe: %s %v %v", raw, found, err)
	}
}

func TestWhatIsLiveIsAlwaysTheNewestCommit(t *testing.T) {
	a := start(t)
	a.commit(map[string]string{"busy/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: busy}\ndata: {value: start}\n"})
	a.app("busy", "busy", "")
	for i := range 10 {
		n := strings.Repeat("x", i+1)
		head := a.commit(map[string]string{"busy/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: busy}\ndata: {value: " + n + "}\n"})
		out, err := a.sync("apps: [{name: busy}]\nhealthyFor: 100ms\n")
		if err != nil {
			t.Fatal(err)
		}
		live, _, _ := unstructured.NestedString(a.get(kube.ObjectRef{APIVersion: "v1", Kind: "ConfigMap", Namespace: "busy", Name: "busy"}).Object, "data", "value")
		if out.Apps["busy"].Revision != head || live != n || !out.Apps["busy"].Changed {
			t.Errorf("round %d: %+v, live %q, want commit %s", i, out.Apps["busy"], live, head)
		}
	}
}

func TestFailuresAreFoundEarlyAndSayWhy(t *testing.T) {
	a := start(t)
	a.commit(map[string]string{
		"refused/bad.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: refused}\nspec: {ports: [{port: 99999999}]}\n",
		"slow/web.yaml":    strings.Replace(web("slow", "", "nginx"), "spec: {containers", "spec: {nodeSelector: {no-such: node}, containers", 1),
	})
	a.app("nopath", "no/such/path", "")
	a.app("refused", "refused", "")
	a.app("slow", "slow", "")
	a.app("closed", "slow", "")
	for name, test := range map[string]struct {
		with, code string
		category   steps.Category
		says       string
	}{
		"a path that is not in Git":  {"apps: [{name: nopath}]", "ComparisonError", steps.Unhealthy, "app path does not exist"},
		"a manifest that is refused": {"apps: [{name: refused}]", "SyncFailed", steps.Unhealthy, "99999999"},
		"pods that fit on no node":   {"apps: [{name: slow}]\ntimeout: 8s", "TimedOut", steps.Timeout, "Unschedulable"},
		"an app that never appears":  {"apps: [{name: nobody}]\nappear: 1s", "AppNotFound", steps.Precondition, "did not appear"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := a.sync(test.with)
			e := steps.Classify(err)
			if e.Code != test.code || e.Category != test.category || !strings.Contains(e.Message, test.says) {
				t.Errorf("got %s/%s: %v", e.Code, e.Category, err)
			}
		})
	}
}

func TestClosedSyncWindowIsNotWaitedFor(t *testing.T) {
	a := start(t)
	a.commit(map[string]string{"w/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: w}\n"})
	a.apply(`
apiVersion: argoproj.io/v1alpha1
kind: AppProject
metadata: {name: closed, namespace: argocd}
spec:
  sourceRepos: ["*"]
  destinations: [{server: "*", namespace: "*"}]
  clusterResourceWhitelist: [{group: "*", kind: "*"}]
  syncWindows: [{kind: deny, schedule: "* * * * *", duration: 24h, applications: ["*"]}]
`)
	a.app("windowed", "w", "")
	if _, err := a.client.MergePatch(t.Context(), kube.ApplicationRef("argocd", "windowed"), []byte(`{"spec":{"project":"closed"}}`)); err != nil {
		t.Fatal(err)
	}
	_, err := a.sync("apps: [{name: windowed}]")
	if e := steps.Classify(err); e.Code != "BlockedByWindow" || e.Category.ExitCode() != 13 {
		t.Errorf("got %v", err)
	}
	if op, found, _ := unstructured.NestedMap(a.get(kube.ApplicationRef("argocd", "windowed")).Object, "operation"); found {
		t.Errorf("an operation was left to wait: %v", op)
	}
}

func TestDependentsWaitAndReleaseStopsWhatApplyStartsAgain(t *testing.T) {
	a := start(t)
	a.commit(map[string]string{"db/web.yaml": web("db", "", "postgres"), "front/web.yaml": web("front", "  replicas: 2\n", "nginx")})
	a.app("db", "db", "")
	a.app("front", "front", "")
	with := "apps: [{name: front, dependsOn: [db]}, {name: db}]\nhealthyFor: 1s\n"
	if _, err := a.sync(with); err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, e := range a.events {
		if e.Type == steps.ChangeDone || e.Type == steps.ChangeStart {
			order = append(order, string(e.Type)+" "+e.Change.Name)
		}
	}
	if diff := cmp.Diff([]string{"change_start db", "change_done db", "change_start front", "change_done front"}, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	def, env, in := a.stage(with)
	if err := def.Release(t.Context(), env, in); err != nil {
		t.Fatal(err)
	}
	for _, w := range []kube.Workload{{Kind: "StatefulSet", Namespace: "argocd", Name: "argocd-application-controller"},
		{Kind: "Deployment", Namespace: "db", Name: "db"}, {Kind: "Deployment", Namespace: "front", Name: "front"}} {
		st, found, err := a.client.ReadWorkload(t.Context(), w)
		pods, podErr := a.client.PodsOf(t.Context(), w)
		if err != nil || podErr != nil || !found || st.Replicas != 0 || len(pods) != 0 {
			t.Errorf("%s after release: %d replicas, %d pods, %v %v", w, st.Replicas, len(pods), err, podErr)
		}
	}
	if err := def.Release(t.Context(), env, in); err != nil {
		t.Errorf("second release: %v", err)
	}
	if _, err := a.sync(with); err != nil {
		t.Fatal(err)
	}
	for w, want := range map[kube.Workload]int32{{Kind: "Deployment", Namespace: "db", Name: "db"}: 1, {Kind: "Deployment", Namespace: "front", Name: "front"}: 2} {
		st, _, err := a.client.ReadWorkload(t.Context(), w)
		if err != nil || st.Replicas != want || st.Ready != want || st.PausedFrom != nil {
			t.Errorf("%s after apply: %d of %d replicas ready, note %v, %v", w, st.Ready, st.Replicas, st.PausedFrom, err)
		}
	}
}
