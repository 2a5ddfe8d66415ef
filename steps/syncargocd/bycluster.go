package syncargocd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"pipectl.dev/kube"
)

// byCluster reaches Applications as the custom resources they are.
type byCluster struct {
	client     *kube.Client
	control    string   // namespace of Argo CD
	namespaces []string // of Applications
	kept       *kept
}

func (c *byCluster) scopes() []string { return c.namespaces }
func (c *byCluster) gap() bool        { return false }

// page bounds how many Applications are held twice while a list is read.
const page = 200

func (c *byCluster) list(ctx context.Context, scope string) ([]*argo.Application, string, error) {
	api, _, err := c.client.Resource(kube.ApplicationRef(scope, ""))
	if err != nil {
		return nil, "", err
	}
	var out []*argo.Application
	options := metav1.ListOptions{Limit: page}
	for {
		list, err := api.List(ctx, options)
		if err != nil {
			return nil, "", fmt.Errorf("applications of namespace %s: %w", scope, kube.Explain(err))
		}
		for i := range list.Items {
			app, err := decodeObject(&list.Items[i])
			if err != nil {
				return nil, "", err
			}
			out = append(out, app)
		}
		if options.Continue = list.GetContinue(); options.Continue == "" {
			return out, list.GetResourceVersion(), nil
		}
	}
}

func (c *byCluster) watch(ctx context.Context, scope, version string, each func(*argo.Application, bool)) error {
	api, _, err := c.client.Resource(kube.ApplicationRef(scope, ""))
	if err != nil {
		return err
	}
	w, err := api.Watch(ctx, metav1.ListOptions{ResourceVersion: version})
	if err != nil {
		return kube.Explain(err)
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		obj, ok := e.Object.(*unstructured.Unstructured)
		if !ok || e.Type == watch.Error {
			return errors.New("the watch was ended by the API server")
		}
		app, err := decodeObject(obj)
		if err != nil {
			return err
		}
		each(app, e.Type == watch.Deleted)
	}
	return nil
}

func (c *byCluster) read(ctx context.Context, n id) (*argo.Application, error) {
	obj, err := c.client.Get(ctx, kube.ApplicationRef(n.namespace, n.name))
	if err != nil {
		return nil, err
	}
	return decodeObject(obj)
}

func (c *byCluster) patch(ctx context.Context, n id, raw []byte) (*argo.Application, error) {
	api, _, err := c.client.Resource(kube.ApplicationRef(n.namespace, n.name))
	if err != nil {
		return nil, err
	}
	obj, err := api.Patch(ctx, n.name, types.MergePatchType, raw, metav1.PatchOptions{FieldManager: kube.FieldManager})
	if err != nil {
		return nil, kube.Explain(err)
	}
	return decodeObject(obj)
}

func (c *byCluster) refresh(ctx context.Context, app *argo.Application, hard bool) (*argo.Application, error) {
	raw, err := refreshPatch(hard)
	if err != nil {
		return nil, err
	}
	return c.patch(ctx, idOf(app), raw)
}

func (c *byCluster) sync(ctx context.Context, app *argo.Application, op argo.Operation) (*argo.Application, error) {
	raw, err := syncPatch(app, op)
	if err != nil {
		return nil, err
	}
	return c.patch(ctx, idOf(app), raw)
}

func (c *byCluster) stop(ctx context.Context, n id, runID string) (*argo.Application, error) {
	for try := 0; ; try++ {
		app, err := c.read(ctx, n)
		if err != nil || app == nil {
			return nil, err
		}
		raw, err := stopPatch(app, runID)
		if err != nil || raw == nil {
			return app, err
		}
		stopped, err := c.patch(ctx, n, raw)
		if !kube.HasCode(err, kube.CodeConflict) || try == 3 {
			return stopped, err
		}
	}
}

// windows are none where we may not read the project, or it does not exist: Argo CD itself will forbid what is forbidden.
func (c *byCluster) windows(ctx context.Context, name string) (argo.SyncWindows, error) {
	obj, err := c.client.Get(ctx, kube.ObjectRef{APIVersion: "argoproj.io/v1alpha1", Kind: "AppProject", Namespace: c.control, Name: name})
	if kube.HasCode(err, kube.CodeForbidden) || err == nil && obj == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var project argo.AppProject
	if err := into(obj, &project); err != nil {
		return nil, err
	}
	return project.Spec.SyncWindows, nil
}

func (c *byCluster) set(ctx context.Context, n id) (*argo.ApplicationSet, error) {
	obj, err := c.client.Get(ctx, kube.ObjectRef{APIVersion: "argoproj.io/v1alpha1", Kind: "ApplicationSet", Namespace: n.namespace, Name: n.name})
	if err != nil || obj == nil {
		return nil, err
	}
	var set argo.ApplicationSet
	return &set, into(obj, &set)
}

func (c *byCluster) object(ctx context.Context, app *argo.Application, ref kube.ObjectRef) (*unstructured.Unstructured, error) {
	if !inCluster(app) {
		return nil, nil
	}
	obj, err := c.client.Get(ctx, ref)
	if kube.HasCode(err, kube.CodeForbidden) {
		return nil, nil // who may sync need not be allowed to see all that is synced
	}
	return obj, err
}

func (c *byCluster) troubles(ctx context.Context, app *argo.Application) ([]kube.Trouble, error) {
	if !inCluster(app) {
		return nil, nil
	}
	var mu sync.Mutex
	var out []kube.Trouble
	var wg sync.WaitGroup
	for _, r := range app.Status.Resources {
		if !runsPods(r) {
			continue
		}
		wg.Go(func() {
			obj, err := c.client.Get(ctx, refOf(r))
			if err != nil || obj == nil {
				return // what cannot be seen tells nothing
			}
			found, err := c.client.CurrentTroubles(ctx, obj)
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			out = append(out, found...)
		})
	}
	wg.Wait()
	return inOrderOf(out), ctx.Err()
}

// changes come from the last comparison, as the controller keeps it; where that cannot be read, only what is to be made is told.
func (c *byCluster) changes(ctx context.Context, app *argo.Application) (todo map[key]planned, unseen, err error) {
	items, unseen := c.kept.managed(ctx, app)
	if unseen == nil {
		return plannedOf(items), nil, nil
	}
	todo, err = c.toMake(ctx, app)
	return todo, unseen, err
}

// toMake are the resources that do not exist. What Git declares for the others is known to Argo CD only.
func (c *byCluster) toMake(ctx context.Context, app *argo.Application) (map[key]planned, error) {
	out := map[key]planned{}
	if !inCluster(app) {
		return out, nil
	}
	for _, r := range app.Status.Resources {
		if r.Status != argo.SyncStatusCodeOutOfSync || r.RequiresPruning {
			continue
		}
		obj, err := c.client.Get(ctx, refOf(r))
		if kube.HasCode(err, kube.CodeForbidden) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out[key{r.Group, r.Kind, r.Namespace, r.Name}] = planned{create: obj == nil}
	}
	return out, nil
}

// into decodes by JSON, for the reason that decodeObject has.
func into(obj *unstructured.Unstructured, v any) error {
	raw, err := obj.MarshalJSON()
	if err == nil {
		err = json.Unmarshal(raw, v)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", kube.RefOf(obj), err)
	}
	return nil
}
