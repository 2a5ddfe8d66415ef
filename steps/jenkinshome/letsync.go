package jenkinshome

import (
	"context"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pipectl.dev/kube"
)

// letSync lets Argo CD sync the source Application by itself again, as before the move, where Git has the old Jenkins stopped: else it would
// start a second one. Where Git does not say so, the Application stays paused, and what it was like is told, since the record goes.
func (m *mission) letSync(ctx context.Context) error {
	paused := m.rec.Cut.Paused
	if len(paused) == 0 {
		return nil
	}
	stopped, err := m.gitHasItStopped(ctx)
	if err != nil {
		return err
	}
	if stopped {
		return m.source.ResumeApplications(ctx, paused)
	}
	for _, p := range paused {
		before, err := json.Marshal(map[string]any{"spec": map[string]any{"syncPolicy": map[string]any{"automated": p.Automated}}})
		if err != nil {
			return fmt.Errorf("application %s/%s: %w", p.Namespace, p.Name, err)
		}
		m.env.Note(fmt.Sprintf("application %s/%s stays paused: Git does not have %s stopped, and it would be started again. Commit output oldValues of migrate-jenkins-home, then: kubectl -n %s patch application %s --type merge -p '%s'",
			p.Namespace, p.Name, m.workload(), p.Namespace, p.Name, before))
	}
	return nil
}

// gitHasItStopped reports whether the Application that owns the old workload calls it synced while it is at 0 replicas.
func (m *mission) gitHasItStopped(ctx context.Context) (bool, error) {
	w := m.workload()
	st, found, err := m.source.ReadWorkload(ctx, w)
	if err != nil || !found || st.Replicas != 0 {
		return false, err
	}
	name := applicationOf(st.Object)
	for _, p := range m.rec.Cut.Paused {
		if p.Name != name {
			continue
		}
		app, err := m.source.Get(ctx, kube.ApplicationRef(p.Namespace, p.Name))
		if err != nil || app == nil {
			return false, err
		}
		return callsSynced(app, w), nil
	}
	return false, nil
}

func callsSynced(app *unstructured.Unstructured, w kube.Workload) bool {
	rs, _, _ := unstructured.NestedSlice(app.Object, "status", "resources")
	for _, r := range rs {
		o, _ := r.(map[string]any)
		if o["kind"] == w.Kind && o["name"] == w.Name && o["namespace"] == w.Namespace {
			return o["status"] == "Synced"
		}
	}
	return false
}
