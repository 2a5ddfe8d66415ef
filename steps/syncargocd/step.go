// Package syncargocd is the step sync-argocd: Applications of Argo CD are synced, in order and in parallel, and awaited until what is
// live is what was wanted, healthy, and known to be so.
//
// It must not write an Application other than by patch (our types do not know all of its fields), change its spec, or take one status
// field for the truth: what may be believed when is decided in one pure function, decide. It is the only package that imports Argo CD.
package syncargocd

import (
	"context"
	"fmt"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

const example = `
cluster: {context: kind}
apps:
  - {name: database}
  - {name: shop, dependsOn: [database]}
  - {group: frontends, selector: "tier=front", dependsOn: [shop]}
healthyFor: 20s
`

const doc = `For each Application: operations of others are waited for; Argo CD compares with Git anew; what is Synced and Healthy then is left
alone and no operation is written; else a sync is requested under pipectl's own id, followed to its end, and believed when a comparison
made since is of the revision that was synced, nothing is out of sync, and it has been healthy for healthyFor. What a comparison of the
last three minutes found out of sync is not compared before the sync again. Errors that Argo CD reports as conditions fail early, once they
have outlived a hard refresh; so do pods without an image and crash loops, once they have lasted for degradedGrace.

There are two ways to Argo CD. cluster: its custom resources, by kubeconfig; the role needs get, list, watch and patch on
applications.argoproj.io, and get on appprojects.argoproj.io to know sync windows beforehand. server: the REST API of argocd-server, with
the token of an account or a project role that may get and sync the Applications. Results are the same; only by cluster can down stop
anything.

A plan names the fields that would change. By cluster they come from where Argo CD's controller keeps its last comparison, its Redis. That
takes, in its namespace, get on configmap argocd-cmd-params-cm, secret argocd-redis and service argocd-redis, list on pods, and create on
pods/portforward. Without, or where Redis is outside of that namespace or wants TLS, a plan names resources only, and a note says why.
Values of Secrets are never in it. As JSON, a change has the same for programs: "objects", each with its action and its fields' path, before
and after.

refresh: shared is for hundreds of Applications of one repository. Of those that have the same project, destination cluster, repositories and
target revisions one is compared anew; the others count as compared where Argo CD's last comparison was with the very revisions that this one
found, of what the Application says now, with nothing out of sync. Whatever else differs is compared by itself, as always. What is given up:
drift of the last moments, and changes of Argo CD's own settings, are known to the others only as Argo CD's controller has come upon them.

By server, an Application of which nothing is heard for 10 s is read by itself: argocd-server tells nothing new in lists and streams while it
has lost its own watch. A sync that failed for nothing but that the API server did not answer is made again.

A sync window that is closed is exit 13, with the time it opens; nothing is left waiting in it. On a timeout only pipectl's own operation
is stopped. An Application that does not exist yet is waited for, since an app of apps may be about to bring it.

want.pushed is for a busy repository: the commit that was pushed, or whatever the branch has become since, must be live; git ls-remote,
from where pipectl runs, says what it has become. A revision other than the one that the Application follows is synced, but Argo CD goes
on comparing with the latter: drift from the former cannot be seen.

plan marks the Applications for a refresh, so that it compares with Git as it is, and changes nothing else. Where Argo CD's application
controller is scaled to 0 it says so and asks nothing; run starts one that down has stopped, and is exit 10 for one that somebody else has.

Argo CD 2.14 and 3 are tested. Applications in other namespaces than Argo CD's need ` + "`application.namespaces`" + ` there, and for the way by
server the ClusterRole that Argo CD's documentation adds for it.

down stops Argo CD's application controller, then scales Deployments and StatefulSets of the Applications to 0 and waits until their pods
are gone. The next run starts them again; where it may list both kinds in all namespaces, it need not read each to find them.`

// Options is what the step takes from its surroundings rather than from the pipeline.
type Options struct {
	// HealthyForAtMost shortens healthyFor, and the result says so; zero: the pipeline's word holds. A rehearsal uses it: what its
	// pods play does not become unhealthy later.
	HealthyForAtMost time.Duration
}

// New returns the step.
func New(clusters kube.Opener, o Options) steps.Definition {
	return steps.Define(steps.About{
		Name: "sync-argocd", Summary: "Sync Argo CD Applications and wait until they are live and healthy", Example: example, Doc: doc,
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

// planWithin bounds how long a plan waits for Argo CD's comparison, and planUnseen does where its controller was not found.
const (
	planWithin = 20 * time.Second
	planUnseen = 5 * time.Second
)

// Plan compares all Applications with Git at once. One that cannot be judged now, for whatever reason, is one to sync: Apply will say.
func (s *step) Plan(ctx context.Context, env steps.Env, sp Spec) (steps.Plan[Outputs], error) {
	s.shorten(&sp)
	p := steps.Plan[Outputs]{Forecast: steps.Forecast{Seconds: 30 + sp.HealthyFor.Seconds()}}
	x, err := s.open(ctx, env, sp)
	if kube.HasCode(err, kube.CodeKindNotServed) {
		for _, a := range sp.Apps {
			p.Changes = append(p.Changes, entryChange(a, "Argo CD is not installed yet"))
		}
		return p, nil
	}
	if err != nil {
		return steps.Plan[Outputs]{}, err
	}
	defer x.close()
	if p.Changes, err = x.compare(ctx); err != nil {
		return steps.Plan[Outputs]{}, err
	}
	if note := x.blind(); note != "" {
		p.Forecast.Notes = append(p.Forecast.Notes, note)
	}
	for _, c := range p.Changes {
		if c.Action != reconcile.Keep {
			return p, nil
		}
	}
	out, err := x.outputs(ctx)
	p.Outputs, p.Forecast.Seconds = &out, 0
	return p, err
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
	if err := x.awake(ctx); err != nil {
		return Outputs{}, err
	}
	if err := x.resume(ctx); err != nil {
		return Outputs{}, err
	}
	errs := inOrder(ctx, sp.Apps, func(ctx context.Context, i int) error { return x.entry(ctx, sp.Apps[i]) }, func(i int, err error) { x.over(sp.Apps[i], err) })
	var own []error
	for _, err := range errs {
		if many, ok := err.(interface{ Unwrap() []error }); ok { // of an entry that is several Applications
			own = append(own, many.Unwrap()...)
		} else {
			own = append(own, err)
		}
	}
	if err := together(own, max(len(x.outcomes), len(own))); err != nil {
		return Outputs{}, err
	}
	return x.outputs(ctx)
}

// Observe tells of Applications as they stand, without asking for a refresh. They are there when each has been synced once.
func (s *step) Observe(ctx context.Context, env steps.Env, sp Spec) (Outputs, bool, error) {
	if sp.Cluster.IsZero() && sp.Server == nil || env.Unknown("cluster") || env.Unknown("server") || env.Unknown("apps") {
		return Outputs{}, false, nil
	}
	x, err := s.open(ctx, env, sp)
	if kube.HasCode(err, kube.CodeClusterNotFound) || kube.HasCode(err, kube.CodeKindNotServed) {
		return Outputs{}, false, nil
	}
	if err != nil {
		return Outputs{}, false, err
	}
	defer x.close()
	all, _ := x.feed.all()
	for _, a := range sp.Apps {
		found := selected(a, all, sp.Namespace, x.named)
		if len(found) < max(a.Expect, 1) {
			return Outputs{}, false, nil
		}
		for _, n := range found {
			app, _ := x.feed.get(n)
			if app == nil || app.Status.Sync.Status != argo.SyncStatusCodeSynced && a.Revision == "" && len(a.Revisions) == 0 {
				return Outputs{}, false, nil
			}
			x.outcomes[n] = outcome{app: app}
		}
	}
	out, err := x.outputs(ctx)
	return out, err == nil, err
}

func entryChange(a App, why string) steps.Change {
	c := steps.Change{Kind: "argocd:Application", Name: a.Name, Action: reconcile.Update, Drift: []string{why}}
	if a.Name == "" {
		c.Kind, c.Name = "argocd:Applications", a.String()
	}
	return c
}
