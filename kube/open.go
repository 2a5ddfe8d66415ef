package kube

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"

	"pipectl.dev/steps"
)

// Options says how clusters are reached. The zero value reaches every kind but EKS.
type Options struct {
	// Kubeconfig is the file for references by context; "" means $KUBECONFIG, else ~/.kube/config.
	Kubeconfig string
	// Token makes a bearer token of an EKS cluster.
	Token func(ctx context.Context, c steps.EKSCluster) (token string, expires time.Time, err error)
	// Describe fills in what an EKS reference leaves out (endpoint, certificate authority). A cluster that does not exist is a
	// steps.Error with code ClusterNotFound.
	Describe func(ctx context.Context, c steps.EKSCluster) (steps.EKSCluster, error)
	// Transport, if set, carries all requests instead of the network. Tests give an in-process one.
	Transport http.RoundTripper
	// Patience bounds how long Open waits for an API server to answer; zero means 15 s.
	Patience time.Duration
}

const defaultPatience = 15 * time.Second

// NewOpener returns an Opener that opens each cluster once. A failed opening is not remembered.
func NewOpener(o Options) Opener {
	type entry struct {
		sync.Mutex
		client *Client
	}
	var mu sync.Mutex
	entries := map[string]*entry{}
	return func(ctx context.Context, ref steps.ClusterRef) (*Client, error) {
		key, err := json.Marshal(ref)
		if err != nil {
			return nil, fmt.Errorf("cluster reference: %w", err)
		}
		mu.Lock()
		e := entries[string(key)]
		if e == nil {
			e = &entry{}
			entries[string(key)] = e
		}
		mu.Unlock()
		e.Lock()
		defer e.Unlock()
		if e.client == nil {
			if e.client, err = Open(ctx, ref, o); err != nil {
				return nil, err
			}
		}
		return e.client, nil
	}
}

// Open connects to a cluster and makes sure that its API server answers us.
func Open(ctx context.Context, ref steps.ClusterRef, o Options) (*Client, error) {
	cfg, err := config(ctx, ref, o)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", ref, err)
	}
	cfg.UserAgent = "pipectl"
	cfg.QPS, cfg.Burst = 100, 200
	cfg.WarningHandler = rest.NoWarnings{}
	if o.Transport != nil {
		cfg.TLSClientConfig, cfg.Transport = rest.TLSClientConfig{}, o.Transport
	}
	c := &Client{Ref: ref, Config: cfg}
	typed, err := NewTyped(cfg)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", ref, err)
	}
	if c.Dynamic, err = dynamic.NewForConfig(cfg); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", ref, err)
	}
	c.Typed = typed
	c.Mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(typed.Discovery()))
	patience := o.Patience
	if patience == 0 {
		patience = defaultPatience
	}
	if err := c.answers(ctx, patience); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", ref, err)
	}
	return c, nil
}

// Relative returns ref with the path of its kubeconfig made relative to dir, the directory of the pipeline file.
func Relative(ref steps.ClusterRef, dir string) steps.ClusterRef {
	if ref.Kubeconfig != "" && !filepath.IsAbs(ref.Kubeconfig) {
		ref.Kubeconfig = filepath.Join(dir, ref.Kubeconfig)
	}
	return ref
}

func config(ctx context.Context, ref steps.ClusterRef, o Options) (*rest.Config, error) {
	switch {
	case ref.EKS != nil:
		return eksConfig(ctx, *ref.EKS, o)
	case ref.Context != "":
		return fileConfig(o.Kubeconfig, ref.Context)
	case ref.Kubeconfig != "":
		return fileConfig(ref.Kubeconfig, "")
	case ref.InCluster:
		return podConfig()
	default:
		return nil, &steps.Error{Code: "NoCluster", Category: steps.BadInput, Message: "names no cluster",
			Hints: []string{"set one of `eks`, `context`, `kubeconfig`, `inCluster`"}}
	}
}

func fileConfig(path, contextName string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	if path != "" {
		rules.ExplicitPath = path
	}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: contextName})
	cfg, err := loader.ClientConfig()
	if err == nil {
		return cfg, nil
	}
	bad := &steps.Error{Code: "KubeconfigInvalid", Category: steps.BadInput, Message: "kubeconfig", Err: err}
	raw, rawErr := loader.RawConfig()
	if rawErr == nil && contextName != "" && raw.Contexts[contextName] == nil {
		bad.Code = "ContextNotFound"
		bad.Hints = []string{"contexts are listed by `kubectl config get-contexts`; `KUBECONFIG` names the file"}
	}
	return nil, bad
}

func eksConfig(ctx context.Context, c steps.EKSCluster, o Options) (*rest.Config, error) {
	if o.Token == nil {
		return nil, &steps.Error{Code: "NoCredentials", Category: steps.Credentials, Message: "no AWS session to make a token with"}
	}
	if (c.Endpoint == "" || c.CertificateAuthority == "") && o.Describe != nil {
		var err error
		if c, err = o.Describe(ctx, c); err != nil {
			return nil, err
		}
	}
	if c.Endpoint == "" {
		return nil, &steps.Error{Code: "ClusterNotReady", Category: steps.Precondition, Message: "has no endpoint yet"}
	}
	ca, err := base64.StdEncoding.DecodeString(c.CertificateAuthority)
	if err != nil {
		return nil, &steps.Error{Code: "InvalidSpec", Category: steps.BadInput, Message: "certificateAuthority", Err: err}
	}
	cfg := &rest.Config{Host: c.Endpoint, TLSClientConfig: rest.TLSClientConfig{CAData: ca}}
	source := &tokenSource{make: func(ctx context.Context) (string, time.Time, error) { return o.Token(ctx, c) }}
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return &tokenTransport{next: next, source: source} })
	return cfg, nil
}

// SADirEnv names the variable that moves the directory of the pod's service account, for pods that are played without mounts.
const SADirEnv = "PIPECTL_SA_DIR"

func podConfig() (*rest.Config, error) {
	dir := os.Getenv(SADirEnv)
	if dir == "" {
		dir = "/var/run/secrets/kubernetes.io/serviceaccount"
	}
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, &steps.Error{Code: "NotInCluster", Category: steps.BadInput, Message: "not running in a pod",
			Hints: []string{"name the cluster by `eks`, `context` or `kubeconfig`"}}
	}
	return &rest.Config{
		Host:            "https://" + net.JoinHostPort(host, port),
		BearerTokenFile: filepath.Join(dir, "token"),
		TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(dir, "ca.crt")},
	}, nil
}

// answers asks for the version until the API server answers. A new cluster's name may not resolve yet and its access entries may not
// have spread, so refusals are tried again too; a bad certificate is not.
func (c *Client) answers(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last error
	for {
		err := c.Typed.Discovery().RESTClient().Get().AbsPath("/version").Do(ctx).Error()
		if err == nil || hasStatus(err, http.StatusForbidden) {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if certificate(err) {
			return unreachable(last)
		}
		pause := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
			pause.Stop()
			return unreachable(last)
		case <-pause.C:
		}
	}
}
