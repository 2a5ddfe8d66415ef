package stream

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pipectl.dev/treecopy"
	"pipectl.dev/treecopy/treetest"
)

// liar changes what a tree tells.
type liar struct {
	treecopy.Remote
	list func(dir string, l *treecopy.Listing)
	open func(f *liarFile)
}

func (l liar) List(ctx context.Context, dir string, cross bool) (*treecopy.Listing, error) {
	out, err := l.Remote.List(ctx, dir, cross)
	if err == nil && l.list != nil {
		l.list(dir, out)
	}
	return out, err
}

func (l liar) Open(ctx context.Context, dir, name string, cross bool, h treecopy.Hash) (treecopy.RemoteFile, error) {
	f, err := l.Remote.Open(ctx, dir, name, cross, h)
	if err != nil || l.open == nil {
		return f, err
	}
	lf := &liarFile{RemoteFile: f}
	lf.st, _ = f.Opened()
	l.open(lf)
	return lf, nil
}

type liarFile struct {
	treecopy.RemoteFile
	st    treecopy.Stat
	shift int64
	flip  bool
}

func (f *liarFile) Opened() (treecopy.Stat, []treecopy.Attr) {
	_, attrs := f.RemoteFile.Opened()
	return f.st, attrs
}

func (f *liarFile) Next() (int64, []byte, error) {
	off, b, err := f.RemoteFile.Next()
	if f.flip && len(b) > 0 {
		b[0] ^= 1
	}
	return off + f.shift, b, err
}

func TestASenderThatLiesReachesNothingOutsideOfTheTarget(t *testing.T) {
	file := func(name string) treecopy.RemoteEntry {
		return treecopy.RemoteEntry{Name: name, Stat: treecopy.Stat{Mode: unix.S_IFREG | 0o644, Nlink: 1}}
	}
	first := func(l *treecopy.Listing, name string) {
		l.Entries = append([]treecopy.RemoteEntry{file(name)}, l.Entries...)
	}
	for name, x := range map[string]liar{
		"a name that leads up":           {list: func(_ string, l *treecopy.Listing) { first(l, "..") }},
		"a name that is a path":          {list: func(_ string, l *treecopy.Listing) { first(l, "../escaped") }},
		"a name from the root":           {list: func(_ string, l *treecopy.Listing) { first(l, "/tmp/escaped") }},
		"no name":                        {list: func(_ string, l *treecopy.Listing) { first(l, "") }},
		"a name with a NUL":              {list: func(_ string, l *treecopy.Listing) { first(l, "a\x00b") }},
		"a name that is too long":        {list: func(_ string, l *treecopy.Listing) { first(l, string(make([]byte, 300))) }},
		"a name twice":                   {list: func(_ string, l *treecopy.Listing) { l.Entries = append(l.Entries, l.Entries[len(l.Entries)-1]) }},
		"a size below 0":                 {list: func(_ string, l *treecopy.Listing) { l.Entries[0].Stat.Size = -1 }},
		"a file of a size below 0":       {open: func(f *liarFile) { f.st.Size = -5 }},
		"data before the beginning":      {open: func(f *liarFile) { f.shift = -1 }},
		"data beyond the end":            {open: func(f *liarFile) { f.shift = 1 << 40 }},
		"data that is not what was read": {open: func(f *liarFile) { f.flip = true }},
	} {
		t.Run(name, func(t *testing.T) {
			base := scratch(t)
			src, dst := filepath.Join(base, "src"), filepath.Join(base, "in", "dst")
			must(t, treetest.JenkinsHome(src, treetest.Options{Files: 60, Seed: 1}))
			must(t, os.Mkdir(filepath.Dir(dst), 0o755))
			tree, err := treecopy.OpenTree(src)
			must(t, err)
			x.Remote = tree
			a, b := net.Pipe()
			served := make(chan error, 1)
			go func() { served <- Serve(context.Background(), a, x, Options{Identity: ident}) }()
			_, _, err = Receive(t.Context(), b, dst, Options{Identity: ident}, options(dst))
			if !errors.Is(err, treecopy.ErrLost) {
				t.Errorf("got %v", err)
			}
			<-served
			for _, dir := range []string{base, filepath.Dir(dst)} {
				if list, err := os.ReadDir(dir); err != nil || len(list) > 2 {
					t.Errorf("%s holds %v, %v", dir, list, err)
				}
			}
			if m, err := treecopy.ReadMarker(dst); err != nil || m.State == treecopy.MarkerComplete {
				t.Errorf("marker %+v, %v", m, err)
			}
		})
	}
}

func TestAReceiverCannotReadOutsideOfTheSource(t *testing.T) {
	base := scratch(t)
	src := filepath.Join(base, "src")
	must(t, os.MkdirAll(filepath.Join(src, "dir"), 0o755))
	must(t, os.WriteFile(filepath.Join(base, "secret"), []byte("secret"), 0o644))
	must(t, os.Symlink(base, filepath.Join(src, "link")))
	must(t, os.Symlink("../secret", filepath.Join(src, "file")))
	for _, x := range [][2]string{{"..", "secret"}, {"dir/../..", "secret"}, {"/", "etc"}, {base, "secret"}, {"", "dir"}, {"dir", "../../secret"}, {".", "../secret"}, {"link", "secret"},
		{".", "file"}, {"dir/./..", "x"}, {"a\x00b", "x"}, {".", "link/secret"}} {
		conn, served := ends(t, src, same)
		from, err := Connect(t.Context(), conn, Options{Identity: ident})
		must(t, err)
		if f, err := from.Open(t.Context(), x[0], x[1], true, treecopy.XXH3); err == nil {
			t.Errorf("opened %q: %v", x, f)
		}
		if sum, err := from.Sum(t.Context(), x[0], x[1], 6, treecopy.XXH3); err == nil {
			t.Errorf("hashed %q: %x", x, sum)
		}
		if x[0] != "." && x[0] != "dir" {
			if l, err := from.List(t.Context(), x[0], true); err == nil {
				t.Errorf("listed %q: %+v", x, l)
			}
		}
		_ = from.Close()
		<-served
	}
}

// recorder keeps what one side says.
type recorder struct {
	io.ReadWriteCloser
	mu   sync.Mutex
	said bytes.Buffer
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.ReadWriteCloser.Read(p)
	r.mu.Lock()
	r.said.Write(p[:n])
	r.mu.Unlock()
	return n, err
}

// TestGarbageIsAnErrorForBothSides damages what a sender said, and feeds both sides with noise. Nothing panics, hangs or leaves the target.
func TestGarbageIsAnErrorForBothSides(t *testing.T) {
	r := seed(t)
	base := scratch(t)
	src, dst := filepath.Join(base, "src"), filepath.Join(base, "dst")
	must(t, treetest.JenkinsHome(src, treetest.Options{Files: 60, Seed: 1}))
	var rec *recorder
	_, err := receive(t, src, dst, options(dst), func(c io.ReadWriteCloser) io.ReadWriteCloser {
		rec = &recorder{ReadWriteCloser: c}
		return rec
	})
	must(t, err)
	whole := rec.said.Bytes()
	for range 150 {
		said := bytes.Clone(whole)
		for range 1 + r.IntN(5) {
			said[len(magic)+r.IntN(len(said)-len(magic))] ^= byte(1 + r.IntN(255))
		}
		if r.IntN(3) == 0 {
			said = said[:r.IntN(len(said))]
		}
		must(t, os.RemoveAll(dst))
		feed(t, said, func(ctx context.Context, c io.ReadWriteCloser) error {
			_, _, err := Receive(ctx, c, dst, Options{Identity: ident}, options(dst))
			return err
		})
	}
	tree, err := treecopy.OpenTree(src)
	must(t, err)
	for range 150 {
		feed(t, requests(r), func(ctx context.Context, c io.ReadWriteCloser) error {
			return Serve(ctx, c, tree, Options{Identity: ident})
		})
	}
	if list, err := os.ReadDir(base); err != nil || len(list) != 2 {
		t.Errorf("beside the target: %v, %v", list, err)
	}
}

// feed says something to one side, takes all that it answers, and hangs up.
func feed(t *testing.T, said []byte, side func(context.Context, io.ReadWriteCloser) error) {
	t.Helper()
	a, b := net.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	go func() {
		go func() { _, _ = io.Copy(io.Discard, b) }()
		_, _ = b.Write(said)
		_ = b.Close()
	}()
	if err := side(ctx, a); ctx.Err() != nil { // what was damaged may still say something
		t.Errorf("it hangs: %v", err)
	}
}

// requests are frames of which nothing is right but the framing.
func requests(r *rand.Rand) []byte {
	var e encoder
	e.bytes([]byte(`{"identity":"` + ident + `"}`))
	out := append([]byte(magic), blockOf(kindHello, e.b)...)
	for range 20 {
		b := make([]byte, r.IntN(60))
		for i := range b {
			b[i] = byte(r.IntN(256) >> (r.IntN(2) * 5))
		}
		out = append(out, blockOf(byte(r.IntN(kindFailed+2)), b)...)
	}
	return out
}

func blockOf(kind byte, payload []byte) []byte {
	raw := append(binary.LittleEndian.AppendUint32(nil, uint32(len(payload))), kind)
	raw = append(raw, payload...)
	out := binary.LittleEndian.AppendUint32([]byte{blockPlain}, uint32(len(raw)))
	return append(binary.LittleEndian.AppendUint32(out, uint32(len(raw))), raw...)
}

func TestABlockLargerThanAgreedIsRefused(t *testing.T) {
	for name, head := range map[string][]byte{
		"on the wire": append(binary.LittleEndian.AppendUint32([]byte{blockZstd}, maxBlock+1), 1, 0, 0, 0),
		"unpacked":    binary.LittleEndian.AppendUint32([]byte{blockZstd, 1, 0, 0, 0}, maxBlock+1),
		"kind":        {9, 1, 0, 0, 0, 1, 0, 0, 0},
	} {
		in := inlet{r: bytes.NewReader(append(head, make([]byte, 100)...))}
		if err := in.next(nil); !errors.Is(err, errBlock) {
			t.Errorf("%s: %v", name, err)
		}
	}
	o := newOutlet(io.Discard, true)
	o.gauge = gauge{on: true}
	bomb := o.pack(make([]byte, 2*maxBlock)) // unpacks to more than its head says
	head := binary.LittleEndian.AppendUint32([]byte{blockZstd}, uint32(len(bomb)))
	in := inlet{r: bytes.NewReader(append(binary.LittleEndian.AppendUint32(head, maxBlock), bomb...))}
	if err := in.next(nil); !errors.Is(err, errBlock) {
		t.Errorf("bomb: %v", err)
	}
}
