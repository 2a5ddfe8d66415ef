package syncargocd

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// driver does for one Application what decide says, until it is finished or failed. It decides nothing itself.
type driver struct {
	client  *kube.Client
	feed    *feed
	name    string
	want    wanted
	options []string
	write   bool // false: look only, after one refresh; whatever is not finished then ends it as needed
	report  func(detail string, elapsed time.Duration)
}

// outcome is how the work on an Application ended.
type outcome struct {
	app     *argo.Application
	changed bool
	result  *argo.SyncOperationResult
	needed  bool // there is something to do, of a driver that does not write
	took    time.Duration
}

func (d *driver) run(ctx context.Context) (outcome, error) {
	var m memory
	began := time.Now()
	for {
		obj, changed := d.feed.get(d.name)
		app, err := typed(obj)
		if err != nil {
			return outcome{}, err
		}
		next, act := decide(m, d.want, app, time.Now())
		done := outcome{app: app, changed: next.Changed, result: next.Result, took: time.Since(began)}
		switch act.Do {
		case finish:
			return done, nil
		case fail:
			return done, d.explain(ctx, app, act.Err)
		case terminate:
			if err := d.stop(ctx, app); err != nil {
				return done, fmt.Errorf("%w; %w", act.Err, err)
			}
			return done, act.Err
		case askRefresh:
			err = d.refresh(ctx, act.Hard)
		case askSync:
			if !d.write {
				done.needed = true
				return done, nil
			}
			if err = d.sync(ctx, app); err == nil {
				next = requested(next, time.Now())
			}
		case hold:
			if !d.write && next.Phase != refresh {
				done.needed = true
				return done, nil
			}
			if d.report != nil {
				d.report(act.Detail, time.Since(began))
			}
			err = wait(ctx, changed, act.Again)
		}
		if kube.HasCode(err, kube.CodeConflict) || kube.HasCode(err, kube.CodeClusterUnreachable) || kube.IsNotFound(err) {
			// Somebody wrote in between, or nothing is lost by looking again; decide's deadline bounds it.
			if err = wait(ctx, changed, time.Second); err == nil {
				continue // with the memory of before: what was to be done was not done
			}
		}
		if err != nil {
			return done, err
		}
		m = next
	}
}

// heartbeat is how long a wait may be silent.
const heartbeat = 10 * time.Second

func wait(ctx context.Context, changed <-chan struct{}, again time.Duration) error {
	timer := time.NewTimer(min(again, heartbeat))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-changed:
	case <-timer.C:
	}
	return nil
}

func (d *driver) patch(ctx context.Context, raw []byte) error {
	obj, err := d.feed.api.Patch(ctx, d.name, types.MergePatchType, raw, metav1.PatchOptions{FieldManager: kube.FieldManager})
	if err != nil {
		return kube.Explain(err)
	}
	d.feed.put(obj, false)
	return nil
}

func (d *driver) refresh(ctx context.Context, hard bool) error {
	raw, err := refreshPatch(hard)
	if err != nil {
		return err
	}
	if err := d.patch(ctx, raw); err != nil {
		return fmt.Errorf("refresh: %w", err)
	}
	return nil
}

// sync asks the sync windows, then writes the operation.
func (d *driver) sync(ctx context.Context, app *argo.Application) error {
	if d.want.Revision != "" && app.Spec.HasMultipleSources() {
		return &steps.Error{Code: "ManySources", Category: steps.BadInput, Message: "has several sources: one revision does not fit them",
			Hints: []string{"leave out `revision`, and name revisions in the Application"}}
	}
	ok, err := canSync(ctx, d.client, app)
	if err != nil {
		return err
	}
	if !ok {
		return windowed("Sync is " + windowMessage + " of project " + app.Spec.Project).Err
	}
	raw, err := syncPatch(app, operation(app, d.want, d.options))
	if err != nil {
		return err
	}
	if err := d.patch(ctx, raw); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

// stop ends our own operation, on the Application as it is now.
func (d *driver) stop(ctx context.Context, _ *argo.Application) error {
	for range 3 {
		obj, err := d.feed.api.Get(ctx, d.name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("terminate: %w", kube.Explain(err))
		}
		app, err := typed(obj)
		if err != nil {
			return err
		}
		raw, err := stopPatch(app, d.want.RunID)
		if err != nil || raw == nil {
			return err
		}
		if err = d.patch(ctx, raw); !kube.HasCode(err, kube.CodeConflict) {
			return err
		}
	}
	return nil
}

// explain adds to a failure what the pods of sick workloads say.
func (d *driver) explain(ctx context.Context, app *argo.Application, err error) error {
	if app == nil || !(kube.HasCode(err, "Degraded") || kube.HasCode(err, "TimedOut") || kube.HasCode(err, "SyncFailed")) {
		return err
	}
	var said []string
	for _, w := range workloads(app) {
		obj, getErr := d.client.Get(ctx, w.Ref())
		if getErr != nil || obj == nil {
			continue
		}
		troubles, getErr := d.client.Troubles(ctx, obj)
		if getErr != nil {
			continue
		}
		for _, t := range troubles {
			said = append(said, t.String())
		}
	}
	if len(said) == 0 {
		return err
	}
	e := steps.Classify(err)
	e.Message += "; " + strings.Join(said, "; ")
	return e
}

// workloads are the Deployments and StatefulSets of an Application that lives in Argo CD's own cluster.
func workloads(app *argo.Application) []kube.Workload {
	if app.Spec.Destination.Server != argo.KubernetesInternalAPIServerAddr && app.Spec.Destination.Name != "in-cluster" {
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

// ids makes the run id of one Application's operation: two stages of one run may sync the same one.
func ids(env steps.Env) string {
	raw, _ := json.Marshal([]string{env.Identity.String(), env.Stage, env.RunID}) //nolint:errchkjson // strings only
	return string(raw)
}
