package treecopy

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestPathsLongerThanTheSystemTakes(t *testing.T) {
	src, dst := tree(t, nil)
	deep, at := strings.Repeat("d", 200), "."
	root, err := unix.Open(src, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	defer unix.Close(root)
	fd := root
	for range 30 { // 6,000 bytes
		must(t, unix.Mkdirat(fd, deep, 0o755))
		fd, err = unix.Openat(fd, deep, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(t, err)
		defer unix.Close(fd)
		at = join(at, deep)
	}
	f, err := unix.Openat(fd, "bottom", unix.O_WRONLY|unix.O_CREAT, 0o640)
	must(t, err)
	must(t, writeFull(f, []byte("here"), 0))
	must(t, unix.Close(f))
	must(t, unix.Linkat(fd, "bottom", root, "top", 0))
	o := Options{Manifest: filepath.Join(dst, ManifestName), Delete: true}
	copyOK(t, src, dst, o)
	a, err := Digest(t.Context(), src, Options{})
	must(t, err)
	b, err := Digest(t.Context(), dst, Options{})
	must(t, err)
	if a.ManifestHash != b.ManifestHash || a.Seen.Dirs != 31 {
		t.Errorf("source %s, target %s, %d directories", a.ManifestHash, b.ManifestHash, a.Seen.Dirs)
	}
	if _, err := VerifyFile(t.Context(), dst, o.Manifest, Options{}); err != nil {
		t.Error(err)
	}
	must(t, unix.Unlinkat(root, "top", 0))
	must(t, os.Mkdir(src+"/other", 0o755))
	must(t, os.Rename(src+"/"+deep, src+"/other/moved"))
	copyOK(t, src, dst, o)
	if rep := copyOK(t, src, dst, o); rep.Copied != (Counts{}) {
		t.Errorf("again: %+v", rep.Copied)
	}
}

func TestAttributesOfEveryKindOfEntry(t *testing.T) {
	src, dst := tree(t, map[string]string{"file": "1", "many": "2", "dir/": ""})
	must(t, os.Symlink("file", src+"/link"))
	must(t, unix.Mkfifo(src+"/pipe", 0o600))
	must(t, unix.Setxattr(src+"/dir", "user.d", []byte("dir"), 0))
	must(t, unix.Setxattr(src+"/file", "user.long", bytes.Repeat([]byte("v"), 3000), 0))
	for i := range 40 {
		must(t, unix.Setxattr(src+"/many", fmt.Sprintf("user.name-%02d", i), []byte{byte(i), 0, 255}, 0))
	}
	odd := []string{"link", "pipe"}
	if os.Geteuid() == 0 {
		for _, n := range odd {
			must(t, unix.Lsetxattr(src+"/"+n, "trusted.note", []byte(n), 0))
		}
	}
	copyOK(t, src, dst, Options{})
	mustEqual(t, src, dst)
	must(t, unix.Removexattr(src+"/file", "user.long"))
	must(t, unix.Setxattr(src+"/dir", "user.d", []byte("other"), 0))
	if os.Geteuid() == 0 {
		for _, n := range odd {
			must(t, unix.Lsetxattr(src+"/"+n, "trusted.note", []byte("changed"), 0))
		}
	}
	copyOK(t, src, dst, Options{})
	mustEqual(t, src, dst)
}

func TestSocketsAreSkippedWithANoteAndPipesAreMadeAgain(t *testing.T) {
	src, dst := tree(t, map[string]string{"a": "1"})
	must(t, unix.Mknod(src+"/agent.sock", unix.S_IFSOCK|0o600, 0))
	must(t, unix.Mkfifo(src+"/pipe", 0o600))
	must(t, os.Chmod(src+"/pipe", 0o620))
	rep := copyOK(t, src, dst, Options{})
	if len(rep.Skipped) != 1 || rep.Skipped[0].Reason != "socket" || rep.Skipped[0].Names[0] != "agent.sock" {
		t.Errorf("skipped = %+v", rep.Skipped)
	}
	fi, err := os.Lstat(dst + "/pipe")
	must(t, err)
	if fi.Mode() != os.ModeNamedPipe|0o620 {
		t.Errorf("pipe is %s", fi.Mode())
	}
	if _, err := os.Lstat(dst + "/agent.sock"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("socket: %v", err)
	}
}

// TestNobodyLeadsThePassOutOfTheSource swaps a directory for a link to another tree between listing and opening it.
func TestNobodyLeadsThePassOutOfTheSource(t *testing.T) {
	for name, plain := range map[string]bool{"with openat2": false, "with openat alone": true} {
		t.Run(name, func(t *testing.T) {
			was := noOpenat2.Swap(plain)
			defer noOpenat2.Store(was)
			src, dst := tree(t, map[string]string{"first": "1", "inner/secret": "mine", "file": "2"})
			outside := filepath.Join(filepath.Dir(src), "outside")
			must(t, os.MkdirAll(outside, 0o755))
			must(t, os.WriteFile(outside+"/secret", []byte("theirs"), 0o644))
			swapped := false
			o := Options{Workers: 1, Live: true, afterRead: func(string) {
				if !swapped { // the root's files are read before its directories
					swapped = true
					must(t, os.Rename(src+"/inner", outside+"/inner"))
					must(t, os.Symlink(outside, src+"/inner"))
					must(t, os.Remove(src+"/file"))
					must(t, os.Symlink(outside+"/secret", src+"/file"))
				}
			}}
			rep := copyOK(t, src, dst, o)
			if rep.Vanished.Count == 0 {
				t.Errorf("vanished = %+v", rep.Vanished)
			}
			if b, err := os.ReadFile(dst + "/inner/secret"); err == nil {
				t.Errorf("copied %q from outside", b)
			}
			if b, err := os.ReadFile(dst + "/file"); err == nil && string(b) == "theirs" {
				t.Error("a file's link was followed")
			}
			copyOK(t, src, dst, Options{Delete: true})
			mustEqual(t, src, dst)
		})
	}
}

func TestALinkInTheTargetIsReplacedNotFollowed(t *testing.T) {
	src, dst := tree(t, map[string]string{"d/a": "1", "f": "2"})
	copyOK(t, src, dst, Options{})
	outside := filepath.Join(filepath.Dir(src), "outside")
	must(t, os.MkdirAll(outside, 0o755))
	must(t, os.WriteFile(outside+"/kept", []byte("k"), 0o644))
	must(t, os.RemoveAll(dst+"/d"))
	must(t, os.Symlink(outside, dst+"/d"))
	must(t, os.Remove(dst+"/f"))
	must(t, os.Symlink(outside+"/kept", dst+"/f"))
	before := snapshot(t, outside)
	copyOK(t, src, dst, Options{Delete: true})
	mustEqual(t, src, dst)
	if after := snapshot(t, outside); len(after) != len(before) || after["kept"] != before["kept"] {
		t.Errorf("outside changed: %v", after)
	}
}

func TestReadingLeavesNoTraceInTheSource(t *testing.T) {
	src, dst := tree(t, map[string]string{"d/a": "1", "b": strings.Repeat("b", smallFile+1)})
	long := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC) // older than the modification, so that even relatime would renew it
	names := []string{".", "d", "d/a", "b"}
	for _, n := range names {
		fi, err := os.Stat(filepath.Join(src, n))
		must(t, err)
		must(t, os.Chtimes(filepath.Join(src, n), long, fi.ModTime()))
	}
	m := filepath.Join(dst, ManifestName)
	copyOK(t, src, dst, Options{Manifest: m})
	copyOK(t, src, dst, Options{Manifest: m})
	for _, n := range names {
		var st unix.Stat_t
		must(t, unix.Stat(filepath.Join(src, n), &st))
		if st.Atim.Sec != long.Unix() {
			t.Errorf("%s was read at %v", n, time.Unix(st.Atim.Sec, 0))
		}
	}
}

func TestTheMarkerWaitsForTheDevice(t *testing.T) {
	src, dst := tree(t, map[string]string{"a": "1"})
	m := filepath.Join(dst, ManifestName)
	var states []string
	o := Options{Manifest: m, syncfs: func(fd int) error {
		mk, err := ReadMarker(dst)
		must(t, err)
		if _, err := os.Stat(dst + "/a"); err != nil {
			t.Errorf("synced before the copy: %v", err)
		}
		states = append(states, mk.State)
		return unix.Syncfs(fd)
	}}
	copyOK(t, src, dst, o)
	if fmt.Sprint(states) != "[copying]" {
		t.Errorf("marker at each sync: %v, want copying, once", states)
	}
	if mk, err := ReadMarker(dst); err != nil || mk.State != MarkerComplete {
		t.Errorf("after: %+v, %v", mk, err)
	}
	must(t, os.WriteFile(src+"/b", []byte("2"), 0o644))
	before, err := os.ReadFile(m)
	must(t, err)
	o.syncfs = func(int) error { return unix.EIO }
	if _, err := Copy(t.Context(), src, dst, o); !errors.Is(err, unix.EIO) {
		t.Fatalf("err = %v", err)
	}
	mk, err := ReadMarker(dst)
	must(t, err)
	after, err := os.ReadFile(m)
	must(t, err)
	if mk.State != MarkerCopying || !bytes.Equal(before, after) {
		t.Errorf("after a failed sync: marker %s, manifest replaced %t", mk.State, !bytes.Equal(before, after))
	}
}

func TestContentIsHashedOnItsWay(t *testing.T) {
	src, dst := tree(t, map[string]string{"a": "1", "d/b": strings.Repeat("x", smallFile+chunk+5), "c": strings.Repeat("y", 70_000)})
	m := filepath.Join(dst, ManifestName)
	rep := copyOK(t, src, dst, Options{Manifest: m})
	if rep.BytesRead != rep.Bytes || rep.ManifestHash == "" {
		t.Errorf("read %d bytes of %d, hash %q", rep.BytesRead, rep.Bytes, rep.ManifestHash)
	}
	if again := copyOK(t, src, dst, Options{Manifest: m}); again.BytesRead != 0 || again.ManifestHash != rep.ManifestHash {
		t.Errorf("again: read %d bytes, hash %q", again.BytesRead, again.ManifestHash)
	}
	must(t, os.RemoveAll(src))
	v, err := VerifyFile(t.Context(), dst, m, Options{})
	if err != nil || v.BytesRead != rep.Bytes || v.ManifestHash != rep.ManifestHash {
		t.Errorf("verify without the source: %v, read %d, hash %q", err, v.BytesRead, v.ManifestHash)
	}
}

func TestTemporaryFilesOfEarlierRunsAreSwept(t *testing.T) {
	src, dst := tree(t, map[string]string{"d/a": "1", "d/" + TempPrefix + "of-the-source": "2"})
	copyOK(t, src, dst, Options{})
	for _, n := range []string{TempPrefix + "dead-marker", "d/" + TempPrefix + "dead-1f", "surplus/deep/" + TempPrefix + "dead-2"} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dst, n)), 0o755))
		must(t, os.WriteFile(filepath.Join(dst, n), []byte("half"), 0o600))
	}
	must(t, os.WriteFile(dst+"/.pipectl-tm", []byte("not ours"), 0o600))
	rep := copyOK(t, src, dst, Options{})
	if rep.Swept != 3 {
		t.Errorf("swept = %d, want 3", rep.Swept)
	}
	noTemps(t, dst)
	if _, err := os.Stat(dst + "/.pipectl-tm"); err != nil {
		t.Error(err)
	}
	if len(rep.Skipped) != 1 || rep.Skipped[0].Reason != "temporary file of a copy" {
		t.Errorf("skipped = %+v", rep.Skipped)
	}
}

func TestAnEmptySourceDoesNotEmptyTheTarget(t *testing.T) {
	src, dst := tree(t, map[string]string{"a": "1", "d/b": "2"})
	copyOK(t, src, dst, Options{})
	must(t, os.RemoveAll(src)) // as when its volume is not mounted
	must(t, os.MkdirAll(src+"/lost+found", 0o755))
	_, err := Copy(t.Context(), src, dst, Options{Delete: true})
	var h *HintError
	if !errors.Is(err, ErrEmptySource) || !errors.As(err, &h) {
		t.Fatalf("err = %v", err)
	}
	if b, err := os.ReadFile(dst + "/d/b"); err != nil || string(b) != "2" {
		t.Errorf("target: %q, %v", b, err)
	}
	if mk, err := ReadMarker(dst); err != nil || mk.State != MarkerComplete {
		t.Errorf("marker: %+v, %v", mk, err)
	}
}

func TestNoManifestIsWrittenIntoTheSource(t *testing.T) {
	src, dst := tree(t, map[string]string{"a": "1"})
	for _, o := range []Options{{Manifest: src + "/m"}, {DeltaManifest: src + "/m"}} {
		if _, err := Copy(t.Context(), src, dst, o); !errors.Is(err, ErrInSource) {
			t.Errorf("err = %v", err)
		}
	}
	if len(snapshot(t, src)) != 2 {
		t.Error("the source changed")
	}
}

func TestATargetInsideTheSourceByABindMount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	src, dst := tree(t, map[string]string{"sub/a": "1"})
	must(t, os.Mkdir(dst, 0o755))
	must(t, unix.Mount(src, dst, "", unix.MS_BIND, ""))
	defer func() { must(t, unix.Unmount(dst, 0)) }()
	for _, to := range []string{dst, dst + "/sub", dst + "/new"} {
		if _, err := Copy(t.Context(), src, to, Options{AllowNonEmpty: true}); !errors.Is(err, ErrOverlap) {
			t.Errorf("%s: err = %v", to, err)
		}
	}
}
