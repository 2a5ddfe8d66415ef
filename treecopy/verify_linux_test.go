package treecopy

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestVerifyFindsEveryDifference(t *testing.T) {
	large := strings.Repeat("y", smallFile+chunk)
	for name, tc := range map[string]struct {
		damage func(t *testing.T, dst string)
		want   string // in the problem's text
	}{
		"nothing":                  {func(*testing.T, string) {}, ""},
		"a byte of a small file":   {func(t *testing.T, d string) { flip(t, d+"/d/small", 1) }, "d/small: content differs"},
		"a byte of a large file":   {func(t *testing.T, d string) { flip(t, d+"/large", smallFile+chunk-1) }, "large: content differs"},
		"a byte of a linked file":  {func(t *testing.T, d string) { flip(t, d+"/one", 0) }, "content differs"},
		"a file that is gone":      {func(t *testing.T, d string) { must(t, os.Remove(d+"/d/small")) }, "no such file"},
		"a directory that is gone": {func(t *testing.T, d string) { must(t, os.RemoveAll(d+"/d")) }, "d: no such file"},
		"a file too many":          {func(t *testing.T, d string) { must(t, os.WriteFile(d+"/more", nil, 0o600)) }, "more: not in the manifest"},
		"a directory too many":     {func(t *testing.T, d string) { must(t, os.Mkdir(d+"/more", 0o700)) }, "more: not in the manifest"},
		"a mode":                   {func(t *testing.T, d string) { must(t, os.Chmod(d+"/large", 0o666)) }, "large: mode is 0666"},
		"a size":                   {func(t *testing.T, d string) { must(t, os.Truncate(d+"/large", 3)) }, "large: "},
		"an attribute":             {func(t *testing.T, d string) { must(t, unix.Setxattr(d+"/large", "user.x", []byte("1"), 0)) }, "attributes differ"},
		"a link elsewhere": {func(t *testing.T, d string) {
			must(t, os.Remove(d+"/link"))
			must(t, os.Symlink("large", d+"/link"))
		}, "link: "},
		"a hard link broken": {func(t *testing.T, d string) {
			must(t, os.Rename(d+"/two", d+"/tmp"))
			b, err := os.ReadFile(d + "/tmp")
			must(t, err)
			must(t, os.WriteFile(d+"/two", b, 0o644))
			must(t, os.Remove(d+"/tmp"))
		}, "two: is not the same file as one"},
		"another kind": {func(t *testing.T, d string) {
			must(t, os.Remove(d+"/large"))
			must(t, unix.Mkfifo(d+"/large", 0o644))
		}, "large: is of another kind"},
	} {
		t.Run(name, func(t *testing.T) {
			src, dst := tree(t, map[string]string{"d/small": "small", "large": large, "one": "1"})
			must(t, os.Link(src+"/one", src+"/two"))
			must(t, os.Symlink("d/small", src+"/link"))
			manifest := filepath.Join(filepath.Dir(dst), "m")
			copyOK(t, src, dst, Options{Manifest: manifest})
			tc.damage(t, dst)
			rep, err := VerifyFile(t.Context(), dst, manifest, Options{})
			if tc.want == "" {
				if err != nil || rep.ManifestHash == "" {
					t.Errorf("err = %v, manifest hash %q", err, rep.ManifestHash)
				}
				return
			}
			if !errors.Is(err, ErrMismatch) {
				t.Fatalf("err = %v", err)
			}
			for _, p := range rep.Problems {
				if strings.Contains(p.Error, tc.want) {
					return
				}
			}
			t.Errorf("problems %v do not say %q", rep.Problems, tc.want)
		})
	}
}

// flip changes one byte and leaves size, mode and times as they were.
func flip(t *testing.T, path string, at int64) {
	t.Helper()
	fi, err := os.Stat(path)
	must(t, err)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	must(t, err)
	b[0] ^= 1
	_, err = f.WriteAt(b[:], at)
	must(t, err)
	must(t, f.Close())
	must(t, os.Chtimes(path, fi.ModTime(), fi.ModTime()))
}

func TestVerifyOfTheDelta(t *testing.T) {
	src, dst := tree(t, map[string]string{"a/old": "1", "b/log": "2"})
	full, delta := filepath.Join(filepath.Dir(dst), "full"), filepath.Join(filepath.Dir(dst), "delta")
	copyOK(t, src, dst, Options{Manifest: full, Live: true})
	must(t, os.WriteFile(src+"/b/log", []byte("2 and more"), 0o644))
	must(t, os.Mkdir(src+"/c", 0o755))
	must(t, os.WriteFile(src+"/c/new", []byte("3"), 0o644))
	copyOK(t, src, dst, Options{Manifest: full, DeltaManifest: delta})
	rep, err := VerifyFile(t.Context(), dst, delta, Options{})
	if err != nil || rep.Seen.Files != 2 {
		t.Errorf("%v, read %+v; want two files", err, rep.Seen)
	}
	flip(t, dst+"/c/new", 0)
	if _, err := VerifyFile(t.Context(), dst, delta, Options{}); !errors.Is(err, ErrMismatch) {
		t.Errorf("damage in the delta: %v", err)
	}
	if _, err := VerifyFile(t.Context(), dst, full, Options{ContentOnly: true}); !errors.Is(err, ErrMismatch) {
		t.Errorf("damage, by the full manifest: %v", err)
	}
}

func TestContentOnlyLetsAVolumeOwnerChangeModes(t *testing.T) {
	src, dst := tree(t, map[string]string{"a": "1"})
	m := filepath.Join(dst, ManifestName)
	copyOK(t, src, dst, Options{Manifest: m})
	must(t, os.Chmod(dst+"/a", 0o660))
	if _, err := VerifyFile(t.Context(), dst, m, Options{ContentOnly: true}); err != nil {
		t.Error(err)
	}
}

func TestADamagedManifestIsNotTrusted(t *testing.T) {
	src, dst := tree(t, map[string]string{"a": "1", "d/b": "2"})
	m := filepath.Join(filepath.Dir(dst), "m")
	copyOK(t, src, dst, Options{Manifest: m})
	whole, err := os.ReadFile(m)
	must(t, err)
	for name, text := range map[string]string{
		"cut off": string(whole[:len(whole)-20]), "empty": "", "of something else": "hello\n", "cut in a line": string(whole[:len(whole)/2]),
	} {
		must(t, os.WriteFile(m, []byte(text), 0o644))
		if _, err := OpenManifest(m); err == nil {
			t.Errorf("%s: opened", name)
		}
		rep := copyOK(t, src, dst, Options{Manifest: m}) // a copy goes on without it, and replaces it
		if len(rep.Notes) != 1 {
			t.Errorf("%s: notes = %q", name, rep.Notes)
		}
		if _, err := VerifyFile(t.Context(), dst, m, Options{}); err != nil {
			t.Errorf("%s: the new manifest: %v", name, err)
		}
	}
}

func TestAChangeThatKeepsSizeAndTimeIsFoundByTheManifest(t *testing.T) {
	src, dst := tree(t, map[string]string{"a": "1", "b": "2"})
	m := filepath.Join(dst, ManifestName)
	copyOK(t, src, dst, Options{Manifest: m})
	flip(t, src+"/a", 0)               // content changed
	must(t, os.Chmod(src+"/b", 0o600)) // only the inode changed
	rep := copyOK(t, src, dst, Options{Manifest: m})
	if rep.Copied.Files != 1 || rep.Updated != 1 {
		t.Errorf("copied %+v, updated %d", rep.Copied, rep.Updated)
	}
	mustEqual(t, src, dst)
}

func TestACopyInterruptedByTheMachineIsReadAgain(t *testing.T) {
	src, dst := tree(t, map[string]string{"a": "1", "b": "2"})
	copyOK(t, src, dst, Options{})
	flip(t, dst+"/a", 0) // as if it never reached the disk
	mk, err := ReadMarker(dst)
	must(t, err)
	mk.State, mk.BootID = MarkerCopying, "another boot"
	must(t, mk.write(dst))
	if rep := copyOK(t, src, dst, Options{}); rep.Copied.Files != 1 || rep.Unchanged != 1 {
		t.Errorf("copied %+v, unchanged %d", rep.Copied, rep.Unchanged)
	}
	mustEqual(t, src, dst)
}
