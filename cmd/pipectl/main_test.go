package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write generated docs and golden files")

func TestMain(m *testing.M) {
	os.Exit(testscript.RunMain(m, map[string]func() int{"pipectl": func() int {
		return run(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr, os.LookupEnv)
	}}))
}

// TestScripts shows what a user sees: streams, exit codes, messages.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:           filepath.Join("testdata", "script"),
		UpdateScripts: *update,
		Cmds:          map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
		Setup: func(e *testscript.Env) error {
			// Nothing of the machine's own may be found: no credentials, no cluster, no metadata service.
			e.Setenv("AWS_EC2_METADATA_DISABLED", "true")
			e.Setenv("AWS_CONFIG_FILE", filepath.Join(e.WorkDir, "none"))
			e.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(e.WorkDir, "none"))
			e.Setenv("KUBECONFIG", filepath.Join(e.WorkDir, "none"))
			e.Setenv("XDG_CACHE_HOME", filepath.Join(e.WorkDir, "cache"))
			const inline = "{apiVersion: pipectl.dev/v1, kind: Pipeline, metadata: {name: p}, spec: {stages: [{name: a, step: apply-manifests, with: {cluster: {context: x}, %s: [pipeline.yaml]}}]}}"
			e.Setenv("INLINE", fmt.Sprintf(inline, "paths"))
			e.Setenv("BROKEN", fmt.Sprintf(inline, "pahts"))
			return nil
		},
	})
}

// exits CODE COMMAND ARGS... runs a command and checks its exit code; testscript itself only tells success from failure.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARGS...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := "0"
	if err != nil {
		code = exitCode(err)
	}
	if code != args[0] {
		ts.Fatalf("exit code %s, want %s", code, args[0])
	}
}

func exitCode(err error) string {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return strconv.Itoa(exit.ExitCode())
	}
	return err.Error()
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (make update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is out of date (make update writes it again):\n%s", path, diff)
	}
}
