package results

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/kube"
	"pipectl.dev/kube/labtest"
	"pipectl.dev/steps"
)

// TestLeasesAreInTheNamespaceThatIsAskedFor has processes without AWS work on one stage: they meet where --lock-namespace or
// PIPECTL_LOCK_NAMESPACE says, and only there.
func TestLeasesAreInTheNamespaceThatIsAskedFor(t *testing.T) {
	kubeconfig := labtest.Cluster(t).Kubeconfig
	c := cluster(t, "lock-work")
	for _, namespace := range []string{"lock-flag", "lock-env"} {
		cluster(t, namespace)
	}
	pipectl, change := built(t), 0
	// process runs the verb on a pipeline of this name, where there is always something to do, and returns its exit code and what it said.
	process := func(t *testing.T, name, env string, args ...string) (int, string) {
		t.Helper()
		dir := t.TempDir()
		change++
		for file, text := range map[string]string{
			"pipectl.yaml": "apiVersion: pipectl.dev/v1\nkind: Pipeline\nmetadata: {name: " + name + "}\nspec:\n  stages: [{name: work, step: apply-manifests, with: {cluster: {kubeconfig: " + kubeconfig + "}, paths: [work.yaml]}}]\n",
			"work.yaml":    fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: %s, namespace: lock-work}, data: {change: \"%d\"}}\n", name, change),
		} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), pipectl, args...)
		var said bytes.Buffer
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &said, &said
		cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "AWS_EC2_METADATA_DISABLED=true", "PIPECTL_LOCK_NAMESPACE="+env)
		err := cmd.Run()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return exit.ExitCode(), said.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		return 0, said.String()
	}
	// lease tells where the one lease of a pipeline is, and its key.
	lease := func(t *testing.T, name string) (namespace, key string) {
		t.Helper()
		all, err := c.Typed.CoordinationV1().Leases("").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var places []string
		for _, l := range all.Items {
			if k := l.Annotations["pipectl.dev/lock"]; strings.Contains(k, name) {
				places, namespace, key = append(places, l.Namespace), l.Namespace, k
			}
		}
		if len(places) != 1 {
			t.Fatalf("leases of %s are in %v", name, places)
		}
		return namespace, key
	}
	for name, test := range map[string]struct {
		env  string
		args []string
		want string
	}{
		"nowhere": {want: "default"},
		"byflag":  {args: []string{"--lock-namespace", "lock-flag"}, want: "lock-flag"},
		"byenv":   {env: "lock-env", want: "lock-env"},
		"byboth":  {env: "lock-env", args: []string{"--lock-namespace", "lock-flag"}, want: "lock-flag"},
	} {
		t.Run(name, func(t *testing.T) {
			run := append([]string{"run", "--yes", "--lock-wait", "0s"}, test.args...)
			if code, said := process(t, name, test.env, run...); code != 0 {
				t.Fatalf("exit %d: %s", code, said)
			}
			got, key := lease(t, name)
			if got != test.want {
				t.Fatalf("the lease is in %s, want %s", got, test.want)
			}
			taken(t, c, got, key)
			if code, said := process(t, name, test.env, run...); code != 12 || !strings.Contains(said, "somebody") {
				t.Errorf("while somebody holds it: exit %d: %s", code, said)
			}
			if code, said := process(t, name, "elsewhere", "unlock"); code != 0 || strings.Contains(said, "somebody") {
				t.Errorf("unlock in another namespace: exit %d: %s", code, said)
			}
			if code, said := process(t, name, test.env, append([]string{"unlock"}, test.args...)...); code != 0 || !strings.Contains(said, "somebody") {
				t.Errorf("unlock: exit %d: %s", code, said)
			}
			if code, said := process(t, name, test.env, run...); code != 0 {
				t.Errorf("after that: exit %d: %s", code, said)
			}
		})
	}
}

// taken lets somebody hold a lease until the test ends.
func taken(t *testing.T, c *kube.Client, namespace, key string) {
	t.Helper()
	held, err := c.Locks(namespace).Lock(t.Context(), key, steps.Holder{RunID: "another", Who: "somebody", Host: "elsewhere"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = held.Release(context.WithoutCancel(t.Context())) }) // may have been unlocked
}
