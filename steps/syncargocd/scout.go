package syncargocd

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
)

// scouts are comparisons with Git that stand for those of other Applications, where refresh is "shared": hundreds of Applications of one
// repository ask it the same question, and each asking is two writes and a comparison.
type scouts struct {
	mu  sync.Mutex
	all map[string]*scout
}

func newScouts() *scouts { return &scouts{all: map[string]*scout{}} }

// scout is the comparison of one Application for all that have its sources.
type scout struct {
	done  chan struct{} // closed once found holds
	ended time.Time
	found []string // the revisions that the sources are at; none: nothing that another one could go by
}

// scoutedFor is how long a scout's word holds: a branch moves on.
const scoutedFor = 10 * time.Second

// join returns the scout for key. leads says that there was none, and that the caller is the one to make it.
func (s *scouts) join(key string) (one *scout, leads bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one = s.all[key]; one != nil && (one.ended.IsZero() || time.Since(one.ended) < scoutedFor) {
		return one, false
	}
	one = &scout{done: make(chan struct{})}
	s.all[key] = one
	return one, true
}

func (s *scouts) end(one *scout, found []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one.found, one.ended = found, time.Now()
	close(one.done)
}

// scoutKey tells apart what needs a comparison of its own. The destination is part of it, since controllers share clusters among them, and
// the project is, since credentials of repositories may belong to one.
func scoutKey(app *argo.Application) string {
	type source struct{ Repo, Revision, Chart, Ref string }
	var sources []source
	for _, s := range app.Spec.GetSources() {
		sources = append(sources, source{s.RepoURL, cmp.Or(s.TargetRevision, "HEAD"), s.Chart, s.Ref})
	}
	raw, _ := json.Marshal([]any{app.Spec.Project, app.Spec.Destination.Server, app.Spec.Destination.Name, sources}) //nolint:errchkjson // strings only
	return string(raw)
}

// shares reports an Application whose status holds unless its sources have moved on: it says that all is as it should be, and is of what
// the Application says now.
func shares(w wanted, app *argo.Application) bool {
	return w.Shared && speaks(w, app) && app.Spec.SourceHydrator == nil && app.Status.Sync.Status == argo.SyncStatusCodeSynced
}

// scouted reports that the status is of the revisions that a scout has just found.
func scouted(m memory, w wanted, app *argo.Application) bool {
	return len(m.Found) > 0 && shares(w, app) && slices.Equal(m.Found, comparedWith(app))
}

// comparedWith are the revisions of the last comparison, one a source; none where it was not a whole one.
func comparedWith(app *argo.Application) []string {
	s := app.Status.Sync
	found := []string{s.Revision}
	if app.Spec.HasMultipleSources() {
		found = s.Revisions
	}
	broken := slices.ContainsFunc(app.Status.Conditions, func(c argo.ApplicationCondition) bool { return slices.Contains(fatal, c.Type) })
	if broken || slices.Contains(found, "") || s.Status == argo.SyncStatusCodeUnknown || !comparesSpec(app) {
		return nil
	}
	return found
}

// ask learns what a scout found, or becomes one: then what the next comparison finds is told to the others. Nobody waits for one that is
// held up.
func (d *driver) ask(ctx context.Context, app *argo.Application) ([]string, error) {
	one, leads := d.scouts.join(scoutKey(app))
	if leads {
		d.scout = one
		return nil, nil
	}
	timer := time.NewTimer(answerWithin)
	defer timer.Stop()
	select {
	case <-one.done:
		return one.found, nil
	case <-timer.C:
		return nil, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// tell ends our own scout, if there is one, with what was found.
func (d *driver) tell(found []string) {
	if d.scout != nil {
		d.scouts.end(d.scout, found)
		d.scout = nil
	}
}
