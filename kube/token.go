package kube

import (
	"context"
	"fmt"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ServiceAccountToken asks the API server for a token of a service account, for the given audiences. The server may grant another
// lifetime than asked for; shorter than ten minutes is refused by it.
func (c *Client) ServiceAccountToken(ctx context.Context, namespace, name string, audiences []string, lifetime time.Duration) (token string, expires time.Time, err error) {
	seconds := int64(lifetime / time.Second)
	req := &authv1.TokenRequest{Spec: authv1.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: &seconds}}
	got, err := c.Typed.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, req, metav1.CreateOptions{})
	if err != nil {
		return "", time.Time{}, fmt.Errorf("token of serviceaccount %s/%s: %w", namespace, name, Explain(err))
	}
	return got.Status.Token, got.Status.ExpirationTimestamp.Time, nil
}
