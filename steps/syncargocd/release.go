package syncargocd

import (
	"context"
	"fmt"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

var listOne = metav1.ListOptions{Limit: 1}

// controllerLabel marks the workload that would undo what Release does.
const controllerLabel = "app.kubernetes.io/name=argocd-application-controller"

// Release stops Argo CD's controller, then the workloads of the Applications, and waits until their pods are gone, so that what they
// hold (volumes) can be let go. A cluster, an Argo CD or an Application that is gone needs nothing.
func (s *step) Release(ctx context.Context, env steps.Env, sp Spec) error {
	if sp.Cluster.IsZero() || env.Unknown("cluster") {
		return nil
	}
	client, err := s.kube(ctx, kube.Relative(sp.Cluster, env.Dir))
	if kube.HasCode(err, kube.CodeClusterNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sp.Timeout.Duration)
	defer cancel()
	controllers, err := controllersOf(ctx, client, sp.Namespace)
	if err != nil {
		return err
	}
	if err := pause(ctx, env, client, controllers); err != nil {
		return err
	}
	var all []kube.Workload
	for _, a := range sp.Apps {
		obj, err := client.Get(ctx, kube.ApplicationRef(sp.Namespace, a.Name))
		if err != nil {
			return err
		}
		app, err := typed(obj)
		if err != nil {
			return err
		}
		if app == nil {
			continue
		}
		ws := workloads(app)
		if len(ws) == 0 && len(app.Status.Resources) > 0 {
			env.Note(fmt.Sprintf("application %s: nothing was stopped: it has no Deployment or StatefulSet in this cluster", a.Name))
		}
		all = append(all, ws...)
	}
	return pause(ctx, env, client, all)
}

// pause stops workloads and waits until their pods are gone.
func pause(ctx context.Context, env steps.Env, c *kube.Client, ws []kube.Workload) error {
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

// controllersOf lists the application controller: a StatefulSet, or a Deployment where clusters are sharded dynamically.
func controllersOf(ctx context.Context, c *kube.Client, namespace string) ([]kube.Workload, error) {
	var out []kube.Workload
	for _, kind := range []string{"StatefulSet", "Deployment"} {
		api, _, err := c.Resource(kube.ObjectRef{APIVersion: "apps/v1", Kind: kind, Namespace: namespace})
		if err != nil {
			return nil, err
		}
		list, err := api.List(ctx, metav1.ListOptions{LabelSelector: controllerLabel})
		if err != nil {
			return nil, fmt.Errorf("application controller: %w", kube.Explain(err))
		}
		for _, o := range list.Items {
			out = append(out, kube.Workload{Kind: kind, Namespace: namespace, Name: o.GetName()})
		}
	}
	return out, nil
}

// resume starts the controller again where Release stopped it and nobody has applied Argo CD since.
func (x *session) resume(ctx context.Context) error {
	controllers, err := controllersOf(ctx, x.client, x.spec.Namespace)
	if kube.HasCode(err, kube.CodeForbidden) {
		return nil // who may sync need not be allowed to look at Argo CD's own workloads
	}
	if err != nil {
		return err
	}
	for _, w := range controllers {
		if err := x.client.Resume(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// resumeWorkloads starts an Application's workloads again that Release stopped: Git need not say how many replicas they have.
func (x *session) resumeWorkloads(ctx context.Context, name string) error {
	obj, _ := x.feed.get(name)
	app, err := typed(obj)
	if err != nil {
		return err
	}
	for _, w := range workloads(app) {
		err := x.client.Resume(ctx, w)
		if kube.HasCode(err, kube.CodeForbidden) {
			return nil // without the right to scale, Argo CD's sync has to do
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// stopped names a workload that Release stopped: where Git does not say how many replicas there are, its Application is Synced and
// Healthy without any. "" is none.
func (x *session) stopped(ctx context.Context, app *argo.Application) string {
	for _, w := range workloads(app) {
		st, found, err := x.client.ReadWorkload(ctx, w)
		if err == nil && found && st.Replicas == 0 && st.PausedFrom != nil {
			return fmt.Sprintf("%s: have 0 replicas, want %d", w, *st.PausedFrom)
		}
	}
	return ""
}
