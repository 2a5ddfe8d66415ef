package device

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls to the kernel that xfs_growfs makes.
const (
	xfsGeometryCall = 0x80705864 // XFS_IOC_FSGEOMETRY_V1: reads an xfsGeometry
	xfsGrowCall     = 0x4010586e // XFS_IOC_FSGROWFSDATA: takes an xfsGrow
)

// xfsLeast is the smallest allocation group, in blocks: less is not grown by.
const xfsLeast = 64

// xfsGeometry is the kernel's struct xfs_fsop_geom_v1.
type xfsGeometry struct {
	BlockSize, _, _, _, _, _, _, MaxInodePercent uint32
	DataBlocks, _, _, _                          uint64
	_                                            [12]uint32
}

// xfsGrow is the kernel's struct xfs_growfs_data.
type xfsGrow struct {
	Blocks             uint64
	MaxInodePercent, _ uint32
}

// GrowMounted asks the kernel, which grows xfs while it is mounted, and only then.
func (system) GrowMounted(path, root string) (before, after int64, err error) {
	device, err := sizeOf(path)
	if err != nil {
		return 0, 0, err
	}
	dir, err := os.Open(root)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = dir.Close() }() // read only
	g, err := geometry(dir)
	if err != nil {
		return 0, 0, fmt.Errorf("%s: size of its file system: %w", path, err)
	}
	block := int64(g.BlockSize)
	before = int64(g.DataBlocks) * block
	if device < before+xfsLeast*block {
		return before, before, nil
	}
	want := xfsGrow{Blocks: uint64(device / block), MaxInodePercent: g.MaxInodePercent}
	if err := call(dir, xfsGrowCall, unsafe.Pointer(&want)); err != nil {
		return before, before, fmt.Errorf("%s: grow xfs: %w", path, err)
	}
	if g, err = geometry(dir); err != nil {
		return before, before, err
	}
	return before, int64(g.DataBlocks) * block, nil
}

func geometry(dir *os.File) (g xfsGeometry, err error) {
	err = call(dir, xfsGeometryCall, unsafe.Pointer(&g))
	if err == nil && g.BlockSize == 0 {
		err = errors.New("is not known")
	}
	return g, err
}

func call(dir *os.File, request uintptr, arg unsafe.Pointer) error {
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), request, uintptr(arg)); e != 0 {
		return e
	}
	return nil
}

// sizeOf is the size of a block device.
func sizeOf(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // read only
	return f.Seek(0, io.SeekEnd)
}
