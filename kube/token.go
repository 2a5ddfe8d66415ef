package kube

import (
	"context"
	"fmt"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ServiceAccountToken asks the API server for a token of a service account, for the given audiences. The server may grant another
// lifetime than asked for; shorter than ten minutes is refused by it.
func (c *Client) ServiceAccountToken(ctx context.Context, namespace, name string, audiences []string, lifetime time.Duration) (token string, expires time.Time, err error) {
	return c.token(ctx, namespace, name, audiences, lifetime, nil)
}

// PodToken asks for a token of the pod's service account that is bound to the pod: it ends with it. The API server gives it for a pod that is
// there and has that service account.
func (c *Client) PodToken(ctx context.Context, pod *corev1.Pod, audiences []string, lifetime time.Duration) (token string, expires time.Time, err error) {
	return c.token(ctx, pod.Namespace, pod.Spec.ServiceAccountName, audiences, lifetime, &authv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID})
}

func (c *Client) token(ctx context.Context, namespace, name string, audiences []string, lifetime time.Duration, bound *authv1.BoundObjectReference) (string, time.Time, error) {
	seconds := int64(lifetime / time.Second)
	req := &authv1.TokenRequest{Spec: authv1.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: &seconds, BoundObjectRef: bound}}
	got, err := c.Typed.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, req, metav1.CreateOptions{})
	if err != nil {
		return "", time.Time{}, fmt.Errorf("token of serviceaccount %s/%s: %w", namespace, name, Explain(err))
	}
	return got.Status.Token, got.Status.ExpirationTimestamp.Time, nil
}
