// Package labtest gives tests a real control plane, started by the lab binary that PIPECTL_LAB names, one per test binary.
//
// It is for tests only. It knows the lab's command line and control socket, nothing of what is tested.
package labtest

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
	"sync"
	"testing"
	"time"
)

// Env names the variable with the path of the lab binary.
const Env = "PIPECTL_LAB"

// Lab is one running cluster.
type Lab struct {
	Dir        string
	Kubeconfig string `json:"kubeconfig"`
	Endpoint   string `json:"endpoint"`
	CA         string `json:"ca"`
	Control    string `json:"control"`

	cmd   *exec.Cmd
	stdin io.Closer
}

// Args are more arguments for the lab's cluster, set in TestMain.
var Args []string

var (
	mu     sync.Mutex
	shared *Lab
)

// Main runs the tests of a package and then stops its cluster, if one was started.
func Main(m *testing.M) {
	m.Run() // its code is the process's exit code once TestMain returns
	if shared != nil {
		shared.stop()
	}
}

// Cluster returns the package's cluster, starting it on first use. A package that uses it has Main in its TestMain. Under -short the
// calling test is left out; otherwise a missing binary fails it.
func Cluster(t *testing.T) *Lab {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real control plane")
	}
	mu.Lock()
	defer mu.Unlock()
	if shared == nil {
		lab, err := start()
		if err != nil {
			t.Fatal(err)
		}
		shared = lab
	}
	return shared
}

// Binary is the path of the lab binary.
func Binary() (string, error) {
	path := os.Getenv(Env)
	if path == "" {
		return "", fmt.Errorf("%s is not set: build the lab (make lab) and name it, or run with -short", Env)
	}
	return path, nil
}

func start() (*Lab, error) {
	path, err := Binary()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pipectl-labtest-")
	if err != nil {
		return nil, err
	}
	lab := &Lab{Dir: dir}
	pipectl := os.Getenv("PIPECTL_BIN")
	if pipectl == "" {
		if pipectl, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	args := append([]string{"cluster", "--dir", filepath.Join(dir, "cluster"), "--name", "labtest", "--issuer", "https://issuer.invalid/labtest",
		"--nodes-dir", filepath.Join(dir, "nodes"), "--volumes-dir", filepath.Join(dir, "volumes"), "--pipectl", pipectl}, Args...)
	lab.cmd = exec.Command(path, args...) //nolint:gosec // a test's own tool
	var said bytes.Buffer
	lab.cmd.Stderr = &said
	stdin, err := lab.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	lab.stdin = stdin
	out, err := lab.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := lab.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, lab)
	}
	if err != nil {
		lab.stop()
		return nil, fmt.Errorf("lab cluster did not get ready: %w: %s", err, said.String())
	}
	return lab, nil
}

func (l *Lab) stop() {
	_ = l.stdin.Close()
	done := make(chan struct{})
	go func() { _ = l.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		_ = l.cmd.Process.Kill()
	}
	_ = os.RemoveAll(l.Dir)
}

// Node is what AddNode takes.
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

// AddNode makes a node appear.
func (l *Lab) AddNode(t *testing.T, n Node) {
	t.Helper()
	l.Do(t, http.MethodPost, "/nodes", n)
}

// Service is where a port of a Service answers on this machine, as host:port, from the first call on.
func (l *Lab) Service(t *testing.T, namespace, name string, port int) string {
	t.Helper()
	var at struct {
		Address string `json:"address"`
	}
	if err := json.Unmarshal(l.Do(t, http.MethodPut, fmt.Sprintf("/services/%s/%s/%d", namespace, name, port), nil), &at); err != nil {
		t.Fatal(err)
	}
	return at.Address
}

// Do calls the lab's control socket, fails the test on anything but success, and returns the answer.
func (l *Lab) Do(t *testing.T, method, path string, body any) []byte {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", l.Control)
	}}}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://lab"+path, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode >= 300 {
		t.Fatalf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	return text
}

// Upstream is an upstream file that the lab binary embeds, such as argo-cd/v3.2.6/manifests/core-install.yaml.
func Upstream(t *testing.T, path string) []byte {
	t.Helper()
	lab, err := Binary()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), lab, "upstream", path).Output() //nolint:gosec // a test's own tool
	if err != nil {
		t.Fatalf("lab upstream %s: %v", path, err)
	}
	return out
}
