package kube

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"pipectl.dev/steps"
)

// JobAccount is a service account for a Job of ours with the rights that it needs in one namespace: three objects of one name.
type JobAccount struct {
	Namespace, Name string
	Owner           steps.Identity
	Rules           []rbacv1.PolicyRule
}

// Objects are the ServiceAccount, Role and RoleBinding, stamped as ours.
func (a JobAccount) Objects() ([]*unstructured.Unstructured, error) {
	meta := metav1.ObjectMeta{Namespace: a.Namespace, Name: a.Name, Labels: OwnerLabels(), Annotations: OwnerAnnotations(a.Owner)}
	account := &corev1.ServiceAccount{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"}, ObjectMeta: meta}
	role := &rbacv1.Role{TypeMeta: metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "Role"}, ObjectMeta: meta, Rules: a.Rules}
	binding := &rbacv1.RoleBinding{TypeMeta: metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "RoleBinding"}, ObjectMeta: meta,
		RoleRef:  rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: a.Name},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: a.Namespace, Name: a.Name}}}
	var out []*unstructured.Unstructured
	for _, o := range []runtime.Object{account, role, binding} {
		u, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			return nil, fmt.Errorf("serviceaccount %s/%s: %w", a.Namespace, a.Name, err)
		}
		unstructured.RemoveNestedField(u, "metadata", "creationTimestamp")
		out = append(out, &unstructured.Unstructured{Object: u})
	}
	return out, nil
}

// EnsureJobAccount makes the account, or brings it to what is wanted. Someone who may not grant these rights gets CodeForbidden.
func (c *Client) EnsureJobAccount(ctx context.Context, a JobAccount) error {
	objs, err := a.Objects()
	if err != nil {
		return err
	}
	_, err = c.Apply(ctx, objs, ApplyOptions{Owner: &a.Owner})
	return err
}

// DeleteJobAccount removes the account; what is gone is success.
func (c *Client) DeleteJobAccount(ctx context.Context, a JobAccount) error {
	objs, err := a.Objects()
	if err != nil {
		return err
	}
	for _, o := range objs {
		if err := c.DeleteOwned(ctx, RefOf(o), a.Owner); err != nil {
			return err
		}
	}
	return nil
}
