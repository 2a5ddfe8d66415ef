package syncargocd_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	admission "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pipectl.dev/kube"
	"pipectl.dev/kube/labtest"
)

// apiServer kills the lab's API server, or starts it again over the same data.
func (a *argo) apiServer(running bool) {
	a.t.Helper()
	labtest.Cluster(a.t).Do(a.t, http.MethodPut, "/components/kube-apiserver", map[string]bool{"running": running})
}

// begin syncs in the background; the channel gets the end, after the live value was compared.
func (a *argo) begin(name, with, head string) <-chan error {
	a.t.Helper()
	def, env, in := a.stage(with)
	done := make(chan error, 1)
	go func() {
		raw, err := def.Apply(a.t.Context(), env, in)
		var out struct {
			Apps map[string]struct{ Revision string }
		}
		if err == nil {
			err = json.Unmarshal(raw, &out)
		}
		if err == nil && out.Apps[name].Revision != head {
			a.t.Errorf("%s, want revision %s", raw, head)
		}
		done <- err
	}()
	return done
}

// The API server itself dies, below a sync that waits and below Argo CD, and comes back over the same data. Argo CD may have a sync fail
// meanwhile, for one reason or another, and is told to try again.
func TestARestartOfTheAPIServerIsSurvived(t *testing.T) { // R14
	ways(t, func(a *argo) {
		t, name := a.t, "revived-"+a.way
		head := a.commit(map[string]string{name + "/cm.yaml": config("c", "x"), name + "/slow.yaml": slow(4)})
		a.app(name, name, "")
		done := a.begin(name, "apps: [{name: "+name+"}]\nhealthyFor: 100ms\nretry: {limit: 5}\n", head)
		a.until("its hook runs", func() bool {
			phase, _, _ := unstructured.NestedString(a.object(kube.ObjectRef{APIVersion: "v1", Kind: "Pod", Namespace: name, Name: "slow"}), "status", "phase")
			return phase == "Running"
		})
		a.apiServer(false)
		if _, err := a.client.Get(t.Context(), kube.ApplicationRef("argocd", name)); err == nil {
			t.Error("the API server answers")
		}
		a.apiServer(true)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if n := a.syncs(name); n != 1 || a.value(name, "c") != "x" {
			t.Errorf("%d syncs, want 1; live %q", n, a.value(name, "c"))
		}
	})
}

// gate is an admission webhook that holds the writes of a namespace's ConfigMap "held" until it is opened, and lets them through then.
type gate struct {
	reached chan struct{} // closed when the first write is held
	open    func()
}

func (a *argo) gate(namespace string) gate {
	a.t.Helper()
	reached, opened := make(chan struct{}), make(chan struct{})
	var first, last sync.Once
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admission.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if dry := review.Request.DryRun; dry == nil || !*dry {
			first.Do(func() { close(reached) })
			<-opened
		}
		review.Response = &admission.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		_ = json.NewEncoder(w).Encode(review)
	}))
	g := gate{reached: reached, open: func() { last.Do(func() { close(opened) }) }}
	a.t.Cleanup(func() { g.open(); server.Close() })
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	a.apply(strings.NewReplacer("NAMESPACE", namespace, "NAME", "held-"+a.way, "ADDRESS", server.URL, "AUTHORITY", base64.StdEncoding.EncodeToString(ca)).Replace(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: NAME}
webhooks:
  - name: held.example.com
    clientConfig: {url: "ADDRESS/", caBundle: AUTHORITY}
    rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps]}]
    matchConditions: [{name: held, expression: "object.metadata.name == 'held' && object.metadata.namespace == 'NAMESPACE'"}]
    sideEffects: None
    failurePolicy: Ignore
    timeoutSeconds: 30
    admissionReviewVersions: [v1]
`))
	a.t.Cleanup(func() {
		if api, _, err := a.client.Resource(kube.ObjectRef{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingWebhookConfiguration"}); err == nil {
			_ = api.Delete(context.WithoutCancel(a.t.Context()), "held-"+a.way, deleteNow)
		}
	})
	return g
}

// The API server dies with a write of Argo CD's in its hands. Argo CD makes a failed sync of that, and does not try again by itself.
func TestASyncBelowWhichTheAPIServerDiedIsMadeAgain(t *testing.T) { // R14
	ways(t, func(a *argo) {
		t, name := a.t, "applying-"+a.way
		head := a.commit(map[string]string{name + "/held.yaml": config("held", "x")})
		a.app(name, name, "")
		g := a.gate(name)
		done := a.begin(name, "apps: [{name: "+name+"}]\nhealthyFor: 100ms\n", head)
		select {
		case <-g.reached:
		case err := <-done:
			t.Fatalf("over before anything was written: %v", err)
		}
		began := a.field(name, "status", "operationState", "startedAt")
		a.apiServer(false)
		g.open()
		a.apiServer(true)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		again := a.field(name, "status", "operationState", "startedAt")
		if n := a.syncs(name); n != 1 || again <= began || a.value(name, "held") != "x" {
			t.Errorf("%d syncs that succeeded, want 1; begun at %s and again at %s; live %q", n, began, again, a.value(name, "held"))
		}
	})
}
