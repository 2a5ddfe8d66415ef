package kubelet

import (
	"context"
	"errors"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// heartbeat is how often a node's lease is renewed; the controller manager gives up on a node after 40 s.
const heartbeat = 10 * time.Second

// heartbeats renews every node's lease until ctx ends, and says that the node is well where others think otherwise.
func (k *Kubelet) heartbeats(ctx context.Context) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, spec := range k.Nodes() {
			if err := errors.Join(k.renew(ctx, spec.Name, nil), k.report(ctx, spec.Name)); err != nil && ctx.Err() == nil {
				k.opts.Log.Warn("heartbeat", "node", spec.Name, "error", err)
			}
		}
	}
}

// renew writes the node's lease; owner is the node's object when the lease may have to be made.
func (k *Kubelet) renew(ctx context.Context, name string, owner *v1.Node) error {
	leases := k.client.CoordinationV1().Leases(v1.NamespaceNodeLease)
	seconds := int32(40)
	now := metav1.NowMicro()
	lease, err := leases.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && owner != nil {
		lease = &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: v1.NamespaceNodeLease, OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: name, UID: owner.UID}}},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: &name, LeaseDurationSeconds: &seconds, RenewTime: &now},
		}
		_, err = leases.Create(ctx, lease, metav1.CreateOptions{})
		if apierrors.IsNotFound(err) {
			return nil // the namespace comes a moment after the API server; the next heartbeat is soon enough
		}
		return err
	}
	if err != nil {
		return err
	}
	lease.Spec.RenewTime = &now
	_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
	return err
}

// report writes the conditions of a node that is not called Ready: the controller manager calls one that it has not heard of for too long
// Unknown, such as when the API server was away, taints it, and leaves it to the node to say that it is there.
func (k *Kubelet) report(ctx context.Context, name string) error {
	nodes := k.client.CoreV1().Nodes()
	got, err := nodes.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) { // it leaves just now
		return nil
	}
	if err != nil {
		return err
	}
	if slices.ContainsFunc(got.Status.Conditions, func(c v1.NodeCondition) bool { return c.Type == v1.NodeReady && c.Status == v1.ConditionTrue }) {
		return nil
	}
	got.Status.Conditions = wellness(time.Now())
	_, err = nodes.UpdateStatus(ctx, got, metav1.UpdateOptions{})
	return err
}

// wellness is the conditions of a node that is well.
func wellness(now time.Time) []v1.NodeCondition {
	return []v1.NodeCondition{
		condition(v1.NodeMemoryPressure, v1.ConditionFalse, "KubeletHasSufficientMemory", now),
		condition(v1.NodeDiskPressure, v1.ConditionFalse, "KubeletHasNoDiskPressure", now),
		condition(v1.NodePIDPressure, v1.ConditionFalse, "KubeletHasSufficientPID", now),
		condition(v1.NodeReady, v1.ConditionTrue, "KubeletReady", now),
	}
}

func condition(kind v1.NodeConditionType, status v1.ConditionStatus, reason string, now time.Time) v1.NodeCondition {
	return v1.NodeCondition{Type: kind, Status: status, Reason: reason, LastHeartbeatTime: metav1.NewTime(now), LastTransitionTime: metav1.NewTime(now)}
}
