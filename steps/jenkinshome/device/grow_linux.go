package device

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"pipectl.dev/steps"
)

// Grow runs the node's own e2fsck and resize2fs in a chroot, before the file system is mounted: what is mounted in the mover's own mount
// namespace they cannot see there, and would take the device for one that somebody else holds. resize2fs wants a check first.
func (s system) Grow(ctx context.Context, path string) (before, after int64, err error) {
	holds, err := s.Holds(path)
	if err != nil {
		return 0, 0, err
	}
	before, block, device, err := extSize(path)
	switch {
	case holds != "ext4":
		return 0, 0, fmt.Errorf("%s: %s is not grown by pipectl", path, orBlank(holds))
	case err != nil:
		return 0, 0, fmt.Errorf("%s: size of its file system: %w", path, err)
	case device < before+block:
		return before, before, nil
	}
	out, code, err := s.tool(ctx, "e2fsck", "-f", "-p", s.inside(path))
	if err == nil && code > 1 { // 1: mended
		err = fmt.Errorf("%s: e2fsck: exit code %d: %s", path, code, out)
	}
	if err != nil {
		return before, before, err
	}
	if out, code, err = s.tool(ctx, "resize2fs", s.inside(path)); err == nil && code != 0 {
		err = fmt.Errorf("%s: resize2fs: exit code %d: %s", path, code, out)
	}
	if err != nil {
		return before, before, err
	}
	after, _, _, err = extSize(path)
	return before, after, errors.Join(err, s.flush(path))
}

// inside is a device's path as the node itself has it.
func (s system) inside(path string) string {
	return "/" + strings.TrimPrefix(strings.TrimPrefix(path, string(s)), "/")
}

// tool runs one of the node's programs in a chroot: the mover's image has none.
func (s system) tool(ctx context.Context, name string, args ...string) (out string, code int, err error) {
	path := s.find(name)
	if path == "" {
		return "", 0, &steps.Error{Code: "NoTool", Category: steps.Precondition, Message: "the node has no " + name, Hints: []string{"install e2fsprogs on it"}}
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/sbin:/usr/bin:/bin", "LC_ALL=C"}
	if s.at("/") != "/" {
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: string(s)}
	}
	b, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		err = nil
	}
	if err != nil {
		return "", 0, fmt.Errorf("%s: %w", name, err)
	}
	return strings.TrimSpace(string(b)), cmd.ProcessState.ExitCode(), nil
}

// find is where the node has one of its programs; "" when it has not.
func (s system) find(name string) string {
	for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/"} {
		if _, err := os.Stat(s.at(dir + name)); err == nil {
			return dir + name
		}
	}
	return ""
}

// extSize reads the superblock. All is in bytes: the file system, one of its blocks, the device.
func extSize(path string) (bytes, block, device int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { _ = f.Close() }() // read only
	if device, err = f.Seek(0, io.SeekEnd); err != nil {
		return 0, 0, 0, err
	}
	const start, is64bit = 0x400, 0x80
	var b [0x400]byte
	if _, err := f.ReadAt(b[:], start); err != nil {
		return 0, 0, 0, err
	}
	blocks, shift := int64(binary.LittleEndian.Uint32(b[0x4:])), binary.LittleEndian.Uint32(b[0x18:])
	if binary.LittleEndian.Uint32(b[0x60:])&is64bit != 0 {
		blocks |= int64(binary.LittleEndian.Uint32(b[0x150:])) << 32
	}
	if b[extMagic-start] != 0x53 || shift > 6 {
		return 0, 0, 0, errors.New("no superblock that is understood")
	}
	block = 1024 << shift
	return blocks * block, block, device, nil
}
