package syncargocd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"

	"pipectl.dev/argoserver"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

// session is one use of the step on one Argo CD; its feed runs until close.
type session struct {
	client *kube.Client // nil where Argo CD is reached by argocd-server
	via    transport
	feed   *feed
	spec   Spec
	env    steps.Env
	named  map[id]bool
	turns  chan struct{} // maxParallel
	scouts *scouts
	paused paused
	close  func()

	mu       sync.Mutex
	outcomes map[id]outcome
	broken   string // the first Application that failed, once one has
	unseen   error  // why a plan does not name fields
}

// reach opens the way to Argo CD that the spec names.
func (s *step) reach(ctx context.Context, env steps.Env, sp Spec) (*session, error) {
	x := &session{spec: sp, env: env, named: named(sp), turns: make(chan struct{}, max(sp.MaxParallel, 1)), scouts: newScouts(), outcomes: map[id]outcome{}, close: func() {}}
	if sp.Server == nil {
		client, err := s.kube(ctx, kube.Relative(sp.Cluster, env.Dir))
		if err != nil {
			return nil, err
		}
		namespaces := []string{sp.Namespace}
		for _, a := range sp.Apps {
			if a.Namespace != "" && !slices.Contains(namespaces, a.Namespace) {
				namespaces = append(namespaces, a.Namespace)
			}
		}
		x.client = client
		compared := &kept{client: client, control: sp.Namespace}
		x.via = &projects{transport: &byCluster{client: client, control: sp.Namespace, namespaces: namespaces, kept: compared}, known: map[string]*projectWindows{}}
		x.close = compared.close
		return x, nil
	}
	ca := []byte(sp.Server.CA)
	if file := sp.Server.CAFile; file != "" {
		if !filepath.IsAbs(file) {
			file = filepath.Join(env.Dir, file)
		}
		raw, err := os.ReadFile(file) //nolint:gosec // the pipeline names it
		if err != nil {
			return nil, &steps.Error{Code: "ServerCA", Category: steps.BadInput, Message: "server.caFile", Err: err}
		}
		ca = raw
	}
	client, err := argoserver.New(argoserver.Options{URL: sp.Server.URL, Token: sp.Server.Token, CA: ca, Insecure: sp.Server.Insecure})
	if err != nil {
		return nil, err
	}
	x.via = &projects{transport: &byServer{client: client, slots: make(chan struct{}, refreshing)}, known: map[string]*projectWindows{}}
	x.close = client.Close
	return x, nil
}

// firstList bounds how long the first list may take.
const firstList = 15 * time.Second

// open is reach with a feed that knows all Applications.
func (s *step) open(ctx context.Context, env steps.Env, sp Spec) (*session, error) {
	x, err := s.reach(ctx, env, sp)
	if err != nil {
		return nil, err
	}
	if x.client != nil {
		if _, _, err := x.client.Resource(kube.ApplicationRef(sp.Namespace, "")); err != nil {
			return nil, err
		}
	}
	x.feed = newFeed(x.via)
	inner, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); x.feed.run(inner) }()
	disconnect := x.close
	x.close = func() { cancel(); <-ended; disconnect() }
	first := time.NewTimer(firstList)
	defer first.Stop()
	look := time.NewTicker(200 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-x.feed.listed:
			return x, nil
		case <-look.C:
			if err := x.feed.trouble(); err == nil || again(err) {
				continue
			}
		case <-ctx.Done():
			x.close()
			return nil, context.Cause(ctx)
		case <-first.C:
		}
		err := x.feed.trouble()
		if err == nil {
			err = &steps.Error{Code: kube.CodeClusterUnreachable, Category: steps.Transient, Retryable: true,
				Message: fmt.Sprintf("the list of Applications did not arrive within %s", firstList)}
		}
		x.close()
		return nil, err
	}
}

// driver works on one Application in the way that its entry says.
func (x *session) driver(n id, a App, mode mode) *driver {
	sp := x.spec
	d := &driver{via: x.via, feed: x.feed, app: n, scouts: x.scouts, write: mode != look, how: how{options: sp.options(), retry: sp.Retry.strategy(), force: sp.Force}, want: wanted{
		RunID: runID(x.env), Revision: a.Revision, Revisions: a.Revisions, Commit: a.Want.Commit, Pushed: a.Want.Pushed, Images: a.Want.Images,
		Prune: sp.Prune, DryRun: sp.DryRun, Hard: sp.Refresh == "hard", Shared: sp.Refresh == "shared", Follow: mode == follow, Filter: a.filter(),
		HealthyFor: sp.HealthyFor.Duration, DegradedGrace: sp.DegradedGrace.Duration, Appear: sp.Appear.Duration, Timeout: sp.Timeout.Duration,
	}}
	if mode == write {
		d.want.Recent = recently
		d.turn = x.turn
		d.prepared = x.resumeWorkloads
	}
	return d
}

// mode is how far a driver goes.
type mode int

const (
	look   mode = iota // one comparison
	follow             // until somebody else has synced it
	write              // sync it
)

// turn waits for one of maxParallel, unless something failed that forbids to begin more.
func (x *session) turn(ctx context.Context) (func(), error) {
	select {
	case x.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.broken != "" && x.spec.OnFailure == "failFast" {
		<-x.turns
		return nil, fmt.Errorf("%w, since %s failed", errDependency, x.broken)
	}
	return func() { <-x.turns }, nil
}

// title is an Application's name in results: its namespace stands before it where that is not Argo CD's.
func (x *session) title(n id) string {
	if n.namespace == x.spec.Namespace {
		return n.name
	}
	return n.namespace + "/" + n.name
}

func (x *session) note(n id, o outcome, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	o.err = err
	x.outcomes[n] = o
	if err != nil && x.broken == "" && !errors.Is(err, errDependency) {
		x.broken = x.title(n)
	}
}

// entry works on all Applications of an entry at once.
func (x *session) entry(ctx context.Context, a App) error {
	found, err := x.resolve(ctx, a)
	if err != nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.broken = a.String()
		return err
	}
	return x.each(ctx, found, a, write)
}

// over tells of the Applications of an entry that was not begun, so that each Application is in the result.
func (x *session) over(a App, why error) {
	all, _ := x.feed.all()
	for _, n := range selected(a, all, x.spec.Namespace, x.named) {
		x.mu.Lock()
		_, taken := x.outcomes[n]
		x.mu.Unlock()
		if !taken {
			change := steps.Change{Kind: "argocd:Application", Name: x.title(n), Action: reconcile.Update}
			x.note(n, outcome{}, why)
			x.env.Report(steps.Progress{Change: change, Phase: reconcile.Failed, Err: why})
		}
	}
}

// each works on several Applications at once, and then on what they consist of.
func (x *session) each(ctx context.Context, apps []id, a App, m mode) error {
	errs := make([]error, len(apps))
	var wg sync.WaitGroup
	for i, n := range apps {
		wg.Go(func() { errs[i] = x.one(ctx, n, a, m) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// one works on one Application, and then on what it consists of. What another entry names, or somebody works on already, is left to them.
func (x *session) one(ctx context.Context, n id, a App, m mode) error {
	x.mu.Lock()
	_, taken := x.outcomes[n]
	if !taken {
		x.outcomes[n] = outcome{}
	}
	x.mu.Unlock()
	if taken {
		return nil
	}
	o, err := x.sync(ctx, n, a, m)
	x.note(n, o, err)
	if err != nil {
		return fmt.Errorf("application %s: %w", x.title(n), err)
	}
	if a.Children == "ignore" || x.spec.DryRun {
		return nil
	}
	apps, err := x.children(ctx, o.app)
	if err != nil {
		return fmt.Errorf("application %s: %w", x.title(n), err)
	}
	below := follow
	if a.Children == "sync" && m == write {
		below = write
	}
	return x.each(ctx, apps, App{Children: a.Children}, below)
}

// children are what an Application consists of, without what the list names.
func (x *session) children(ctx context.Context, app *argo.Application) ([]id, error) {
	apps, sets := childrenOf(app)
	for _, s := range sets {
		made, err := x.resolve(ctx, App{ApplicationSet: s.name, Namespace: s.namespace, Group: "applicationset " + s.name})
		if err != nil {
			return nil, err
		}
		apps = append(apps, made...)
	}
	return slices.DeleteFunc(apps, func(n id) bool { return x.named[n] }), nil
}

// sync works on one Application and reports on it.
func (x *session) sync(ctx context.Context, n id, a App, m mode) (outcome, error) {
	change := steps.Change{Kind: "argocd:Application", Name: x.title(n), Action: reconcile.Update}
	expect := 30*time.Second + x.spec.HealthyFor.Duration
	began := time.Now()
	say := func(p reconcile.Phase, detail string, err error) {
		x.env.Report(steps.Progress{Change: change, Phase: p, Detail: detail, Elapsed: time.Since(began), Expect: expect, Err: err})
	}
	d := x.driver(n, a, m)
	last, at, started := "", time.Time{}, false
	d.report = func(detail string, written bool) {
		if !started && written { // before that nothing is being changed
			started = true
			say(reconcile.Start, detail, nil)
		}
		if detail == last && time.Since(at) < heartbeat {
			return
		}
		last, at = detail, time.Now()
		say(reconcile.Wait, detail, nil)
	}
	o, err := d.run(ctx)
	if o.app != nil {
		change.ID = string(o.app.UID)
	}
	if err != nil {
		say(reconcile.Failed, "", err)
		return o, err
	}
	if !o.changed {
		change.Action = reconcile.Keep
	}
	say(reconcile.Done, progress(o.app), nil)
	return o, nil
}
