package treecopy

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"
)

// TestAWriteBackThatFailedEarlyIsNotForgotten lets the first write-back fail, in the middle of a pass. The system tells that once: the one at
// the end succeeds, although what was lost is lost.
func TestAWriteBackThatFailedEarlyIsNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dst := tree(t, map[string]string{"a": strings.Repeat("a", 12<<20), "b": strings.Repeat("b", 12<<20), "c": "3"})
		calls := 0
		o := Options{Workers: 1, BytesPerSecond: 4 << 20, syncfs: func(fd int) error {
			if calls++; calls == 1 {
				return unix.EIO
			}
			return unix.Syncfs(fd)
		}}
		if _, err := Copy(t.Context(), src, dst, o); !errors.Is(err, unix.EIO) {
			t.Fatalf("err = %v after %d write-backs", err, calls)
		}
		if mk, err := ReadMarker(dst); err != nil || mk.State != MarkerCopying {
			t.Errorf("marker %+v, %v", mk, err)
		}
		copyOK(t, src, dst, Options{})
		mustEqual(t, src, dst)
	})
}

// TestWhatAFailedWriteBackLeftIsReadAgain: on the same machine, in the same boot, files look complete that the device never got.
func TestWhatAFailedWriteBackLeftIsReadAgain(t *testing.T) {
	src, dst := tree(t, map[string]string{"a": "1", "b": "2"})
	if _, err := Copy(t.Context(), src, dst, Options{syncfs: func(int) error { return unix.EIO }}); !errors.Is(err, unix.EIO) {
		t.Fatalf("err = %v", err)
	}
	if _, err := os.Stat(dst + "/a"); err != nil {
		t.Fatal(err)
	}
	flip(t, dst+"/a", 0) // what the device has of it
	if rep := copyOK(t, src, dst, Options{}); rep.Copied.Files != 1 || rep.Unchanged != 1 || !strings.Contains(strings.Join(rep.Notes, "\n"), "could not write all to the device") {
		t.Errorf("copied %+v, unchanged %d, notes %q", rep.Copied, rep.Unchanged, rep.Notes)
	}
	mustEqual(t, src, dst)
}
