package e2e

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
)

var (
	applications = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "applications"}
	projects     = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "appprojects"}
)

// upstreamVersion is the release in go.mod.
const upstreamVersion = "v3.2.6"

// TestArgoCD installs what upstream publishes and lets it sync an Application from a local repository.
func TestArgoCD(t *testing.T) {
	for _, manifest := range []string{"core-install.yaml", "install.yaml"} {
		t.Run(manifest, func(t *testing.T) {
			url, repository := "https://github.test/me/app", filepath.Join(t.TempDir(), "repo")
			if err := os.Mkdir(repository, 0o755); err != nil {
				t.Fatal(err)
			}
			open(t, filepath.Dir(filepath.Dir(repository)))
			l := start(t, "--git-mirror", url+"="+repository)
			l.commit(t, repository)
			if manifest == "core-install.yaml" {
				url = "file://" + repository
			}
			if _, err := l.client.CoreV1().Namespaces().Create(t.Context(), &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "argocd"}}, create()); err != nil {
				t.Fatal(err)
			}
			objects, err := exec.Command(binary(t), "upstream", "argo-cd/"+upstreamVersion+"/manifests/"+manifest).Output()
			if err != nil {
				t.Fatal(err)
			}
			l.apply(t, "argocd", objects)
			began := time.Now()
			l.allReady(t, "argocd")
			t.Logf("Argo CD is up %s after its manifests were applied", time.Since(began).Round(10*time.Millisecond))
			if manifest == "core-install.yaml" {
				l.finishCoreInstall(t)
			}
			began = time.Now()
			l.synced(t, url)
			t.Logf("the application is synced and healthy after %s", time.Since(began).Round(10*time.Millisecond))
		})
	}
}

// open lets the lab's user reach a directory of the test.
func open(t *testing.T, dir string) {
	t.Helper()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

// commit fills a Git repository with something to sync. It stays another user's than the lab's.
func (l *lab) commit(t *testing.T, dir string) {
	t.Helper()
	l.write(t, filepath.Join(dir, "app", "all.yaml"), `
apiVersion: v1
kind: ConfigMap
metadata: {name: hello}
data: {a: b}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nginx}]}
`)
	for _, args := range [][]string{
		{"init", "-q", "-b", "main"}, {"add", "-A"}, {"-c", "user.name=lab", "-c", "user.email=lab@example.org", "commit", "-q", "-m", "one"},
	} {
		cmd := exec.Command("git", append([]string{"-c", "safe.directory=*", "-C", dir}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v: %s", args, err, out)
		}
	}
}

// apply applies a stream of YAML objects server-side, custom resource definitions first as they come.
func (l *lab) apply(t *testing.T, namespace string, stream []byte) {
	t.Helper()
	client, err := dynamic.NewForConfig(l.config)
	if err != nil {
		t.Fatal(err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(l.client.Discovery()))
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(string(stream)), 4096)
	for {
		var object unstructured.Unstructured
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if object.Object == nil {
			continue
		}
		mapping, err := mapper.RESTMapping(object.GroupVersionKind().GroupKind(), object.GroupVersionKind().Version)
		if err != nil {
			t.Fatal(err)
		}
		var into dynamic.ResourceInterface = client.Resource(mapping.Resource)
		if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
			into = client.Resource(mapping.Resource).Namespace(namespace)
		}
		if _, err := into.Apply(t.Context(), object.GetName(), &object, metav1.ApplyOptions{FieldManager: "e2e", Force: true}); err != nil {
			t.Fatalf("%s %s: %v", object.GetKind(), object.GetName(), err)
		}
	}
}

// allReady waits until every workload of a namespace has all its replicas.
func (l *lab) allReady(t *testing.T, namespace string) {
	t.Helper()
	until(t, "Argo CD is up", func(ctx context.Context) (bool, error) {
		deployments, err := l.client.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		for _, d := range deployments.Items {
			if d.Status.ReadyReplicas != 1 {
				return false, nil
			}
		}
		set, err := l.client.AppsV1().StatefulSets(namespace).Get(ctx, "argocd-application-controller", get())
		return err == nil && set.Status.ReadyReplicas == 1, err
	})
}

// finishCoreInstall adds what the API server of Argo CD makes at its first start: a core install has none.
func (l *lab) finishCoreInstall(t *testing.T) {
	t.Helper()
	client, err := dynamic.NewForConfig(l.config)
	if err != nil {
		t.Fatal(err)
	}
	anything := []any{map[string]any{"server": "*", "namespace": "*"}}
	project := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": map[string]any{"name": "default"},
		"spec": map[string]any{"sourceRepos": []any{"*"}, "destinations": anything, "clusterResourceWhitelist": []any{map[string]any{"group": "*", "kind": "*"}}},
	}}
	if _, err := client.Resource(projects).Namespace("argocd").Create(t.Context(), project, create()); err != nil {
		t.Fatal(err)
	}
	patch := []byte(`{"stringData":{"server.secretkey":"not-a-real-one"}}`)
	if _, err := l.client.CoreV1().Secrets("argocd").Patch(t.Context(), "argocd-secret", "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (l *lab) synced(t *testing.T, url string) {
	t.Helper()
	client, err := dynamic.NewForConfig(l.config)
	if err != nil {
		t.Fatal(err)
	}
	app := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": map[string]any{"name": "hello"},
		"spec": map[string]any{
			"project":     "default",
			"source":      map[string]any{"repoURL": url, "path": "app", "targetRevision": "main"},
			"destination": map[string]any{"server": "https://kubernetes.default.svc", "namespace": "default"},
			"syncPolicy":  map[string]any{"automated": map[string]any{}},
		},
	}}
	if _, err := client.Resource(applications).Namespace("argocd").Create(t.Context(), app, create()); err != nil {
		t.Fatal(err)
	}
	until(t, "the application is synced and healthy", func(ctx context.Context) (bool, error) {
		got, err := client.Resource(applications).Namespace("argocd").Get(ctx, "hello", get())
		if err != nil {
			return false, err
		}
		sync, _, _ := unstructured.NestedString(got.Object, "status", "sync", "status")
		health, _, _ := unstructured.NestedString(got.Object, "status", "health", "status")
		return sync == "Synced" && health == "Healthy", nil
	})
	if _, err := l.client.AppsV1().Deployments("default").Get(t.Context(), "web", get()); err != nil {
		t.Error(err)
	}
}
