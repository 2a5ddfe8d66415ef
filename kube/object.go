package kube

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"pipectl.dev/steps"
)

// ObjectRef names one object.
type ObjectRef struct {
	APIVersion string
	Kind       string
	Namespace  string // "" for cluster-wide kinds
	Name       string
}

// RefOf names obj.
func RefOf(obj *unstructured.Unstructured) ObjectRef {
	return ObjectRef{APIVersion: obj.GetAPIVersion(), Kind: obj.GetKind(), Namespace: obj.GetNamespace(), Name: obj.GetName()}
}

// ID is the object's name within its kind: "namespace/name", or "name".
func (r ObjectRef) ID() string {
	if r.Namespace == "" {
		return r.Name
	}
	return r.Namespace + "/" + r.Name
}

func (r ObjectRef) String() string { return r.Kind + " " + r.ID() }

// GroupKind is the kind without its version.
func (r ObjectRef) GroupKind() schema.GroupKind {
	return schema.FromAPIVersionAndKind(r.APIVersion, r.Kind).GroupKind()
}

// ChangeKind is the kind as it stands in changes: "k8s:Deployment".
func (r ObjectRef) ChangeKind() string { return "k8s:" + r.Kind }

// Resource returns the client of r's kind, in r's namespace if it has one, and whether the kind lives in namespaces. A kind that is
// not known is looked up anew once, since its definition may be younger than what we know.
func (c *Client) Resource(r ObjectRef) (api dynamic.ResourceInterface, namespaced bool, err error) {
	gvk := schema.FromAPIVersionAndKind(r.APIVersion, r.Kind)
	mapping, err := c.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) {
		c.Mapper.Reset()
		mapping, err = c.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	}
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", r, Explain(err))
	}
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return c.Dynamic.Resource(mapping.Resource), false, nil
	}
	return c.Dynamic.Resource(mapping.Resource).Namespace(r.Namespace), true, nil
}

// Get reads an object; nil means that it does not exist, or that its kind is not served.
func (c *Client) Get(ctx context.Context, r ObjectRef) (*unstructured.Unstructured, error) {
	api, _, err := c.Resource(r)
	if HasCode(err, CodeKindNotServed) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	obj, err := api.Get(ctx, r.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r, Explain(err))
	}
	return obj, nil
}

// MergePatch writes fields of an object by JSON merge patch. A non-empty version makes it a precondition: when somebody else wrote in
// between it fails with CodeConflict and nothing is written.
func (c *Client) MergePatch(ctx context.Context, r ObjectRef, patch []byte) (*unstructured.Unstructured, error) {
	api, _, err := c.Resource(r)
	if err != nil {
		return nil, err
	}
	obj, err := api.Patch(ctx, r.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
	if err != nil {
		return nil, fmt.Errorf("%s: patch: %w", r, Explain(err))
	}
	return obj, nil
}

// DeleteOwned removes an object if it exists and is ours; another owner's is left alone. It does not wait.
func (c *Client) DeleteOwned(ctx context.Context, r ObjectRef, id steps.Identity) error {
	obj, err := c.Get(ctx, r)
	if err != nil || obj == nil || !Owned(obj, id) {
		return err
	}
	api, _, err := c.Resource(r)
	if err != nil {
		return err
	}
	uid, background := obj.GetUID(), metav1.DeletePropagationBackground
	err = api.Delete(ctx, r.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &background,
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("%s: delete: %w", r, Explain(err))
	}
	return nil
}

// WaitDeleted waits until none of the objects exists. report, if not nil, gets what is left after each look.
func (c *Client) WaitDeleted(ctx context.Context, refs []ObjectRef, report func(left []ObjectRef)) error {
	left := refs
	err := Await(ctx, 2*time.Second, func(ctx context.Context) (bool, error) {
		var still []ObjectRef
		for _, r := range left {
			obj, err := c.Get(ctx, r)
			if err != nil && !HasCode(err, CodeClusterUnreachable) {
				return false, err
			}
			if obj != nil || err != nil {
				still = append(still, r)
			}
		}
		left = still
		if report != nil && len(left) > 0 {
			report(left)
		}
		return len(left) == 0, nil
	})
	if err != nil && len(left) > 0 {
		return fmt.Errorf("%s still exists (%d in all): %w", left[0], len(left), err)
	}
	return err
}

// Labelled lists objects of every kind that is served and that we may list, by a label selector, as far as their marks go.
func (c *Client) Labelled(ctx context.Context, selector string) ([]unstructured.Unstructured, error) {
	lists, err := c.Typed.Discovery().ServerPreferredResources()
	if err != nil && len(lists) == 0 {
		return nil, fmt.Errorf("kinds: %w", Explain(err))
	}
	var mu sync.Mutex
	var out []unstructured.Unstructured
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, fmt.Errorf("kinds: %s: %w", list.GroupVersion, err)
		}
		for _, r := range list.APIResources {
			if !slices.Contains(r.Verbs, "list") || !slices.Contains(r.Verbs, "delete") {
				continue
			}
			g.Go(func() error {
				found, err := c.Dynamic.Resource(gv.WithResource(r.Name)).List(ctx, metav1.ListOptions{LabelSelector: selector})
				if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
					return nil // what we may not list we did not apply
				}
				if err != nil {
					return fmt.Errorf("list %s: %w", r.Name, Explain(err))
				}
				mu.Lock()
				defer mu.Unlock()
				out = append(out, found.Items...)
				return nil
			})
		}
	}
	return out, g.Wait() //nolint:wrapcheck // says the kind already
}
