package treecopy

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// The comparer of these tests shares no code with the engine: it uses package os and its own reading of attributes.

// seen is one entry as the comparer sees it.
type seen struct {
	Mode   string
	Owner  string
	MTime  string
	Size   int64
	Body   string // hash, or target of a link
	Attrs  string
	Linked string // all names of the same file, when it has several in the tree
}

// snapshot reads a tree. Records of a copy and sockets, which are not copied, are left out.
func snapshot(t testing.TB, root string) map[string]seen {
	t.Helper()
	out := map[string]seen{}
	names := map[uint64][]string{}
	inos := map[string]uint64{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		fi, err := os.Lstat(p)
		if err != nil {
			return err
		}
		if fi.Mode()&fs.ModeSocket != 0 || rel == MarkerName || rel == ManifestName {
			return nil
		}
		st := fi.Sys().(*syscall.Stat_t)
		s := seen{Mode: fi.Mode().String(), Owner: fmt.Sprintf("%d:%d", st.Uid, st.Gid), MTime: fmt.Sprintf("%d.%09d", st.Mtim.Sec, st.Mtim.Nsec)}
		switch {
		case fi.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			s.Size, s.Body = int64(len(b)), fmt.Sprintf("%x", sha256.Sum256(b))
			names[st.Ino] = append(names[st.Ino], rel)
			inos[rel] = st.Ino
		case fi.Mode()&fs.ModeSymlink != 0:
			if s.Body, err = os.Readlink(p); err != nil {
				return err
			}
		}
		s.Attrs = attrText(t, p)
		out[rel] = s
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for rel, ino := range inos {
		if len(names[ino]) > 1 {
			slices.Sort(names[ino])
			s := out[rel]
			s.Linked = strings.Join(names[ino], "\x00")
			out[rel] = s
		}
	}
	return out
}

func attrText(t testing.TB, path string) string {
	buf := make([]byte, 4096)
	n, err := unix.Llistxattr(path, buf)
	if err == unix.ENOTSUP {
		return ""
	}
	if err != nil {
		t.Fatalf("list attributes of %q: %v", path, err)
	}
	var lines []string
	for _, name := range bytes.Split(buf[:n], []byte{0}) {
		if len(name) == 0 || bytes.HasPrefix(name, []byte("security.selinux")) {
			continue
		}
		v := make([]byte, 4096)
		k, err := unix.Lgetxattr(path, string(name), v)
		if err != nil {
			t.Fatalf("attribute %s of %q: %v", name, path, err)
		}
		lines = append(lines, fmt.Sprintf("%s=%x", name, v[:k]))
	}
	slices.Sort(lines)
	return strings.Join(lines, ";")
}

// mustEqual compares two trees, the roots' own times included.
func mustEqual(t testing.TB, src, dst string) {
	t.Helper()
	if d := cmp.Diff(snapshot(t, src), snapshot(t, dst)); d != "" {
		t.Fatalf("source and target differ (-source +target):\n%s", d)
	}
}

// noTemps fails when a temporary file of any run is left.
func noTemps(t testing.TB, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(filepath.Base(p), TempPrefix) {
			t.Errorf("left over: %s", p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// scratch gives a directory on tmpfs where there is one: it knows attributes, ACLs and holes, and is quick.
func scratch(t testing.TB) string {
	t.Helper()
	base := ""
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() && unix.Access("/dev/shm", unix.W_OK) == nil {
		base = "/dev/shm"
	}
	dir, err := os.MkdirTemp(base, "treecopy-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeTree(t, dir) })
	return dir
}

// removeTree also removes what its owner may not enter.
func removeTree(t testing.TB, dir string) {
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(p, 0o700)
		}
		return nil
	})
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}

// tree is a source and a target that is not there yet.
func tree(t testing.TB, files map[string]string) (src, dst string) {
	t.Helper()
	base := scratch(t)
	src, dst = filepath.Join(base, "src"), filepath.Join(base, "dst")
	must(t, os.Mkdir(src, 0o755))
	for name, body := range files {
		p := filepath.Join(src, name)
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		if strings.HasSuffix(name, "/") {
			must(t, os.MkdirAll(p, 0o755))
			continue
		}
		must(t, os.WriteFile(p, []byte(body), 0o644))
	}
	return src, dst
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// copyOK runs a pass that must succeed.
func copyOK(t testing.TB, src, dst string, o Options) *Report {
	t.Helper()
	rep, err := Copy(t.Context(), src, dst, o)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}
