package syncargocd

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	"github.com/argoproj/gitops-engine/pkg/health"

	"pipectl.dev/steps"
)

// runInfo is the name under which our run id stands in an operation; Argo CD hands it back unchanged in the operation's state.
const runInfo = "pipectl.dev/run"

func carries(infos []*argo.Info, runID string) bool {
	return slices.ContainsFunc(infos, func(i *argo.Info) bool { return i != nil && i.Name == runInfo && i.Value == runID })
}

// active reports that the state is of an operation that has not ended.
func active(app *argo.Application) bool {
	s := app.Status.OperationState
	return s != nil && !s.Phase.Completed()
}

const windowMessage = "blocked by sync window"

// parked reports an operation that a sync window holds.
func parked(app *argo.Application) bool {
	return active(app) && strings.Contains(app.Status.OperationState.Message, windowMessage)
}

func windowed(message string) action {
	return failWith("BlockedByWindow", steps.Approval, "wait until the project's sync window opens and run again; the operation that waits there starts by itself then",
		"%s", strings.ToLower(message[:1])+message[1:])
}

var commit = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// sameRevisions reports whether the status speaks of the revisions that the operation synced.
func sameRevisions(r *argo.SyncOperationResult, s *argo.SyncStatus) bool {
	if len(r.Revisions) > 0 || len(s.Revisions) > 0 {
		return slices.Equal(r.Revisions, s.Revisions)
	}
	return r.Revision == s.Revision
}

// sameSources reports whether what was synced came from where, and with the settings that, the Application says now.
func sameSources(r *argo.SyncOperationResult, app *argo.Application) bool {
	equal := func(a, b argo.ApplicationSource) bool {
		a.TargetRevision, b.TargetRevision = "", "" // revisions are compared by themselves
		return a.Equals(&b)
	}
	switch {
	case len(r.Sources) > 0 || app.Spec.HasMultipleSources():
		return slices.EqualFunc(r.Sources, app.Spec.Sources, equal)
	case r.Source.IsZero(): // not told
		return true
	}
	return equal(r.Source, app.Spec.GetSource())
}

// comparesSpec reports whether the status speaks of the sources that the Application names now.
func comparesSpec(app *argo.Application) bool {
	c := app.Status.Sync.ComparedTo
	if app.Spec.HasMultipleSources() {
		return slices.EqualFunc(c.Sources, app.Spec.Sources, func(a, b argo.ApplicationSource) bool { return a.Equals(&b) })
	}
	source := app.Spec.GetSource()
	return c.Source.Equals(&source)
}

// progress is one line on where an Application stands.
func progress(app *argo.Application) string {
	if s := app.Status.OperationState; active(app) {
		line := "sync " + strings.ToLower(string(s.Phase))
		if s.Message != "" {
			line += ": " + s.Message
		}
		if s.RetryCount > 0 {
			line += fmt.Sprintf(" (retry %d)", s.RetryCount)
		}
		return line
	}
	line := fmt.Sprintf("%s, %s", app.Status.Sync.Status, app.Status.Health.Status)
	for _, r := range app.Status.Resources {
		if r.Health != nil && r.Health.Status != health.HealthStatusHealthy {
			line += fmt.Sprintf("; %s %s: %s", r.Kind, r.Name, r.Health.Status)
			if r.Health.Message != "" {
				line += " (" + r.Health.Message + ")"
			}
			break
		}
	}
	return line
}

func outOfSync(app *argo.Application) string {
	var names []string
	for _, r := range app.Status.Resources {
		if r.Status == argo.SyncStatusCodeOutOfSync {
			names = append(names, r.Kind+" "+r.Namespace+"/"+r.Name)
		}
	}
	return list(names)
}

func sickResources(app *argo.Application) string {
	var names []string
	for _, r := range app.Status.Resources {
		if r.Health != nil && r.Health.Status == health.HealthStatusDegraded {
			names = append(names, strings.TrimSpace(r.Kind+" "+r.Namespace+"/"+r.Name+" "+r.Health.Message))
		}
	}
	return list(names)
}

func trouble(app *argo.Application) string {
	var out []string
	for _, c := range app.Status.Conditions {
		if strings.HasSuffix(c.Type, "Error") {
			out = append(out, c.Type+": "+c.Message)
		}
	}
	return list(out)
}

// list is at most five things after a colon, "" for none.
func list(things []string) string {
	if len(things) == 0 {
		return ""
	}
	more := ""
	if len(things) > 5 {
		more = fmt.Sprintf(" and %d more", len(things)-5)
		things = things[:5]
	}
	return ": " + strings.Join(things, ", ") + more
}
