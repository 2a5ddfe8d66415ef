package device

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pipectl.dev/steps"
)

func TestProbe(t *testing.T) {
	at := func(offset int, magic string) []byte {
		b := make([]byte, 16<<20)
		copy(b[offset:], magic)
		return b
	}
	ext := func(compat, incompat byte) []byte {
		b := at(extMagic, "\x53\xef")
		b[extCompat], b[extCompat+4] = compat, incompat
		return b
	}
	for name, c := range map[string]struct {
		disk []byte
		want string
	}{
		"a new volume":             {at(0, ""), ""},
		"ext4 by its extents":      {ext(hasJournal, extents), "ext4"},
		"ext3 by its journal":      {ext(hasJournal, 0), "ext3"},
		"ext2 by neither":          {ext(0, 0), "ext2"},
		"xfs":                      {at(0, "XFSB"), "xfs"},
		"btrfs":                    {at(0x10040, "_BHRfS_M"), "btrfs"},
		"an encrypted volume":      {at(0, "LUKS\xba\xbe"), "LUKS"},
		"a physical volume of LVM": {at(512, "LABELONE"), "LVM"},
		"a GPT disk, whose protective MBR is first": {at(512, "EFI PART"), "a GPT partition table"},
		"an MBR disk":                           {at(510, "\x55\xaa"), "a partition table"},
		"a byte somewhere at the start":         {at(3<<20, "x"), Unknown},
		"a RAID superblock at the end":          {at(16<<20-64<<10, "\xfc\x4e\x2b\xa9"), Unknown},
		"a disk smaller than what is looked at": {make([]byte, 1<<20), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := probe(bytes.NewReader(c.disk), int64(len(c.disk)))
			if err != nil || got != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestRehearsalBehavesLikeADevice(t *testing.T) {
	dir, disk := t.TempDir(), t.TempDir()
	t.Setenv(RehearsalEnv, dir)
	d := Open("/host")
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := d.Find(short, "vol-1"); !hasCode(err, "DeviceNotFound") {
		t.Fatalf("a volume that is not attached: %v", err)
	}
	if err := os.Symlink(disk, filepath.Join(dir, "vol-1")); err != nil {
		t.Fatal(err)
	}
	path, err := d.Find(t.Context(), "vol-1")
	if err != nil {
		t.Fatal(err)
	}
	if holds, err := d.Holds(path); holds != "" || err != nil {
		t.Fatalf("a blank one holds %q, %v", holds, err)
	}
	if _, err := d.Mount(path, "/nowhere"); err == nil {
		t.Fatal("a blank one can be mounted")
	}
	if err := d.Format(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if err := d.Format(t.Context(), path); !hasCode(err, "DeviceNotBlank") {
		t.Fatalf("formatted twice: %v", err)
	}
	if root, err := d.Mount(path, "/nowhere"); err != nil || root != filepath.Join(disk, "fs") {
		t.Fatalf("mounted at %q, %v", root, err)
	}
}

func hasCode(err error, code string) bool {
	var e *steps.Error
	return errors.As(err, &e) && e.Code == code
}
