package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func issuer(t *testing.T, l *lab) {
	get := l.client.Discovery().RESTClient().Get
	data, err := get().AbsPath("/.well-known/openid-configuration").DoRaw(t.Context())
	if err != nil || !strings.Contains(string(data), `"issuer":"https://oidc.test/id/C"`) || !strings.Contains(string(data), `"jwks_uri":"https://oidc.test/id/C/keys"`) {
		t.Errorf("discovery document: %s, %v", data, err)
	}
	if data, err = get().AbsPath("/openid/v1/jwks").DoRaw(t.Context()); err != nil || !strings.Contains(string(data), `"kty":"RSA"`) {
		t.Errorf("key set: %s, %v", data, err)
	}
}

// review knows one token, of a user who may read secrets only because of the group.
func review(w http.ResponseWriter, r *http.Request) {
	var asked authenticationv1.TokenReview
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || r.URL.RawQuery != "cluster=c" {
		http.Error(w, fmt.Sprint(r.URL, err), http.StatusBadRequest)
		return
	}
	asked.Status = authenticationv1.TokenReviewStatus{}
	if asked.Spec.Token == "k8s-aws-v1.good" {
		asked.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: "arn:aws:iam::1:user/jo", Groups: []string{"system:masters"}}}
	}
	_ = json.NewEncoder(w).Encode(asked)
}

func reviewedToken(t *testing.T, l *lab) {
	for token, allowed := range map[string]bool{"k8s-aws-v1.good": true, "k8s-aws-v1.bad": false} {
		config := rest.AnonymousClientConfig(l.config)
		config.BearerToken = token
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.CoreV1().Secrets("kube-system").List(t.Context(), metav1.ListOptions{})
		if allowed && err != nil || !allowed && !apierrors.IsUnauthorized(err) {
			t.Errorf("token %s: %v", token, err)
		}
	}
}
