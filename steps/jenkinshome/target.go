package jenkinshome

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// argoGrant lets the mover pause and resume Applications, in Argo CD's own namespace. Applications that manage ours are paused too, so no
// single name can be given.
func argoGrant(namespace, name, accountNamespace string, owner steps.Identity) ([]*unstructured.Unstructured, error) {
	meta := metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: kube.OwnerLabels(), Annotations: kube.OwnerAnnotations(owner)}
	role := &rbacv1.Role{TypeMeta: metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "Role"}, ObjectMeta: meta,
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{"argoproj.io"}, Resources: []string{"applications"}, Verbs: []string{"get", "patch"}},
			{APIGroups: []string{"argoproj.io"}, Resources: []string{"applicationsets"}, Verbs: []string{"get"}}}}
	binding := &rbacv1.RoleBinding{TypeMeta: metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "RoleBinding"}, ObjectMeta: meta,
		RoleRef:  rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: accountNamespace, Name: name}}}
	var out []*unstructured.Unstructured
	for _, o := range []runtime.Object{role, binding} {
		u, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			return nil, err
		}
		unstructured.RemoveNestedField(u, "metadata", "creationTimestamp")
		out = append(out, &unstructured.Unstructured{Object: u})
	}
	return out, nil
}

// putToken writes the Secret that hands the token to the mover; it is removed when the cut-over ends.
func putToken(ctx context.Context, k *kube.Client, namespace, name, token string, owner steps.Identity) error {
	return putSecret(ctx, k, namespace, name, map[string][]byte{tokenKey: []byte(token)}, owner)
}

func putSecret(ctx context.Context, k *kube.Client, namespace, name string, data map[string][]byte, owner steps.Identity) error {
	api := k.Typed.CoreV1().Secrets(namespace)
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: kube.OwnerLabels(), Annotations: kube.OwnerAnnotations(owner)},
		Data: data}
	_, err := api.Create(ctx, s, metav1.CreateOptions{FieldManager: kube.FieldManager})
	if apierrors.IsAlreadyExists(err) {
		var old *corev1.Secret
		if old, err = api.Get(ctx, name, metav1.GetOptions{}); err == nil {
			if !kube.Owned(old, owner) {
				return &steps.Error{Code: "NotOurs", Category: steps.Conflict, Message: fmt.Sprintf("secret %s/%s: is not ours", namespace, name)}
			}
			s.ResourceVersion = old.ResourceVersion
			_, err = api.Update(ctx, s, metav1.UpdateOptions{FieldManager: kube.FieldManager})
		}
	}
	if err != nil {
		return fmt.Errorf("secret %s/%s: %w", namespace, name, kube.Explain(err))
	}
	return nil
}
