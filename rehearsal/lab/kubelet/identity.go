package kubelet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/rehearsal/lab/csi"
)

// The token that the webhook of EKS mounts is for STS and lives a day; no rehearsal is that long, so it is not renewed.
const (
	identityAudience = "sts.amazonaws.com"
	identitySeconds  = 24 * 60 * 60
)

// identityEnv gives a container what EKS' webhook adds to pods whose service account names a role: a token, and where it is.
func (w *worker) identityEnv(ctx context.Context, s *setting, env map[string]string) error {
	if !w.k.opts.EKS {
		return nil
	}
	namespace, name := s.pod.Namespace, s.pod.Spec.ServiceAccountName
	account, err := w.k.client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	role := account.Annotations[csi.RoleAnnotation]
	if role == "" {
		return nil
	}
	seconds := int64(identitySeconds)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		Audiences: []string{identityAudience}, ExpirationSeconds: &seconds,
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: s.pod.Name, UID: s.pod.UID},
	}}
	token, err := w.k.client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("token of %s for %s: %w", name, identityAudience, err)
	}
	file := filepath.Join(s.dir, "aws-token")
	if err := os.WriteFile(file, []byte(token.Status.Token), 0o600); err != nil {
		return err
	}
	env["AWS_ROLE_ARN"], env["AWS_WEB_IDENTITY_TOKEN_FILE"], env["AWS_STS_REGIONAL_ENDPOINTS"] = role, file, "regional"
	if w.node.Region != "" {
		env["AWS_REGION"], env["AWS_DEFAULT_REGION"] = w.node.Region, w.node.Region
	}
	return nil
}
