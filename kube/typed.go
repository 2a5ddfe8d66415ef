package kube

import (
	"errors"

	"k8s.io/client-go/discovery"
	appsv1 "k8s.io/client-go/kubernetes/typed/apps/v1"
	batchv1 "k8s.io/client-go/kubernetes/typed/batch/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	storagev1 "k8s.io/client-go/kubernetes/typed/storage/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
)

// Typed are the API groups that pipectl calls by their Go types. client-go's own kubernetes.Interface satisfies it, but lists every group
// in every version: held in an interface, it keeps all of them in the binary (megabytes of calls that nobody makes).
type Typed interface {
	Discovery() discovery.DiscoveryInterface
	AppsV1() appsv1.AppsV1Interface
	BatchV1() batchv1.BatchV1Interface
	CoordinationV1() coordinationv1.CoordinationV1Interface
	CoreV1() corev1.CoreV1Interface
	StorageV1() storagev1.StorageV1Interface
}

// NewTyped makes the clients of one cluster; they share one transport and one limit of requests.
func NewTyped(cfg *rest.Config) (Typed, error) {
	transport, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	c := rest.CopyConfig(cfg)
	if c.RateLimiter == nil && c.QPS > 0 {
		c.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(c.QPS, c.Burst)
	}
	g := &groups{}
	var errs [6]error
	g.apps, errs[0] = appsv1.NewForConfigAndClient(c, transport)
	g.batch, errs[1] = batchv1.NewForConfigAndClient(c, transport)
	g.leases, errs[2] = coordinationv1.NewForConfigAndClient(c, transport)
	g.core, errs[3] = corev1.NewForConfigAndClient(c, transport)
	g.storage, errs[4] = storagev1.NewForConfigAndClient(c, transport)
	g.discovery, errs[5] = discovery.NewDiscoveryClientForConfigAndClient(c, transport)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return g, nil
}

type groups struct {
	apps      *appsv1.AppsV1Client
	batch     *batchv1.BatchV1Client
	leases    *coordinationv1.CoordinationV1Client
	core      *corev1.CoreV1Client
	storage   *storagev1.StorageV1Client
	discovery *discovery.DiscoveryClient
}

func (g *groups) Discovery() discovery.DiscoveryInterface                { return g.discovery }
func (g *groups) AppsV1() appsv1.AppsV1Interface                         { return g.apps }
func (g *groups) BatchV1() batchv1.BatchV1Interface                      { return g.batch }
func (g *groups) CoordinationV1() coordinationv1.CoordinationV1Interface { return g.leases }
func (g *groups) CoreV1() corev1.CoreV1Interface                         { return g.core }
func (g *groups) StorageV1() storagev1.StorageV1Interface                { return g.storage }
