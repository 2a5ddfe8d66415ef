package rehearsal

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"

	"pipectl.dev/engine"
)

// queueHooks is how many Applications share a pipeline: Argo CD works on ten operations at once. Forty, without Argo CD, are in results.
const queueHooks = 6

// queueSurroundings is what the Applications share: where their pipeline works, where its Leases are, and who may do so.
const queueSurroundings = `
apiVersion: v1
kind: Namespace
metadata: {name: NAMESPACE}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: hooks}
rules:
  - RULE
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: hooks}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: hooks}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:serviceaccounts"}]
`

// queuePipeline works on one Job for all, which takes so long that the hooks meet.
const queuePipeline = `
apiVersion: v1
kind: ConfigMap
metadata:
  name: pipectl-pipeline
  namespace: pipectl
  annotations: {argocd.argoproj.io/hook: PreSync, argocd.argoproj.io/sync-wave: "-10"}
data:
  pipectl.yaml: |
    apiVersion: pipectl.dev/v1
    kind: Pipeline
    metadata: {name: shared}
    spec:
      stages: [{name: work, step: apply-manifests, with: {cluster: {inCluster: true}, paths: [work.yaml]}}]
  work.yaml: |
    apiVersion: batch/v1
    kind: Job
    metadata: {name: work, namespace: queue-shared}
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: work, image: "pipectl:latest", command: [sleep, "8"]}]
`

// queue is Applications that have the shipped hook, with one pipeline.
type queue struct {
	site *site
	repo string
	apps dynamic.ResourceInterface
}

// newQueue makes what the Applications share: by the shipped rbac.yaml what is cluster-wide in it too.
func newQueue(t *testing.T, w *world, s *site) *queue {
	t.Helper()
	client, err := dynamic.NewForConfig(s.config)
	if err != nil {
		t.Fatal(err)
	}
	q := &queue{site: s, repo: filepath.Join(w.dir, "git", "queue"), apps: client.Resource(applications).Namespace(argoNamespace)}
	for namespace, rule := range map[string]string{
		"queue-locks":  "{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, list, create, update, delete]}",
		"queue-shared": `{apiGroups: ["", batch], resources: [jobs, pods], verbs: [get, list, watch, create, patch]}`,
	} {
		if err := s.apply(t.Context(), namespace, []byte(strings.NewReplacer("NAMESPACE", namespace, "RULE", rule).Replace(queueSurroundings))); err != nil {
			t.Fatal(err)
		}
	}
	_, once := q.rbac(t)
	if err := s.apply(t.Context(), "default", []byte(once)); err != nil {
		t.Fatal(err)
	}
	return q
}

// rbac is the shipped rbac.yaml in two: what each Application needs in its namespace, and what is there once.
func (q *queue) rbac(t *testing.T) (each, once string) {
	t.Helper()
	for doc := range strings.SplitSeq(hookFile(t, "rbac.yaml"), "\n---\n") {
		if strings.Contains(doc, "\n  namespace: pipectl\n") {
			each += "---\n" + doc + "\n"
			continue
		}
		once += "---\n" + strings.Replace(doc, "{kind: ServiceAccount, name: pipectl, namespace: pipectl}", `{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:serviceaccounts"}`, 1) + "\n"
	}
	return each, once
}

// files puts an Application into the repository: in a namespace of its own, the shipped hook and a value; more are more manifests.
func (q *queue) files(t *testing.T, name, more string) {
	t.Helper()
	each, _ := q.rbac(t)
	pod := strings.Replace(hookFile(t, "presync-pod.yaml"), "      terminationMessagePath:", "      env: [{name: PIPECTL_LOCK_NAMESPACE, value: queue-locks}]\n      terminationMessagePath:", 1)
	value := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app, namespace: pipectl}\ndata: {value: " + name + "}\n"
	text := strings.Join([]string{each, queuePipeline, pod, value, more}, "\n---\n")
	text = strings.NewReplacer("namespace: pipectl", "namespace: "+name, "configmap://pipectl/", "configmap://"+name+"/").Replace(text)
	dir := filepath.Join(q.repo, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "all.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// synced makes the Applications at once, which sync themselves, and waits until all have.
func (q *queue) synced(t *testing.T, names ...string) []*unstructured.Unstructured {
	t.Helper()
	if err := commitAll(t.Context(), q.repo); err != nil {
		t.Fatal(err)
	}
	var stream strings.Builder
	for _, name := range names {
		stream.WriteString("---\n" + strings.Replace(application(name, fileURL(q.repo)), "syncPolicy: {", "syncPolicy: {automated: {}, retry: {limit: 2, backoff: {duration: 1s}}, ", 1))
	}
	if err := q.site.apply(t.Context(), argoNamespace, []byte(stream.String())); err != nil {
		t.Fatal(err)
	}
	out := make([]*unstructured.Unstructured, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() {
			err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, 3*time.Minute, true, func(ctx context.Context) (done bool, err error) {
				out[i], err = q.apps.Get(ctx, name, metav1.GetOptions{})
				return err == nil && field(out[i], "status", "operationState", "phase") == "Succeeded" && field(out[i], "status", "sync", "status") == "Synced", err
			})
			if err != nil {
				status, _ := json.MarshalIndent(out[i], "", " ")
				t.Errorf("%s was not synced: %v\n%s", name, err, status)
			}
		})
	}
	if wg.Wait(); t.Failed() {
		t.Fatal(q.logs(t, "*"))
	}
	return out
}

// logs are those of the hooks in a namespace.
func (q *queue) logs(t *testing.T, namespace string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(filepath.Dir(q.site.cluster.Kubeconfig), "pods", namespace+"_pipectl-presync*", "containers", "*", "*.log"))
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

// result is what the hook of an Application left as its termination message.
func (q *queue) result(t *testing.T, namespace string) (r engine.RunResult) {
	t.Helper()
	pod, err := q.site.client.CoreV1().Pods(namespace).Get(t.Context(), "pipectl-presync", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	message := pod.Status.ContainerStatuses[0].State.Terminated.Message
	if err := json.Unmarshal([]byte(message), &r); err != nil || len(message) > 4096 {
		t.Fatalf("%s: %d bytes, %v: %s", namespace, len(message), err, message)
	}
	return r
}

// theyQueue has several Applications synced at once whose hooks run one pipeline: one of them does its work, the others wait for it and
// find it done.
func (q *queue) theyQueue(t *testing.T) {
	var names []string
	for i := range queueHooks {
		names = append(names, fmt.Sprintf("queue-%d", i))
		q.files(t, names[i], "")
	}
	q.synced(t, names...)
	made, waited := 0, 0
	for _, name := range names {
		r := q.result(t, name)
		if r.Exit != 0 || r.Changes.Create+r.Changes.Keep != 1 {
			t.Errorf("%s: exit %d, %+v, %+v", name, r.Exit, r.Changes, r.Errors)
		}
		made += r.Changes.Create
		if strings.Contains(q.logs(t, name), "locked by ") {
			waited++
		}
		object, err := q.site.client.CoreV1().ConfigMaps(name).Get(t.Context(), "app", metav1.GetOptions{})
		if err != nil || object.Data["value"] != name {
			t.Errorf("%s was not applied: %v, %v", name, object.Data, err)
		}
	}
	t.Logf("%d of %d hooks waited for the lock", waited, queueHooks)
	if made != 1 || waited < 2 {
		t.Errorf("the Job was made by %d of %d hooks, %d waited", made, queueHooks, waited)
	}
	all, err := q.site.client.CoordinationV1().Leases("").List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/managed-by=pipectl"})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all.Items {
		if strings.HasPrefix(l.Namespace, "queue-") && l.Namespace != "queue-locks" || l.Namespace == "queue-locks" && l.Spec.HolderIdentity != nil {
			t.Errorf("lease %s/%s, held by %v", l.Namespace, l.Name, l.Spec.HolderIdentity)
		}
	}
	if own, err := q.site.client.CoordinationV1().Leases("queue-locks").List(t.Context(), metav1.ListOptions{}); err != nil || len(own.Items) != 1 {
		t.Errorf("the hooks did not meet at one lease: %v, %v", own, err)
	}
}

// failsOnce is a hook after the sync that fails the first time: Argo CD tries the whole operation again, all hooks of it.
const failsOnce = `
apiVersion: v1
kind: Pod
metadata: {name: fails-once, namespace: pipectl, annotations: {argocd.argoproj.io/hook: PostSync}}
spec: {restartPolicy: Never, containers: [{name: it, image: "pipectl:latest", command: [sh, -c, "test -e MARK || { touch MARK; exit 1; }"]}]}
`

// aRetryRunsThemAgain has a sync fail after the hook, and be tried again: the hook runs a second time, and does no harm.
func (q *queue) aRetryRunsThemAgain(t *testing.T) {
	q.files(t, "queue-again", strings.ReplaceAll(failsOnce, "MARK", filepath.Join(t.TempDir(), "mark")))
	app := q.synced(t, "queue-again")[0]
	if tries, _, _ := unstructured.NestedInt64(app.Object, "status", "operationState", "retryCount"); tries < 1 {
		t.Error("it was not tried again")
	}
	object, err := q.site.client.CoreV1().ConfigMaps("queue-again").Get(t.Context(), "pipectl-results", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	runs := 0
	for key := range object.Data {
		if strings.HasPrefix(key, "_run.") {
			runs++
		}
	}
	if r := q.result(t, "queue-again"); runs != 2 || r.Exit != 0 || r.Changes.Create+r.Changes.Update != 0 {
		t.Errorf("%d runs of the hook, want 2; the last one: exit %d, %+v", runs, r.Exit, r.Changes)
	}
}
