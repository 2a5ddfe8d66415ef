package cloudtest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"

	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// Kube is the inside of an emulated cluster: objects in memory, and service account tokens that the emulator's STS believes. The cluster
// is there as soon as EKS lists it.
type Kube struct {
	*fake.Clientset
	dynamic dynamic.Interface
	mu      sync.Mutex
	opens   int
	asked   map[string]int // requests by path
	world   *World
	name    string
	context string // of a kubeconfig, for a cluster that EKS does not know
	issuer  string // of that cluster
}

// Kube gives the cluster of that name an inside with objects, besides the default service accounts of default and kube-system.
func (w *World) Kube(cluster string, objects ...runtime.Object) *Kube {
	for _, ns := range []string{"default", "kube-system"} {
		objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "default"}})
	}
	k := &Kube{world: w, name: cluster, Clientset: fake.NewSimpleClientset(objects...), dynamic: dynamicfake.NewSimpleDynamicClient(scheme.Scheme, objects...)}
	k.PrependReactor("create", "serviceaccounts", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if a.GetSubresource() != "token" {
			return false, nil, nil
		}
		create := a.(clienttesting.CreateActionImpl)
		account := create.Name
		if _, err := k.Tracker().Get(schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}, a.GetNamespace(), account); err != nil {
			return true, nil, apierrors.NewNotFound(schema.GroupResource{Resource: "serviceaccounts"}, account)
		}
		req := create.Object.(*authv1.TokenRequest)
		if bound := req.Spec.BoundObjectRef; bound != nil {
			token, err := k.podToken(a.GetNamespace(), account, req.Spec.Audiences[0], bound)
			return true, &authv1.TokenRequest{Status: authv1.TokenRequestStatus{Token: token}}, err
		}
		token, err := w.stand.Token(cluster, a.GetNamespace(), account, req.Spec.Audiences[0])
		return true, &authv1.TokenRequest{Status: authv1.TokenRequestStatus{Token: token}}, err
	})
	return k
}

// podToken is a token that is bound to a pod, which must be there and have the service account, as the API server wants it.
func (k *Kube) podToken(namespace, account, audience string, bound *authv1.BoundObjectReference) (string, error) {
	o, err := k.Tracker().Get(schema.GroupVersionResource{Version: "v1", Resource: "pods"}, namespace, bound.Name)
	if err != nil {
		return "", err
	}
	if p, ok := o.(*corev1.Pod); !ok || bound.Kind != "Pod" || p.UID != bound.UID || p.Spec.ServiceAccountName != account {
		return "", apierrors.NewBadRequest("cannot bind token for serviceaccount " + account + " to pod " + bound.Name)
	}
	return k.world.stand.PodToken(k.name, namespace, account, audience, bound.Name, string(bound.UID))
}

// Open is the kube.Opener that knows only this cluster.
func (k *Kube) Open(_ context.Context, ref steps.ClusterRef) (*kube.Client, error) {
	if ref.EKS == nil && (ref.Context == "" || ref.Context != k.context) {
		return nil, &steps.Error{Code: "ClusterNotFound", Category: steps.Precondition, Message: "no cluster"}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.opens++
	return &kube.Client{Ref: ref, Typed: k.Clientset, Dynamic: k.dynamic, Config: &rest.Config{Host: "https://cluster.invalid", Transport: k}}, nil
}

// SelfManaged makes the cluster one that EKS does not know, which a context of a kubeconfig names, and whose tokens name issuer.
func (k *Kube) SelfManaged(context, issuer string) {
	k.context, k.issuer = context, issuer
	k.world.stand.ClusterCreating(k.name, "", issuer)
}

// RotateKeys gives the clusters of the account another signing key.
func (w *World) RotateKeys() error { return w.stand.Rotate() }

// RoundTrip answers what the API server says of its tokens.
func (k *Kube) RoundTrip(r *http.Request) (*http.Response, error) {
	resp := &http.Response{StatusCode: http.StatusOK, Request: r, Header: http.Header{"Content-Type": {"application/json"}}}
	var body []byte
	var err error
	k.mu.Lock()
	if k.asked == nil {
		k.asked = map[string]int{}
	}
	k.asked[r.URL.Path]++
	k.mu.Unlock()
	switch r.URL.Path {
	case "/openid/v1/jwks":
		body, err = k.world.stand.JWKS(r.Context(), k.name)
	case "/.well-known/openid-configuration":
		body, err = json.Marshal(map[string]any{"issuer": k.issuer, "jwks_uri": k.issuer + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"}})
	default:
		resp.StatusCode = http.StatusNotFound
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, err
}

// Asked counts the requests for a path of the API server so far.
func (k *Kube) Asked(path string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.asked[path]
}

// Node is a node that can run pods.
func Node(name string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}}
}

// Pod is a pod of a service account that runs.
func Pod(namespace, name, account string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-" + name)}, Spec: corev1.PodSpec{ServiceAccountName: account},
		Status: corev1.PodStatus{Phase: corev1.PodRunning}}
}
