package treecopy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// grower makes and changes random trees. rapid prints the seed of a failing one and shrinks it.
type grower struct {
	t     *rapid.T
	tb    testing.TB
	root  string
	dirs  []string // relative
	files []string
}

var awkward = []string{
	"plain", "with space", "-rf", "new\nline", "bad\xff\xfeutf8", "per%cent", "quote\"s'", "tab\t", "café", "日本語", "%41", "\x01", "back\\slash", "*", "..dots",
	strings.Repeat("x", 255), strings.Repeat("é", 127), ".hidden", "lost+found-not",
}

func (g *grower) name() string {
	n := rapid.SampledFrom(awkward).Draw(g.t, "name")
	if len(n) < 200 {
		n += rapid.StringMatching(`[a-c]{0,2}`).Draw(g.t, "suffix")
	}
	return n
}

// free gives a path that does not exist yet.
func (g *grower) free() string {
	p := filepath.Join(rapid.SampledFrom(g.dirs).Draw(g.t, "dir"), g.name())
	if _, err := os.Lstat(filepath.Join(g.root, p)); err == nil {
		return ""
	}
	return p
}

func (g *grower) grow(n int) {
	for range n {
		p := g.free()
		if p == "" {
			continue
		}
		full := filepath.Join(g.root, p)
		kind := rapid.SampledFrom([]string{"file", "file", "file", "dir", "dir", "link", "hard", "fifo", "socket", "sparse", "big"}).Draw(g.t, "kind")
		switch kind {
		case "dir":
			must(g.tb, os.Mkdir(full, 0o755))
			g.dirs = append(g.dirs, p)
		case "link":
			must(g.tb, os.Symlink(rapid.SampledFrom([]string{"x", "../..", "/etc/passwd", "a b\n", strings.Repeat("l", 4000), "."}).Draw(g.t, "target"), full))
		case "fifo":
			must(g.tb, unix.Mkfifo(full, 0o640))
		case "socket":
			must(g.tb, unix.Mknod(full, unix.S_IFSOCK|0o600, 0))
			continue
		case "hard":
			if len(g.files) == 0 {
				continue
			}
			must(g.tb, os.Link(filepath.Join(g.root, rapid.SampledFrom(g.files).Draw(g.t, "of")), full))
			g.files = append(g.files, p)
			continue
		default:
			g.write(full, kind)
			g.files = append(g.files, p)
		}
		g.dress(full, kind)
	}
}

func (g *grower) write(full, kind string) {
	f, err := os.Create(full)
	must(g.tb, err)
	switch kind {
	case "sparse":
		size := rapid.Int64Range(1, 3<<20).Draw(g.t, "size")
		must(g.tb, f.Truncate(size))
		_, err = f.WriteAt([]byte("island"), rapid.Int64Range(0, size).Draw(g.t, "at"))
	case "big":
		_, err = f.Write(make([]byte, rapid.IntRange(smallFile-2, smallFile+chunk+2).Draw(g.t, "size")))
	default:
		_, err = f.Write(rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(g.t, "body"))
	}
	must(g.tb, err)
	must(g.tb, f.Close())
}

// dress gives modes, owners, attributes, ACLs and times.
func (g *grower) dress(full, kind string) {
	root := os.Geteuid() == 0
	if root {
		must(g.tb, os.Lchown(full, rapid.IntRange(0, 3).Draw(g.t, "uid"), rapid.IntRange(0, 3).Draw(g.t, "gid")))
	}
	if kind != "link" && kind != "fifo" && rapid.IntRange(0, 5).Draw(g.t, "attr") == 0 {
		must(g.tb, unix.Chmod(full, 0o700))
		must(g.tb, unix.Setxattr(full, "user.note", []byte(rapid.StringN(0, 9, 30).Draw(g.t, "value")), 0))
		if kind == "dir" && rapid.Bool().Draw(g.t, "default acl") {
			must(g.tb, unix.Setxattr(full, aclDefault, acl, 0))
		}
		must(g.tb, unix.Setxattr(full, aclAccess, acl, 0))
	}
	if kind != "link" {
		mode := rapid.SampledFrom([]uint32{0o644, 0o600, 0o755, 0o4755, 0o2775, 0o1777, 0o000, 0o444, 0o555}).Draw(g.t, "mode")
		if !root {
			mode |= 0o400
		}
		if !root && kind == "dir" {
			mode |= 0o700
		}
		must(g.tb, unix.Chmod(full, mode))
	}
	when := time.Unix(rapid.Int64Range(-1000, 2_000_000_000).Draw(g.t, "sec"), rapid.Int64Range(0, 999_999_999).Draw(g.t, "nsec"))
	ts, err := unix.TimeToTimespec(when)
	must(g.tb, err)
	must(g.tb, unix.UtimesNanoAt(unix.AT_FDCWD, full, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
}

// acl is user::rw-, user:1:r--, group::r--, mask::r--, other::r-- in the kernel's form.
var acl = []byte{
	2, 0, 0, 0,
	1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff,
	2, 0, 4, 0, 1, 0, 0, 0,
	4, 0, 4, 0, 0xff, 0xff, 0xff, 0xff,
	16, 0, 4, 0, 0xff, 0xff, 0xff, 0xff,
	32, 0, 4, 0, 0xff, 0xff, 0xff, 0xff,
}

// change removes, rewrites, re-dresses, links and replaces entries.
func (g *grower) change(n int) {
	for range n {
		if len(g.files) == 0 {
			break
		}
		i := rapid.IntRange(0, len(g.files)-1).Draw(g.t, "which")
		full := filepath.Join(g.root, g.files[i])
		switch rapid.SampledFrom([]string{"remove", "rewrite", "dress", "replace", "become"}).Draw(g.t, "change") {
		case "remove":
			must(g.tb, os.Remove(full))
			g.files = append(g.files[:i], g.files[i+1:]...)
		case "rewrite":
			must(g.tb, os.Remove(full))
			g.write(full, "file")
		case "dress":
			g.dress(full, "file")
		case "replace": // by a copy of its own, with the same time: breaks hard links
			b, err := os.ReadFile(full)
			must(g.tb, err)
			fi, err := os.Stat(full)
			must(g.tb, err)
			must(g.tb, os.Remove(full))
			must(g.tb, os.WriteFile(full, b, 0o644))
			must(g.tb, os.Chtimes(full, fi.ModTime(), fi.ModTime()))
		case "become": // another kind of entry
			must(g.tb, os.Remove(full))
			must(g.tb, os.Mkdir(full, 0o755))
			must(g.tb, os.Chmod(full, 0o755)) // a default ACL may have taken the x
			g.write(filepath.Join(full, "inside"), "file")
			g.files = append(g.files[:i], g.files[i+1:]...)
		}
	}
	if len(g.dirs) > 1 && rapid.Bool().Draw(g.t, "remove a directory") {
		removeTree(g.tb, filepath.Join(g.root, g.dirs[1]))
		must(g.tb, os.WriteFile(filepath.Join(g.root, g.dirs[1]), []byte("now a file"), 0o644))
		g.dirs, g.files = []string{"."}, nil
	}
}

func TestAnyTreeArrivesEqualAndStaysEqualOverPasses(t *testing.T) { anyTree(t, copyOK) }

func TestAnyTreeArrivesEqualFromARemoteSource(t *testing.T) { anyTree(t, copyFromOK) }

// copyFromOK is copyOK by way of what a sender serves.
func copyFromOK(t testing.TB, src, dst string, o Options) *Report {
	t.Helper()
	tree, err := OpenTree(src)
	must(t, err)
	defer func() { must(t, tree.Close()) }()
	if o.Source == "" {
		o.Source = "path:" + src
	}
	rep, err := CopyFrom(t.Context(), tree, dst, o)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func anyTree(t *testing.T, do func(testing.TB, string, string, Options) *Report) {
	base := scratch(t)
	rapid.Check(t, func(rt *rapid.T) {
		run, err := os.MkdirTemp(base, "")
		must(t, err)
		defer removeTree(t, run)
		src, dst := filepath.Join(run, "src"), filepath.Join(run, "dst")
		must(t, os.Mkdir(src, 0o750))
		must(t, os.WriteFile(filepath.Join(src, "anchor"), nil, 0o600)) // a source that becomes empty is refused
		g := &grower{t: rt, tb: t, root: src, dirs: []string{"."}}
		o := Options{Delete: true, Workers: rapid.SampledFrom([]int{1, 3, 8}).Draw(rt, "workers")}
		o.Hash = rapid.SampledFrom([]Hash{XXH3, BLAKE3}).Draw(rt, "hash")
		if rapid.Bool().Draw(rt, "manifest") {
			o.Manifest = filepath.Join(dst, ManifestName)
		}
		g.grow(rapid.IntRange(0, 40).Draw(rt, "entries"))
		pass(t, src, dst, o, do)
		g.change(rapid.IntRange(0, 8).Draw(rt, "changes"))
		g.grow(rapid.IntRange(0, 10).Draw(rt, "more"))
		pass(t, src, dst, o, do)
	})
}

// pass copies twice and holds the target against the source, the second report against nothing to do, and the digests and
// the manifest against each other.
func pass(t testing.TB, src, dst string, o Options, do func(testing.TB, string, string, Options) *Report) {
	t.Helper()
	before := snapshot(t, src)
	do(t, src, dst, o)
	mustEqual(t, src, dst)
	again := do(t, src, dst, o)
	if again.Copied != (Counts{}) || again.Updated+again.Deleted+again.BytesCopied != 0 {
		t.Fatalf("a second pass had work to do: %+v updated %d deleted %d", again.Copied, again.Updated, again.Deleted)
	}
	mustEqual(t, src, dst)
	noTemps(t, dst)
	if after := snapshot(t, src); len(after) != len(before) {
		t.Fatal("the source changed")
	}
	a, err := Digest(t.Context(), src, Options{})
	must(t, err)
	b, err := Digest(t.Context(), dst, Options{})
	must(t, err)
	if a.ManifestHash == "" || a.ManifestHash != b.ManifestHash {
		t.Fatalf("digest of source %q, of target %q", a.ManifestHash, b.ManifestHash)
	}
	if o.Manifest == "" {
		return
	}
	if o.Hash == XXH3 && again.ManifestHash != a.ManifestHash {
		t.Fatalf("manifest hash %q, digest %q", again.ManifestHash, a.ManifestHash)
	}
	if _, err := VerifyFile(t.Context(), dst, o.Manifest, Options{}); err != nil {
		t.Fatal(err)
	}
}
