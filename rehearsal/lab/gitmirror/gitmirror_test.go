package gitmirror

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pipectl.dev/rehearsal/lab/pki"
)

func TestParse(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ pair, path, err string }{
		"a URL":                     {"https://github.com/me/blog=" + dir, "/me/blog", ""},
		"a URL with .git":           {"https://github.com/me/blog.git=" + dir, "/me/blog", ""},
		"no directory given":        {"https://github.com/me/blog", "", "want URL=DIR"},
		"a directory that is not":   {"https://github.com/me/blog=" + dir + "/none", "", "is no directory"},
		"a URL without TLS":         {"http://github.com/me/blog=" + dir, "", "want an https URL"},
		"a host without repository": {"https://github.com=" + dir, "", "want an https URL"},
	} {
		m, err := Parse(c.pair)
		if c.err == "" && (err != nil || m.Path != c.path || m.Host != "github.com") || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

// TestGit drives the proxy with the real Git client.
func TestGit(t *testing.T) {
	dir := t.TempDir()
	repository := filepath.Join(dir, "repository")
	run(t, nil, "init", "-q", "-b", "main", repository)
	run(t, nil, "-C", repository, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "--allow-empty", "-m", "first")
	authority, err := pki.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(dir, "ca.crt")
	if err := os.WriteFile(ca, authority.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := Start(listener, []Mirror{{Host: "github.test", Path: "/me/blog", Dir: repository}}, authority, filepath.Join(dir, "gitconfig"))
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	env := []string{"HTTPS_PROXY=http://" + listener.Addr().String(), "GIT_SSL_CAINFO=" + ca, "HOME=" + dir, "GIT_TERMINAL_PROMPT=0"}
	head := strings.TrimSpace(run(t, nil, "-C", repository, "rev-parse", "HEAD"))
	for _, url := range []string{"https://github.test/me/blog", "https://github.test/me/blog.git"} {
		if got := run(t, env, "ls-remote", url, "refs/heads/main"); !strings.HasPrefix(got, head) {
			t.Errorf("ls-remote %s: %q, want %s", url, got, head)
		}
	}
	clone := filepath.Join(dir, "clone")
	run(t, env, "clone", "-q", "https://github.test/me/blog", clone)
	for what, args := range map[string][]string{
		"a repository that is not mirrored": {"ls-remote", "https://github.test/me/other"},
		"another host":                      {"ls-remote", "https://gitlab.test/me/blog"},
		"a push":                            {"-C", clone, "push", "-q", "origin", "HEAD:refs/heads/x"},
	} {
		cmd := exec.Command("git", args...)
		cmd.Env = append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err == nil {
			t.Errorf("%s worked: %s", what, out)
		}
	}
}

func run(t *testing.T, env []string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v: %s", args, err, out)
	}
	return string(out)
}
