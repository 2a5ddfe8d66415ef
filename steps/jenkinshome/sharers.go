package jenkinshome

import (
	"context"
	"fmt"
	"path"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/kube"
)

// sharers are pods that may write to the home: they mount the claim, or on the home's node its directory or one below.
func sharers(pods []corev1.Pod, claim, dir, node string) []string {
	var out []string
	for _, p := range writers(pods, func(p *corev1.Pod, v *corev1.Volume) bool {
		return claim != "" && v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim ||
			dir != "" && v.HostPath != nil && p.Spec.NodeName == node && within(path.Clean(v.HostPath.Path), dir)
	}) {
		out = append(out, p.Name)
	}
	return out
}

// writers are the pods that are not over and may write to a volume that is the home. Our own only read it.
func writers(pods []corev1.Pod, home func(p *corev1.Pod, v *corev1.Volume) bool) (out []corev1.Pod) {
	for _, p := range pods {
		if finished(&p) || p.Labels[kube.RunLabel] != "" {
			continue
		}
		if slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return home(&p, &v) && writes(p.Spec, v.Name) }) {
			out = append(out, p)
		}
	}
	return out
}

func writes(p corev1.PodSpec, volume string) bool {
	return slices.ContainsFunc(slices.Concat(p.InitContainers, p.Containers), func(c corev1.Container) bool {
		return mountsToWrite(c, volume)
	})
}

// lingerWithin is how long pods that were to end with Jenkins, such as agents, may stay.
const lingerWithin = time.Minute

// alone is the fence beside stillDown: once Jenkins is gone nobody else in its namespace may have the home, and nothing on the node that the
// mover can see. See also aloneInCluster.
func (c *cut) alone(ctx context.Context) error {
	for began := time.Now(); ; c.sleep(ctx, time.Second) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		who, err := c.others(ctx)
		if err != nil || len(who) == 0 {
			return err
		}
		if time.Since(began) > min(lingerWithin, c.args.StopWithin) {
			return homeShared(who)
		}
	}
}

// others may write to the home: pods, and processes that have it open.
func (c *cut) others(ctx context.Context) (who []string, err error) {
	if c.args.HomeClaim != "" || c.args.HomeDir != "" {
		pods, err := c.kube.Typed.CoreV1().Pods(c.args.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("pods of namespace %s: %w", c.args.Namespace, kube.Explain(err))
		}
		who = sharers(pods.Items, c.args.HomeClaim, c.args.HomeDir, c.args.Node)
	}
	open, err := c.writers()
	return append(who, open...), err
}
