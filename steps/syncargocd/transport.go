package syncargocd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"pipectl.dev/kube"
	"pipectl.dev/steps/reconcile"
)

// id names an Application.
type id struct{ namespace, name string }

func idOf(app *argo.Application) id { return id{app.Namespace, app.Name} }

// applications is a way to the Applications of one Argo CD: its custom resources, or argocd-server. Both hand out the same objects.
type applications interface {
	// scopes are what is listed and watched apart; a namespace, or "" for all.
	scopes() []string
	list(ctx context.Context, scope string) (apps []*argo.Application, version string, err error)
	// watch tells of changes until it is lost or ctx ends. gap says that changes just after the list may be missed.
	watch(ctx context.Context, scope, version string, each func(app *argo.Application, deleted bool)) (err error)
	gap() bool
	// read reads one past what argocd-server has heard of; nil: it does not exist, or may not be seen.
	read(ctx context.Context, n id) (*argo.Application, error)
	// refresh, sync and stop return the Application as it was written, nil where only a watch will tell.
	refresh(ctx context.Context, app *argo.Application, hard bool) (*argo.Application, error)
	sync(ctx context.Context, app *argo.Application, op argo.Operation) (*argo.Application, error)
	// stop ends the operation that carries runID, and no other.
	stop(ctx context.Context, n id, runID string) (*argo.Application, error)
}

// surroundings is what else is looked at beside an Application, by the same way.
type surroundings interface {
	// windows are the sync windows of a project; none where it may not be read.
	windows(ctx context.Context, project string) (argo.SyncWindows, error)
	// set reads an ApplicationSet; nil: it does not exist.
	set(ctx context.Context, n id) (*argo.ApplicationSet, error)
	// object reads a live object of an Application; nil: it does not exist, or cannot be seen from here.
	object(ctx context.Context, app *argo.Application, ref kube.ObjectRef) (*unstructured.Unstructured, error)
	// troubles are what keeps pods of an Application's current workloads from running, as far as they can be seen.
	troubles(ctx context.Context, app *argo.Application) ([]kube.Trouble, error)
	// changes tells, by resource, what a sync would do to it. unseen is why the fields are not among that.
	changes(ctx context.Context, app *argo.Application) (todo map[key]planned, unseen, err error)
}

// planned is what a sync would do to a resource that is there in another form, or not at all.
type planned struct {
	create bool
	fields []reconcile.FieldChange // that differ; none where that is not known
	lines  []string                // the same for people
}

// key names a resource of an Application.
type key struct{ group, kind, namespace, name string }

// transport is both, of one Argo CD.
type transport interface {
	applications
	surroundings
}

// decode reads an Application. Fields that this version of the types does not know are lost, which is why nothing typed is ever written;
// the one that matters, an automatic sync policy that is switched off, is taken as none. What is big and not looked at is left out: all
// Applications of an Argo CD are held.
func decode(raw []byte) (*argo.Application, error) {
	var app argo.Application
	var newer struct {
		Spec struct {
			SyncPolicy struct {
				Automated struct {
					Enabled *bool `json:"enabled"`
				} `json:"automated"`
			} `json:"syncPolicy"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(raw, &app); err != nil {
		return nil, fmt.Errorf("application: %w", err)
	}
	if bytes.Contains(raw, []byte(`"enabled"`)) { // seldom, and reading all of it twice is not cheap: there may be hundreds of changes a second
		if err := json.Unmarshal(raw, &newer); err != nil {
			return nil, fmt.Errorf("application: %w", err)
		}
	}
	if on := newer.Spec.SyncPolicy.Automated.Enabled; on != nil && !*on {
		app.Spec.SyncPolicy.Automated = nil
	}
	app.ManagedFields, app.Status.History = nil, nil
	return &app, nil
}

// decodeObject is decode for what Kubernetes' client has decoded already. By JSON: the types of Argo CD have unexported fields on which
// the reflecting converter of Kubernetes panics.
func decodeObject(obj *unstructured.Unstructured) (*argo.Application, error) {
	if obj == nil {
		return nil, nil
	}
	unstructured.RemoveNestedField(obj.Object, "metadata", "managedFields")
	unstructured.RemoveNestedField(obj.Object, "status", "history")
	raw, err := obj.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kube.RefOf(obj), err)
	}
	return decode(raw)
}

// inCluster reports an Application whose resources are in the cluster that Argo CD runs in.
func inCluster(app *argo.Application) bool {
	return app.Spec.Destination.Server == argo.KubernetesInternalAPIServerAddr || app.Spec.Destination.Name == "in-cluster"
}

// refOf names a resource of an Application's status.
func refOf(r argo.ResourceStatus) kube.ObjectRef {
	return kube.ObjectRef{APIVersion: schema.GroupVersion{Group: r.Group, Version: r.Version}.String(), Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
}
