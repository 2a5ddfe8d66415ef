package applymanifests

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

// setLabel groups the objects of one stage's paths, which is as far as pruning looks.
const setLabel = "pipectl.dev/set"

// work is one use of the step on one cluster.
type work struct {
	client *kube.Client
	id     steps.Identity
	spec   Spec
	set    string
	objs   []*unstructured.Unstructured // manifests and Secrets, with our labels
}

func newWork(client *kube.Client, id steps.Identity, sp Spec, objs []*unstructured.Unstructured) *work {
	sum := sha256.Sum256([]byte(id.String() + "\x00" + strings.Join(slices.Sorted(slices.Values(sp.Paths)), "\x00")))
	w := &work{client: client, id: id, spec: sp, set: hex.EncodeToString(sum[:8]), objs: objs}
	for _, o := range objs {
		labels := o.GetLabels()
		if labels == nil {
			labels = map[string]string{}
		}
		labels[setLabel] = w.set
		o.SetLabels(labels)
	}
	return w
}

func (w *work) options(env steps.Env) kube.ApplyOptions {
	return kube.ApplyOptions{Namespace: w.spec.Namespace, Owner: &env.Identity}
}

// generate fills in random values: what the cluster has stays, so that nothing changes on later runs.
func (w *work) generate(ctx context.Context) error {
	for _, x := range w.spec.Secrets {
		if len(x.Generate) == 0 {
			continue
		}
		live, err := w.client.Get(ctx, kube.ObjectRef{APIVersion: "v1", Kind: "Secret", Namespace: x.Namespace, Name: x.Name})
		if err != nil {
			return err
		}
		for i, o := range w.objs {
			if r := w.refs()[i]; r.Kind != "Secret" || r.Namespace != x.Namespace || r.Name != x.Name {
				continue
			}
			for _, key := range x.Generate {
				if err := unstructured.SetNestedField(o.Object, kept(live, key), "data", key); err != nil {
					return fmt.Errorf("secret %s/%s: %w", x.Namespace, x.Name, err)
				}
			}
		}
	}
	return nil
}

// kept is the value that a live Secret has, else 32 random bytes as text, both as they stand in data.
func kept(live *unstructured.Unstructured, key string) string {
	if live != nil {
		if value, found, err := unstructured.NestedString(live.Object, "data", key); err == nil && found && value != "" {
			return value
		}
	}
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails
	return base64.StdEncoding.EncodeToString([]byte(base64.RawURLEncoding.EncodeToString(raw)))
}

// withNamespaces are the objects and, before them, the namespaces of Secrets that neither the manifests nor the cluster have. One that
// exists is not ours to change.
func (w *work) withNamespaces(ctx context.Context) ([]*unstructured.Unstructured, error) {
	if err := w.generate(ctx); err != nil {
		return nil, err
	}
	asked := map[string]bool{}
	for _, o := range w.objs {
		if o.GetKind() == "Namespace" {
			asked[o.GetName()] = true
		}
	}
	var out []*unstructured.Unstructured
	for _, x := range w.spec.Secrets {
		if asked[x.Namespace] {
			continue
		}
		asked[x.Namespace] = true
		live, err := w.client.Get(ctx, namespaceRef(x.Namespace))
		if err != nil {
			return nil, err
		}
		if live == nil {
			ns := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace"}}
			ns.SetName(x.Namespace)
			out = append(out, ns)
		}
	}
	return append(out, w.objs...), nil
}

func namespaceRef(name string) kube.ObjectRef {
	return kube.ObjectRef{APIVersion: "v1", Kind: "Namespace", Name: name}
}

// refs names the objects as they stand in the cluster, where namespaced ones that name no namespace are in the spec's.
func (w *work) refs() []kube.ObjectRef {
	out := make([]kube.ObjectRef, len(w.objs))
	for i, o := range w.objs {
		out[i] = kube.RefOf(o)
		if out[i].Namespace == "" {
			ref := out[i]
			ref.Namespace = w.spec.Namespace
			if _, namespaced, err := w.client.Resource(ref); err == nil && namespaced {
				out[i] = ref
			}
		}
	}
	return out
}

func (w *work) outputs() *Outputs {
	out := &Outputs{Objects: len(w.objs), Applied: []string{}, Images: images(w.objs)}
	for _, r := range w.refs() {
		out.Applied = append(out.Applied, r.String())
	}
	return out
}

// present reports whether every object exists.
func (w *work) present(ctx context.Context) (bool, error) {
	var missing atomic.Bool
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, r := range w.refs() {
		g.Go(func() error {
			obj, err := w.client.Get(ctx, r)
			if err == nil && obj == nil {
				missing.Store(true)
			}
			return err
		})
	}
	err := g.Wait()
	return err == nil && !missing.Load(), err //nolint:wrapcheck // says the object already
}

// waited says which kinds are waited for: those that run something or serve an API, and custom resources, which are Healthy unless their
// conditions say otherwise. A Service or claim may rightly stay pending.
func waited(r kube.ObjectRef) bool {
	switch r.GroupKind() {
	case schema.GroupKind{Group: "apps", Kind: "Deployment"}, schema.GroupKind{Group: "apps", Kind: "StatefulSet"},
		schema.GroupKind{Group: "apps", Kind: "DaemonSet"}, schema.GroupKind{Group: "batch", Kind: "Job"},
		schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"},
		schema.GroupKind{Group: "apiregistration.k8s.io", Kind: "APIService"}:
		return true
	}
	group := r.GroupKind().Group
	return strings.Contains(group, ".") && !strings.HasSuffix(group, ".k8s.io")
}

// firstStatus is how long the controller of a custom resource may take to say anything of it.
const firstStatus = 10 * time.Second

func (w *work) healthy(ctx context.Context, env steps.Env, done []kube.Applied) error {
	var refs []kube.ObjectRef
	for _, a := range done {
		if waited(a.Ref) {
			refs = append(refs, a.Ref)
		}
	}
	last := time.Time{}
	return w.client.WaitHealthy(ctx, refs, kube.WaitOptions{Timeout: w.spec.Timeout.Duration, NoStatus: firstStatus, Report: func(detail string, elapsed time.Duration) {
		if time.Since(last) >= 5*time.Second { // watches may look many times a second
			last = time.Now()
			env.Waiting(detail, elapsed, time.Minute)
		}
	}})
}

// stale lists objects that an earlier version of the same paths brought and that are not in them any more.
func (w *work) stale(ctx context.Context) ([]kube.ObjectRef, error) {
	found, err := w.client.Labelled(ctx, setLabel+"="+w.set)
	if err != nil {
		return nil, err
	}
	keep := map[string]bool{}
	for _, r := range w.refs() {
		keep[r.GroupKind().String()+" "+r.ID()] = true
	}
	var out []kube.ObjectRef
	for i := range found {
		r := kube.RefOf(&found[i])
		if !keep[r.GroupKind().String()+" "+r.ID()] && kube.Owned(&found[i], w.id) && len(found[i].GetOwnerReferences()) == 0 {
			out = append(out, r)
		}
	}
	return out, nil
}

func (w *work) prune(ctx context.Context, env steps.Env) error {
	stale, err := w.stale(ctx)
	if err != nil {
		return err
	}
	return w.remove(ctx, env, stale)
}

// remove tells the whole list of objects that are ours before it deletes the first one, and waits until they are gone.
func (w *work) remove(ctx context.Context, env steps.Env, refs []kube.ObjectRef) error {
	began := time.Now()
	var ours []kube.ObjectRef
	for _, r := range refs {
		live, err := w.client.Get(ctx, r)
		if err != nil {
			return err
		}
		if live == nil || !kube.Owned(live, w.id) {
			continue
		}
		ours = append(ours, r)
		env.Report(steps.Progress{Change: steps.Change{Kind: r.ChangeKind(), Name: r.ID(), Action: reconcile.Delete}, Phase: reconcile.Start})
	}
	for _, r := range ours {
		if err := w.client.DeleteOwned(ctx, r, w.id); err != nil {
			return err
		}
	}
	err := w.client.WaitDeleted(ctx, ours, func(left []kube.ObjectRef) {
		env.Waiting("waiting until "+left[0].String()+" is gone", time.Since(began), 0)
	})
	if err != nil {
		return err
	}
	for _, r := range ours {
		env.Report(steps.Progress{Change: steps.Change{Kind: r.ChangeKind(), Name: r.ID(), Action: reconcile.Delete}, Phase: reconcile.Done,
			Elapsed: time.Since(began)})
	}
	return nil
}

// empty reports whether a namespace holds nothing that anybody would miss. What Kubernetes puts into every namespace does not count.
func (w *work) empty(ctx context.Context, name string) (bool, error) {
	for _, kind := range []kube.ObjectRef{
		{APIVersion: "v1", Kind: "Pod"}, {APIVersion: "v1", Kind: "PersistentVolumeClaim"}, {APIVersion: "v1", Kind: "Service"},
		{APIVersion: "v1", Kind: "Secret"}, {APIVersion: "v1", Kind: "ConfigMap"}, {APIVersion: "apps/v1", Kind: "Deployment"},
		{APIVersion: "apps/v1", Kind: "StatefulSet"}, {APIVersion: "apps/v1", Kind: "DaemonSet"}, {APIVersion: "batch/v1", Kind: "Job"},
	} {
		kind.Namespace = name
		api, _, err := w.client.Resource(kind)
		if err != nil {
			return false, err
		}
		list, err := api.List(ctx, metav1.ListOptions{Limit: 10})
		if err != nil {
			return false, kube.Explain(err)
		}
		for i := range list.Items {
			if list.Items[i].GetName() != "kube-root-ca.crt" {
				return false, nil
			}
		}
	}
	return true, nil
}
