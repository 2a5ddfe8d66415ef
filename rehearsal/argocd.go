package rehearsal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"

	"pipectl.dev/pipelines"
)

const argoNamespace = "argocd"

var applications = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "applications"}

// putArgoCD installs Argo CD's core in the version that the lab plays.
func (w *world) putArgoCD(ctx context.Context, s *site) error {
	if err := putNamespace(ctx, s.client, argoNamespace); err != nil {
		return err
	}
	version, err := w.argoVersion(ctx)
	if err != nil {
		return err
	}
	core, err := exec.CommandContext(ctx, w.lab.Bin, "upstream", "argo-cd/"+version+"/manifests/core-install.yaml").Output()
	if err != nil {
		return fmt.Errorf("manifests of Argo CD %s: %w", version, err)
	}
	project, err := pipelines.Files.ReadFile("gitops/argocd/project.yaml")
	if err != nil {
		return err
	}
	for _, m := range [][]byte{core, project} {
		if err := s.apply(ctx, argoNamespace, m); err != nil {
			return err
		}
	}
	// The core has no API server that would make the key at its first start.
	key := []byte(`{"stringData":{"server.secretkey":"` + randomHex() + `"}}`)
	if _, err := s.client.CoreV1().Secrets(argoNamespace).Patch(ctx, "argocd-secret", types.MergePatchType, key, metav1.PatchOptions{}); err != nil {
		return err
	}
	return s.argoReady(ctx)
}

// putApps makes an Application for each name: a small web server in a repository of the rehearsal, not synced yet.
func (w *world) putApps(ctx context.Context, s *site) error {
	repo := filepath.Join(w.dir, "git", "apps-"+s.cluster.Name)
	if err := makeAppsRepo(ctx, repo, s.Apps); err != nil {
		return err
	}
	for _, app := range s.Apps {
		if err := s.apply(ctx, argoNamespace, []byte(application(app, fileURL(repo)))); err != nil {
			return err
		}
	}
	return nil
}

// argoVersion asks the lab which Argo CD it plays.
func (w *world) argoVersion(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, w.lab.Bin, "version").Output()
	if err != nil {
		return "", fmt.Errorf("lab version: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		if name, version, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name == "argo-cd" {
			return version, nil
		}
	}
	return "", errors.New("the lab plays no Argo CD")
}

func application(name, url string) string {
	return fmt.Sprintf(`apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: %[1]s, namespace: argocd}
spec:
  project: default
  destination: {server: "https://kubernetes.default.svc", namespace: %[1]s}
  source: {repoURL: %[2]q, path: %[1]s, targetRevision: HEAD}
  syncPolicy: {syncOptions: [CreateNamespace=true]}
`, name, url)
}

// makeAppsRepo fills a Git repository with a web server for each name.
func makeAppsRepo(ctx context.Context, dir string, apps []string) error {
	for _, app := range apps {
		file := filepath.Join(dir, app, "all.yaml")
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		text := fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec: {containers: [{name: web, image: "nginx:1.29", ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec: {selector: {app: %[1]s}, ports: [{port: 80}]}
`, app)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return commitAll(ctx, dir)
}

// apply applies a stream of objects server-side, in their order.
func (s *site) apply(ctx context.Context, namespace string, stream []byte) error {
	client, err := dynamic.NewForConfig(s.config)
	if err != nil {
		return err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(s.client.Discovery()))
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(stream), 4096)
	for {
		var object unstructured.Unstructured
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if object.Object == nil {
			continue
		}
		kind := object.GroupVersionKind()
		mapping, err := served(ctx, mapper, kind)
		if err != nil {
			return err
		}
		var into dynamic.ResourceInterface = client.Resource(mapping.Resource)
		if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
			into = client.Resource(mapping.Resource).Namespace(namespace)
		}
		if _, err := into.Apply(ctx, object.GetName(), &object, metav1.ApplyOptions{FieldManager: "rehearsal", Force: true}); err != nil {
			return fmt.Errorf("%s %s: %w", kind.Kind, object.GetName(), err)
		}
	}
}

// served waits until a kind is served: one that a definition in the same stream brings is so a moment later.
func served(ctx context.Context, mapper *restmapper.DeferredDiscoveryRESTMapper, kind schema.GroupVersionKind) (*meta.RESTMapping, error) {
	var mapping *meta.RESTMapping
	var last error
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		if mapping, last = mapper.RESTMapping(kind.GroupKind(), kind.Version); last == nil {
			return true, nil
		}
		mapper.Reset()
		return false, nil
	})
	return mapping, errors.Join(err, last)
}

// argoReady waits until all of Argo CD is up.
func (s *site) argoReady(ctx context.Context) error {
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, 2*time.Minute, true, func(ctx context.Context) (bool, error) {
		deployments, err := s.client.AppsV1().Deployments(argoNamespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		for _, d := range deployments.Items {
			if d.Status.ReadyReplicas == 0 {
				return false, nil
			}
		}
		set, err := s.client.AppsV1().StatefulSets(argoNamespace).Get(ctx, "argocd-application-controller", metav1.GetOptions{})
		return err == nil && set.Status.ReadyReplicas == 1, err
	})
	if err != nil {
		return fmt.Errorf("Argo CD is not up: %w: %s", err, s.waiting(ctx))
	}
	return nil
}

// waiting lists the pods of Argo CD that are not ready, each with its own words.
func (s *site) waiting(ctx context.Context) string {
	pods, err := s.client.CoreV1().Pods(argoNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, pod := range pods.Items {
		for _, c := range pod.Status.Conditions {
			if c.Status != corev1.ConditionTrue {
				out = append(out, fmt.Sprintf("%s is not %s: %s %s", pod.Name, c.Type, c.Reason, c.Message))
			}
		}
	}
	return strings.Join(out, "; ")
}
