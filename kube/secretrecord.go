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

// ReadSecretRecord is ReadRecord of a Secret.
func (c *Client) ReadSecretRecord(ctx context.Context, namespace, name string) (Record, error) {
	r := Record{Namespace: namespace, Name: name}
	s, err := c.Typed.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return r, nil
	}
	if err != nil {
		return r, fmt.Errorf("secret %s/%s: %w", namespace, name, Explain(err))
	}
	r.take(s)
	return r, nil
}

// WriteSecretRecord is WriteRecord of a Secret.
func (c *Client) WriteSecretRecord(ctx context.Context, r Record, changes map[string]*string, owner steps.Identity) (Record, error) {
	api := c.Typed.CoreV1().Secrets(r.Namespace)
	data := map[string][]byte{} // a nil value removes its key, in a patch as in Go
	for k, v := range changes {
		if data[k] = nil; v != nil {
			data[k] = []byte(*v)
		}
	}
	var s *corev1.Secret
	var err error
	if r.Version == "" {
		fresh := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: r.Name, Namespace: r.Namespace}, Data: map[string][]byte{}}
		fresh.Labels, fresh.Annotations = OwnerLabels(), OwnerAnnotations(owner)
		for k, v := range data {
			if v != nil {
				fresh.Data[k] = v
			}
		}
		s, err = api.Create(ctx, fresh, metav1.CreateOptions{FieldManager: FieldManager})
	} else {
		var patch []byte
		patch, err = json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": r.Version}, "data": data})
		if err == nil {
			s, err = api.Patch(ctx, r.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
		}
	}
	if err != nil {
		return r, fmt.Errorf("secret %s/%s: write: %w", r.Namespace, r.Name, Explain(err))
	}
	r.take(s)
	return r, nil
}

func (r *Record) take(s *corev1.Secret) {
	r.Data, r.Labels, r.Version = map[string]string{}, s.Labels, s.ResourceVersion
	for k, v := range s.Data {
		r.Data[k] = string(v)
	}
}
