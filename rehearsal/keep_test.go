package rehearsal

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pipectl.dev/rehearsal/aws"
)

// A user who sources the file must end up with what the rehearsal's own client was given, and keep the own HOME and PATH.
func TestAKeptWorldTellsAllThatAClientNeeds(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's here")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	w := &world{
		dir: dir, baseURL: "http://127.0.0.1:1", access: aws.AccessKey{ID: "id", Secret: "hidden"},
		secrets: map[string]string{"JENKINS_TOKEN": "a'b $c"}, repos: map[string]string{"gitOps": dir + "/git"},
		opts: Options{File: "/x/blog.yaml", Self: "/x/pipectl", Speed: 60, Stderr: &said, Getenv: func(string) string { return "/elsewhere" }},
	}
	if err := w.explainKeep(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(said.String(), "hidden") {
		t.Error("a key stands on the terminal:", said.String())
	}
	source, _, _ := strings.Cut(said.String()[strings.Index(said.String(), "  . "):], "\n")
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", source+"\nenv")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TERM=mine", "HOME=/mine", "AWS_PROFILE=work", "AWS_SESSION_TOKEN=old"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got := strings.Split(string(out), "\n")
	want := []string{
		"HOME=/mine", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "KUBECONFIG=" + dir + "/home/.kube/config", "AWS_ENDPOINT_URL=http://127.0.0.1:1", "AWS_ACCESS_KEY_ID=id",
		"AWS_SECRET_ACCESS_KEY=hidden", "PIPECTL_SPEED=60", "PIPECTL_MOVER_IMAGE=pipectl:rehearsal", "PIPECTL_MIRRORS=" + w.mirrors(),
		"JENKINS_TOKEN=a'b $c", "PIPECTL_PARAM_GIT_OPS=file://" + dir + "/git", "TERM=mine",
	}
	for _, g := range got {
		if strings.HasPrefix(g, "AWS_PROFILE=") || strings.HasPrefix(g, "AWS_SESSION_TOKEN=") {
			t.Errorf("still set: %s", g)
		}
	}
	for _, line := range want {
		found := false
		for _, g := range got {
			found = found || g == line
		}
		if !found {
			t.Errorf("not set: %s", line)
		}
	}
}
