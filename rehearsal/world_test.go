package rehearsal

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"pipectl.dev/kube/labtest"
)

// newWorld is what a pipeline presupposes, on real control planes, until the test ends. The client is built from this tree.
func newWorld(t *testing.T, o outline, file string) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real control plane")
	}
	lab := os.Getenv(labtest.Env)
	if lab == "" {
		t.Fatal(labtest.Env + " is not set: it must be the path of the built lab binary (make lab); with -short this test is left out")
	}
	parent := memoryDir()
	dir, err := os.MkdirTemp(parent, "pipectl-world-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	self := filepath.Join(dir, "pipectl")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", self, "pipectl.dev/cmd/pipectl").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	opts := Options{File: file, Lab: lab, Self: self, Speed: defaultSpeed, Stdout: t.Output(), Stderr: t.Output(), Getenv: func(string) string { return "" }}
	for name, value := range o.Values {
		opts.Run = append(opts.Run, "--param", name+"="+value)
	}
	w, err := build(t.Context(), opts, o, dir)
	t.Cleanup(w.close)
	if err != nil {
		t.Fatal(err)
	}
	return w
}
