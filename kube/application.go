package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pipectl.dev/steps"
)

// ApplicationRef names an Argo CD Application.
func ApplicationRef(namespace, name string) ObjectRef {
	return ObjectRef{APIVersion: "argoproj.io/v1alpha1", Kind: "Application", Namespace: namespace, Name: name}
}

// PausedApplication is what it takes to put a paused Application back exactly. It survives JSON.
type PausedApplication struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Automated is spec.syncPolicy.automated as it was; null when it was not there and nothing was changed.
	Automated json.RawMessage `json:"automated"`
	// Set is what we wrote in its place; null when we removed it.
	Set json.RawMessage `json:"set"`
}

// PauseApplication stops Argo CD from syncing an Application by itself, and before it those Applications that manage it and would put
// it back (apps of apps, found by Argo CD's own tracking marks). It returns what ResumeApplications needs, parents first; store that
// before going on. One that has no automatic sync, or does not exist, is left alone.
func (c *Client) PauseApplication(ctx context.Context, namespace, name string) ([]PausedApplication, error) {
	var out []PausedApplication
	chain, err := c.applicationChain(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	byField, err := c.pausesByField(ctx)
	if err != nil {
		return nil, err
	}
	for _, app := range slices.Backward(chain) {
		p, err := c.pauseOne(ctx, app, byField)
		if p != nil {
			out = append(out, *p)
		}
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// ResumeApplications undoes PauseApplication, children first. A field that somebody else changed since is left as it is now, and an
// Application that is gone is skipped.
func (c *Client) ResumeApplications(ctx context.Context, paused []PausedApplication) error {
	for _, p := range slices.Backward(paused) {
		ref := ApplicationRef(p.Namespace, p.Name)
		app, err := c.Get(ctx, ref)
		if err != nil {
			return err
		}
		if app == nil || !sameJSON(automated(app), p.Set) {
			continue
		}
		if err := c.writeAutomated(ctx, app, p.Automated); err != nil {
			return err
		}
	}
	return nil
}

// applicationChain is the Application followed by its managers up to the root.
func (c *Client) applicationChain(ctx context.Context, namespace, name string) ([]*unstructured.Unstructured, error) {
	var chain []*unstructured.Unstructured
	seen := map[string]bool{}
	for name != "" && !seen[name] {
		seen[name] = true
		app, err := c.Get(ctx, ApplicationRef(namespace, name))
		if err != nil {
			return nil, err
		}
		if app == nil {
			break
		}
		if err := c.letsBe(ctx, app); err != nil {
			return nil, err
		}
		chain = append(chain, app)
		name = managerOf(app)
	}
	return chain, nil
}

// CheckPausable says early what would undo a pause of an Application. It only reads.
func (c *Client) CheckPausable(ctx context.Context, namespace, name string) error {
	_, err := c.applicationChain(ctx, namespace, name)
	return err
}

// letsBe refuses an Application whose ApplicationSet would put its sync policy back.
func (c *Client) letsBe(ctx context.Context, app *unstructured.Unstructured) error {
	for _, owner := range app.GetOwnerReferences() {
		if owner.Kind != "ApplicationSet" {
			continue
		}
		set, err := c.Get(ctx, ObjectRef{APIVersion: "argoproj.io/v1alpha1", Kind: "ApplicationSet", Namespace: app.GetNamespace(), Name: owner.Name})
		if err != nil && !HasCode(err, CodeForbidden) && !HasCode(err, CodeKindNotServed) {
			return err
		}
		if set != nil && ignoresSyncPolicy(set, app.GetName()) {
			continue
		}
		return &steps.Error{Code: "ManagedByApplicationSet", Category: steps.Precondition,
			Message: fmt.Sprintf("application %s/%s: pause: applicationset %s would undo it", app.GetNamespace(), app.GetName(), owner.Name),
			Hints:   []string{"let the ApplicationSet ignore it: `spec.ignoreApplicationDifferences: [{jsonPointers: [/spec/syncPolicy]}]`"}}
	}
	return nil
}

// ignoresSyncPolicy reports whether an ApplicationSet leaves the sync policy of an Application as it finds it: because it is told to, or
// because it only creates Applications and never writes them again.
func ignoresSyncPolicy(set *unstructured.Unstructured, app string) bool {
	policy, _, _ := unstructured.NestedString(set.Object, "spec", "syncPolicy", "applicationsSync")
	if policy == "create-only" || policy == "create-delete" {
		return true
	}
	ignored, _, _ := unstructured.NestedSlice(set.Object, "spec", "ignoreApplicationDifferences")
	for _, x := range ignored {
		one, _ := x.(map[string]any)
		if name, _ := one["name"].(string); name != "" && name != app {
			continue
		}
		pointers, _, _ := unstructured.NestedStringSlice(one, "jsonPointers")
		paths, _, _ := unstructured.NestedStringSlice(one, "jqPathExpressions")
		for _, p := range slices.Concat(pointers, paths) {
			switch strings.ReplaceAll(strings.TrimPrefix(p, "."), "/", ".") {
			case "spec.syncPolicy", ".spec.syncPolicy", "spec.syncPolicy.automated", ".spec.syncPolicy.automated":
				return true
			}
		}
	}
	return false
}

// managerOf is the Application that brought app, by the tracking annotation ("root:argoproj.io/Application:argocd/jenkins") or label.
func managerOf(app *unstructured.Unstructured) string {
	if id, _, ok := strings.Cut(app.GetAnnotations()["argocd.argoproj.io/tracking-id"], ":"); ok {
		if _, after, other := strings.Cut(id, "_"); other {
			return after // Applications outside of Argo CD's namespace are tracked as namespace_name
		}
		return id
	}
	return app.GetLabels()["app.kubernetes.io/instance"]
}

func (c *Client) pauseOne(ctx context.Context, app *unstructured.Unstructured, byField bool) (*PausedApplication, error) {
	before := automated(app)
	if before == nil {
		return nil, nil
	}
	var set json.RawMessage
	if byField {
		var fields map[string]any
		if err := json.Unmarshal(before, &fields); err != nil {
			return nil, fmt.Errorf("%s: syncPolicy.automated: %w", RefOf(app), err)
		}
		if fields["enabled"] == false {
			return nil, nil
		}
		if fields == nil {
			fields = map[string]any{}
		}
		fields["enabled"] = false
		set, _ = json.Marshal(fields) //nolint:errchkjson // it came from JSON
	}
	p := &PausedApplication{Namespace: app.GetNamespace(), Name: app.GetName(), Automated: before, Set: set}
	return p, c.writeAutomated(ctx, app, set)
}

// automated is spec.syncPolicy.automated as JSON, nil when absent.
func automated(app *unstructured.Unstructured) json.RawMessage {
	v, found, err := unstructured.NestedFieldNoCopy(app.Object, "spec", "syncPolicy", "automated")
	if err != nil || !found || v == nil {
		return nil
	}
	raw, _ := json.Marshal(v) //nolint:errchkjson // it came from JSON
	return raw
}

func sameJSON(a, b json.RawMessage) bool {
	if null(a) || null(b) {
		return null(a) && null(b)
	}
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	ax, _ := json.Marshal(x) //nolint:errchkjson // it came from JSON
	by, _ := json.Marshal(y) //nolint:errchkjson // it came from JSON
	return bytes.Equal(ax, by)
}

func null(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// writeAutomated replaces the one field in one merge patch: keys that the new value leaves out are removed by null, since a merge keeps
// what it is not told. The version read is a precondition.
func (c *Client) writeAutomated(ctx context.Context, app *unstructured.Unstructured, value json.RawMessage) error {
	ref := RefOf(app)
	have := automated(app)
	var old, fresh map[string]any
	if !null(have) {
		if err := json.Unmarshal(have, &old); err != nil {
			return fmt.Errorf("%s: syncPolicy.automated: %w", ref, err)
		}
	}
	var field any
	if !null(value) {
		if err := json.Unmarshal(value, &fresh); err != nil {
			return fmt.Errorf("%s: syncPolicy.automated: %w", ref, err)
		}
		merged := map[string]any{}
		for k := range old {
			merged[k] = nil
		}
		for k, v := range fresh {
			merged[k] = v
		}
		field = merged
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": app.GetResourceVersion()},
		"spec":     map[string]any{"syncPolicy": map[string]any{"automated": field}},
	})
	if err != nil {
		return fmt.Errorf("%s: %w", ref, err)
	}
	_, err = c.MergePatch(ctx, ref, patch)
	return err
}

// pausesByField reports whether this Argo CD knows automated.enabled (3.1 and later). Its own definition says so: servers and their
// versions need not be reachable.
func (c *Client) pausesByField(ctx context.Context) (bool, error) {
	crd, err := c.Get(ctx, ObjectRef{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition", Name: "applications.argoproj.io"})
	if HasCode(err, CodeForbidden) || (err == nil && crd == nil) {
		return false, nil // removing the field works with every version
	}
	if err != nil {
		return false, err
	}
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	for _, v := range versions {
		m, _ := v.(map[string]any)
		_, found, _ := unstructured.NestedMap(m, "schema", "openAPIV3Schema", "properties", "spec", "properties", "syncPolicy",
			"properties", "automated", "properties", "enabled")
		if found {
			return true, nil
		}
	}
	return false, nil
}
