package device

import (
	"bytes"
	"errors"
	"io"
)

// signatures are where file systems, volume managers and partition tables show themselves.
var signatures = []struct {
	kind   string
	offset int64
	magic  string
}{
	{"xfs", 0, "XFSB"},
	{"btrfs", 0x10040, "_BHRfS_M"},
	{"LUKS", 0, "LUKS\xba\xbe"},
	{"swap", 4086, "SWAPSPACE2"},
	{"LVM", 512, "LABELONE"},
	{"LVM", 1024, "LABELONE"},
	{"a GPT partition table", 512, "EFI PART"},
	{"a partition table", 510, "\x55\xaa"},
}

const (
	extMagic    = 0x438 // little-endian 0xEF53
	extCompat   = 0x45c // feature words: compat, incompat, ro_compat
	hasJournal  = 0x4
	extents     = 0x40
	blankLength = 4 << 20 // a device counts as blank when this much at its start and end is zero
)

// probe says what a device of a size holds by its superblocks. What it does not know but is not zero, is Unknown.
func probe(d io.ReaderAt, size int64) (string, error) {
	head := make([]byte, min(blankLength, size))
	if _, err := d.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if k := ext(head); k != "" {
		return k, nil
	}
	for _, s := range signatures {
		end := s.offset + int64(len(s.magic))
		if end <= int64(len(head)) && string(head[s.offset:end]) == s.magic {
			return s.kind, nil
		}
	}
	tail := make([]byte, min(blankLength, size))
	if _, err := d.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if zero(head) && zero(tail) {
		return "", nil
	}
	return Unknown, nil
}

func ext(b []byte) string {
	if len(b) < 0x480 || b[extMagic] != 0x53 || b[extMagic+1] != 0xef {
		return ""
	}
	switch {
	case b[extCompat+4]&extents != 0:
		return "ext4"
	case b[extCompat]&hasJournal != 0:
		return "ext3"
	default:
		return "ext2"
	}
}

func zero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }
