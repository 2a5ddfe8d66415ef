package syncargocd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pipectl.dev/argoserver"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// byServer reaches Applications through argocd-server.
type byServer struct {
	client *argoserver.Client
	slots  chan struct{} // a refresh holds a connection and a goroutine of the server until the controller has answered
}

// refreshing is how many refreshes are asked of one server at once. The controller works on 20 by default.
const refreshing = 40

func (s *byServer) scopes() []string { return []string{""} }
func (s *byServer) gap() bool        { return true }

func (s *byServer) name(n id) argoserver.Name {
	return argoserver.Name{Namespace: n.namespace, Name: n.name}
}

func (s *byServer) list(ctx context.Context, _ string) ([]*argo.Application, string, error) {
	raws, version, err := s.client.Applications(ctx)
	if err != nil {
		return nil, "", err
	}
	var out []*argo.Application
	for _, raw := range raws {
		app, err := decode(raw)
		if err != nil {
			return nil, "", err
		}
		out = append(out, app)
	}
	return out, version, nil
}

func (s *byServer) watch(ctx context.Context, _, version string, each func(*argo.Application, bool)) error {
	var broken error
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	err := s.client.Watch(inner, version, func(kind string, raw json.RawMessage) {
		app, err := decode(raw)
		if err != nil {
			broken = err
			cancel()
			return
		}
		each(app, kind == "DELETED")
	})
	return errors.Join(broken, err)
}

func (s *byServer) read(ctx context.Context, n id) (*argo.Application, error) {
	raw, err := s.client.Application(ctx, s.name(n))
	if kube.HasCode(err, argoserver.CodeForbidden) || kube.HasCode(err, argoserver.CodeNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decode(raw)
}

// refresh waits for the controller's answer, since the server does. Where the server hears of none for a while the Application is read past
// it; where the mark is still there, a watch will tell.
func (s *byServer) refresh(ctx context.Context, app *argo.Application, hard bool) (*argo.Application, error) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	inner, cancel := context.WithTimeout(ctx, heartbeat)
	defer cancel()
	raw, err := s.client.Refresh(inner, s.name(idOf(app)), hard)
	switch {
	case err != nil && inner.Err() != nil && ctx.Err() == nil:
		return s.read(ctx, idOf(app))
	case err != nil && strings.Contains(err.Error(), "is not allowed in project"):
		c := argo.ApplicationCondition{Type: argo.ApplicationConditionInvalidSpecError}
		return nil, &steps.Error{Code: c.Type, Category: steps.Unhealthy, Message: c.Type, Err: err, Hints: []string{conditionHint(c)}}
	case err != nil:
		return nil, err
	}
	return decode(raw)
}

// syncRequest is the gateway's ApplicationSyncRequest.
type syncRequest struct {
	Name            string                       `json:"name"`
	AppNamespace    string                       `json:"appNamespace,omitempty"`
	Project         string                       `json:"project,omitempty"`
	Revision        string                       `json:"revision,omitempty"`
	Revisions       []string                     `json:"revisions,omitempty"`
	SourcePositions []int64                      `json:"sourcePositions,omitempty"` // counted from 1
	DryRun          bool                         `json:"dryRun,omitempty"`
	Prune           bool                         `json:"prune,omitempty"`
	Strategy        *argo.SyncStrategy           `json:"strategy,omitempty"`
	Resources       []argo.SyncOperationResource `json:"resources,omitempty"`
	Infos           []*argo.Info                 `json:"infos,omitempty"`
	RetryStrategy   *argo.RetryStrategy          `json:"retryStrategy,omitempty"`
	SyncOptions     struct {
		Items []string `json:"items"`
	} `json:"syncOptions"`
}

// requestOf is an operation as the server wants it asked for. It sets who began it by itself.
func requestOf(app *argo.Application, op argo.Operation) syncRequest {
	r := syncRequest{Name: app.Name, AppNamespace: app.Namespace, Project: app.Spec.Project, Revision: op.Sync.Revision, DryRun: op.Sync.DryRun,
		Prune: op.Sync.Prune, Strategy: op.Sync.SyncStrategy, Resources: op.Sync.Resources, Infos: op.Info}
	for i, rev := range op.Sync.Revisions {
		if rev != "" {
			r.Revisions, r.SourcePositions = append(r.Revisions, rev), append(r.SourcePositions, int64(i+1))
		}
	}
	if op.Retry != (argo.RetryStrategy{}) {
		r.RetryStrategy = &op.Retry
	}
	r.SyncOptions.Items = append([]string{}, op.Sync.SyncOptions...)
	return r
}

// sync: the server itself refuses where an operation is there already, so that none is lost.
func (s *byServer) sync(ctx context.Context, app *argo.Application, op argo.Operation) (*argo.Application, error) {
	raw, err := s.client.Sync(ctx, s.name(idOf(app)), requestOf(app, op))
	if err != nil {
		return nil, err
	}
	return decode(raw)
}

func (s *byServer) stop(ctx context.Context, n id, runID string) (*argo.Application, error) {
	raw, err := s.client.Application(ctx, s.name(n))
	if err != nil {
		return nil, err
	}
	app, err := decode(raw)
	if err != nil || !ours(app, wanted{RunID: runID}) {
		return app, err
	}
	if app.Status.OperationState == nil {
		return app, &steps.Error{Code: "OperationStays", Category: steps.Conflict, Message: "argocd-server cannot take back a sync that has not started",
			Hints: []string{"it starts when the application controller is back"}}
	}
	return app, s.client.Terminate(ctx, s.name(n))
}

// windows come from the project, which knows time zones; none where we may not read it.
func (s *byServer) windows(ctx context.Context, name string) (argo.SyncWindows, error) {
	raw, err := s.client.Project(ctx, name)
	if kube.HasCode(err, argoserver.CodeForbidden) || kube.HasCode(err, argoserver.CodeNotFound) {
		return nil, nil // the server checks them before it takes a sync
	}
	if err != nil {
		return nil, err
	}
	var project argo.AppProject
	if err := json.Unmarshal(raw, &project); err != nil {
		return nil, fmt.Errorf("project %s: %w", name, err)
	}
	return project.Spec.SyncWindows, nil
}

func (s *byServer) set(ctx context.Context, n id) (*argo.ApplicationSet, error) {
	raw, err := s.client.ApplicationSet(ctx, s.name(n))
	if kube.HasCode(err, argoserver.CodeNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var set argo.ApplicationSet
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, fmt.Errorf("applicationset %s: %w", n.name, err)
	}
	return &set, nil
}

func (s *byServer) object(ctx context.Context, app *argo.Application, ref kube.ObjectRef) (*unstructured.Unstructured, error) {
	gv, version, _ := strings.Cut(ref.APIVersion, "/")
	if version == "" {
		gv, version = "", gv
	}
	return s.live(ctx, app, argoserver.Ref{Group: gv, Version: version, Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name})
}

// live is nil for what the server does not show: an object that is gone, or one that the token may not see.
func (s *byServer) live(ctx context.Context, app *argo.Application, ref argoserver.Ref) (*unstructured.Unstructured, error) {
	raw, err := s.client.Resource(ctx, s.name(idOf(app)), ref)
	if err != nil {
		if ctx.Err() != nil || kube.HasCode(err, argoserver.CodeUnreachable) && !strings.Contains(err.Error(), "not found") {
			return nil, err
		}
		return nil, nil
	}
	obj := &unstructured.Unstructured{}
	if err := obj.UnmarshalJSON(raw); err != nil { // not encoding/json: numbers must be whole ones
		return nil, fmt.Errorf("%s %s: %w", ref.Kind, ref.Name, err)
	}
	return obj, nil
}

// troubles reads the pods that hang in the tree below workloads, of the newest ReplicaSet only where there are several.
func (s *byServer) troubles(ctx context.Context, app *argo.Application) ([]kube.Trouble, error) {
	nodes, err := s.client.Tree(ctx, s.name(idOf(app)))
	if err != nil {
		return nil, err
	}
	var out []kube.Trouble
	for _, ref := range currentPods(nodes) {
		obj, err := s.live(ctx, app, ref)
		if err != nil {
			return nil, err
		}
		var pod corev1.Pod
		if obj == nil || into(obj, &pod) != nil {
			continue
		}
		if t, bad := kube.PodTrouble(&pod); bad {
			out = append(out, t)
		}
	}
	return inOrderOf(out), nil
}

// currentPods are the pods of a tree without those of ReplicaSets that a newer one replaces.
func currentPods(nodes []argoserver.Node) []argoserver.Ref {
	revision := map[string]int{} // of a ReplicaSet, by UID
	newest := map[string]int{}   // by UID of its Deployment
	owner := map[string]string{}
	for _, n := range nodes {
		if n.Kind != "ReplicaSet" || len(n.Parents) == 0 {
			continue
		}
		for _, i := range n.Info {
			if number, err := strconv.Atoi(strings.TrimPrefix(i.Value, "Rev:")); i.Name == "Revision" && err == nil {
				revision[n.UID], owner[n.UID] = number, n.Parents[0].UID
				newest[n.Parents[0].UID] = max(newest[n.Parents[0].UID], number)
			}
		}
	}
	var out []argoserver.Ref
	for _, n := range nodes {
		if n.Kind != "Pod" || n.Group != "" || len(n.Parents) == 0 {
			continue
		}
		set := n.Parents[0].UID
		if of, known := owner[set]; known && revision[set] < newest[of] {
			continue
		}
		out = append(out, n.Ref)
	}
	return out
}

// changes come from the last comparison, as argocd-server tells of it.
func (s *byServer) changes(ctx context.Context, app *argo.Application) (todo map[key]planned, unseen, err error) {
	items, err := s.client.ManagedResources(ctx, s.name(idOf(app)))
	if err != nil {
		return nil, nil, err
	}
	return plannedOf(items), nil, nil
}
