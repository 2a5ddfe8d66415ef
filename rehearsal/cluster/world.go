package cluster

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"pipectl.dev/rehearsal/aws"
	"pipectl.dev/treecopy"
)

// World is what the emulated AWS drives: control planes, nodes and volumes. It implements aws.World.
type World struct {
	Lab    Lab
	Region string
	// BaseURL of the emulated AWS, whose extra endpoints check tokens and attach volumes; set before the first cluster is made.
	BaseURL string
	// PodEnv is NAME=VALUE for pods of pipectl's own image in EKS clusters, besides AWS_ENDPOINT_URL.
	PodEnv []string
	Log    *slog.Logger

	ctx      context.Context
	mu       sync.Mutex
	clusters map[string]*starting
	made     int
	roots    map[string]string // instance by its root volume
}

// starting is a cluster that may not be up yet: cluster and err are set when up is closed.
type starting struct {
	up      chan struct{}
	cluster *Cluster
	err     error
}

var _ aws.World = (*World)(nil)

// NewWorld makes a World whose clusters end with ctx.
func NewWorld(ctx context.Context, lab Lab, region string, log *slog.Logger) *World {
	return &World{Lab: lab, Region: region, Log: log, ctx: ctx, clusters: map[string]*starting{}, roots: map[string]string{}}
}

// ClusterCreating starts the control plane at once: it is up long before the emulated cluster turns ACTIVE.
func (w *World) ClusterCreating(name, _, issuer string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.made++
	s := &starting{up: make(chan struct{})}
	w.clusters[name] = s
	query := "?cluster=" + url.QueryEscape(name)
	o := Options{Issuer: issuer, TokenWebhook: w.BaseURL + "/_pipectl/tokenreview" + query, CSIEndpoint: w.BaseURL + "/_pipectl/csi" + query,
		// The SDK's client that takes on a role by a token heeds only the variable of its own service.
		PodEnv: append([]string{"AWS_ENDPOINT_URL=" + w.BaseURL, "AWS_ENDPOINT_URL_STS=" + w.BaseURL}, w.PodEnv...)}
	dir := "eks-" + name + "-" + strconv.Itoa(w.made)
	go func() {
		defer close(s.up)
		s.cluster, s.err = w.Lab.Start(w.ctx, dir, o)
	}()
}

// Cluster waits until the named EKS cluster is up.
func (w *World) Cluster(ctx context.Context, name string) (*Cluster, error) {
	w.mu.Lock()
	s := w.clusters[name]
	w.mu.Unlock()
	if s == nil {
		return nil, fmt.Errorf("no control plane %q", name)
	}
	select {
	case <-s.up:
		return s.cluster, s.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// ClusterEndpoint waits for the control plane.
func (w *World) ClusterEndpoint(ctx context.Context, name string) (endpoint, ca string, err error) {
	c, err := w.Cluster(ctx, name)
	if err != nil {
		return "", "", err
	}
	return c.Endpoint, c.CA, nil
}

// ClusterDeleted ends the control plane. AWS has deleted it at that moment, so nobody waits for the process.
func (w *World) ClusterDeleted(name string) {
	w.mu.Lock()
	s := w.clusters[name]
	delete(w.clusters, name)
	w.mu.Unlock()
	if s == nil {
		return
	}
	go func() {
		<-s.up
		if s.cluster != nil {
			s.cluster.Stop()
		}
	}()
}

// Close ends all control planes and waits for them.
func (w *World) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range w.clusters {
		wg.Go(func() {
			<-s.up
			if s.cluster != nil {
				s.cluster.Stop()
			}
		})
	}
	wg.Wait()
	w.clusters = map[string]*starting{}
}

// JWKS asks the control plane for the keys its service account tokens are signed with.
func (w *World) JWKS(ctx context.Context, name string) ([]byte, error) {
	c, err := w.Cluster(ctx, name)
	if err != nil {
		return nil, err
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return nil, err
	}
	return get(ctx, cfg, "/openid/v1/jwks")
}

func get(ctx context.Context, cfg *rest.Config, path string) ([]byte, error) {
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, cfg.Host+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, resp.Status)
	}
	return body, err
}

// NodesJoined lets the instances of a node group join their cluster.
func (w *World) NodesJoined(cluster, _ string, nodes []aws.Instance) {
	w.each(cluster, nodes, "join", func(c *Cluster, i aws.Instance) error {
		return c.AddNode(w.ctx, Node{
			Name: i.Name, InstanceID: i.ID, ProviderID: "aws:///" + i.Zone + "/" + i.ID, PrivateIP: i.PrivateIP,
			Zone: i.Zone, Region: w.Region, InstanceType: i.Type, Labels: i.Labels,
		})
	})
}

// NodesLeaving takes instances out before they are terminated.
func (w *World) NodesLeaving(cluster string, nodes []aws.Instance) {
	w.each(cluster, nodes, "leave", func(c *Cluster, i aws.Instance) error { return c.RemoveNode(w.ctx, i.Name) })
}

func (w *World) each(cluster string, nodes []aws.Instance, what string, do func(*Cluster, aws.Instance) error) {
	c, err := w.Cluster(w.ctx, cluster)
	for _, n := range nodes {
		if err == nil {
			err = do(c, n)
		}
	}
	if err != nil && w.ctx.Err() == nil {
		w.Log.Error("nodes "+what, "cluster", cluster, "error", err)
	}
}

// AddonState tells the lab about add-ons; it plays the EBS CSI driver and ignores the others.
func (w *World) AddonState(cluster, addon, roleARN string, active bool) {
	c, err := w.Cluster(w.ctx, cluster)
	if err == nil {
		err = c.SetAddon(w.ctx, addon, roleARN, active)
	}
	if err != nil && w.ctx.Err() == nil {
		w.Log.Error("addon", "cluster", cluster, "addon", addon, "error", err)
	}
}

func (w *World) device(instanceID, volumeID string) string {
	return filepath.Join(w.Lab.Dir, "nodes", instanceID, "devices", volumeID)
}

// VolumeAttached shows a volume on an instance, as a link among its devices.
func (w *World) VolumeAttached(instanceID, volumeID, _ string) {
	link := w.device(instanceID, volumeID)
	volume := filepath.Dir(w.Lab.VolumeFS(volumeID))
	err := os.MkdirAll(volume, 0o755)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(link), 0o755)
	}
	if err == nil {
		err = os.Symlink(volume, link)
	}
	w.log("attach", err)
}

// VolumeDetached takes the link away.
func (w *World) VolumeDetached(instanceID, volumeID string) {
	w.log("detach", os.Remove(w.device(instanceID, volumeID)))
}

// VolumeDeleted removes the content of a volume.
func (w *World) VolumeDeleted(volumeID string) {
	w.log("delete volume", os.RemoveAll(filepath.Dir(w.Lab.VolumeFS(volumeID))))
}

// RootDisk makes a volume stand for the root file system of an instance that is there.
func (w *World) RootDisk(volumeID, instanceID string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.roots[volumeID] = instanceID
}

// SnapshotCreated keeps a copy of a volume's content.
func (w *World) SnapshotCreated(volumeID, snapshotID string) {
	w.mu.Lock()
	instance := w.roots[volumeID]
	w.mu.Unlock()
	to := filepath.Join(w.Lab.Dir, "snapshots", snapshotID)
	if instance == "" {
		w.log("snapshot", w.copyDir(filepath.Dir(w.Lab.VolumeFS(volumeID)), to))
		return
	}
	err := w.copyDir(w.Lab.NodeRoot(instance), filepath.Join(to, "fs"))
	if err == nil {
		err = os.WriteFile(filepath.Join(to, "fstype"), []byte("ext4"), 0o644)
	}
	w.log("snapshot of a root disk", err)
}

// VolumeFromSnapshot fills a new volume with the content of a snapshot.
func (w *World) VolumeFromSnapshot(snapshotID, volumeID string) {
	w.log("restore", w.copyDir(filepath.Join(w.Lab.Dir, "snapshots", snapshotID), filepath.Dir(w.Lab.VolumeFS(volumeID))))
}

// copyDir keeps what a disk's blocks would: modes and times too.
func (w *World) copyDir(src, dst string) error {
	if _, err := os.Stat(src); os.IsNotExist(err) {
		return nil // a volume that was never attached has no content
	}
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return err
	}
	_, err := treecopy.Copy(w.ctx, src, dst, treecopy.Options{Live: true})
	return err
}

func (w *World) log(what string, err error) {
	if err != nil {
		w.Log.Error(what, "error", err)
	}
}
