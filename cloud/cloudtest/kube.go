package cloudtest

import (
	"context"
	"sync"

	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// Kube is the inside of an emulated cluster: objects in memory, and service account tokens that the emulator's STS believes. The cluster
// is there as soon as EKS lists it.
type Kube struct {
	*fake.Clientset
	mu    sync.Mutex
	opens int
}

// Kube gives the cluster of that name an inside with objects, besides the default service accounts of default and kube-system.
func (w *World) Kube(cluster string, objects ...runtime.Object) *Kube {
	for _, ns := range []string{"default", "kube-system"} {
		objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "default"}})
	}
	k := &Kube{Clientset: fake.NewSimpleClientset(objects...)}
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
		token, err := w.stand.Token(cluster, a.GetNamespace(), account, req.Spec.Audiences[0])
		return true, &authv1.TokenRequest{Status: authv1.TokenRequestStatus{Token: token}}, err
	})
	return k
}

// Open is the kube.Opener that knows only this cluster.
func (k *Kube) Open(_ context.Context, ref steps.ClusterRef) (*kube.Client, error) {
	if ref.EKS == nil {
		return nil, &steps.Error{Code: "ClusterNotFound", Category: steps.Precondition, Message: "no cluster"}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.opens++
	return &kube.Client{Ref: ref, Typed: k.Clientset}, nil
}

// Node is a node that can run pods.
func Node(name string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}}
}
