package syncargocd

import (
	"context"
	"fmt"
	"sync"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"

	"pipectl.dev/kube"
)

// paused are the workloads that Release stopped, found once for all Applications: to read each of their workloads would be hundreds of
// requests, nearly always for nothing.
type paused struct {
	once  sync.Once
	known bool // else each workload has to be read by itself
	all   map[kube.Workload]kube.WorkloadState
}

// among are those of an Application's workloads that may have been stopped.
func (p *paused) among(ctx context.Context, c *kube.Client, app *argo.Application) []kube.Workload {
	own := workloads(app)
	if len(own) == 0 {
		return nil
	}
	p.once.Do(func() {
		found, err := c.Paused(ctx, "")
		p.all, p.known = found, err == nil // who may sync need not be allowed to list the workloads of all namespaces
	})
	if !p.known {
		return own
	}
	var out []kube.Workload
	for _, w := range own {
		if _, stopped := p.all[w]; stopped {
			out = append(out, w)
		}
	}
	return out
}

// resumeWorkloads starts an Application's workloads again that Release stopped: Git need not say how many replicas they have.
func (x *session) resumeWorkloads(ctx context.Context, app *argo.Application) error {
	if x.client == nil {
		return nil
	}
	for _, w := range x.paused.among(ctx, x.client, app) {
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
	if x.client == nil {
		return ""
	}
	for _, w := range x.paused.among(ctx, x.client, app) {
		st, found, err := x.client.ReadWorkload(ctx, w)
		if err == nil && found && st.Replicas == 0 && st.PausedFrom != nil {
			return fmt.Sprintf("%s: have 0 replicas, want %d", w, *st.PausedFrom)
		}
	}
	return ""
}
