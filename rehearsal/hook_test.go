package rehearsal

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"

	"pipectl.dev/engine"
)

// hookAccount is the account that the shipped manifests name.
const hookAccount = "123456789012"

// hookPolicy is what argocd/README.md says the hook's role must be allowed.
const hookPolicy = hookFiles + "/policy.json"

// TestTheHooksAsShipped lets a real Argo CD sync an Application whose PreSync hook is the one in argocd/hooks, as a Pod and as a Job. The
// hook's pipeline makes a role for the application, which a container of it takes from the hook's result. Then the hook fails, and the
// sync must stop and say why. At last several Applications have one pipeline.
func TestTheHooksAsShipped(t *testing.T) {
	w, s := hookWorld(t)
	for _, form := range []string{"pod", "job"} {
		t.Run(form, func(t *testing.T) {
			h := newHook(t, w, s, form)
			h.commit(t, "one", nil)
			h.create(t)
			h.await(t, "Succeeded", "one")
			h.hookRan(t)
			account, err := s.client.CoreV1().ServiceAccounts("pipectl").Get(t.Context(), "backup", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			role := account.Annotations["eks.amazonaws.com/role-arn"]
			h.handedOn(t, role)
			h.used(t, role)
			if status, err := w.assume(t.Context(), s, role, "pipectl", "backup"); err != nil || status != 200 {
				t.Errorf("the service account cannot take on the role %q that the hook made: %d, %v", role, status, err)
			}
			h.commit(t, "two", func(pipeline string) string { return strings.Replace(pipeline, "name: blog", "name: nope", 1) })
			app := h.await(t, "Failed", "one")
			h.saysWhy(t, app)
			h.remove(t)
		})
	}
	q := newQueue(t, w, s)
	t.Run("several Applications at once", q.theyQueue)
	t.Run("a sync that is tried again", q.aRetryRunsThemAgain)
}

// hookWorld is an EKS cluster with Argo CD, and the role that the hook runs under.
func hookWorld(t *testing.T) (*world, *site) {
	t.Helper()
	var o outline
	if err := yaml.Unmarshal([]byte(hookPipeline(t)), &o); err != nil {
		t.Fatal(err)
	}
	o.Spec.Account = hookAccount
	w := newWorld(t, o, "")
	s := w.sites[0]
	if err := w.putArgoCD(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	policy, err := os.ReadFile(hookPolicy)
	if err != nil {
		t.Fatal(err)
	}
	role := w.cloud.SeedRole("pipectl", w.cloud.TrustOf("blog", "pipectl", "pipectl"), w.cloud.SeedPolicy("pipectl", string(policy)))
	w.cloud.SeedAccess("blog", role, "pipectl")
	return w, s
}

// hookPipeline is the pipeline in the shipped ConfigMap.
func hookPipeline(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(hookFiles + "/pipeline.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var object struct{ Data map[string]string }
	if err := yaml.Unmarshal(raw, &object); err != nil {
		t.Fatal(err)
	}
	return object.Data["pipectl.yaml"]
}

// hook is an Application with its repository.
type hook struct {
	form, repo, head string
	site             *site
	apps             dynamic.ResourceInterface
}

func newHook(t *testing.T, w *world, s *site, form string) *hook {
	t.Helper()
	client, err := dynamic.NewForConfig(s.config)
	if err != nil {
		t.Fatal(err)
	}
	return &hook{form: form, site: s, apps: client.Resource(applications).Namespace(argoNamespace), repo: filepath.Join(w.dir, "git", form)}
}

// hookedApp is the application: a ConfigMap that has a value, and a container that uses what the hook has left.
const hookedApp = `apiVersion: v1
kind: ConfigMap
metadata: {name: app, namespace: pipectl}
data: {value: VALUE}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: pipectl}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      containers:
        - name: app
          image: pipectl:latest
          command: [sh, -c, "echo it works as $ROLE_ARN; exec sleep 3600"]
          env: [{name: ROLE_ARN, valueFrom: {configMapKeyRef: {name: pipectl-results, key: role.roleArn}}}]
`

// commit fills the repository with the shipped manifests and, beside them, the application.
func (h *hook) commit(t *testing.T, value string, change func(pipeline string) string) {
	t.Helper()
	dir := filepath.Join(h.repo, "backup")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "hooks"), os.DirFS(hookFiles)); err != nil {
		t.Fatal(err)
	}
	edit := func(name string, change func(string) string) {
		file := filepath.Join(dir, "hooks", name)
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(change(string(raw))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if h.form == "job" {
		edit("kustomization.yaml", func(s string) string { return strings.ReplaceAll(s, "sync-pod.yaml", "sync-job.yaml") })
	}
	if change != nil {
		edit("pipeline.yaml", change)
	}
	for name, text := range map[string]string{
		"kustomization.yaml": "resources: [hooks, app.yaml]\n",
		"app.yaml":           strings.Replace(hookedApp, "VALUE", value, 1),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := commitAll(t.Context(), h.repo); err != nil {
		t.Fatal(err)
	}
	head, err := exec.CommandContext(t.Context(), "git", "-C", h.repo, "rev-parse", "HEAD").Output()
	if err != nil {
		t.Fatal(err)
	}
	h.head = strings.TrimSpace(string(head))
}

// refresh asks Argo CD to look at the repository: by itself it would, but only every few minutes. A look that is under way when a commit
// arrives takes the request with it, so whoever waits asks until the commit has been seen.
func (h *hook) refresh(ctx context.Context, app *unstructured.Unstructured) error {
	if field(app, "status", "sync", "revision") == h.head {
		return nil
	}
	ask := []byte(`{"metadata":{"annotations":{"argocd.argoproj.io/refresh":"normal"}}}`)
	_, err := h.apps.Patch(ctx, "backup", types.MergePatchType, ask, metav1.PatchOptions{})
	return err
}

// create makes the shipped Application, of this repository.
func (h *hook) create(t *testing.T) {
	t.Helper()
	raw, err := os.ReadFile("../argocd/application.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(raw), "https://github.com/me/blog-gitops", fileURL(h.repo), 1)
	if err := h.site.apply(t.Context(), argoNamespace, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// await waits until the hook has ended one way, and looks whether the sync went on.
func (h *hook) await(t *testing.T, phase, value string) *unstructured.Unstructured {
	t.Helper()
	app := &unstructured.Unstructured{}
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, 90*time.Second, true, func(ctx context.Context) (bool, error) {
		got, err := h.apps.Get(ctx, "backup", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		app = got
		if err := h.refresh(ctx, app); err != nil {
			return false, err
		}
		operation := field(app, "status", "operationState", "phase")
		if phase == "Succeeded" {
			return operation == "Succeeded" && field(app, "status", "sync", "status") == "Synced" && field(app, "status", "sync", "revision") == h.head &&
				field(app, "status", "health", "status") == "Healthy", nil
		}
		return operation != "Succeeded" && hookPhase(app) == phase, nil // it may be about to try again
	})
	if err != nil {
		status, _ := json.MarshalIndent(app.Object["status"], "", " ")
		t.Fatalf("the hook's phase never was %s: %v\n%s\n%s", phase, err, status, h.logs(t))
	}
	object, err := h.site.client.CoreV1().ConfigMaps("pipectl").Get(t.Context(), "app", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if object.Data["value"] != value {
		t.Errorf("the application has value %q, want %q", object.Data["value"], value)
	}
	return app
}

// logs are those of all pods of the hook.
func (h *hook) logs(t *testing.T) string {
	files, err := filepath.Glob(filepath.Join(filepath.Dir(h.site.cluster.Kubeconfig), "pods", "pipectl_*", "containers", "*", "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(raw)
	}
	return out.String()
}

// hookRan checks what the hook's pod left.
func (h *hook) hookRan(t *testing.T) {
	t.Helper()
	pods, err := h.site.client.CoreV1().Pods("pipectl").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods.Items {
		if pod.Status.Phase != corev1.PodSucceeded {
			continue
		}
		var result struct{ Kind, Status string }
		message := pod.Status.ContainerStatuses[0].State.Terminated.Message
		if err := json.Unmarshal([]byte(message), &result); err != nil || result.Kind != "RunResult" || result.Status != "Succeeded" {
			t.Errorf("termination message (%v): %s", err, message)
		}
		return
	}
	t.Error("no pod of the hook succeeded")
}

// handedOn checks that the hook's result is in its ConfigMap, and that the PostSync hook took the role from there.
func (h *hook) handedOn(t *testing.T, role string) {
	t.Helper()
	object, err := h.site.client.CoreV1().ConfigMaps("pipectl").Get(t.Context(), "pipectl-results", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var result struct{ Kind, Stage, Status string }
	if err := json.Unmarshal([]byte(object.Data["role.json"]), &result); err != nil || result.Kind != "StageResult" || result.Stage != "role" || result.Status != "Succeeded" {
		t.Errorf("role.json (%v): %s", err, object.Data["role.json"])
	}
	if got := object.Data["role.roleArn"]; got != role || role == "" {
		t.Errorf("the ConfigMap has role %q, the service account %q", got, role)
	}
	secret, err := h.site.client.CoreV1().Secrets("pipectl").Get(t.Context(), "backup-settings", metav1.GetOptions{})
	if err != nil {
		t.Fatalf("the PostSync hook made nothing: %v\n%s", err, h.logs(t))
	}
	if got := string(secret.Data["ROLE_ARN"]); got != role {
		t.Errorf("the PostSync hook handed on %q, want %q", got, role)
	}
}

// used checks that the application's container has got the role that the hook made.
func (h *hook) used(t *testing.T, role string) {
	t.Helper()
	says := "it works as " + role + "\n"
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		return strings.Contains(h.logs(t), says), nil
	})
	if err != nil {
		t.Errorf("the application does not say %q:\n%s", says, h.logs(t))
	}
}

// saysWhy checks what the Application tells of a hook that failed: of a Pod its result, of a Job the condition only, which has at least the
// exit code; and that Kubernetes did not try the Job again.
func (h *hook) saysWhy(t *testing.T, app *unstructured.Unstructured) {
	t.Helper()
	message := hookMessage(app)
	if h.form == "pod" {
		var result engine.RunResult
		if err := json.Unmarshal([]byte(message), &result); err != nil || len(message) > 4096 || result.Exit != 10 || len(result.Errors) != 1 ||
			!strings.Contains(result.Errors[0].Message, "cluster nope does not exist") {
			t.Errorf("the Application says (%d bytes, %v) %s", len(message), err, message)
		}
		return
	}
	if !strings.Contains(message, "exit code 10") {
		t.Errorf("the Application says %s", message)
	}
	pods, err := h.site.client.CoreV1().Pods("pipectl").List(t.Context(), metav1.ListOptions{LabelSelector: "job-name=pipectl-presync"})
	if err != nil || len(pods.Items) > 1 {
		t.Errorf("the Job was tried again: %d pods, %v", len(pods.Items), err)
	}
}

// remove takes Application, what it made and what the hook left away, for the next form of it.
func (h *hook) remove(t *testing.T) {
	t.Helper()
	if err := h.apps.Delete(t.Context(), "backup", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	err := h.site.client.CoreV1().Namespaces().Delete(t.Context(), "pipectl", metav1.DeleteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	err = wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := h.site.client.CoreV1().Namespaces().Get(ctx, "pipectl", metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func field(o *unstructured.Unstructured, path ...string) string {
	v, _, _ := unstructured.NestedString(o.Object, path...)
	return v
}

// theHook is the entry of the hook's pod or job in the result of a sync.
func theHook(app *unstructured.Unstructured) map[string]any {
	all, _, _ := unstructured.NestedSlice(app.Object, "status", "operationState", "syncResult", "resources")
	i := slices.IndexFunc(all, func(r any) bool {
		m, _ := r.(map[string]any)
		return m["name"] == "pipectl-presync"
	})
	if i < 0 {
		return map[string]any{}
	}
	return all[i].(map[string]any)
}

func hookPhase(app *unstructured.Unstructured) string {
	phase, _ := theHook(app)["hookPhase"].(string)
	return phase
}

func hookMessage(app *unstructured.Unstructured) string {
	message, _ := theHook(app)["message"].(string)
	return message
}
