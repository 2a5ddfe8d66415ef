// Package kube is pipectl's way to Kubernetes: a Client per cluster with server-side apply, health, waiting, jobs, port-forward, leases,
// scaling, service account tokens, and the one field by which an Argo CD Application is paused.
//
// It must not know any step or AWS: EKS tokens and descriptions come in as functions. It never deletes what does not carry our owner
// annotation unless it is told the exact object.
package kube

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"pipectl.dev/steps"
)

// FieldManager is the name under which pipectl owns fields.
const FieldManager = "pipectl"

// Client is one cluster. It is safe for concurrent use.
type Client struct {
	Ref     steps.ClusterRef
	Config  *rest.Config
	Typed   Typed
	Dynamic dynamic.Interface
	Mapper  meta.ResettableRESTMapper
}

// Opener returns the client of a cluster, opened on first use. It fails with steps.Error (Precondition, code ClusterNotFound) when the
// reference is an EKS cluster that does not exist, and (Transient, ClusterUnreachable) when it exists but does not answer in bounded time.
type Opener func(ctx context.Context, ref steps.ClusterRef) (*Client, error)
