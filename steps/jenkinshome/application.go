package jenkinshome

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// pauseApplication stops Argo CD from putting the replicas back, and takes the baseline again: builds have ended since. What the sync
// policies were is recorded before any is changed, or a crash in between would lose it.
func (c *cut) pauseApplication(ctx context.Context) error {
	if c.args.Application != "" {
		if len(c.rec.Cut.Paused) == 0 {
			before, err := automatedBefore(ctx, c.kube, c.args.ArgoNamespace, c.args.Application)
			if err != nil {
				return err
			}
			c.rec.Cut.Paused = before
			if err := c.rec.write(ctx, c.rec.Phase, nil); err != nil {
				return err
			}
		}
		if _, err := c.kube.PauseApplication(ctx, c.args.ArgoNamespace, c.args.Application); err != nil {
			return err
		}
		if err := c.staysPaused(ctx); err != nil {
			return err
		}
	}
	return c.takeBaseline(ctx)
}

// stuckAfter is how long a pause is watched: whoever undoes it (an Application above, a controller of somebody's own) does so in seconds.
const stuckAfter = 10 * time.Second

// staysPaused makes sure, before Jenkins is stopped, that nobody puts the sync policy back.
func (c *cut) staysPaused(ctx context.Context) error {
	for began := time.Now(); time.Since(began) < stuckAfter; {
		c.sleep(ctx, c.pause)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		heals, err := automatedBefore(ctx, c.kube, c.args.ArgoNamespace, c.args.Application)
		if err != nil {
			return err
		}
		if len(heals) > 0 {
			name := heals[0].Namespace + "/" + heals[0].Name
			return &steps.Error{Code: "PauseUndone", Category: steps.Conflict, Message: "application " + name + ": somebody put its automatic sync back while Jenkins was to be stopped",
				Hints: []string{"find out who writes it (`kubectl get application -n " + heals[0].Namespace + " " + heals[0].Name + " --show-managed-fields -o yaml`) and pause that"}}
		}
	}
	return nil
}

// automatedBefore is what resuming an Application and those that manage it will need, for either way in which a pause may be written;
// resuming leaves alone what does not look like the pause it undoes.
func automatedBefore(ctx context.Context, k *kube.Client, namespace, name string) ([]kube.PausedApplication, error) {
	var out []kube.PausedApplication
	seen := map[string]bool{}
	for name != "" && !seen[name] {
		seen[name] = true
		app, err := k.Get(ctx, kube.ApplicationRef(namespace, name))
		if err != nil {
			return nil, err
		}
		if app == nil {
			break
		}
		auto, found, err := unstructured.NestedMap(app.Object, "spec", "syncPolicy", "automated")
		if err == nil && found && auto["enabled"] != false {
			was, err := json.Marshal(auto)
			if err != nil {
				return nil, err
			}
			off := maps.Clone(auto)
			off["enabled"] = false
			set, err := json.Marshal(off)
			if err != nil {
				return nil, err
			}
			p := kube.PausedApplication{Namespace: namespace, Name: name, Automated: was}
			withField := p
			withField.Set = set
			out = append(out, p, withField)
		}
		name = applicationOf(app)
	}
	slices.Reverse(out) // parents first
	return out, nil
}
