package attachvolume

import (
	"context"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// recycle removes a PersistentVolume of ours whose claim is gone: Kubernetes never binds a released one again. The data stay, since
// it only names them.
func recycle(ctx context.Context, env steps.Env, c *kube.Client, sp Spec) error {
	pv, err := c.Get(ctx, sp.volumeRef())
	if err != nil || pv == nil {
		return err
	}
	if phase := text(pv, "status", "phase"); phase != "Released" && phase != "Failed" {
		return nil
	}
	if err := c.DeleteOwned(ctx, sp.volumeRef(), env.Identity); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sp.Timeout.Duration)
	defer cancel()
	return c.WaitDeleted(ctx, []kube.ObjectRef{sp.volumeRef()}, nil)
}

// bound waits until volume and claim have found each other.
func bound(ctx context.Context, env steps.Env, c *kube.Client, sp Spec) error {
	ctx, cancel := context.WithTimeout(ctx, sp.Timeout.Duration)
	defer cancel()
	began := time.Now()
	err := kube.Await(ctx, 2*time.Second, func(ctx context.Context) (bool, error) {
		claim, err := c.Get(ctx, sp.claimRef())
		if err != nil {
			return false, err
		}
		if volume := text(claim, "spec", "volumeName"); volume != "" && volume != volumeName(sp.Volume) {
			return false, &steps.Error{Code: "ClaimTaken", Category: steps.Conflict, Message: fmt.Sprintf("claim %s: is bound to %s", sp.Claim, volume),
				Hints: []string{"choose another `claim`, or remove that one"}}
		}
		phase := text(claim, "status", "phase")
		if phase != "Bound" {
			env.Waiting("claim "+sp.Claim+" is "+strings.ToLower(phase), time.Since(began), 2*time.Second)
		}
		return phase == "Bound", nil
	}, func(ctx context.Context) (watch.Interface, error) {
		return c.Typed.CoreV1().PersistentVolumeClaims(sp.namespace()).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + sp.claim()})
	})
	if err != nil {
		return fmt.Errorf("claim %s: bind: %w", sp.Claim, err)
	}
	return nil
}
