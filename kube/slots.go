package kube

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AttachSlots says, by node, how many more volumes a CSI driver can attach to it, as if the volume of handle were attached nowhere. A node
// that does not run the driver, or for which the driver names no limit, is not among them.
func (c *Client) AttachSlots(ctx context.Context, driver, handle string) (map[string]int, error) {
	nodes, err := c.Typed.StorageV1().CSINodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("csinodes: %w", Explain(err))
	}
	out := map[string]int{}
	for _, n := range nodes.Items {
		for _, d := range n.Spec.Drivers {
			if d.Name == driver && d.Allocatable != nil && d.Allocatable.Count != nil {
				out[n.Name] = int(*d.Allocatable.Count)
			}
		}
	}
	if len(out) == 0 {
		return out, nil
	}
	volumes, err := c.VolumesOf(ctx, handle)
	if err != nil {
		return nil, err
	}
	this := map[string]bool{}
	for _, pv := range volumes {
		this[pv.Name] = true
	}
	attached, err := c.Typed.StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("volumeattachments: %w", Explain(err))
	}
	for _, a := range attached.Items {
		if pv := a.Spec.Source.PersistentVolumeName; a.Spec.Attacher == driver && (pv == nil || !this[*pv]) {
			if _, limited := out[a.Spec.NodeName]; limited {
				out[a.Spec.NodeName]--
			}
		}
	}
	return out, nil
}
