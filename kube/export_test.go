package kube

import (
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// ForTest is a client with typed access only.
func ForTest(cfg *rest.Config) *Client {
	return &Client{Config: cfg, Typed: kubernetes.NewForConfigOrDie(cfg)}
}
