// Package cluster starts the rehearsal's Kubernetes clusters and ties them to the emulated AWS: a control plane appears when an EKS
// cluster is made, nodes join when a node group turns active, a volume becomes a directory on the node that it is attached to.
//
// It must not know any step, and it decides nothing about AWS: what AWS does is rehearsal/aws's business, what Kubernetes does is the
// lab's, a separate binary that runs the real programs.
package cluster

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Lab starts clusters. All paths are absolute.
type Lab struct {
	Bin     string // the lab binary
	Pipectl string // the binary that containers of pipectl's own image run
	Dir     string // holds nodes/, volumes/ and clusters/
}

// Options tells one cluster from another.
type Options struct {
	Issuer       string   // service account issuer
	TokenWebhook string   // URL that checks tokens the API server does not know itself; "" for none
	CSIEndpoint  string   // URL that attaches and detaches volumes for the CSI driver; "" for none
	PodEnv       []string // NAME=VALUE for containers of pipectl's own image
}

// Cluster is one running lab cluster.
type Cluster struct {
	Name       string
	Endpoint   string // https URL of the API server
	CA         string // base64 of the PEM
	Kubeconfig string // path; an administrator's

	control *http.Client
	stdin   io.Closer
	cmd     *exec.Cmd
	done    chan struct{}
}

// Node is a machine that joins a cluster.
type Node struct {
	Name         string            `json:"name"`
	InstanceID   string            `json:"instanceID"`
	ProviderID   string            `json:"providerID"`
	PrivateIP    string            `json:"privateIP"`
	Zone         string            `json:"zone"`
	Region       string            `json:"region"`
	InstanceType string            `json:"instanceType"`
	Labels       map[string]string `json:"labels"`
}

// NodeRoot is the directory that stands for the root file system of an instance.
func (l Lab) NodeRoot(instanceID string) string {
	return filepath.Join(l.Dir, "nodes", instanceID, "root")
}

// VolumeFS is the directory that stands for the file system on a volume.
func (l Lab) VolumeFS(volumeID string) string { return filepath.Join(l.Dir, "volumes", volumeID, "fs") }

// Start starts a cluster and waits until its API server is ready. The cluster ends with ctx, with Stop, or with this process.
func (l Lab) Start(ctx context.Context, name string, o Options) (*Cluster, error) {
	dir := filepath.Join(l.Dir, "clusters", name)
	for try := 1; ; try++ {
		c, err := l.start(ctx, dir, name, o)
		if err == nil || try == startTries || ctx.Err() != nil || !collided(dir) {
			return c, err
		}
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
	}
}

// startTries is how often a cluster is started whose ports were taken by others between their choice and their use.
const startTries = 3

func collided(dir string) bool {
	log, err := os.ReadFile(filepath.Join(dir, "lab.log"))
	return err == nil && bytes.Contains(log, []byte("address already in use"))
}

func (l Lab) start(ctx context.Context, dir, name string, o Options) (*Cluster, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	args := []string{"cluster", "--dir", dir, "--name", name, "--issuer", o.Issuer, "--nodes-dir", filepath.Join(l.Dir, "nodes"),
		"--volumes-dir", filepath.Join(l.Dir, "volumes"), "--pipectl", l.Pipectl}
	if o.TokenWebhook != "" {
		args = append(args, "--token-webhook", o.TokenWebhook)
	}
	if o.CSIEndpoint != "" {
		args = append(args, "--csi-endpoint", o.CSIEndpoint)
	}
	for _, pair := range o.PodEnv {
		args = append(args, "--pod-env", pair)
	}
	log, err := os.Create(filepath.Join(dir, "lab.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own descriptor
	cmd := exec.Command(l.Bin, args...)
	cmd.Stderr = log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", name, err)
	}
	c := &Cluster{Name: name, stdin: stdin, cmd: cmd, done: make(chan struct{})}
	ready := make(chan error, 1)
	go c.watch(stdout, ready)
	select {
	case err = <-ready:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		c.Stop()
		return nil, fmt.Errorf("cluster %s: %w (see %s)", name, err, log.Name())
	}
	return c, nil
}

// watch reads the one line that the lab prints when it is ready, then the rest, and reaps the process.
func (c *Cluster) watch(stdout io.Reader, ready chan<- error) {
	defer close(c.done)
	r := bufio.NewReader(stdout)
	line, err := r.ReadBytes('\n')
	if err != nil {
		_ = c.cmd.Wait()
		ready <- fmt.Errorf("lab ended before it was ready: %v", c.cmd.ProcessState)
		return
	}
	ready <- c.readyLine(line)
	_, _ = io.Copy(io.Discard, r)
	_ = c.cmd.Wait()
}

func (c *Cluster) readyLine(line []byte) error {
	var msg struct {
		Endpoint, CA, Kubeconfig, Control string
	}
	if err := json.Unmarshal(line, &msg); err != nil {
		return fmt.Errorf("lab: ready line: %w", err)
	}
	c.Endpoint, c.CA, c.Kubeconfig = msg.Endpoint, msg.CA, msg.Kubeconfig
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", msg.Control)
	}
	c.control = &http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: 30 * time.Second}
	return nil
}

// Stop ends the cluster and waits for it; a lab that does not end in time is killed.
func (c *Cluster) Stop() {
	_ = c.stdin.Close()
	select {
	case <-c.done:
	case <-time.After(10 * time.Second):
		killGroup(c.cmd)
		<-c.done
	}
}

// AddNode makes a machine join.
func (c *Cluster) AddNode(ctx context.Context, n Node) error {
	return c.do(ctx, http.MethodPost, "/nodes", n)
}

// RemoveNode ends the pods of a machine and takes it out.
func (c *Cluster) RemoveNode(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, "/nodes/"+name, nil)
}

// SetAddon tells the lab that an add-on turned active, with a role of its own or without, or went away.
func (c *Cluster) SetAddon(ctx context.Context, name, roleARN string, active bool) error {
	return c.do(ctx, http.MethodPut, "/addons/"+name, map[string]any{"active": active, "roleArn": roleARN})
}

func (c *Cluster) do(ctx context.Context, method, path string, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://lab"+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	resp, err := c.control.Do(req)
	if err != nil {
		return fmt.Errorf("lab %s %s: %w", method, path, err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if resp.StatusCode >= 300 {
		return fmt.Errorf("lab %s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(text))
	}
	return nil
}
