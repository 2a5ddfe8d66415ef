package syncargocd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// controllerLabel marks the workload that would undo what Release does.
const controllerLabel = "app.kubernetes.io/name=argocd-application-controller"

// Release stops Argo CD's controller, then the workloads of the Applications, and waits until their pods are gone, so that what they
// hold (volumes) can be let go. A cluster, an Argo CD or an Application that is gone needs nothing.
func (s *step) Release(ctx context.Context, env steps.Env, sp Spec) error {
	if sp.Server != nil {
		env.Note("nothing was stopped: argocd-server cannot stop its controller, nor scale what it synced")
		return nil
	}
	if sp.Cluster.IsZero() || env.Unknown("cluster") {
		return nil
	}
	x, err := s.reach(ctx, env, sp)
	if kube.HasCode(err, kube.CodeClusterNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer x.close()
	ctx, cancel := context.WithTimeout(ctx, sp.Timeout.Duration)
	defer cancel()
	controllers, err := controllersOf(ctx, x.client, sp.Namespace)
	if err != nil {
		return err
	}
	if err := stopAll(ctx, env, x.client, slices.Collect(maps.Keys(controllers))); err != nil {
		return err
	}
	all, err := x.allWorkloads(ctx)
	if err != nil {
		return err
	}
	return stopAll(ctx, env, x.client, all)
}

// allWorkloads are those of all Applications that the entries find.
func (x *session) allWorkloads(ctx context.Context) ([]kube.Workload, error) {
	var apps []*argo.Application
	for _, scope := range x.via.scopes() {
		found, _, err := x.via.list(ctx, scope)
		if kube.HasCode(err, kube.CodeKindNotServed) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		apps = append(apps, found...)
	}
	var all []kube.Workload
	seen := map[id]bool{}
	for _, a := range x.spec.Apps {
		for _, n := range selected(a, apps, x.spec.Namespace, x.named) {
			i := slices.IndexFunc(apps, func(app *argo.Application) bool { return idOf(app) == n })
			if i < 0 || seen[n] {
				continue
			}
			seen[n] = true
			ws := workloads(apps[i])
			if len(ws) == 0 && len(apps[i].Status.Resources) > 0 {
				x.env.Note(fmt.Sprintf("application %s: nothing was stopped: it has no Deployment or StatefulSet in this cluster", x.title(n)))
			}
			all = append(all, ws...)
		}
	}
	return all, nil
}

// workloads are the Deployments and StatefulSets of an Application that lives in Argo CD's own cluster.
func workloads(app *argo.Application) []kube.Workload {
	if !inCluster(app) {
		return nil
	}
	var out []kube.Workload
	for _, r := range app.Status.Resources {
		if r.Group == "apps" && (r.Kind == "Deployment" || r.Kind == "StatefulSet") {
			out = append(out, kube.Workload{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name})
		}
	}
	return out
}

// stopAll stops workloads and waits until their pods are gone.
func stopAll(ctx context.Context, env steps.Env, c *kube.Client, ws []kube.Workload) error {
	for _, w := range ws {
		if err := c.Pause(ctx, w); err != nil {
			return err
		}
	}
	began, last := time.Now(), time.Time{}
	return c.WaitPodsGone(ctx, ws, func(detail string) {
		if time.Since(last) >= heartbeat/2 {
			last = time.Now()
			env.Waiting(detail, time.Since(began), 30*time.Second)
		}
	})
}

// controllersOf is the application controller: a StatefulSet, or a Deployment where clusters are sharded dynamically.
func controllersOf(ctx context.Context, c *kube.Client, namespace string) (map[kube.Workload]kube.WorkloadState, error) {
	return c.Workloads(ctx, namespace, controllerLabel)
}

// standing is how Argo CD's application controller stands, as far as it can be seen from here.
type standing struct {
	seen   bool
	asleep string // why it does nothing, "" where it may work
	ours   bool   // down stopped it, and Apply starts it again
}

// controller looks at the application controller. Without it Argo CD answers nothing, and waiting for it would be in vain.
func (x *session) controller(ctx context.Context) (standing, error) {
	if x.client == nil {
		return standing{seen: true}, nil // argocd-server does not tell
	}
	found, err := controllersOf(ctx, x.client, x.spec.Namespace)
	if kube.HasCode(err, kube.CodeForbidden) {
		return standing{seen: true}, nil // who may sync need not be allowed to look at Argo CD's own workloads
	}
	if err != nil {
		return standing{}, err
	}
	s := standing{seen: len(found) > 0}
	for w, st := range found {
		if st.Replicas > 0 {
			return standing{seen: true}, nil
		}
		s.asleep, s.ours = fmt.Sprintf("%s has no replicas", w), st.PausedFrom != nil
		if s.ours {
			s.asleep = fmt.Sprintf("%s was stopped by down, and run starts it again", w)
		}
	}
	return s, nil
}

// awake is the error for a controller that somebody else has stopped.
func (x *session) awake(ctx context.Context) error {
	s, err := x.controller(ctx)
	if err != nil || s.asleep == "" || s.ours {
		return err
	}
	return &steps.Error{Code: "ControllerStopped", Category: steps.Precondition, Message: "Argo CD does nothing: " + s.asleep,
		Hints: []string{"somebody scaled it to 0: scale it up again, then run again"}}
}

// resume starts the controller again where Release stopped it and nobody has applied Argo CD since.
func (x *session) resume(ctx context.Context) error {
	if x.client == nil {
		return nil
	}
	controllers, err := controllersOf(ctx, x.client, x.spec.Namespace)
	if kube.HasCode(err, kube.CodeForbidden) {
		return nil // who may sync need not be allowed to look at Argo CD's own workloads
	}
	if err != nil {
		return err
	}
	for w := range controllers {
		if err := x.client.Resume(ctx, w); err != nil {
			return err
		}
	}
	return nil
}
