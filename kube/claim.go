package kube

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ClaimHolder says what in the cluster still has a claim's volume, a pod or a node; "" if nothing does. pv is the name of the claim's
// PersistentVolume: the driver detaches a volume by it, so neither may be removed before this is "".
func (c *Client) ClaimHolder(ctx context.Context, namespace, claim, pv string) (string, error) {
	pods, err := c.Typed.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", fmt.Errorf("pods: %w", Explain(err))
	}
	for i := range pods.Items {
		if UsesClaim(&pods.Items[i], claim) {
			return "pod " + pods.Items[i].Name + " uses claim " + namespace + "/" + claim, nil
		}
	}
	list, err := c.Typed.StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", fmt.Errorf("volumeattachments: %w", Explain(err))
	}
	for _, va := range list.Items {
		if name := va.Spec.Source.PersistentVolumeName; name != nil && *name == pv {
			return "it is attached to node " + va.Spec.NodeName, nil
		}
	}
	return "", nil
}

// UsesClaim reports a pod that is not over and has the claim of its namespace.
func UsesClaim(pod *corev1.Pod, claim string) bool {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return false
	}
	for _, v := range pod.Spec.Volumes {
		if v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim {
			return true
		}
	}
	return false
}

// VolumesOf lists the PersistentVolumes of a volume of a CSI driver.
func (c *Client) VolumesOf(ctx context.Context, handle string) ([]corev1.PersistentVolume, error) {
	list, err := c.Typed.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("persistentvolumes: %w", Explain(err))
	}
	var out []corev1.PersistentVolume
	for _, pv := range list.Items {
		if pv.Spec.CSI != nil && pv.Spec.CSI.VolumeHandle == handle {
			out = append(out, pv)
		}
	}
	return out, nil
}
