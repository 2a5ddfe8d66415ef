package kube_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
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
data: {a: "1", b: "2"}`)
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
data: {a: "7"}`)
	got, err := c.Diff(t.Context(), after, kube.ApplyOptions{Owner: &me})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"data.password: differs"}, got[0].Change.Drift); diff != "" {
		t.Errorf("secret (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{`data.a: have "1", want "7"`, `data.b: have "2", want nothing`}, got[1].Change.Drift); diff != "" {
		t.Errorf("configmap (-want +got):\n%s", diff)
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
	if _, err := c.Apply(t.Context(), deploy(2), kube.ApplyOptions{Owner: &me}); err != nil {
		t.Fatalf("our own patch stands in our way: %v", err)
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

func job(ns, name, run, script string) kube.JobSpec {
	return kube.JobSpec{Namespace: ns, Name: name, Owner: me, Run: run, StartWithin: 20 * time.Second,
		Pod: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "pipectl/test", Command: []string{"/bin/sh", "-c", script}}}}}
}

func TestJobLeavesExitCodeMessageAndLog(t *testing.T) {
	c := open(t)
	withNode(t)
	ns := namespace(t, c, "jobs")
	s := job(ns, "ends", "run-1", `echo one; echo two; echo -n '{"moved":3}' > "$PIPECTL_TERMINATION_LOG"; exit 7`)
	var mu sync.Mutex
	var lines []string
	s.Lines = func(l string) { mu.Lock(); defer mu.Unlock(); lines = append(lines, l) }
	r, err := c.RunJob(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if r.ExitCode != 7 || r.Message != `{"moved":3}` || r.Adopted || r.Node != "ip-10-0-1-10" {
		t.Errorf("result: %+v", r)
	}
	if diff := cmp.Diff([]string{"one", "two"}, lines); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	again, err := c.RunJob(t.Context(), s)
	if err != nil || !again.Adopted || again.ExitCode != 7 {
		t.Errorf("the same run again: %+v, %v", again, err)
	}
	s = job(ns, "ends", "run-2", "exit 0")
	if next, err := c.RunJob(t.Context(), s); err != nil || next.Adopted || !next.Succeeded() {
		t.Errorf("another run: %+v, %v", next, err)
	}
	s.Owner.Pipeline = "another"
	if _, err := c.RunJob(t.Context(), s); !kube.HasCode(err, "NotOurs") {
		t.Errorf("a job of another owner: %v", err)
	}
	if err := c.DeleteJob(t.Context(), ns, "ends"); err != nil {
		t.Error(err)
	}
}

func TestPortForwardCarriesHTTPAndSaysWhenNobodyListens(t *testing.T) {
	c := open(t)
	withNode(t)
	ns := namespace(t, c, "forward")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "jenkins", Namespace: ns}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: "jenkins", Image: "jenkins/jenkins:lts", Ports: []corev1.ContainerPort{{ContainerPort: 8080}},
		ReadinessProbe: &corev1.Probe{PeriodSeconds: 1},
	}}}}
	pod.Spec.Containers[0].ReadinessProbe.HTTPGet = &corev1.HTTPGetAction{Path: "/login"}
	pod.Spec.Containers[0].ReadinessProbe.HTTPGet.Port.IntVal = 8080
	if _, err := c.Typed.CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitHealthy(t.Context(), []kube.ObjectRef{{APIVersion: "v1", Kind: "Pod", Namespace: ns, Name: "jenkins"}}, kube.WaitOptions{Timeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	transport := c.PodTransport(ns, "jenkins", 8080)
	defer transport.CloseIdleConnections()
	for range 2 {
		resp, err := (&http.Client{Transport: transport}).Get("http://jenkins/login")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.Header.Get("X-Jenkins") == "" {
			t.Errorf("no Jenkins at the other end: %s", resp.Status)
		}
	}
	conn, err := c.PortForward(t.Context(), ns, "jenkins", 9)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Read(make([]byte, 1)); !kube.HasCode(err, "PortForwardRefused") {
		t.Errorf("port nobody listens on: %v", err)
	}
}

func TestHealthErrorSaysWhatPodsSay(t *testing.T) {
	c := open(t)
	ns := namespace(t, c, "sick")
	objs := objects(t, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, namespace: `+ns+`}
spec:
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec:
      nodeSelector: {no-such: node}
      containers: [{name: c, image: nginx}]`)
	if _, err := c.Apply(t.Context(), objs, kube.ApplyOptions{Owner: &me}); err != nil {
		t.Fatal(err)
	}
	err := c.WaitHealthy(t.Context(), []kube.ObjectRef{kube.RefOf(objs[0])}, kube.WaitOptions{Timeout: 3 * time.Second})
	if !kube.HasCode(err, "NotHealthy") || !strings.Contains(err.Error(), "Unschedulable") {
		t.Errorf("got %v", err)
	}
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
