package results

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pipectl.dev/engine"
	"pipectl.dev/kube/labtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
)

const twoStages = `apiVersion: pipectl.dev/v1
kind: Pipeline
metadata: {name: relay}
spec:
  stages:
    - name: first
      step: apply-manifests
      with: {cluster: {kubeconfig: KUBECONFIG}, paths: [first.yaml]}
    - name: second
      step: apply-manifests
      with:
        cluster: {kubeconfig: KUBECONFIG}
        paths: [second.yaml]
        set: [{kind: ConfigMap, name: second, field: data.after, value: "${{ stages.first.outputs.applied[0] }}"}]
`

// built is the path of a pipectl that was just built.
func built(t *testing.T) string {
	t.Helper()
	pipectl := filepath.Join(t.TempDir(), "pipectl")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", pipectl, "pipectl.dev/cmd/pipectl").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return pipectl
}

// TestOneRunGoesOnInAnotherProcess runs the first stage in one process, as a Jenkins stage does, and the rest in another one, in another
// directory: a hook, or a laptop. All that they share is the place of the results.
func TestOneRunGoesOnInAnotherProcess(t *testing.T) {
	kubeconfig := labtest.Cluster(t).Kubeconfig
	cluster(t, "relay")
	c, _ := account(t, emulator.Options{})
	srv := httptest.NewServer(c)
	t.Cleanup(srv.Close)
	pipectl := built(t)
	env := append(os.Environ(), "KUBECONFIG="+kubeconfig, "AWS_ENDPOINT_URL="+srv.URL, "AWS_ACCESS_KEY_ID="+emulator.FixtureAccessKey,
		"AWS_SECRET_ACCESS_KEY="+emulator.FixtureSecretKey, "AWS_REGION="+emulator.FixtureRegion, "AWS_EC2_METADATA_DISABLED=true")
	// process runs pipectl in a workspace of its own and returns its stdout.
	process := func(t *testing.T, args ...string) []byte {
		t.Helper()
		dir := t.TempDir()
		for name, text := range map[string]string{
			"pipectl.yaml": strings.ReplaceAll(twoStages, "KUBECONFIG", kubeconfig),
			"first.yaml":   "{apiVersion: v1, kind: ConfigMap, metadata: {name: first, namespace: relay}}\n",
			"second.yaml":  "{apiVersion: v1, kind: ConfigMap, metadata: {name: second, namespace: relay}, data: {after: none}}\n",
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), pipectl, args...)
		var said bytes.Buffer
		cmd.Dir, cmd.Env, cmd.Stderr = dir, env, &said
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, said.String())
		}
		return out
	}
	run := func(t *testing.T, args ...string) (r engine.RunResult) {
		t.Helper()
		if err := json.Unmarshal(process(t, append([]string{"run", "--yes", "-o", "json"}, args...)...), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	for name, place := range map[string]string{
		"a directory": t.TempDir(),
		"a ConfigMap": "configmap://relay/results",
		"a bucket":    "s3://stages/relay",
	} {
		t.Run(name, func(t *testing.T) {
			first := run(t, "--results", place, "--stage", "first")
			rest := run(t, "--results", place, "--resume")
			if rest.RunID != first.RunID {
				t.Errorf("the second process made run %s of its own, not %s", rest.RunID, first.RunID)
			}
			if got := rest.Stages[0]; got.Stage != "first" || got.Status != steps.Skipped {
				t.Errorf("first is done again: %+v", got)
			}
			if got := rest.Stages[1]; got.Stage != "second" || got.Status != steps.Succeeded && got.Status != steps.Skipped {
				t.Errorf("second: %+v", got)
			}
			if got := strings.TrimSpace(string(process(t, "result", "get", "first.applied.0", "--results", place))); got != "ConfigMap relay/first" {
				t.Errorf("a third process reads %q", got)
			}
		})
	}
}
