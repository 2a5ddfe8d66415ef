package syncargocd

import (
	"encoding/json"
	"slices"
	"strings"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// how is what a sync is asked for with, beside what it shall deliver.
type how struct {
	options []string
	retry   *argo.RetryStrategy
	force   bool
}

// operation is the sync to write. The controller takes it as it stands and adds nothing of the Application's own sync policy, so that
// is copied first and overlaid by ours. Sources stay empty: given ones would mean a rollback.
func operation(app *argo.Application, w wanted, h how) argo.Operation {
	sync := &argo.SyncOperation{Prune: w.Prune, DryRun: w.DryRun, SyncOptions: slices.Clone(h.options)}
	op := argo.Operation{Sync: sync, InitiatedBy: argo.OperationInitiator{Username: kube.FieldManager}, Info: []*argo.Info{{Name: runInfo, Value: w.RunID}}}
	if p := app.Spec.SyncPolicy; p != nil {
		sync.SyncOptions = merged(p.SyncOptions, h.options)
		if p.Automated != nil {
			sync.Prune = sync.Prune || p.Automated.Prune
		}
		if p.Retry != nil {
			op.Retry = *p.Retry.DeepCopy()
		}
	}
	if h.retry != nil {
		op.Retry = *h.retry.DeepCopy()
	}
	if h.force {
		sync.SyncStrategy = &argo.SyncStrategy{Hook: &argo.SyncStrategyHook{SyncStrategyApply: argo.SyncStrategyApply{Force: true}}}
	}
	// "": what the Application follows, resolved anew by the controller.
	if app.Spec.HasMultipleSources() {
		sync.Revisions = slices.Clone(w.Revisions)
	} else {
		sync.Revision = w.Revision
	}
	for _, r := range w.Filter.of(app) {
		if len(w.Filter) > 0 {
			sync.Resources = append(sync.Resources, argo.SyncOperationResource{Group: r.Group, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name})
		}
	}
	return op
}

// refusal is why an operation would not do what is asked for, nil where it would.
func refusal(app *argo.Application, w wanted) error {
	bad := func(code string, category steps.Category, message, hint string) error {
		return &steps.Error{Code: code, Category: category, Message: message, Hints: []string{hint}}
	}
	sources := len(app.Spec.Sources)
	switch {
	case w.Revision != "" && app.Spec.HasMultipleSources():
		return bad("ManySources", steps.BadInput, "has several sources: one revision does not fit them", "give `revisions`, one a source, \"\" for what the source follows")
	case len(w.Revisions) > 0 && !app.Spec.HasMultipleSources():
		return bad("OneSource", steps.BadInput, "has one source: `revisions` are for several", "give `revision`")
	case len(w.Revisions) > 0 && len(w.Revisions) != sources:
		return &steps.Error{Code: "ManySources", Category: steps.BadInput, Message: "does not have as many sources as `revisions` has entries", Hints: []string{"give one a source, \"\" for what the source follows"}}
	case pinned(app, w) && automated(app) && !w.DryRun:
		return bad("AutomatedElsewhere", steps.Precondition, "syncs itself to "+followsText(app)+": another revision would not stay",
			"leave out `revision`, change spec.source.targetRevision, or switch its automatic sync off")
	case len(w.Filter) > 0 && len(w.Filter.of(app)) == 0:
		return bad("NoSuchResource", steps.Precondition, "has no resource that `resources` selects", "see status.resources of the Application for GROUP:KIND:NAME")
	}
	return nil
}

// followsText is what the first source follows, for people.
func followsText(app *argo.Application) string {
	if r := app.Spec.GetSource().TargetRevision; r != "" {
		return r
	}
	return "HEAD"
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
	case !ours(app, wanted{RunID: runID}):
		return nil, nil
	case active(app) && carries(app.Status.OperationState.Operation.Info, runID):
		return json.Marshal(map[string]any{"metadata": version, "status": map[string]any{"operationState": map[string]any{"phase": "Terminating"}}})
	default:
		return json.Marshal(map[string]any{"metadata": version, "operation": nil})
	}
}
