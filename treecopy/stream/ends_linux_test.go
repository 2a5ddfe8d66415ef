package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"pipectl.dev/treecopy"
	"pipectl.dev/treecopy/treetest"
)

const ident = "home of jenkins"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// seed is random and told, or PIPECTL_SEED.
func seed(t *testing.T) *rand.Rand {
	t.Helper()
	n := rand.Uint64()
	if text := os.Getenv("PIPECTL_SEED"); text != "" {
		var err error
		n, err = strconv.ParseUint(text, 10, 64)
		must(t, err)
	}
	t.Logf("PIPECTL_SEED=%d", n)
	return rand.New(rand.NewPCG(n, 0))
}

// scratch is on tmpfs where there is one, which knows attributes and holes.
func scratch(t testing.TB) string {
	t.Helper()
	base := ""
	if unix.Access("/dev/shm", unix.W_OK) == nil {
		base = "/dev/shm"
	}
	dir, err := os.MkdirTemp(base, "stream-test-")
	must(t, err)
	t.Cleanup(func() {
		_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, _ error) error {
			if d != nil && d.IsDir() {
				_ = os.Chmod(p, 0o700)
			}
			return nil
		})
		must(t, os.RemoveAll(dir))
	})
	return dir
}

// randomTree is a Jenkins home with entries that one does not have.
func randomTree(t testing.TB, r *rand.Rand, dir string, files int) {
	t.Helper()
	must(t, treetest.JenkinsHome(dir, treetest.Options{Files: files, Seed: r.Int64()}))
	names := []string{"with space", "new\nline", "bad\xff\xfe", "per%cent", strings.Repeat("x", 255), "..dots", "-rf", "é"}
	for i := range 5 + r.IntN(20) {
		p := filepath.Join(dir, fmt.Sprintf("odd-%d", i))
		must(t, os.Mkdir(p, 0o750))
		p = filepath.Join(p, names[r.IntN(len(names))])
		switch r.IntN(7) {
		case 0:
			must(t, unix.Mkfifo(p, 0o640))
		case 1:
			must(t, os.Symlink([]string{"/etc/passwd", "../..", "a b\n"}[r.IntN(3)], p))
		case 2: // sparse
			f, err := os.Create(p)
			must(t, err)
			must(t, f.Truncate(r.Int64N(8<<20)+1))
			_, err = f.WriteAt([]byte("island"), r.Int64N(4<<20))
			must(t, err)
			must(t, f.Close())
		case 3: // around the limits of what goes at once
			around := []int{0, 1, stretchSize, smallFile, window, window + maxFrame}[r.IntN(6)]
			body := make([]byte, max(0, around+r.IntN(3)-1))
			for i := range body {
				body[i] = byte(i * i >> 8)
			}
			must(t, os.WriteFile(p, body, 0o600))
		case 4:
			must(t, os.WriteFile(p, []byte("many names"), 0o604))
			must(t, os.Link(p, filepath.Join(dir, fmt.Sprintf("again-%d", i))))
		case 5:
			must(t, os.WriteFile(p, nil, 0o400))
			_ = unix.Setxattr(p, "user.note", []byte(names[r.IntN(len(names))]), 0) // where the file system knows such
		case 6:
			must(t, os.MkdirAll(filepath.Join(p, strings.Repeat("d/", 3+r.IntN(40))), 0o700))
		}
	}
}

const stretchSize = 128 << 10

// change does to a tree what a running Jenkins does.
func change(t testing.TB, r *rand.Rand, dir string, n int) {
	t.Helper()
	var files []string
	must(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, p)
		}
		return err
	}))
	for i := range n {
		p := files[r.IntN(len(files))]
		switch r.IntN(4) {
		case 0:
			_ = os.Remove(p) // it may be gone already
		case 1:
			_ = os.Remove(p)
			must(t, os.WriteFile(p, []byte(strconv.Itoa(i)), 0o644))
		case 2:
			must(t, os.WriteFile(filepath.Join(filepath.Dir(p), fmt.Sprintf("new-%d", i)), make([]byte, r.IntN(1<<20)), 0o644))
		case 3:
			_ = os.Chmod(p, 0o600)
		}
	}
}

func digest(t testing.TB, dir string) string {
	t.Helper()
	rep, err := treecopy.Digest(t.Context(), dir, treecopy.Options{})
	must(t, err)
	if rep.ManifestHash == "" {
		t.Fatal("no digest")
	}
	return rep.ManifestHash
}

func equal(t testing.TB, src, dst string) {
	t.Helper()
	if a, b := digest(t, src), digest(t, dst); a != b {
		t.Fatalf("source and target differ: %s, %s", a, b)
	}
}

// ends are the two ends of one connection, on which Serve answers.
func ends(t testing.TB, src string, wrap func(io.ReadWriteCloser) io.ReadWriteCloser) (conn io.ReadWriteCloser, served <-chan error) {
	t.Helper()
	tree, err := treecopy.OpenTree(src)
	must(t, err)
	a, b := net.Pipe()
	done := make(chan error, 1)
	go func() {
		err := Serve(context.Background(), a, tree, Options{Identity: ident})
		done <- errors.Join(err, tree.Close())
	}()
	return wrap(b), done
}

func same(c io.ReadWriteCloser) io.ReadWriteCloser { return c }

func options(dst string) treecopy.Options {
	return treecopy.Options{Delete: true, Source: ident, Manifest: filepath.Join(dst, treecopy.ManifestName)}
}

func receive(t testing.TB, src, dst string, o treecopy.Options, wrap func(io.ReadWriteCloser) io.ReadWriteCloser) (*treecopy.Report, error) {
	t.Helper()
	conn, served := ends(t, src, wrap)
	rep, _, err := Receive(t.Context(), conn, dst, Options{Identity: ident}, o)
	if serr := <-served; err == nil && serr != nil {
		t.Fatalf("the copy is done, but the sender says: %v", serr)
	}
	return rep, err
}

// cutter ends a connection after so many bytes, in whichever direction.
type cutter struct {
	io.ReadWriteCloser
	mu   sync.Mutex
	left int
}

func (c *cutter) spend(n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left -= n; c.left < 0 {
		_ = c.Close()
		return errors.New("cut")
	}
	return nil
}

func (c *cutter) Read(p []byte) (int, error) {
	n, err := c.ReadWriteCloser.Read(p[:min(len(p), 4096)])
	return n, errors.Join(err, c.spend(n))
}

func (c *cutter) Write(p []byte) (int, error) {
	if err := c.spend(len(p)); err != nil {
		return 0, err
	}
	return c.ReadWriteCloser.Write(p)
}
