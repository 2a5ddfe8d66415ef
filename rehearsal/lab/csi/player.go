// Package csi plays the EBS CSI driver: while the add-on is active it registers the driver on every node and turns
// VolumeAttachments into calls of an endpoint that attaches volumes with the driver's own service account. It makes
// no volumes: dynamic provisioning is not played.
package csi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Options say which cluster is served and who attaches.
type Options struct {
	Cluster    string
	Config     *rest.Config
	Client     kubernetes.Interface                   // instead of Config, for tests
	Endpoint   string                                 // URL that attaches and detaches; "" refuses all
	InstanceOf func(node string) (id string, ok bool) // EC2 instance behind a node
	Log        *slog.Logger
}

// What failed is tried again after a pause that doubles between these.
const (
	firstRetry = 500 * time.Millisecond
	lastRetry  = 2 * time.Second
)

// Player is the driver of one cluster.
type Player struct {
	opts   Options
	client kubernetes.Interface
	http   *http.Client
	kick   chan struct{} // something changed; holds at most one

	registering sync.Mutex // one at a time changes nodes

	mu       sync.Mutex
	active   bool
	inflight map[string]bool  // attachments being worked on
	retries  map[string]retry // attachments that failed
}

type retry struct {
	after time.Time
	delay time.Duration
}

// New makes a player; it does nothing before Run.
func New(opts Options) (*Player, error) {
	p := &Player{
		opts: opts, client: opts.Client, http: &http.Client{Timeout: time.Minute}, kick: make(chan struct{}, 1),
		inflight: map[string]bool{}, retries: map[string]retry{},
	}
	if p.client == nil {
		client, err := kubernetes.NewForConfig(opts.Config)
		if err != nil {
			return nil, fmt.Errorf("csi: %w", err)
		}
		p.client = client
	}
	return p, nil
}

// SetActive installs or removes what the add-on brings; roleARN, where not empty, is put on its service account.
// When it returns with active, the objects exist and every node knows the driver.
func (p *Player) SetActive(ctx context.Context, active bool, roleARN string) error {
	p.registering.Lock()
	defer p.registering.Unlock()
	p.mu.Lock()
	p.active = active
	p.mu.Unlock()
	defer p.touch()
	if active {
		if err := p.install(ctx, roleARN); err != nil {
			return fmt.Errorf("csi: install: %w", err)
		}
	} else if err := p.uninstall(ctx); err != nil {
		return fmt.Errorf("csi: uninstall: %w", err)
	}
	return p.registerAll(ctx, active)
}

func (p *Player) isActive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.active
}

func (p *Player) touch() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// Run plays the driver until ctx ends, and returns when no call is under way.
func (p *Player) Run(ctx context.Context) error {
	factory := informers.NewSharedInformerFactory(p.client, 0)
	nodes, volumes := factory.Core().V1().Nodes(), factory.Core().V1().PersistentVolumes()
	attachments := factory.Storage().V1().VolumeAttachments()
	changed := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { p.touch() }, UpdateFunc: func(any, any) { p.touch() }, DeleteFunc: func(any) { p.touch() },
	}
	for _, informer := range []cache.SharedIndexInformer{volumes.Informer(), attachments.Informer()} {
		if _, err := informer.AddEventHandler(changed); err != nil {
			return fmt.Errorf("csi: watch: %w", err)
		}
	}
	// A node's heartbeat is no news.
	if _, err := nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(any) { p.touch() }}); err != nil {
		return fmt.Errorf("csi: watch: %w", err)
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	factory.WaitForCacheSync(ctx.Done())
	var work sync.WaitGroup
	defer work.Wait()
	tick := time.NewTicker(firstRetry / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.kick:
		case <-tick.C:
		}
		if !p.isActive() {
			continue
		}
		all, err := attachments.Lister().List(labels.Everything())
		if err != nil {
			return fmt.Errorf("csi: %w", err)
		}
		p.reconcileAttachments(ctx, &work, all)
		p.reconcileNodes(ctx, nodes.Lister().List)
		if pvs, err := volumes.Lister().List(labels.Everything()); err == nil {
			p.releaseVolumes(ctx, pvs, all)
		}
	}
}

// reconcileAttachments starts work on every attachment that is not as it should be; one call at a time for each.
func (p *Player) reconcileAttachments(ctx context.Context, work *sync.WaitGroup, all []*storagev1.VolumeAttachment) {
	for _, a := range all {
		if a.Spec.Attacher != Driver || !pending(a) || !p.begin(a.Name) {
			continue
		}
		work.Go(func() {
			err := p.settle(ctx, a)
			if err != nil && ctx.Err() == nil {
				p.opts.Log.Warn("csi", "attachment", a.Name, "node", a.Spec.NodeName, "error", err)
			}
			p.finish(a.Name, err)
			if err == nil {
				p.touch()
			}
		})
	}
}

// begin claims an attachment; false while another call is under way or a pause is not over.
func (p *Player) begin(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inflight[name] || time.Now().Before(p.retries[name].after) {
		return false
	}
	p.inflight[name] = true
	return true
}

func (p *Player) finish(name string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.inflight, name)
	if err == nil {
		delete(p.retries, name)
		return
	}
	delay := min(max(2*p.retries[name].delay, firstRetry), lastRetry)
	p.retries[name] = retry{after: time.Now().Add(delay), delay: delay}
}

// reconcileNodes registers the driver on nodes that came after the add-on.
func (p *Player) reconcileNodes(ctx context.Context, list func(labels.Selector) ([]*v1.Node, error)) {
	p.registering.Lock()
	defer p.registering.Unlock()
	nodes, err := list(labels.Everything())
	if err != nil || !p.isActive() {
		return
	}
	for _, n := range nodes {
		if _, registered := n.Labels[zoneLabel]; registered {
			continue
		}
		if err := p.register(ctx, n, true); err != nil && ctx.Err() == nil {
			p.opts.Log.Warn("csi: register", "node", n.Name, "error", err)
		}
	}
}
