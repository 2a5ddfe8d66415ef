package rehearsal

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"pipectl.dev/pipelines"
)

// makeRepo writes the example Git repository to dir, with every mention of the URL it stands for replaced by its own, and commits it.
func makeRepo(ctx context.Context, dir, stands string) error {
	content, err := fs.Sub(pipelines.Files, "gitops/repo")
	if err != nil {
		return err
	}
	err = fs.WalkDir(content, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := fs.ReadFile(content, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, bytes.ReplaceAll(raw, []byte(stands), []byte(fileURL(dir))), 0o644)
	})
	if err != nil {
		return err
	}
	return commitAll(ctx, dir)
}

// commitAll makes a directory a Git repository with one commit.
func commitAll(ctx context.Context, dir string) error {
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"},
		{"add", "."},
		{"commit", "--quiet", "-m", "Applications of the rehearsal"},
	} {
		if err := git(ctx, dir, args...); err != nil {
			return err
		}
	}
	return nil
}

func fileURL(dir string) string { return "file://" + dir }

// git runs git in dir, apart from the configuration of whoever rehearses: their hooks and signing keys are none of our business.
func git(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=rehearsal", "GIT_AUTHOR_EMAIL=rehearsal@localhost", "GIT_COMMITTER_NAME=rehearsal", "GIT_COMMITTER_EMAIL=rehearsal@localhost")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}
