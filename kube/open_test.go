package kube_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(code int, body string) *http.Response {
	return &http.Response{StatusCode: code, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}
}

var blog = steps.ClusterRef{EKS: &steps.EKSCluster{Name: "blog", Region: "r", Endpoint: "https://blog.invalid", CertificateAuthority: "Y2E="}}

// tokens makes "t1", "t2", ... that live for a while.
func tokens(life time.Duration) func(context.Context, steps.EKSCluster) (string, time.Time, error) {
	n := 0
	return func(context.Context, steps.EKSCluster) (string, time.Time, error) {
		n++
		return "t" + string(rune('0'+n)), time.Now().Add(life), nil
	}
}

func TestTokenIsKeptUntilItExpiresOrIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		refuse := ""
		wire := transport(func(r *http.Request) (*http.Response, error) {
			token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
			seen = append(seen, token)
			if token == refuse {
				return answer(http.StatusUnauthorized, "{}"), nil
			}
			return answer(http.StatusOK, `{"major":"1","minor":"34"}`), nil
		})
		c, err := kube.Open(t.Context(), blog, kube.Options{Token: tokens(10 * time.Minute), Transport: wire})
		if err != nil {
			t.Fatal(err)
		}
		ask := func() {
			t.Helper()
			if _, err := c.Typed.Discovery().ServerVersion(); err != nil {
				t.Fatal(err)
			}
		}
		ask()
		refuse = "t1"
		ask() // refused once, sent again with the next
		time.Sleep(9*time.Minute + time.Second)
		ask() // too close to its end
		if diff := cmp.Diff([]string{"t1", "t1", "t1", "t2", "t3"}, seen); diff != "" {
			t.Errorf("tokens on the wire (-want +got):\n%s", diff)
		}
	})
}

func TestClustersThatCannotBeOpenedSayWhy(t *testing.T) {
	refused := transport(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") })
	missing := &steps.Error{Code: kube.CodeClusterNotFound, Category: steps.Precondition, Message: "does not exist"}
	for name, test := range map[string]struct {
		ref      steps.ClusterRef
		options  kube.Options
		code     string
		category steps.Category
		within   time.Duration
	}{
		"an API server that does not answer": {blog, kube.Options{Token: tokens(time.Hour), Transport: refused}, kube.CodeClusterUnreachable, steps.Transient, 15 * time.Second},
		"credentials it does not take": {blog, kube.Options{Token: tokens(time.Hour), Transport: transport(func(*http.Request) (*http.Response, error) {
			return answer(http.StatusUnauthorized, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Unauthorized","code":401}`), nil
		})}, "Unauthorized", steps.Credentials, 15 * time.Second},
		"a cluster that does not exist": {steps.ClusterRef{EKS: &steps.EKSCluster{Name: "gone", Region: "r"}}, kube.Options{Token: tokens(time.Hour),
			Describe: func(context.Context, steps.EKSCluster) (steps.EKSCluster, error) { return steps.EKSCluster{}, missing }},
			kube.CodeClusterNotFound, steps.Precondition, 0},
		"a context that is in no kubeconfig": {steps.ClusterRef{Context: "nobody"}, kube.Options{Kubeconfig: "testdata/kubeconfig"}, "ContextNotFound", steps.BadInput, 0},
		"a kubeconfig that is not there":     {steps.ClusterRef{Kubeconfig: "testdata/none"}, kube.Options{}, "KubeconfigInvalid", steps.BadInput, 0},
		"no cluster at all":                  {steps.ClusterRef{}, kube.Options{}, "NoCluster", steps.BadInput, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				_, err := kube.NewOpener(test.options)(t.Context(), test.ref)
				e := steps.Classify(err)
				if e.Code != test.code || e.Category != test.category {
					t.Errorf("got %s/%s: %v", e.Code, e.Category, err)
				}
				if took := time.Since(began); took != test.within {
					t.Errorf("took %s of the bubble's time, want %s", took, test.within)
				}
			})
		})
	}
}
