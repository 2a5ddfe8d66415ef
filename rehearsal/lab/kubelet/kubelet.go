// Package kubelet plays the nodes of a cluster in one process: it registers them, runs the containers of a few known
// images as local processes with volumes mapped to directories, and lets all others turn Ready. It serves logs and
// port-forwards. It must not need root, and it must not know what the processes do.
package kubelet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"pipectl.dev/rehearsal/lab/pki"
)

// Errors that the control API answers with a code of their own.
var (
	ErrInvalid    = errors.New("invalid")
	ErrNoNode     = errors.New("no such node")
	ErrNodeExists = errors.New("node exists")
)

// Options say where a kubelet finds its cluster and its directories.
type Options struct {
	Cluster   string
	Config    *rest.Config   // as a user that may do everything nodes may
	Authority *pki.Authority // signs the kubelet's own certificate and the clients it listens to
	Endpoint  string         // API server, https://host:port
	PodsDir   string         // a directory per pod is made below
	NodesDir  string         // NodesDir/<instance id>/root is what hostPath volumes see
	Pipectl   string
	EKS       bool     // service accounts with a role get it, as by the webhook of EKS
	PodEnv    []string // NAME=VALUE for containers of the pipectl image
	Log       *slog.Logger
}

// Kubelet plays all nodes of one cluster.
type Kubelet struct {
	opts   Options
	client kubernetes.Interface
	events record.EventRecorder
	net    *loopback
	sock   string // a short directory for sockets, whose paths have a limit
	server *http.Server

	mu       sync.Mutex
	nodes    map[string]*node
	pods     map[types.UID]*worker
	running  sync.WaitGroup
	services map[types.NamespacedName]*service
	gitProxy []string        // NAME=VALUE that make Git use a proxy
	ctx      context.Context // of Run; nil before
	closed   func()
}

// New claims a loopback network and starts to serve the kubelet's API. Close must be called.
func New(opts Options) (*Kubelet, error) {
	client, err := kubernetes.NewForConfig(protobuf(opts.Config))
	if err != nil {
		return nil, err
	}
	network, listener, err := claimLoopback()
	if err != nil {
		return nil, err
	}
	sock, err := socketDir(opts.PodsDir)
	if err != nil {
		_ = listener.Close()
		return nil, err
	}
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(&typedv1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	k := &Kubelet{
		opts: opts, client: client, net: network, sock: sock,
		events: broadcaster.NewRecorder(scheme.Scheme, v1.EventSource{Component: "kubelet"}),
		nodes:  map[string]*node{}, pods: map[types.UID]*worker{}, services: map[types.NamespacedName]*service{},
	}
	if k.server, err = k.serve(listener); err != nil {
		_ = listener.Close()
		return nil, err
	}
	k.closed = func() {
		broadcaster.Shutdown()
		_ = os.RemoveAll(sock)
	}
	return k, nil
}

// Listen opens a port on an address of the cluster's own loopback network that no pod has.
func (k *Kubelet) Listen(port int) (net.Listener, error) {
	address, err := k.net.nextService()
	if err != nil {
		return nil, err
	}
	return net.Listen("tcp", join(address, port))
}

// UseGitProxy has the programs that fetch from Git go through a proxy and trust what ca, a PEM file, signed. It must
// be called before Run.
func (k *Kubelet) UseGitProxy(url, ca string) {
	k.gitProxy = []string{"HTTPS_PROXY=" + url, "NO_PROXY=127.0.0.0/8,localhost", "SSL_CERT_FILE=" + ca, "GIT_SSL_CAINFO=" + ca}
}

// Close ends the kubelet's server and its service addresses. Pods end with the context of Run.
func (k *Kubelet) Close() {
	_ = k.server.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.services {
		s.close()
	}
	k.closed()
}

// Run plays nodes and pods until ctx ends, and returns when every process of every pod is gone.
func (k *Kubelet) Run(ctx context.Context) error {
	k.mu.Lock()
	k.ctx = ctx
	k.mu.Unlock()
	factory := informers.NewSharedInformerFactory(k.client, 0)
	pods := factory.Core().V1().Pods().Informer()
	_, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { k.observe(o.(*v1.Pod)) },
		UpdateFunc: func(_, o any) { k.observe(o.(*v1.Pod)) },
		DeleteFunc: func(o any) {
			if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			if pod, ok := o.(*v1.Pod); ok {
				k.gone(pod)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("watch pods: %w", err)
	}
	factory.Start(ctx.Done())
	k.heartbeats(ctx)
	factory.Shutdown()
	k.running.Wait()
	return nil
}

// observe hands a pod's newest version to its worker, and starts one for a pod that is new on a node of ours.
func (k *Kubelet) observe(pod *v1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.pods[pod.UID]
	if w == nil {
		n := k.nodes[pod.Spec.NodeName]
		if n == nil || k.ctx.Err() != nil {
			return
		}
		w = newWorker(k, n.spec, pod)
		k.pods[pod.UID] = w
		k.running.Add(1)
		go func() {
			defer k.running.Done()
			w.run(k.ctx)
		}()
		return
	}
	w.update(pod)
}

// adopt starts workers for the pods that were bound to a node before this process knew the node.
func (k *Kubelet) adopt(pods []v1.Pod) {
	for i := range pods {
		k.observe(&pods[i])
	}
}

// gone ends the worker of a pod whose object was removed, by whomever.
func (k *Kubelet) gone(pod *v1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if w := k.pods[pod.UID]; w != nil {
		delete(k.pods, pod.UID)
		w.vanish(errRemoved)
	}
}

// worker finds a pod of ours by name; nil where there is none.
func (k *Kubelet) worker(namespace, name string) *worker {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range k.pods {
		if w.namespace == namespace && w.name == name {
			return w
		}
	}
	return nil
}

// socketDir is a directory with a short path: below the pods where that is short enough, else a temporary one.
func socketDir(pods string) (string, error) {
	const room = 107 - len("/12345678.sock")
	if dir := filepath.Join(pods, ".sock"); len(dir) <= room {
		return dir, os.MkdirAll(dir, 0o700)
	}
	return os.MkdirTemp("", "lab")
}

// protobuf asks for the compact encoding: a lab has few cores.
func protobuf(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	return config
}

// apiServer is host and port of the API server.
func (k *Kubelet) apiServer() (host, port string) {
	host, port, err := net.SplitHostPort(k.opts.Endpoint[len("https://"):])
	if err != nil {
		return k.opts.Endpoint, ""
	}
	return host, port
}
