// Package syncargocd is the step sync-argocd: Applications of Argo CD are synced, in order and in parallel, and awaited until what is
// live is what was wanted, healthy, and known to be so.
//
// It must not write an Application other than by patch (our types do not know all of its fields), change its spec, or take one status
// field for the truth: what may be believed when is decided in one pure function, decide. It is the only package that imports Argo CD.
package syncargocd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	"github.com/argoproj/gitops-engine/pkg/health"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

const example = `
cluster: {context: kind}
apps: [{name: database}, {name: shop, dependsOn: [database]}]
healthyFor: 20s
`

const doc = `For each Application, by its custom resource: operations of others are waited for; Argo CD compares with Git anew; what is Synced and
Healthy then is left alone and no operation is written; else a sync is requested under pipectl's own id, followed to its end, compared
once more, and believed when the revision that was synced is the one compared, nothing is out of sync, and it has been healthy for
healthyFor. Errors that Argo CD reports as conditions fail early, once they have outlived a hard refresh.

A sync window that is closed is exit 13. On a timeout only pipectl's own operation is stopped. An Application that does not exist yet is
waited for, since an app of apps may be about to bring it.

plan marks the Applications for a refresh, so that it compares with Git as it is, and changes nothing else.

down stops Argo CD's application controller, then scales Deployments and StatefulSets of the Applications to 0 and waits until their pods
are gone. The next run starts them again.`

// Options is what the step takes from its surroundings rather than from the pipeline.
type Options struct {
	// HealthyForAtMost shortens healthyFor, and the result says so; zero: the pipeline's word holds. A rehearsal uses it: what its
	// pods play does not become unhealthy later.
	HealthyForAtMost time.Duration
}

// New returns the step.
func New(clusters kube.Opener, o Options) steps.Definition {
	return steps.Define(steps.About{
		Name: "sync-argocd", Summary: "sync Argo CD Applications and wait until they are live and healthy", Example: example, Doc: doc,
		Expect: 90 * time.Second,
	}, &step{kube: clusters, atMost: o.HealthyForAtMost})
}

type step struct {
	kube   kube.Opener
	atMost time.Duration
}

// shorten applies Options.HealthyForAtMost.
func (s *step) shorten(sp *Spec) (note string) {
	if s.atMost == 0 || sp.HealthyFor.Duration <= s.atMost {
		return ""
	}
	note = fmt.Sprintf("healthyFor is %s here and not %s: this is a rehearsal", s.atMost, sp.HealthyFor.Duration)
	sp.HealthyFor.Duration = s.atMost
	return note
}

// session is one use of the step on one cluster; its feed runs until close.
type session struct {
	client *kube.Client
	feed   *feed
	spec   Spec
	env    steps.Env
	close  func()
}

func (s *step) open(ctx context.Context, env steps.Env, sp Spec) (*session, error) {
	client, err := s.kube(ctx, kube.Relative(sp.Cluster, env.Dir))
	if err != nil {
		return nil, err
	}
	f, err := newFeed(client, sp.Namespace)
	if err != nil {
		return nil, err
	}
	inner, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); f.run(inner) }()
	x := &session{client: client, feed: f, spec: sp, env: env, close: func() { cancel(); <-ended }}
	first, stop := context.WithTimeout(ctx, 15*time.Second)
	defer stop()
	select {
	case <-f.listed:
		return x, nil
	case <-first.Done():
		x.close()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		_, err := f.api.List(ctx, listOne)
		if err == nil {
			err = context.DeadlineExceeded
		}
		return nil, kube.Explain(err)
	}
}

func (x *session) driver(a App, write bool) *driver {
	sp := x.spec
	return &driver{client: x.client, feed: x.feed, name: a.Name, options: sp.SyncOptions, write: write, want: wanted{
		RunID: ids(x.env), Revision: a.Revision, Prune: sp.Prune, HealthyFor: sp.HealthyFor.Duration, DegradedGrace: sp.DegradedGrace.Duration,
		Appear: sp.Appear.Duration, Timeout: sp.Timeout.Duration,
	}}
}

// planWithin bounds how long a plan waits for Argo CD's comparison.
const planWithin = 20 * time.Second

// Plan compares all Applications with Git at once. One that cannot be judged now, for whatever reason, is one to sync: Apply will say.
func (s *step) Plan(ctx context.Context, env steps.Env, sp Spec) (steps.Plan[Outputs], error) {
	s.shorten(&sp)
	changes := make([]steps.Change, len(sp.Apps))
	for i, a := range sp.Apps {
		changes[i] = steps.Change{Kind: "argocd:Application", Name: a.Name, Action: reconcile.Update}
	}
	p := steps.Plan[Outputs]{Changes: changes, Forecast: steps.Forecast{Seconds: 30 + sp.HealthyFor.Seconds()}}
	x, err := s.open(ctx, env, sp)
	if kube.HasCode(err, kube.CodeKindNotServed) {
		for i := range changes {
			changes[i].Drift = []string{"Argo CD is not installed yet"}
		}
		return p, nil
	}
	if err != nil {
		return steps.Plan[Outputs]{}, err
	}
	defer x.close()
	outcomes, err := x.compare(ctx, changes)
	if err != nil {
		return steps.Plan[Outputs]{}, err
	}
	for _, c := range changes {
		if c.Action != reconcile.Keep {
			return p, nil
		}
	}
	out, err := x.outputs(ctx, outcomes)
	p.Outputs, p.Forecast.Seconds = &out, 0
	return p, err
}

// compare fills in what each Application's change is.
func (x *session) compare(ctx context.Context, changes []steps.Change) (map[string]outcome, error) {
	short, cancel := context.WithTimeout(ctx, planWithin)
	defer cancel()
	var mu sync.Mutex
	outcomes := map[string]outcome{}
	var wg sync.WaitGroup
	for i, a := range x.spec.Apps {
		wg.Go(func() {
			o, err := x.driver(a, false).run(short)
			mu.Lock()
			defer mu.Unlock()
			outcomes[a.Name] = o
			switch {
			case err == nil && !o.needed:
				if stopped := x.stopped(short, o.app); stopped != "" {
					changes[i].Drift = []string{stopped}
				} else {
					changes[i].Action = reconcile.Keep
				}
			case o.app == nil:
				changes[i].Drift = []string{"does not exist yet"}
			case err != nil && !errors.Is(err, context.DeadlineExceeded):
				changes[i].Drift = []string{err.Error()}
			default:
				changes[i].Drift = difference(o.app, a)
			}
			if o.app != nil {
				changes[i].ID = string(o.app.UID)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return outcomes, nil
}

func difference(app *argo.Application, a App) []string {
	var out []string
	if app.Status.Sync.Status != argo.SyncStatusCodeSynced {
		out = append(out, "sync: have "+string(app.Status.Sync.Status)+", want Synced"+outOfSync(app))
	}
	if !delivers(wanted{Revision: a.Revision}, app.Status.Sync.Revision, app.Status.Sync.Revisions) {
		out = append(out, "revision: have "+app.Status.Sync.Revision+", want "+a.Revision)
	}
	if app.Status.Health.Status != health.HealthStatusHealthy {
		out = append(out, "health: have "+string(app.Status.Health.Status)+", want Healthy"+sickResources(app))
	}
	if len(out) == 0 {
		out = []string{progress(app)}
	}
	return out
}

// Apply starts what down stopped, then syncs all Applications in order.
func (s *step) Apply(ctx context.Context, env steps.Env, sp Spec) (Outputs, error) {
	if note := s.shorten(&sp); note != "" {
		env.Note(note)
	}
	x, err := s.open(ctx, env, sp)
	if err != nil {
		return Outputs{}, err
	}
	defer x.close()
	if err := x.resume(ctx); err != nil {
		return Outputs{}, err
	}
	var mu sync.Mutex
	outcomes := map[string]outcome{}
	err = inOrder(ctx, sp.Apps, sp.MaxParallel, func(ctx context.Context, a App) error {
		o, err := x.sync(ctx, a)
		mu.Lock()
		defer mu.Unlock()
		outcomes[a.Name] = o
		return err
	})
	if err != nil {
		return Outputs{}, err
	}
	return x.outputs(ctx, outcomes)
}

// sync works on one Application and reports on it.
func (x *session) sync(ctx context.Context, a App) (outcome, error) {
	change := steps.Change{Kind: "argocd:Application", Name: a.Name, Action: reconcile.Update}
	expect := 30*time.Second + x.spec.HealthyFor.Duration
	began := time.Now()
	say := func(p reconcile.Phase, detail string, err error) {
		x.env.Report(steps.Progress{Change: change, Phase: p, Detail: detail, Elapsed: time.Since(began), Expect: expect, Err: err})
	}
	d := x.driver(a, true)
	last, at, started := "", time.Time{}, false
	d.report = func(detail string, _ time.Duration) {
		if detail == last && time.Since(at) < heartbeat {
			return
		}
		if !started {
			started = true
			say(reconcile.Start, detail, nil)
		}
		last, at = detail, time.Now()
		say(reconcile.Wait, detail, nil)
	}
	if obj, _ := x.feed.get(a.Name); obj != nil {
		change.ID = string(obj.GetUID())
		if err := x.resumeWorkloads(ctx, a.Name); err != nil {
			return outcome{}, err
		}
	}
	o, err := d.run(ctx)
	if err != nil {
		say(reconcile.Failed, "", err)
		return o, err
	}
	if !o.changed {
		change.Action = reconcile.Keep
	}
	change.ID = string(o.app.UID)
	say(reconcile.Done, progress(o.app), nil)
	return o, nil
}

func (x *session) outputs(ctx context.Context, outcomes map[string]outcome) (Outputs, error) {
	out := Outputs{Apps: map[string]AppResult{}, URLs: map[string]string{}}
	for name, o := range outcomes {
		r, url, err := result(ctx, x.client, o)
		if err != nil {
			return Outputs{}, err
		}
		out.Apps[name], out.URLs[name] = r, url
	}
	return out, nil
}

// Observe tells of Applications as they stand, without asking for a refresh. They are there when each has been synced once.
func (s *step) Observe(ctx context.Context, env steps.Env, sp Spec) (Outputs, bool, error) {
	if sp.Cluster.IsZero() || env.Unknown("cluster") || env.Unknown("apps") {
		return Outputs{}, false, nil
	}
	client, err := s.kube(ctx, kube.Relative(sp.Cluster, env.Dir))
	if kube.HasCode(err, kube.CodeClusterNotFound) {
		return Outputs{}, false, nil
	}
	if err != nil {
		return Outputs{}, false, err
	}
	x := &session{client: client}
	outcomes := map[string]outcome{}
	for _, a := range sp.Apps {
		obj, err := client.Get(ctx, kube.ApplicationRef(sp.Namespace, a.Name))
		if err != nil || obj == nil {
			return Outputs{}, false, err
		}
		app, err := typed(obj)
		if err != nil {
			return Outputs{}, false, err
		}
		if app.Status.Sync.Status != argo.SyncStatusCodeSynced {
			return Outputs{}, false, nil
		}
		outcomes[a.Name] = outcome{app: app}
	}
	out, err := x.outputs(ctx, outcomes)
	return out, err == nil, err
}
