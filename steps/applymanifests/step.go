// Package applymanifests is the step apply-manifests: Kubernetes objects from files, directories, kustomizations and URLs, and Secrets
// made from parameters, brought into a cluster by server-side apply and waited for until they are healthy.
//
// It must not template manifests beyond single fields (`set`), run hooks or plugins, take fields that others own, or let a Secret's
// value out. It knows nothing of Argo CD: an Application is an object like any other, and syncing it is another step's work.
package applymanifests

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pipectl.dev/cloud"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

const example = `
cluster: {context: kind}
paths: [gitops/argocd]
set:
  - {kind: Application, name: root, field: spec.source.repoURL, value: https://github.com/me/gitops}
secrets:
  - {namespace: argocd, name: gitops-repo, data: {url: "https://github.com/me/gitops"}}
timeout: 5m
`

const doc = `Applies manifests with pipectl as the field manager. Namespaces go first, then CustomResourceDefinitions, which are waited for until
they are served, then the rest. Fields that another manager owns are never taken: that is a conflict (exit 12) that names each field and whose it is, and
says what to do with that manager. Nothing of the object is changed then.

With prune, objects that an earlier version of the same paths brought and that are not in them any more are deleted: those with this
pipeline's owner annotation only, after the rest is healthy. A plan lists them, and so does a run before it deletes the first.

A directory with a kustomization is built by kustomize; otherwise all *.yaml, *.yml and *.json in it are taken, not those of
directories below it. URLs, also those in a kustomization, are downloaded by pipectl itself; PIPECTL_MIRRORS=prefix=replacement,... takes
them from elsewhere. Git repositories are not cloned.

A plan is a server-side dry run: it shows the fields that would change, and for Secrets only their names. As JSON, a change has the same for
programs: "fields", each with its path, before and after.

With wait, Deployments, StatefulSets, DaemonSets, Jobs, APIServices and definitions must become healthy, and custom resources must not be
Stalled, Reconciling or not Ready by their conditions; a controller has 10 s for a first status, if the kind has one. Argo CD's
Applications are not waited for: that is the step sync-argocd.

down leaves the objects to die with a cluster that the same pipeline made; from any other cluster it removes those that it applied. A
namespace goes only when nothing else is left in it.`

// New returns the step. aws is asked only whether an EKS cluster is there and ours, when objects are to be removed.
func New(aws cloud.Opener, clusters kube.Opener) steps.Definition {
	return steps.Define(steps.About{
		Name: "apply-manifests", Summary: "Apply Kubernetes manifests and wait until they are healthy", Example: example, Doc: doc,
		Expect: time.Minute,
	}, &step{aws: aws, kube: clusters, fetch: newFetcher()})
}

type step struct {
	aws   cloud.Opener
	kube  kube.Opener
	fetch *fetcher
}

// Preflight reads all manifests, so that a missing file or a bad document is known before the first write of any stage.
func (s *step) Preflight(ctx context.Context, env steps.Env, sp Spec) error {
	_, err := s.load(ctx, env, sp)
	return err
}

// Plan is a dry run of everything.
func (s *step) Plan(ctx context.Context, env steps.Env, sp Spec) (steps.Plan[Outputs], error) {
	w, err := s.open(ctx, env, sp)
	if err != nil {
		return steps.Plan[Outputs]{}, err
	}
	objs, err := w.withNamespaces(ctx)
	if err != nil {
		return steps.Plan[Outputs]{}, err
	}
	would, err := w.client.Diff(ctx, objs, w.options(env))
	if err != nil {
		return steps.Plan[Outputs]{}, err
	}
	p := steps.Plan[Outputs]{Forecast: steps.Forecast{Seconds: 2}}
	for _, a := range would {
		if a.Change.Action == reconcile.Keep && sp.waits() && waited(a.Ref) {
			if health, why := kube.HealthOf(a.Object); health != "Healthy" {
				a.Change.Action = reconcile.Update
				a.Change.Drift = []string{fmt.Sprintf("health: have %s, want Healthy (%s)", health, why)}
			}
		}
		if a.Change.Action != reconcile.Keep && waited(a.Ref) && sp.waits() {
			p.Forecast.Seconds = 60
		}
		p.Changes = append(p.Changes, a.Change)
	}
	if sp.Prune {
		stale, err := w.stale(ctx)
		if err != nil {
			return steps.Plan[Outputs]{}, err
		}
		for _, r := range stale {
			p.Changes = append(p.Changes, steps.Change{Kind: r.ChangeKind(), Name: r.ID(), Action: reconcile.Delete})
		}
	}
	if settled(p.Changes) {
		p.Outputs = w.outputs()
	}
	return p, nil
}

func settled(changes []steps.Change) bool {
	for _, c := range changes {
		if c.Action != reconcile.Keep {
			return false
		}
	}
	return true
}

// Apply applies, waits for health, then prunes: what replaces an object works before the old one goes.
func (s *step) Apply(ctx context.Context, env steps.Env, sp Spec) (Outputs, error) {
	w, err := s.open(ctx, env, sp)
	if err != nil {
		return Outputs{}, err
	}
	objs, err := w.withNamespaces(ctx)
	if err != nil {
		return Outputs{}, err
	}
	o := w.options(env)
	o.Report = env.Report
	done, err := w.client.Apply(ctx, objs, o)
	if err != nil {
		return Outputs{}, err
	}
	if sp.waits() {
		if err := w.healthy(ctx, env, done); err != nil {
			return Outputs{}, err
		}
	}
	if sp.Prune {
		if err := w.prune(ctx, env); err != nil {
			return Outputs{}, err
		}
	}
	return *w.outputs(), nil
}

// Observe is what Apply returns when every object is there.
func (s *step) Observe(ctx context.Context, env steps.Env, sp Spec) (Outputs, bool, error) {
	if sp.Cluster.IsZero() || env.Unknown("cluster") || env.Unknown("paths") {
		return Outputs{}, false, nil
	}
	w, err := s.open(ctx, env, sp)
	if kube.HasCode(err, kube.CodeClusterNotFound) {
		return Outputs{}, false, nil
	}
	if err != nil {
		return Outputs{}, false, err
	}
	all, err := w.present(ctx)
	if err != nil || !all {
		return Outputs{}, false, err
	}
	return *w.outputs(), true, nil
}

func (s *step) load(ctx context.Context, env steps.Env, sp Spec) ([]*unstructured.Unstructured, error) {
	l := loader{dir: env.Dir, fetch: s.fetch.get}
	return l.objects(ctx, env, sp)
}

// open loads the manifests and opens the cluster.
func (s *step) open(ctx context.Context, env steps.Env, sp Spec) (*work, error) {
	objs, err := s.load(ctx, env, sp)
	if err != nil {
		return nil, err
	}
	client, err := s.kube(ctx, kube.Relative(sp.Cluster, env.Dir))
	if err != nil {
		return nil, err
	}
	return newWork(client, env.Identity, sp, objs), nil
}
