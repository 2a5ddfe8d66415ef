package syncargocd

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
)

func TestWhatAnotherComparisonMayStandFor(t *testing.T) {
	now := epoch.Add(time.Hour)
	multi := func(a *argo.Application) {
		a.Spec.Source, a.Spec.Sources = nil, argo.ApplicationSources{{RepoURL: "r"}, {RepoURL: "q"}}
		a.Status.Sync.ComparedTo = argo.ComparedTo{Sources: a.Spec.Sources}
		a.Status.Sync.Revision, a.Status.Sync.Revisions = "", []string{shaA, shaB}
	}
	for name, c := range map[string]struct {
		wanted func(*wanted)
		app    *argo.Application
		found  []string
		want   string // decided once it is known what was found; "": it is not even asked
	}{
		"the same revision":                          {app: app(), found: []string{shaA}, want: "finish"},
		"one revision of each source":                {app: app(multi), found: []string{shaA, shaB}, want: "finish"},
		"one that is not well, at the same revision": {app: app(starting), found: []string{shaA}, want: "hold Synced, Progressing"},
		"another revision":                           {app: app(), found: []string{shaB}, want: "refresh"},
		"another revision of one source":             {app: app(multi), found: []string{shaA, shaA}, want: "refresh"},
		"nothing, for it failed":                     {app: app(), want: "refresh"},
		"it is out of sync":                          {app: app(outOf), found: []string{shaA}},
		"it says something else since":               {app: app(from("elsewhere")), found: []string{shaA}},
		"it was never compared":                      {app: app(func(a *argo.Application) { a.Status.ReconciledAt = nil }), found: []string{shaA}},
		"it is being compared":                       {app: app(marked), found: []string{shaA}},
		"it has a condition":                         {app: app(condition("OrphanedResourceWarning", "x")), found: []string{shaA}},
		"it hydrates":                                {app: app(func(a *argo.Application) { a.Spec.SourceHydrator = &argo.SourceHydrator{} }), found: []string{shaA}},
		"a pinned revision is wanted":                {wanted: func(w *wanted) { w.Revision = shaB }, app: app(), found: []string{shaA}},
		"parts are wanted":                           {wanted: func(w *wanted) { w.Filter = filter{{group: "*", kind: "*", name: "*"}} }, app: app(), found: []string{shaA}},
		"caches are to be passed":                    {wanted: func(w *wanted) { w.Hard = true }, app: app(), found: []string{shaA}},
		"nothing of the kind is allowed":             {wanted: func(w *wanted) { w.Shared = false }, app: app(), found: []string{shaA}},
	} {
		w := want
		w.Shared = true
		if c.wanted != nil {
			c.wanted(&w)
		}
		m, act := decide(memory{}, w, c.app, now)
		if c.want == "" {
			if act.Do != askRefresh {
				t.Errorf("%s: decided %q, want a comparison of its own", name, said(act))
			}
			continue
		}
		if act.Do != askScout {
			t.Errorf("%s: decided %q, want to ask what was found", name, said(act))
			continue
		}
		m.Found = c.found
		if _, act = decide(m, w, c.app, now); said(act) != c.want {
			t.Errorf("%s: decided %q, want %q", name, said(act), c.want)
		}
	}
}

func TestWhatHasComparisonsOfItsOwn(t *testing.T) {
	same := app(func(a *argo.Application) {
		a.Name, a.Spec.Source.Path, a.Spec.Source.TargetRevision = "other", "elsewhere", "HEAD"
	})
	if scoutKey(app()) != scoutKey(same) {
		t.Errorf("%s and %s", scoutKey(app()), scoutKey(same))
	}
	for name, edit := range map[string]func(*argo.Application){
		"repository":  func(a *argo.Application) { a.Spec.Source.RepoURL = "q" },
		"branch":      func(a *argo.Application) { a.Spec.Source.TargetRevision = "next" },
		"chart":       func(a *argo.Application) { a.Spec.Source.Chart = "c" },
		"cluster":     func(a *argo.Application) { a.Spec.Destination.Server = "https://c" },
		"its name":    func(a *argo.Application) { a.Spec.Destination.Name = "c" },
		"project":     func(a *argo.Application) { a.Spec.Project = "p" },
		"more source": func(a *argo.Application) { a.Spec.Sources = argo.ApplicationSources{{RepoURL: "r"}, {RepoURL: "q"}} },
	} {
		if scoutKey(app()) == scoutKey(app(edit)) {
			t.Errorf("another %s is the same", name)
		}
	}
}

// fleet is a way to Applications that a controller compares at once, with a branch at head.
type fleet struct {
	transport
	head string
	deaf string // the Application whose marks stay

	mu    sync.Mutex
	asked map[string]int
}

func (f *fleet) scopes() []string { return []string{""} }
func (f *fleet) gap() bool        { return false }

func (f *fleet) refresh(_ context.Context, a *argo.Application, _ bool) (*argo.Application, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[a.Name]++
	a = a.DeepCopy()
	a.ResourceVersion += "1"
	if a.Name == f.deaf {
		marked(a)
		return a, nil
	}
	later(a)
	if a.Status.Sync.Revision != f.head {
		outOf(a)
		a.Status.Sync.Revision = f.head
	}
	return a, nil
}

// looks has n Applications looked at, at once, and returns how many there is something to do about.
func (f *fleet) looks(t *testing.T, s *scouts, n int) (needed int) {
	t.Helper()
	f.asked = map[string]int{}
	feed := newFeed(f)
	var wg sync.WaitGroup
	for i := range n {
		a := app(func(a *argo.Application) { a.Name, a.Spec.Source.Path = fmt.Sprintf("app-%d", i), fmt.Sprint(i) })
		a.Status.Sync.ComparedTo.Source = *a.Spec.Source
		feed.put(a, false)
		w := want
		w.Shared = true
		d := &driver{via: f, feed: feed, app: idOf(a), want: w, scouts: s}
		wg.Go(func() {
			o, err := d.run(t.Context())
			f.mu.Lock()
			defer f.mu.Unlock()
			if o.needed || err != nil {
				needed++
			}
		})
	}
	wg.Wait()
	return needed
}

func TestOneComparisonForAllOfARepository(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := &fleet{head: shaA}, newScouts()
		if needed := f.looks(t, s, 50); needed != 0 || len(f.asked) != 1 {
			t.Errorf("%d of 50 need something, %d were compared: %v", needed, len(f.asked), f.asked)
		}
		f.head = shaB // what was found a moment ago still holds
		if needed := f.looks(t, s, 50); needed != 0 || len(f.asked) != 0 {
			t.Errorf("%d of 50 need something, %d were compared: %v", needed, len(f.asked), f.asked)
		}
		time.Sleep(scoutedFor)
		if needed := f.looks(t, s, 50); needed != 50 || len(f.asked) != 50 {
			t.Errorf("the branch moved on: %d of 50 need something, %d were compared", needed, len(f.asked))
		}
		for name, times := range f.asked {
			if times != 1 {
				t.Errorf("%s was compared %d times", name, times)
			}
		}
	})
}

// TestAComparisonThatDoesNotEnd lets whichever asks first be the one that is never answered.
func TestAComparisonThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := &fleet{head: shaA, deaf: "app-0"}, newScouts()
		lone := &argo.Application{}
		app().DeepCopyInto(lone)
		if _, leads := s.join(scoutKey(lone)); !leads {
			t.Fatal("nobody else has asked")
		}
		began := time.Now()
		if needed := f.looks(t, s, 5); needed != 1 || len(f.asked) != 5 {
			t.Errorf("%d need something, %d were compared: %v", needed, len(f.asked), f.asked)
		}
		if took := time.Since(began); took != answerWithin+pickupWithin {
			t.Errorf("took %s, want %s: only the one without an answer waits for it", took, answerWithin+pickupWithin)
		}
	})
}
