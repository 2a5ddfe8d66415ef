package attachvolume

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"pipectl.dev/cloud"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

// Release takes the volume back: no pod uses the claim, the cluster has let go of it, claim and PersistentVolume are gone, EC2 says
// that it is detached. The order matters: the driver needs the PersistentVolume to detach.
func (s *step) Release(ctx context.Context, env steps.Env, sp Spec) error {
	if env.Unknown("volume") || sp.Volume == "" {
		return nil
	}
	if env.Unknown("cluster") || sp.Cluster.IsZero() {
		return s.clusterGone(ctx, env, sp)
	}
	c, err := s.kube(ctx, kube.Relative(sp.Cluster, env.Dir))
	if kube.HasCode(err, kube.CodeClusterNotFound) {
		return s.clusterGone(ctx, env, sp)
	}
	if err != nil {
		return err
	}
	aws, err := s.session(ctx, sp.Cluster)
	if err != nil {
		return err
	}
	list, err := c.Nodes(ctx)
	if err != nil {
		return err
	}
	nodes := instances(list)
	if err := letGo(ctx, env, c, sp); err != nil {
		return err
	}
	if err := markUse(ctx, env, aws, c, sp); err != nil {
		return err
	}
	if err := remove(ctx, env, c, sp); err != nil {
		return err
	}
	return free(ctx, env, aws, sp.Volume, sp.Timeout.Duration, func(a attachment) bool { return nodes[a.Instance] })
}

// letGo waits until no pod uses the claim and no VolumeAttachment names the volume.
func letGo(ctx context.Context, env steps.Env, c *kube.Client, sp Spec) error {
	waiting, cancel := context.WithTimeout(ctx, sp.Timeout.Duration)
	defer cancel()
	began, detail := time.Now(), ""
	err := kube.Await(waiting, 2*time.Second, func(ctx context.Context) (bool, error) {
		var err error
		if detail, err = c.ClaimHolder(ctx, sp.namespace(), sp.claim(), volumeName(sp.Volume)); err != nil || detail == "" {
			return detail == "", err
		}
		env.Waiting(detail, time.Since(began), 30*time.Second)
		return false, nil
	}, func(ctx context.Context) (watch.Interface, error) {
		return c.Typed.CoreV1().Pods(sp.namespace()).Watch(ctx, metav1.ListOptions{})
	}, func(ctx context.Context) (watch.Interface, error) {
		return c.Typed.StorageV1().VolumeAttachments().Watch(ctx, metav1.ListOptions{})
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return &steps.Error{Code: "VolumeHeld", Category: steps.Partial, Retryable: true,
			Message: fmt.Sprintf("volume %s: after %s %s", sp.Volume, sp.Timeout.Duration, detail),
			Hints:   []string{"stop what uses claim " + sp.Claim + " and run `pipectl down` again; pipectl never detaches by force"}}
	}
	if err != nil {
		return fmt.Errorf("volume %s: let go: %w", sp.Volume, err)
	}
	return nil
}

// useTag tells data-volume which use of the volume was the last that ended: it takes one snapshot for each, however often down is run.
const useTag = "pipectl.dev/last-use"

// markUse writes the PersistentVolume's uid on the volume, before the PersistentVolume goes: it is new in every cluster.
func markUse(ctx context.Context, env steps.Env, aws *cloud.Session, c *kube.Client, sp Spec) error {
	pv, err := c.Get(ctx, sp.volumeRef())
	if err != nil || pv == nil || !kube.Owned(pv, env.Identity) {
		return err
	}
	err = writeTags(ctx, aws, sp.Volume, map[string]string{useTag: string(pv.GetUID())})
	if cloud.IsNotFound(err) { // of a volume that is gone nobody takes a snapshot
		return nil
	}
	if err != nil && steps.Classify(err).Category == steps.Permission { // letting go matters more
		env.Note("data-volume will take no snapshot: " + err.Error())
		return nil
	}
	return err
}

// remove deletes claim and PersistentVolume, as far as they are ours.
func remove(ctx context.Context, env steps.Env, c *kube.Client, sp Spec) error {
	ctx, cancel := context.WithTimeout(ctx, sp.Timeout.Duration)
	defer cancel()
	for _, r := range []kube.ObjectRef{sp.claimRef(), sp.volumeRef()} {
		began := time.Now()
		live, err := c.Get(ctx, r)
		if err != nil {
			return err
		}
		if live == nil {
			continue
		}
		if !kube.Owned(live, env.Identity) {
			env.Note(r.String() + " is left: pipectl did not make it")
			continue
		}
		if err := c.DeleteOwned(ctx, r, env.Identity); err != nil {
			return err
		}
		if err := c.WaitDeleted(ctx, []kube.ObjectRef{r}, nil); err != nil {
			return err
		}
		env.Report(steps.Progress{Change: steps.Change{Kind: r.ChangeKind(), Name: r.ID(), Action: reconcile.Delete}, Phase: reconcile.Done, Elapsed: time.Since(began)})
	}
	return nil
}

// clusterGone makes sure that nothing of a cluster that went away still has the volume. Other instances, such as the one that a Jenkins
// home is being copied on, may.
func (s *step) clusterGone(ctx context.Context, env steps.Env, sp Spec) error {
	aws, err := s.session(ctx, sp.Cluster)
	if err != nil {
		return err
	}
	v, found, err := describe(ctx, aws, sp.Volume)
	if err != nil || !found {
		return err
	}
	nodes := map[string]bool{}
	for _, a := range v.Attached {
		if nodes[a.Instance], err = wasNode(ctx, aws, a.Instance); err != nil {
			return err
		}
	}
	return free(ctx, env, aws, sp.Volume, sp.Timeout.Duration, func(a attachment) bool { return nodes[a.Instance] })
}

// wasNode reports whether an instance was made by EKS as a node.
func wasNode(ctx context.Context, aws *cloud.Session, instance string) (bool, error) {
	out, err := cloud.EC2(aws).DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{instance}})
	if cloud.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("instance %s: %w", instance, cloud.Explain(err))
	}
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			if cloud.EC2TagMap(i.Tags)["eks:cluster-name"] != "" {
				return true, nil
			}
		}
	}
	return false, nil
}
