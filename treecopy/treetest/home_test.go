package treetest_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/treecopy/treetest"
)

// list renders a tree as path -> "mode mtime size hash|target", by means of its own.
func list(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		body := ""
		switch {
		case fi.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			body = fmt.Sprintf("%x", sha256.Sum256(b))
		case fi.Mode()&fs.ModeSymlink != 0:
			body, _ = os.Readlink(p)
		}
		rel, _ := filepath.Rel(dir, p)
		out[rel] = fmt.Sprintf("%v %d %s", fi.Mode(), fi.ModTime().UnixNano(), body)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSameSeedGivesTheSameTree(t *testing.T) {
	a, b, c := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b"), filepath.Join(t.TempDir(), "c")
	for dir, seed := range map[string]int64{a: 7, b: 7, c: 8} {
		if err := treetest.JenkinsHome(dir, treetest.Options{Files: 1500, Seed: seed}); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(list(t, a), list(t, b)); d != "" {
		t.Errorf("same seed, different trees:\n%s", d)
	}
	if cmp.Equal(list(t, a), list(t, c)) {
		t.Error("different seeds gave equal trees")
	}
}

func TestShapeOfAHome(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "home")
	s, err := treetest.JenkinsHomeStats(dir, treetest.Options{Files: 8000, Seed: 1, TokenSHA256: []string{"ab"}})
	if err != nil {
		t.Fatal(err)
	}
	got := list(t, dir)
	if n := s.Files + s.Dirs + s.Symlinks + 1; n != len(got) {
		t.Errorf("stats count %d entries, the tree has %d", n, len(got))
	}
	if s.Files < 7840 || s.Files > 8160 {
		t.Errorf("files = %d, want 8000 within 2 %%", s.Files)
	}
	if mean := s.Bytes / int64(s.Files); mean < 6<<10 || mean > 32<<10 {
		t.Errorf("mean file size = %d, want 6 to 32 KiB", mean)
	}
	if r := float64(s.Dirs) / float64(s.Files); r < 0.07 || r > 0.16 {
		t.Errorf("directories per file = %.3f, want about 0.1", r)
	}
	for name, mode := range map[string]string{
		"secrets": "drwx------", "secrets/master.key": "-rw-------", "config.xml": "-rw-r--r--", "plugins/git.jpi": "-rw-r--r--",
		"plugins/git/META-INF/MANIFEST.MF": "-rw-r--r--", "jobs/service-00/nextBuildNumber": "-rw-r--r--", "users/tokens.sha256": "-rw-------",
		"jobs/platform/jobs/backend/jobs/service-02/builds/1/workflow/2.xml": "-rw-r--r--", "jobs/service-00/lastSuccessful": "Lrwxrwxrwx",
	} {
		if len(got[name]) < len(mode) || got[name][:len(mode)] != mode {
			t.Errorf("%s: %q, want mode %s", name, got[name], mode)
		}
	}
}

func TestAnOccupiedDirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := treetest.JenkinsHome(dir, treetest.Options{Files: 100}); err == nil {
		t.Error("wrote into a directory that is not empty")
	}
}

func BenchmarkJenkinsHome(b *testing.B) {
	for b.Loop() {
		if err := treetest.JenkinsHome(filepath.Join(b.TempDir(), "home"), treetest.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
