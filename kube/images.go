package kube

import (
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ContainerImage says which image a container of a pod is to have.
type ContainerImage struct {
	Name string `json:"name"`
	// Image is as in a pod's spec.
	Image string `json:"image"`
}

// PodImages are images for the containers of one pod, of which Init are init containers.
type PodImages struct{ Init, Main []ContainerImage }

// SetImages gives containers of a running pod other images: its kubelet stops each and starts it anew in the same pod, on the same volumes.
// The owner of the pod does not mind, since it compares its template with its own. CodeNotFound or CodeConflict say that there is no such pod,
// or one of another uid.
func (c *Client) SetImages(ctx context.Context, namespace, pod, uid string, images PodImages) error {
	spec := map[string]any{"containers": images.Main}
	if len(images.Init) > 0 {
		spec["initContainers"] = images.Init
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": uid}, "spec": spec})
	if err != nil {
		return fmt.Errorf("pod %s/%s: images: %w", namespace, pod, err)
	}
	_, err = c.Typed.CoreV1().Pods(namespace).Patch(ctx, pod, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
	if err != nil {
		return fmt.Errorf("pod %s/%s: images: %w", namespace, pod, Explain(err))
	}
	return nil
}
