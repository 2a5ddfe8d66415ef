package syncargocd

import (
	"context"
	"strconv"
	"sync"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
)

// relist is how often all Applications are read anew, whatever a watch says: a watch may be lost without a word.
const relist = 30 * time.Second

// feed keeps the newest known version of each Application from one list and one watch a scope, and wakes who waits for one.
type feed struct {
	from applications

	mu      sync.Mutex
	apps    map[id]*argo.Application // nil: known not to exist
	version map[id]uint64            // of the newest version seen, of a deleted one too
	missing map[id]time.Time         // since when lists do not have it that was there
	wake    map[id]chan struct{}
	any     chan struct{} // closed and made anew when an Application comes or goes
	pending int           // scopes not listed yet
	failed  error         // of the last list
	listed  chan struct{} // closed after the first lists
}

func newFeed(from applications) *feed {
	return &feed{from: from, apps: map[id]*argo.Application{}, version: map[id]uint64{}, missing: map[id]time.Time{}, wake: map[id]chan struct{}{},
		any: make(chan struct{}), pending: len(from.scopes()), listed: make(chan struct{})}
}

// run follows until ctx ends. Errors are passed over: the next list will do, and those who wait have deadlines.
func (f *feed) run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, scope := range f.from.scopes() {
		wg.Go(func() {
			for first := true; ctx.Err() == nil; {
				version, err := f.read(ctx, scope)
				if err != nil {
					pause(ctx, time.Second)
					continue
				}
				if first {
					first = false
					f.arrived()
				}
				f.follow(ctx, scope, version)
			}
		})
	}
	wg.Wait()
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (f *feed) arrived() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pending--; f.pending == 0 {
		close(f.listed)
	}
}

// read lists a scope.
func (f *feed) read(ctx context.Context, scope string) (version string, err error) {
	apps, version, err := f.from.list(ctx, scope)
	f.mu.Lock()
	f.failed = err
	f.mu.Unlock()
	if err == nil {
		f.replace(scope, apps, version)
	}
	return version, err
}

// trouble is why the last list failed, nil if it did not.
func (f *feed) trouble() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

// follow takes in a watch until it ends, and lists again now and then beside it.
func (f *feed) follow(ctx context.Context, scope, version string) {
	inner, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// How it ended does not matter: the list that follows tells.
		_ = f.from.watch(inner, scope, version, f.put)
	}()
	defer func() { cancel(); <-ended }()
	next := relist
	if f.from.gap() {
		next = time.Second
	}
	for {
		again := time.NewTimer(next)
		select {
		case <-ended:
			again.Stop()
			pause(ctx, 100*time.Millisecond) // of a server that ends each watch at once
			return
		case <-ctx.Done():
			again.Stop()
			return
		case <-again.C:
			if _, err := f.read(ctx, scope); err != nil {
				return
			}
			if next = relist; f.doubtful() {
				next = time.Second
			}
		}
	}
}

// sure is how long lists of a server that may have gaps must be without an Application for it to count as gone: one that has just started
// answers before it has read them all.
const sure = 5 * time.Second

func (f *feed) doubtful() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.missing) > 0
}

func (f *feed) replace(scope string, apps []*argo.Application, version string) {
	there := map[id]bool{}
	for _, app := range apps {
		there[idOf(app)] = true
		f.put(app, false)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for n, app := range f.apps {
		if app != nil && !there[n] && (scope == "" || n.namespace == scope) && f.version[n] <= number(version) {
			if f.missing[n].IsZero() {
				f.missing[n] = time.Now()
			}
			if f.from.gap() && time.Since(f.missing[n]) < sure {
				continue
			}
			delete(f.missing, n)
			f.apps[n] = nil
			f.signal(n)
			f.changed()
		}
	}
}

// put takes in a version of an Application, of the watch or the answer to a write of ours; an older one than known is passed over, so
// that nobody decides on a state from before their own write.
func (f *feed) put(app *argo.Application, deleted bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, v := idOf(app), number(app.ResourceVersion)
	if v < f.version[n] {
		return
	}
	delete(f.missing, n)
	had := f.apps[n] != nil
	f.version[n] = v
	if deleted {
		app = nil
	}
	f.apps[n] = app
	f.signal(n)
	if had != (app != nil) {
		f.changed()
	}
}

// number is a resourceVersion to compare. The API server's are numbers that grow; of others each counts as the newest.
func number(version string) uint64 {
	n, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (f *feed) signal(n id) {
	select {
	case f.of(n) <- struct{}{}:
	default:
	}
}

// changed tells that there are more or fewer Applications; f.mu is held.
func (f *feed) changed() {
	close(f.any)
	f.any = make(chan struct{})
}

// of is the channel that tells of changes of one Application; f.mu is held.
func (f *feed) of(n id) chan struct{} {
	ch := f.wake[n]
	if ch == nil {
		ch = make(chan struct{}, 1)
		f.wake[n] = ch
	}
	return ch
}

// get is the newest version, nil if it does not exist, and a channel that tells when there is a newer one.
func (f *feed) get(n id) (*argo.Application, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.apps[n], f.of(n)
}

// all are the Applications that there are, and a channel that is closed when one comes or goes.
func (f *feed) all() ([]*argo.Application, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*argo.Application
	for _, app := range f.apps {
		if app != nil {
			out = append(out, app)
		}
	}
	return out, f.any
}
