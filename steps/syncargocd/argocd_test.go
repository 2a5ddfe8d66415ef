package syncargocd_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"

	"pipectl.dev/kube"
	"pipectl.dev/kube/labtest"
	"pipectl.dev/steps"
	"pipectl.dev/steps/syncargocd"
)

func TestMain(m *testing.M) {
	syncargocd.Impatient()
	labtest.Main(m)
}

var identity = steps.Identity{Cluster: "lab", Pipeline: "sync-test"}

// argo is the lab with Argo CD in it, a Git repository, and a way to Argo CD.
type argo struct {
	t      *testing.T
	client *kube.Client
	opener kube.Opener
	repo   string
	way    string // "cluster" or "server"

	mu     sync.Mutex
	events []steps.Event
}

// server is argocd-server behind a proxy that can break connections, with a token; and the API server behind another. Both are made by
// the first test of the process.
var server struct {
	installed  bool
	url        string
	ca, token  string
	argo, kube *breaker
	kubeconfig string
}

// release is the Argo CD that the tests run on.
func release() string {
	if r := os.Getenv("PIPECTL_ARGOCD"); r != "" {
		return r
	}
	return "v3.2.6"
}

// settings are what argocd-cm says beside what a test sets.
var settings string

var deleteNow metav1.DeleteOptions

// client calls argocd-server past the step.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // of a test's own server

func listLabel(selector string) metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: selector}
}

// ways runs a test by custom resources and by argocd-server.
func ways(t *testing.T, test func(a *argo)) {
	for _, way := range []string{"cluster", "server"} {
		t.Run(way, func(t *testing.T) {
			a := start(t)
			a.way = way
			test(a)
		})
	}
}

func start(t *testing.T) *argo {
	t.Helper()
	lab := labtest.Cluster(t)
	a := &argo{t: t, opener: kube.NewOpener(kube.Options{}), repo: t.TempDir(), way: "cluster"}
	var err error
	if a.client, err = a.opener(t.Context(), steps.ClusterRef{Kubeconfig: lab.Kubeconfig}); err != nil {
		t.Fatal(err)
	}
	if !server.installed {
		a.install(lab)
		server.installed = true
	}
	a.git("init", "-q", "-b", "main")
	return a
}

// install brings the whole of Argo CD, and an account for its API.
func (a *argo) install(lab *labtest.Lab) {
	a.t.Helper()
	lab.AddNode(a.t, labtest.Node{Name: "ip-10-0-1-10", InstanceID: "i-1", PrivateIP: "10.0.1.10", Zone: "z-a", Region: "z", InstanceType: "t3.large"})
	a.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: argocd}\n")
	// Pods read these when they start, so they cannot come later.
	a.apply(strings.NewReplacer(
		"\n  name: argocd-cmd-params-cm\n---", "\n  name: argocd-cmd-params-cm\ndata: {application.namespaces: team-*}\n---",
		"\n  name: argocd-cm\n---", "\n  name: argocd-cm\ndata: {"+settings+"}\n---",
	).Replace(string(labtest.Upstream(a.t, "argo-cd/"+release()+"/manifests/install.yaml"))))
	a.apply(`
apiVersion: v1
kind: Service
metadata: {name: argocd-server-here, namespace: argocd}
spec: {selector: {app.kubernetes.io/name: argocd-server}, ports: [{port: 8443, targetPort: 8080}]}
---
# What Argo CD's documentation has one add for Applications in any namespace.
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: argocd-server-applications}
rules: [{apiGroups: [argoproj.io], resources: [applications], verbs: [create, get, list, watch, update, patch, delete]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: argocd-server-applications}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: argocd-server-applications}
subjects: [{kind: ServiceAccount, name: argocd-server, namespace: argocd}]
`)
	for name, patch := range map[string]string{
		"argocd-cm":      `{"data":{"accounts.ci":"apiKey"}}`,
		"argocd-rbac-cm": `{"data":{"policy.csv":"p, ci, applications, *, */*, allow\np, ci, projects, get, *, allow\np, ci, applicationsets, get, */*, allow\n"}}`,
	} {
		if _, err := a.client.MergePatch(a.t.Context(), kube.ObjectRef{APIVersion: "v1", Kind: "ConfigMap", Namespace: "argocd", Name: name}, []byte(patch)); err != nil {
			a.t.Fatal(err)
		}
	}
	server.argo = newBreaker(a.t, lab.Service(a.t, "argocd", "argocd-server-here", 8443))
	server.url = "https://localhost:" + server.argo.port
	password := a.secret("argocd-initial-admin-secret", "password")
	server.ca = a.secret("argocd-secret", "tls.crt")
	session := a.call("/api/v1/session", "", map[string]string{"username": "admin", "password": password})
	server.token = a.call("/api/v1/account/ci/token", session, map[string]string{})
	server.kube = newBreaker(a.t, strings.TrimPrefix(lab.Endpoint, "https://"))
	raw, err := os.ReadFile(lab.Kubeconfig)
	if err != nil {
		a.t.Fatal(err)
	}
	server.kubeconfig = filepath.Join(lab.Dir, "broken.kubeconfig")
	text := strings.ReplaceAll(string(raw), lab.Endpoint, "https://127.0.0.1:"+server.kube.port)
	if err := os.WriteFile(server.kubeconfig, []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// secret waits for a value that Argo CD's server makes at its first start.
func (a *argo) secret(name, key string) string {
	a.t.Helper()
	var value []byte
	a.until("secret "+name, func() bool {
		text, _, _ := unstructured.NestedString(a.object(kube.ObjectRef{APIVersion: "v1", Kind: "Secret", Namespace: "argocd", Name: name}), "data", key)
		value, _ = base64.StdEncoding.DecodeString(text)
		return len(value) > 0
	})
	return string(value)
}

// call posts to argocd-server until it answers, and returns the token in its answer.
func (a *argo) call(path, token string, body any) string {
	a.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		a.t.Fatal(err)
	}
	var answer struct{ Token string }
	a.until("POST "+path, func() bool {
		req, err := http.NewRequestWithContext(a.t.Context(), http.MethodPost, server.url+path, bytes.NewReader(raw))
		if err != nil {
			a.t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := client.Do(req)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return json.NewDecoder(resp.Body).Decode(&answer) == nil && answer.Token != ""
	})
	return answer.Token
}

// until looks again and again, and fails the test after a while.
func (a *argo) until(what string, done func() bool) {
	a.t.Helper()
	deadline := time.NewTimer(90 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline.C:
			a.t.Fatalf("%s: not within 90 s", what)
		case <-a.t.Context().Done():
			a.t.Fatal(a.t.Context().Err())
		case <-tick.C:
		}
	}
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

// commit writes files ("" removes one) and returns the commit.
func (a *argo) commit(files map[string]string) string {
	a.t.Helper()
	for name, text := range files {
		path := filepath.Join(a.repo, name)
		if text == "" {
			if err := os.Remove(path); err != nil {
				a.t.Fatal(err)
			}
			continue
		}
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

// app makes an Application; more is of its sync policy.
func (a *argo) app(name, path, more string) {
	a.t.Helper()
	a.apply(a.manifest(name, path, more))
	a.gone(name)
}

// gone removes Applications when the test ends: without a finalizer they go and their resources stay.
func (a *argo) gone(names ...string) {
	a.t.Cleanup(func() {
		for _, name := range names {
			if api, _, err := a.client.Resource(kube.ApplicationRef("argocd", name)); err == nil {
				_ = api.Delete(context.WithoutCancel(a.t.Context()), name, deleteNow)
			}
		}
	})
}

// patch writes an Application, as somebody else.
func (a *argo) patch(app, patch string) {
	a.t.Helper()
	if _, err := a.client.MergePatch(a.t.Context(), kube.ApplicationRef("argocd", app), []byte(patch)); err != nil {
		a.t.Fatal(err)
	}
}

// access is the part of `with:` that says where Argo CD is.
func (a *argo) access() string {
	if a.way == "server" {
		return fmt.Sprintf("server: {url: %q, token: %q, ca: %q}\n", server.url, server.token, server.ca)
	}
	return "cluster: {kubeconfig: " + labtest.Cluster(a.t).Kubeconfig + "}\n"
}

func (a *argo) stage(with string) (steps.Definition, steps.Env, steps.Input) {
	a.t.Helper()
	if !strings.HasPrefix(with, "cluster:") && !strings.HasPrefix(with, "server:") {
		with = a.access() + with
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(with), &doc); err != nil {
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

// synced is sync that must succeed.
func (a *argo) synced(with string) syncargocd.Outputs {
	a.t.Helper()
	out, err := a.sync(with)
	if err != nil {
		a.t.Fatal(err)
	}
	return out
}

// fails is sync that must fail with this code and text.
func (a *argo) fails(with, code, says string) {
	a.t.Helper()
	_, err := a.sync(with)
	if err == nil {
		a.t.Errorf("%s: succeeded, want %s", with, code)
		return
	}
	if e := steps.Classify(err); e.Code != code || !strings.Contains(e.Message, says) {
		a.t.Errorf("%s: got %s: %v, want %s with %q", with, e.Code, err, code, says)
	}
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

func (a *argo) object(ref kube.ObjectRef) map[string]any {
	a.t.Helper()
	if obj := a.get(ref); obj != nil {
		return obj.Object
	}
	return nil
}

// field is a text in an Application, by its path.
func (a *argo) field(app string, path ...string) string {
	a.t.Helper()
	text, _, _ := unstructured.NestedString(a.object(kube.ApplicationRef("argocd", app)), path...)
	return text
}

func (a *argo) syncs(app string) int {
	a.t.Helper()
	history, _, _ := unstructured.NestedSlice(a.object(kube.ApplicationRef("argocd", app)), "status", "history")
	return len(history)
}

// value is data.value of a ConfigMap.
func (a *argo) value(namespace, name string) string {
	a.t.Helper()
	v, _, _ := unstructured.NestedString(a.object(kube.ObjectRef{APIVersion: "v1", Kind: "ConfigMap", Namespace: namespace, Name: name}), "data", "value")
	return v
}
