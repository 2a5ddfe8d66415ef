package main

import (
	"context"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"k8s.io/client-go/tools/clientcmd"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/cloud"
	"pipectl.dev/engine"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/catalog"
)

// clients opens AWS and Kubernetes when somebody first needs them: validate, schema and version need neither.
type clients struct {
	aws     cloud.Opener
	kube    kube.Opener
	region  string           // of the pipeline: what steps mean that name none
	mover   string           // --mover-image
	prices  cloud.PriceTable // --prices over the built-in ones; nil: those alone
	healthy time.Duration    // PIPECTL_HEALTHY_FOR, which a rehearsal sets; zero: as the pipeline says
}

func newClients() *clients {
	c := &clients{}
	open := sync.OnceValue(func() cloud.Opener { return cloud.NewOpener(cloud.Options{Prices: c.prices}) })
	c.aws = func(ctx context.Context, region string) (*cloud.Session, error) {
		if region == "" {
			region = c.region
		}
		return open()(ctx, region)
	}
	c.kube = kube.NewOpener(kube.Options{Token: c.token, Describe: c.describe})
	return c
}

func (c *clients) catalog() []steps.Definition {
	return catalog.All(catalog.Deps{AWS: c.aws, Kube: c.kube, MoverImage: c.mover, HealthyForAtMost: c.healthy})
}

func (c *clients) token(ctx context.Context, ref steps.EKSCluster) (string, time.Time, error) {
	s, err := c.aws(ctx, ref.Region)
	if err != nil {
		return "", time.Time{}, err
	}
	return s.EKSToken(ctx, ref.Name)
}

func (c *clients) describe(ctx context.Context, ref steps.EKSCluster) (steps.EKSCluster, error) {
	s, err := c.aws(ctx, ref.Region)
	if err != nil {
		return ref, err
	}
	out, err := cloud.EKS(s).DescribeCluster(ctx, &eks.DescribeClusterInput{Name: &ref.Name})
	if cloud.IsNotFound(err) {
		return ref, &steps.Error{Code: "ClusterNotFound", Category: steps.Precondition, Message: "eks: " + ref.Name + ": no such cluster in " + s.Region}
	}
	if err != nil {
		return ref, cloud.Explain(err)
	}
	ref.Region, ref.ARN, ref.Endpoint, ref.Version = s.Region, aws.ToString(out.Cluster.Arn), aws.ToString(out.Cluster.Endpoint), aws.ToString(out.Cluster.Version)
	if ca := out.Cluster.CertificateAuthority; ca != nil {
		ref.CertificateAuthority = aws.ToString(ca.Data)
	}
	if out.Cluster.CreatedAt != nil {
		ref.CreatedAt = out.Cluster.CreatedAt.UTC().Format(time.RFC3339)
	}
	return ref, nil
}

// identify says what owner tags and locks are keyed by: account and region, or a cluster where no step needs an account.
func (c *clients) identify(ctx context.Context, p *engine.Pipeline) (steps.Identity, error) {
	id := steps.Identity{Pipeline: p.Name, Env: p.Env}
	if p.AWS() {
		s, err := c.aws(ctx, p.Region)
		if err != nil {
			return id, err
		}
		who, err := s.Identify(ctx)
		if err != nil {
			return id, err
		}
		id.Account, id.Region = who.Account, s.Region
		return id, nil
	}
	ref := homeCluster()
	if ref.IsZero() {
		return id, nil // nothing outside is touched: the name is enough
	}
	k, err := c.kube(ctx, ref)
	if err != nil {
		return id, err
	}
	ns, err := k.Typed.CoreV1().Namespaces().Get(ctx, "kube-system", metav1.GetOptions{})
	if err != nil {
		return id, kube.Explain(err)
	}
	id.Cluster = string(ns.UID) // the same from everywhere: names differ between a pod and each kubeconfig
	return id, nil
}

// homeCluster is the cluster that pipectl runs in, else the kubeconfig's current one, else none.
func homeCluster() steps.ClusterRef {
	if inPod() {
		return steps.ClusterRef{InCluster: true}
	}
	cfg, err := clientcmd.NewDefaultClientConfigLoadingRules().Load()
	if err != nil || cfg.CurrentContext == "" || cfg.Contexts[cfg.CurrentContext] == nil {
		return steps.ClusterRef{}
	}
	return steps.ClusterRef{Context: cfg.CurrentContext}
}
