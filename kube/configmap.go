package kube

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pipectl.dev/steps"
)

// Record is a ConfigMap used as a small store whose writers must not overrun each other.
type Record struct {
	Namespace, Name string
	Data            map[string]string
	Labels          map[string]string
	Version         string // resourceVersion; "" when it does not exist
}

// ReadRecord reads a ConfigMap. One that does not exist, or whose namespace does not, is an empty Record without Version.
func (c *Client) ReadRecord(ctx context.Context, namespace, name string) (Record, error) {
	r := Record{Namespace: namespace, Name: name}
	cm, err := c.Typed.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return r, nil
	}
	if err != nil {
		return r, fmt.Errorf("configmap %s/%s: %w", namespace, name, Explain(err))
	}
	r.Data, r.Labels, r.Version = cm.Data, cm.Labels, cm.ResourceVersion
	return r, nil
}

// WriteRecord merges changes (nil removes a key) into the record that was read, creating it when it was absent, and returns what is
// stored now. When somebody else wrote in between it fails with CodeConflict, and nothing is written.
func (c *Client) WriteRecord(ctx context.Context, r Record, changes map[string]*string, owner steps.Identity) (Record, error) {
	api := c.Typed.CoreV1().ConfigMaps(r.Namespace)
	var cm *corev1.ConfigMap
	var err error
	if r.Version == "" {
		fresh := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: r.Name, Namespace: r.Namespace}, Data: map[string]string{}}
		fresh.Labels, fresh.Annotations = OwnerLabels(), OwnerAnnotations(owner)
		for k, v := range changes {
			if v != nil {
				fresh.Data[k] = *v
			}
		}
		cm, err = api.Create(ctx, fresh, metav1.CreateOptions{FieldManager: FieldManager})
	} else {
		var patch []byte
		patch, err = json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": r.Version}, "data": changes})
		if err == nil {
			cm, err = api.Patch(ctx, r.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
		}
	}
	if err != nil {
		return r, fmt.Errorf("configmap %s/%s: write: %w", r.Namespace, r.Name, Explain(err))
	}
	r.Data, r.Labels, r.Version = cm.Data, cm.Labels, cm.ResourceVersion
	return r, nil
}

// DeleteRecord removes a ConfigMap that we made; one that is gone is success.
func (c *Client) DeleteRecord(ctx context.Context, namespace, name string) error {
	err := c.Typed.CoreV1().ConfigMaps(namespace).Delete(ctx, name, metav1.DeleteOptions{})
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("configmap %s/%s: delete: %w", namespace, name, Explain(err))
}
