package syncargocd

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pipectl.dev/kube"
)

// operation is the sync to write. The controller takes it as it stands and adds nothing of the Application's own sync policy, so that
// is copied first and overlaid by ours. Sources stay empty: given ones would mean a rollback.
func operation(app *argo.Application, w wanted, options []string) argo.Operation {
	sync := &argo.SyncOperation{Prune: w.Prune, SyncOptions: slices.Clone(options)}
	op := argo.Operation{Sync: sync, InitiatedBy: argo.OperationInitiator{Username: kube.FieldManager}, Info: []*argo.Info{{Name: runInfo, Value: w.RunID}}}
	if p := app.Spec.SyncPolicy; p != nil {
		sync.SyncOptions = merged(p.SyncOptions, options)
		if p.Automated != nil {
			sync.Prune = sync.Prune || p.Automated.Prune
		}
		if p.Retry != nil {
			op.Retry = *p.Retry.DeepCopy()
		}
	}
	sync.Revision = w.Revision // "": what the Application follows, resolved anew by the controller
	return op
}

// merged overlays sync options by their key: "CreateNamespace=true" by "CreateNamespace=false".
func merged(own, over []string) []string {
	key := func(o string) string { k, _, _ := strings.Cut(o, "="); return k }
	var out []string
	for _, o := range own {
		if !slices.ContainsFunc(over, func(x string) bool { return key(x) == key(o) }) {
			out = append(out, o)
		}
	}
	return append(out, over...)
}

// syncPatch writes the operation, provided that the Application is still the one looked at, and clears the state of the operation
// before, so that its end is not taken for ours. A merge patch: what our types do not know stays.
func syncPatch(app *argo.Application, op argo.Operation) ([]byte, error) {
	return json.Marshal(map[string]any{
		"metadata":  map[string]any{"resourceVersion": app.ResourceVersion},
		"operation": op,
		"status":    map[string]any{"operationState": nil},
	})
}

// refreshPatch asks the controller to compare with Git now.
func refreshPatch(hard bool) ([]byte, error) {
	kind := argo.RefreshTypeNormal
	if hard {
		kind = argo.RefreshTypeHard
	}
	return json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{argo.AnnotationKeyRefresh: string(kind)}}})
}

// stopPatch stops our own operation: one that has not started is taken back, a running one is told to end. nil: there is none of ours.
func stopPatch(app *argo.Application, runID string) ([]byte, error) {
	version := map[string]any{"resourceVersion": app.ResourceVersion}
	switch {
	case active(app) && carries(app.Status.OperationState.Operation.Info, runID):
		return json.Marshal(map[string]any{"metadata": version, "status": map[string]any{"operationState": map[string]any{"phase": "Terminating"}}})
	case app.Operation != nil && carries(app.Operation.Info, runID):
		return json.Marshal(map[string]any{"metadata": version, "operation": nil})
	}
	return nil, nil
}

// typed reads an Application. Fields that this version of the types does not know are lost, which is why nothing typed is ever written.
func typed(obj *unstructured.Unstructured) (*argo.Application, error) {
	if obj == nil {
		return nil, nil
	}
	var app argo.Application
	return &app, into(obj, &app)
}

// into decodes by JSON: the types of Argo CD have unexported fields on which the reflecting converter of Kubernetes panics.
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

// canSync asks the project's sync windows about a sync now. A project that we may not read, or that does not exist, forbids nothing here:
// Argo CD itself will.
func canSync(ctx context.Context, c *kube.Client, app *argo.Application) (bool, error) {
	ref := kube.ObjectRef{APIVersion: "argoproj.io/v1alpha1", Kind: "AppProject", Namespace: app.Namespace, Name: app.Spec.Project}
	obj, err := c.Get(ctx, ref)
	if kube.HasCode(err, kube.CodeForbidden) || err == nil && obj == nil {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	var project argo.AppProject
	if err := into(obj, &project); err != nil {
		return false, err
	}
	ok, err := project.Spec.SyncWindows.Matches(app).CanSync(true)
	if err != nil {
		return false, fmt.Errorf("%s: sync windows: %w", ref, err)
	}
	return ok, nil
}
