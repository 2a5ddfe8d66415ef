package syncargocd_test

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"pipectl.dev/kube"
	"pipectl.dev/kube/labtest"
)

type tripper func(*http.Request) (*http.Response, error)

func (t tripper) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// through has what the step asks of Kubernetes go by way of see, which may answer itself.
func (a *argo) through(see func(*http.Request) *http.Response) {
	a.t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", labtest.Cluster(a.t).Kubeconfig)
	if err != nil {
		a.t.Fatal(err)
	}
	inner, err := rest.TransportFor(config)
	if err != nil {
		a.t.Fatal(err)
	}
	a.opener = kube.NewOpener(kube.Options{Transport: tripper(func(r *http.Request) (*http.Response, error) {
		if answer := see(r); answer != nil {
			return answer, nil
		}
		return inner.RoundTrip(r)
	})})
}

func TestWhatDownStoppedIsFoundByOneListOrWhereThatIsForbiddenOneByOne(t *testing.T) {
	a := start(t)
	a.commit(map[string]string{"w/web.yaml": web("paused", "", "nginx")})
	a.app("paused", "w", "")
	with, w := "apps: [{name: paused}]\nhealthyFor: 100ms\n", kube.Workload{Kind: "Deployment", Namespace: "paused", Name: "paused"}
	a.synced(with)
	for name, forbidden := range map[string]bool{"one list": false, "one by one": true} {
		t.Run(name, func(t *testing.T) {
			if err := a.client.Pause(t.Context(), w); err != nil {
				t.Fatal(err)
			}
			var listed, read atomic.Int64
			a.through(func(r *http.Request) *http.Response {
				switch {
				case strings.HasSuffix(r.URL.Path, "/deployments/paused"):
					read.Add(1)
				case strings.HasSuffix(r.URL.Path, "/apis/apps/v1/deployments"):
					listed.Add(1)
					if forbidden {
						return &http.Response{StatusCode: http.StatusForbidden, Header: http.Header{"Content-Type": {"application/json"}}, Request: r,
							Body: io.NopCloser(strings.NewReader(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`))}
					}
				}
				return nil
			})
			a.until("the plan tells what was stopped", func() bool {
				p := a.plan(with)
				return strings.Contains(strings.Join(p.Changes[0].Drift, ""), "paused/paused: have 0 replicas, want 1")
			})
			a.synced(with)
			if st, _, err := a.client.ReadWorkload(t.Context(), w); err != nil || st.Replicas != 1 || st.PausedFrom != nil {
				t.Errorf("not started again: %+v, %v", st, err)
			}
			listed.Store(0)
			read.Store(0)
			if p := a.plan(with); p.Outputs == nil {
				t.Errorf("a plan of what runs: %+v", p.Changes)
			}
			if want := map[bool]int64{true: 1}[forbidden]; listed.Load() != 1 || read.Load() != want {
				t.Errorf("what runs took %d lists and %d reads, want 1 and %d", listed.Load(), read.Load(), want)
			}
		})
	}
}
