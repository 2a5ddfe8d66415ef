// Package e2e proves the built lab binary: it starts real clusters with it. It must not import the programs that the
// binary is made of, so that it builds in seconds.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// nobody is who the lab runs as when the tests run as root: it must not need more.
const nobody = 65534

// patience bounds every wait; a busy machine is slow, never stuck.
const patience = 90 * time.Second

// lab is one running cluster.
type lab struct {
	dir     string // of the rehearsal; the cluster is in dir/c
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	ended   chan struct{}
	control *http.Client
	config  *rest.Config
	client  kubernetes.Interface
}

// binary is the lab under test. It comes from outside because it takes minutes to build.
func binary(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: real clusters are not started")
	}
	path := os.Getenv("PIPECTL_LAB")
	if path == "" {
		t.Fatal("PIPECTL_LAB is not set: it must be the path of the built lab binary (make lab); with -short these tests are left out")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// start starts a cluster with one node "n1" (instance i-1) and waits until it is ready.
func start(t *testing.T, flags ...string) *lab {
	t.Helper()
	l := &lab{dir: workDir(t), ended: make(chan struct{})}
	l.launch(t, binary(t), flags)
	l.addNode(t, "n1", "i-1")
	return l
}

// workDir is a directory that nobody may use, with a copy of the stand-in for pipectl in it.
func workDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lab-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pipectl"), self, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"nodes", "volumes"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	give(t, dir)
	return dir
}

// give hands a tree over to the user that the lab runs as.
func give(t *testing.T, dir string) {
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, nobody, nobody))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (l *lab) launch(t *testing.T, binary string, flags []string) {
	t.Helper()
	cluster := filepath.Join(l.dir, "c")
	args := append([]string{"cluster", "--dir", cluster, "--name", "c", "--issuer", "https://oidc.test/id/C",
		"--nodes-dir", filepath.Join(l.dir, "nodes"), "--volumes-dir", filepath.Join(l.dir, "volumes"), "--pipectl", filepath.Join(l.dir, "pipectl")}, flags...)
	l.cmd = exec.Command(binary, args...)
	l.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + l.dir, "TMPDIR=" + l.dir}
	l.cmd.Stderr = os.Stderr
	if os.Getuid() == 0 {
		l.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	stdin, err := l.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := l.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l.stdin = stdin
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	go func() {
		_ = l.cmd.Wait()
		close(l.ended)
	}()
	t.Cleanup(func() { l.stop(t) })
	if err != nil {
		t.Fatalf("lab cluster printed no ready line: %v", err)
	}
	t.Logf("ready after %s", time.Since(began).Round(10*time.Millisecond))
	var ready struct {
		Ready                             bool
		Endpoint, CA, Kubeconfig, Control string
	}
	if err := json.Unmarshal(line, &ready); err != nil || !ready.Ready || ready.CA == "" {
		t.Fatalf("ready line %s: %v", line, err)
	}
	l.control = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", ready.Control)
	}}}
	if l.config, err = clientcmd.BuildConfigFromFlags("", ready.Kubeconfig); err != nil {
		t.Fatal(err)
	}
	if l.config.Host != ready.Endpoint {
		t.Errorf("kubeconfig has server %s, the ready line %s", l.config.Host, ready.Endpoint)
	}
	l.config.QPS = -1
	if l.client, err = kubernetes.NewForConfig(l.config); err != nil {
		t.Fatal(err)
	}
}

// stop closes stdin, which must end everything.
func (l *lab) stop(t *testing.T) {
	t.Helper()
	_ = l.stdin.Close()
	select {
	case <-l.ended:
	case <-time.After(patience):
		_ = l.cmd.Process.Kill()
		t.Errorf("lab cluster did not end with its stdin")
	}
	if t.Failed() {
		l.showLogs(t)
	}
	if left := l.processes(t); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

func (l *lab) showLogs(t *testing.T) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(l.dir, "c", "logs", "nodes.log"))
	t.Logf("nodes.log (%v):\n%s", err, data)
	logs, _ := filepath.Glob(filepath.Join(l.dir, "c", "pods", "*", "containers", "*", "*.log"))
	for _, path := range logs {
		data, _ := os.ReadFile(path)
		t.Logf("%s:\n%s", path, data[max(0, len(data)-3000):])
	}
}

// processes are the running processes whose command line names the lab's directory.
func (l *lab) processes(t *testing.T) []string {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range lines {
		data, err := os.ReadFile(path)
		if err == nil && bytes.Contains(data, []byte(l.dir+"/")) {
			found = append(found, strings.ReplaceAll(string(data), "\x00", " "))
		}
	}
	return found
}

// order calls the control API and returns the status code and the body.
func (l *lab) order(t *testing.T, method, path string, body any) (int, string) {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://lab"+path, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := l.control.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

func (l *lab) addNode(t *testing.T, name, instance string) {
	t.Helper()
	code, body := l.order(t, http.MethodPost, "/nodes", map[string]any{
		"name": name, "instanceID": instance, "providerID": "aws:///ap-northeast-2a/" + instance, "privateIP": "10.0.1.5",
		"zone": "ap-northeast-2a", "region": "ap-northeast-2", "instanceType": "t3.large", "labels": map[string]string{"group": "one"},
	})
	if code != http.StatusCreated {
		t.Fatalf("POST /nodes: %d %s", code, body)
	}
}

// root is a path of a node's root file system.
func (l *lab) root(instance string, elem ...string) string {
	return filepath.Join(append([]string{l.dir, "nodes", instance, "root"}, elem...)...)
}

// write makes a file that the lab's user may change.
func (l *lab) write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	give(t, l.dir)
}

// until polls until check says yes; on the way a missing object is no error.
func until(t *testing.T, what string, check func(context.Context) (bool, error)) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		done, err := check(ctx)
		last = err
		if err != nil && !apierrors.IsNotFound(err) {
			return false, err
		}
		return done && err == nil, nil
	})
	if err != nil {
		t.Fatalf("%s: %v (last: %v)", what, err, last)
	}
}

func get() metav1.GetOptions { return metav1.GetOptions{} }

func create() metav1.CreateOptions { return metav1.CreateOptions{} }

func pointer[T any](v T) *T { return &v }

// childPid finds the process of a role.
func (l *lab) childPid(role string) (int, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err == nil && bytes.HasPrefix(data, []byte("lab\x00"+role+"\x00")) && bytes.Contains(data, []byte(l.dir+"/")) {
			return strconv.Atoi(strings.Split(path, "/")[2])
		}
	}
	return 0, fmt.Errorf("%s does not run", role)
}
