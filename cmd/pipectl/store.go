package main

import (
	"context"

	"pipectl.dev/engine"
	"pipectl.dev/kube"
	"pipectl.dev/results"
	"pipectl.dev/steps"
)

// store opens the place of results that --results names; "" is a directory beside the caller, apart for each identity.
func (c *clients) store(ctx context.Context, where string, id steps.Identity) (engine.Store, error) {
	if where == "" {
		where = storeDir(id)
	}
	p, err := results.ParsePlace(where)
	if err != nil {
		return nil, err
	}
	owner := results.Owner{Pipeline: id.Pipeline, Env: id.Env}
	if id.Account != "" || id.Cluster != "" {
		owner.Identity = id.String()
	}
	switch {
	case p.Bucket != "":
		s, err := c.aws(ctx, p.Region)
		if err != nil {
			return nil, err
		}
		return results.NewBucket(s, p, owner), nil
	case p.ConfigMap != "":
		k, err := c.storeCluster(ctx, where, p)
		if err != nil {
			return nil, err
		}
		return results.NewConfigMap(k, p, owner, id), nil
	}
	return results.NewDir(p.Dir, owner), nil
}

// storeCluster is the cluster of a ConfigMap: the one named, else the pod's own, else the current context.
func (c *clients) storeCluster(ctx context.Context, where string, p results.Place) (*kube.Client, error) {
	ref := steps.ClusterRef{Context: p.Context, Kubeconfig: p.Kubeconfig}
	if ref.IsZero() {
		ref = homeCluster()
	}
	if ref.IsZero() {
		return nil, &steps.Error{Code: "NoCluster", Category: steps.BadInput, Message: "--results " + where + ": there is no current context to find the cluster by",
			Hints: []string{"set KUBECONFIG, or add ?context=NAME or ?kubeconfig=FILE"}}
	}
	return c.kube(ctx, ref)
}
