//go:build conformance

package conformance

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	emulator "pipectl.dev/rehearsal/aws"
)

// venv is where `make conformance` installed moto and the aws CLI.
func venv(t *testing.T, program string) string {
	t.Helper()
	dir := os.Getenv("PIPECTL_CONFORMANCE")
	if dir == "" {
		t.Fatal("PIPECTL_CONFORMANCE names no virtual environment: run `make conformance`")
	}
	return filepath.Join(dir, "bin", program)
}

// startMoto runs a moto server on a free port until the test ends.
func startMoto(t *testing.T) *url.URL {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command(venv(t, "moto_server"), "-H", "127.0.0.1", "-p", port)
	cmd.Env = append(os.Environ(), "MOTO_ACCOUNT_ID="+emulator.FixtureAccount, "MOTO_IAM_LOAD_MANAGED_POLICIES=true")
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() { gone <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-gone
	})
	await(t, addr, gone, &said)
	return &url.URL{Scheme: "http", Host: addr}
}

// await returns when addr answers.
func await(t *testing.T, addr string, gone <-chan error, said *bytes.Buffer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if resp, err := http.Get("http://" + addr + "/moto-api/data.json"); err == nil {
			_ = resp.Body.Close()
			return
		}
		select {
		case err := <-gone:
			t.Fatalf("moto ended: %v\n%s", err, said)
		case <-ctx.Done():
			t.Fatal("moto does not answer")
		case <-tick.C:
		}
	}
}

// client is the product's binary as a user has it, with a directory of its own.
type client struct {
	dir string
	env []string
}

func newClient(t *testing.T, endpoint string) client {
	t.Helper()
	dir := t.TempDir()
	return client{dir: dir, env: append(os.Environ(),
		"AWS_ENDPOINT_URL="+endpoint, "AWS_REGION="+emulator.FixtureRegion, "AWS_DEFAULT_REGION="+emulator.FixtureRegion,
		"AWS_ACCESS_KEY_ID="+emulator.FixtureAccessKey, "AWS_SECRET_ACCESS_KEY="+emulator.FixtureSecretKey,
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "AWS_EC2_METADATA_DISABLED=true",
		"PIPECTL_SPEED=1000", "HOME="+dir, "NO_COLOR=1")}
}

// pipectl runs one verb on the pipeline and gives what it wrote to stdout.
func (c client) pipectl(t *testing.T, verb string, args ...string) string {
	t.Helper()
	binary, err := filepath.Abs("../../../bin/pipectl")
	if err != nil {
		t.Fatal(err)
	}
	file, err := filepath.Abs("testdata/pipeline.yaml")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append(append([]string{verb}, args...), file)...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.dir, c.env, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("pipectl %s: %v\n%s\n%s", verb, err, &stdout, tail(stderr.String()))
	}
	return stdout.String()
}

func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return fmt.Sprint(strings.Join(lines[max(0, len(lines)-30):], "\n"))
}
