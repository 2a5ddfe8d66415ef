package kube

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/steps"
)

// The marks of what pipectl made.
const (
	ManagedByLabel     = "app.kubernetes.io/managed-by"
	IdentityAnnotation = "pipectl.dev/identity"
	RunLabel           = "pipectl.dev/run"
)

// OwnerLabels are the labels of everything we make.
func OwnerLabels() map[string]string { return map[string]string{ManagedByLabel: FieldManager} }

// OwnerAnnotations name the identity that an object belongs to. An identity may be longer than a label can be.
func OwnerAnnotations(id steps.Identity) map[string]string {
	return map[string]string{IdentityAnnotation: id.String()}
}

// Stamp marks obj as ours, keeping the marks of others: a managed-by label that a manifest brings stays.
func Stamp(obj metav1.Object, id steps.Identity) {
	labels, notes := obj.GetLabels(), obj.GetAnnotations()
	if labels == nil {
		labels = map[string]string{}
	}
	if notes == nil {
		notes = map[string]string{}
	}
	if labels[ManagedByLabel] == "" {
		labels[ManagedByLabel] = FieldManager
	}
	notes[IdentityAnnotation] = id.String()
	obj.SetLabels(labels)
	obj.SetAnnotations(notes)
}

// Owned reports whether obj was made by this identity.
func Owned(obj metav1.Object, id steps.Identity) bool {
	return obj.GetAnnotations()[IdentityAnnotation] == id.String()
}

// EnsureNamespace creates a namespace when it is missing. One that exists is left as it is.
func (c *Client) EnsureNamespace(ctx context.Context, name string, id steps.Identity) (created bool, err error) {
	_, err = c.Typed.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		return false, nil
	}
	if !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("namespace %s: %w", name, Explain(err))
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: OwnerLabels(), Annotations: OwnerAnnotations(id)}}
	_, err = c.Typed.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{FieldManager: FieldManager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return false, fmt.Errorf("namespace %s: create: %w", name, Explain(err))
	}
	return err == nil, nil
}
