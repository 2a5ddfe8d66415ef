package treecopy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRoomIsCheckedAhead(t *testing.T) {
	const gb = 1 << 30
	huge := space{block: 4096, usedBytes: 1 << 50, usedNodes: 1 << 40, inodes: 1 << 41} // so the trees are measured
	for name, tc := range map[string]struct {
		target space
		want   bool // enough
	}{
		"room for all":                   {space{block: 4096, freeBytes: gb, inodes: gb, freeNodes: gb}, true},
		"bytes short":                    {space{block: 4096, freeBytes: 100 << 10, inodes: gb, freeNodes: gb}, false},
		"inodes short":                   {space{block: 4096, freeBytes: gb, inodes: gb, freeNodes: 10}, false},
		"inodes made as needed":          {space{block: 4096, freeBytes: gb}, true},
		"large blocks make it too small": {space{block: 1 << 20, freeBytes: 8 << 20, inodes: gb, freeNodes: gb}, false},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{}
			for i := range 12 {
				files[fmt.Sprintf("d/%d", i)] = strings.Repeat("z", 20<<10)
			}
			src, dst := tree(t, files)
			calls := 0
			_, err := Copy(t.Context(), src, dst, Options{Workers: 2, statfs: func(int) (space, error) {
				if calls++; calls == 2 { // target, then source
					return huge, nil
				}
				return tc.target, nil
			}})
			if tc.want {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var s *SpaceError
			if !errors.As(err, &s) || !errors.Is(err, ErrNoSpace) {
				t.Fatalf("err = %v", err)
			}
			if s.NeedBytes < 240<<10 || s.NeedInodes < 14 || s.FreeBytes != tc.target.freeBytes || s.FreeNodes != tc.target.freeNodes || s.Hint() == "" {
				t.Errorf("numbers: %+v", s)
			}
			if _, err := os.Stat(filepath.Join(dst, "d")); err == nil {
				t.Error("began to copy")
			}
		})
	}
}

// TestAFullTargetStopsThePassCleanly needs root for its tmpfs; without, the same path is taken by a refused write.
func TestAFullTargetStopsThePassCleanly(t *testing.T) {
	src, dst := tree(t, map[string]string{"a": strings.Repeat("a", 300<<10), "b": strings.Repeat("b", 100<<10), "c/d": strings.Repeat("d", 900<<10)})
	must(t, os.Mkdir(dst, 0o755))
	plenty := func(int) (space, error) { return space{block: 4096, freeBytes: 1 << 40}, nil }
	if os.Geteuid() != 0 {
		t.Log("not root: no tmpfs can be mounted; the check ahead is exercised instead")
		full := func(int) (space, error) { return space{block: 4096}, nil }
		if _, err := Copy(t.Context(), src, dst, Options{statfs: full}); !errors.Is(err, ErrNoSpace) {
			t.Fatalf("err = %v", err)
		}
		return
	}
	for name, mount := range map[string]string{"bytes": "size=640k", "inodes": "size=8m,nr_inodes=4"} {
		t.Run(name, func(t *testing.T) {
			must(t, unix.Mount("tmpfs", dst, "tmpfs", 0, mount))
			defer func() { must(t, unix.Unmount(dst, 0)) }()
			if _, err := Copy(t.Context(), src, dst, Options{}); !errors.Is(err, ErrNoSpace) {
				t.Errorf("check ahead: err = %v", err)
			}
			_, err := Copy(t.Context(), src, dst, Options{statfs: plenty})
			var s *SpaceError
			if !errors.As(err, &s) || !errors.Is(err, unix.ENOSPC) {
				t.Fatalf("mid-way: err = %v", err)
			}
			noTemps(t, dst)
			must(t, unix.Mount("tmpfs", dst, "tmpfs", unix.MS_REMOUNT, "size=16m,nr_inodes=1000"))
			copyOK(t, src, dst, Options{})
			mustEqual(t, src, dst)
		})
	}
}

func TestMountPointsInTheSource(t *testing.T) {
	src, dst := tree(t, map[string]string{"a": "1", "sub/": "", "file": "f"})
	if os.Geteuid() != 0 {
		t.Log("not root: nothing can be mounted; a root of another device stands in")
		e, err := newEngine(t.Context(), src, Options{})
		must(t, err)
		defer e.close()
		e.reading, e.srcSt.dev = true, e.srcSt.dev+1
		e.walk(nil)
		if !errors.Is(e.outcome(), ErrMount) {
			t.Errorf("err = %v", e.outcome())
		}
		return
	}
	for name, mount := range map[string]func() error{
		"another file system": func() error { return unix.Mount("tmpfs", src+"/sub", "tmpfs", 0, "size=1m") },
		"a bind mount":        func() error { return unix.Mount(filepath.Dir(src), src+"/sub", "", unix.MS_BIND, "") },
	} {
		t.Run(name, func(t *testing.T) {
			must(t, mount())
			defer func() { must(t, unix.Unmount(src+"/sub", 0)) }()
			must(t, os.RemoveAll(dst))
			if _, err := Copy(t.Context(), src, dst, Options{}); !errors.Is(err, ErrMount) {
				t.Errorf("refuse: err = %v", err)
			}
			rep := copyOK(t, src, dst, Options{Mounts: MountsSkip})
			if len(rep.Skipped) != 1 || rep.Skipped[0].Reason != "mount point" {
				t.Errorf("skip: %+v", rep.Skipped)
			}
			copyOK(t, src, dst, Options{Excludes: []string{"/sub"}})
			if name == "a bind mount" { // leads back to the target
				if _, err := Copy(t.Context(), src, dst, Options{Mounts: MountsCross}); !errors.Is(err, ErrOverlap) {
					t.Errorf("cross: err = %v", err)
				}
				return
			}
			must(t, os.WriteFile(src+"/sub/inside", []byte("i"), 0o600))
			copyOK(t, src, dst, Options{Mounts: MountsCross})
			mustEqual(t, src, dst)
		})
	}
}

func TestDevicesAreRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("not root: no device can be made; /dev holds some")
		_, err := Digest(t.Context(), "/dev", Options{Excludes: []string{"/*", "!/null"}})
		if !errors.Is(err, ErrDevice) {
			t.Errorf("err = %v", err)
		}
		return
	}
	src, dst := tree(t, map[string]string{"a": "1"})
	must(t, unix.Mknod(src+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	if _, err := Copy(t.Context(), src, dst, Options{}); !errors.Is(err, ErrDevice) {
		t.Errorf("err = %v", err)
	}
	copyOK(t, src, dst, Options{Excludes: []string{"/null"}})
}

// TestAnUnprivilegedCopy drops owners once and says so.
func TestAnUnprivilegedCopy(t *testing.T) {
	src, dst := tree(t, map[string]string{"a": "1", "b": "2"})
	if os.Geteuid() == 0 {
		must(t, os.Chown(src+"/a", 7, 8))
	}
	must(t, os.Chmod(src+"/b", 0o4755|os.ModeSetuid))
	must(t, os.Chmod(src+"/a", 0o755|os.ModeSetuid))
	e, err := newEngine(t.Context(), src, Options{Manifest: filepath.Join(filepath.Dir(dst), "m")})
	must(t, err)
	defer e.close()
	e.dropOwners()
	must(t, e.copy(dst))
	rep := e.report()
	if os.Geteuid() == 0 {
		fi, err := os.Stat(dst + "/a")
		must(t, err)
		if fi.Mode()&os.ModeSetuid != 0 {
			t.Error("a foreign setuid file kept its bit")
		}
		if rep.OwnersKept || len(rep.Notes) != 1 {
			t.Errorf("owners kept = %t, notes = %q", rep.OwnersKept, rep.Notes)
		}
	}
	if _, err := VerifyFile(t.Context(), dst, e.o.Manifest, Options{}); err != nil {
		t.Error(err)
	}
}

// TestHolesTakeNoRoom has a file that is larger than the target, and nearly all hole.
func TestHolesTakeNoRoom(t *testing.T) {
	src, dst := tree(t, map[string]string{"a": "1"})
	f, err := os.Create(src + "/heap.hprof")
	must(t, err)
	must(t, f.Truncate(1<<40))
	_, err = f.WriteAt([]byte("island"), 1<<30)
	must(t, errors.Join(err, f.Close()))
	calls := 0
	rep, err := Copy(t.Context(), src, dst, Options{Hash: NoHash, statfs: func(int) (space, error) {
		if calls++; calls == 2 { // the source's file system has no room for all that is in it either, so the tree is measured
			return space{block: 4096, usedBytes: 1 << 50, usedNodes: 1 << 40, inodes: 1 << 41}, nil
		}
		return space{block: 4096, freeBytes: 1 << 20, inodes: 1000, freeNodes: 1000}, nil
	}})
	must(t, err)
	if rep.SparseSaved < 1<<39 {
		t.Errorf("saved %d bytes", rep.SparseSaved)
	}
	fi, err := os.Stat(dst + "/heap.hprof")
	if err != nil || fi.Size() != 1<<40 {
		t.Errorf("%v, %v", fi, err)
	}
}
