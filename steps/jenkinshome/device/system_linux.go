package device

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pipectl.dev/steps"
)

// system is the node whose root file system is mounted at this path.
type system string

func (s system) at(path ...string) string {
	return filepath.Join(append([]string{string(s)}, path...)...)
}

// Find looks for the NVMe serial number, which is the volume's id without its dash; where disks are not NVMe, there is no way to be sure.
func (s system) Find(ctx context.Context, volumeID string) (string, error) {
	want := strings.ReplaceAll(volumeID, "-", "")
	for {
		if path := s.bySerial(want); path != "" {
			return path, nil
		}
		if !pause(ctx, time.Second) {
			return "", notFound(volumeID)
		}
	}
}

func (s system) bySerial(want string) string {
	disks, _ := filepath.Glob("/sys/block/nvme*") // the pattern is sound
	for _, d := range disks {
		serial, err := os.ReadFile(filepath.Join(d, "device", "serial"))
		if err == nil && strings.TrimSpace(string(serial)) == want {
			return s.at("dev", filepath.Base(d))
		}
	}
	links, _ := filepath.Glob(s.at("dev/disk/by-id/*" + want))
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil {
			return s.at("dev", filepath.Base(to))
		}
	}
	return ""
}

// Holds reads the superblocks of a device that nobody else may write.
func (s system) Holds(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // read only
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", fmt.Errorf("%s: size: %w", path, err)
	}
	if size == 0 {
		return "", fmt.Errorf("%s: has no size", path)
	}
	holds, err := probe(f, size)
	if err != nil {
		return "", fmt.Errorf("%s: superblocks: %w", path, err)
	}
	return holds, nil
}

// features are those that every e2fsprogs and kernel since 2018 knows: the volume outlives the node that formats it.
const features = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink," +
	"extra_isize,metadata_csum"

// Format runs the node's own mkfs.ext4 in a chroot: the mover's image has none.
func (s system) Format(ctx context.Context, path string) error {
	holds, err := s.Holds(path)
	if err != nil {
		return err
	}
	if holds != "" {
		return notBlank(path, holds)
	}
	if s.find("mkfs.ext4") == "" {
		return &steps.Error{Code: "NoMkfs", Category: steps.Precondition, Message: "the old node has no mkfs.ext4",
			Hints: []string{"install e2fsprogs on it, or format the volume yourself with ext4"}}
	}
	out, code, err := s.tool(ctx, "mkfs.ext4", "-q", "-m", "0", "-I", "256", "-O", features, "-E", "lazy_itable_init=1", s.inside(path))
	if err == nil && code != 0 {
		err = fmt.Errorf("%s: mkfs.ext4: exit code %d: %s", path, code, out)
	}
	if err != nil {
		return err
	}
	return s.flush(path)
}

// Mount compares what is mounted with what was asked for: a mount that did not happen would fill the node's own disk.
func (s system) Mount(path, dir string) (string, error) {
	return s.mount(path, dir, unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOATIME)
}

// Mounted compares file systems, and serial numbers where a pod can read them.
func (s system) Mounted(volumeID, dir, beside string) error {
	var at, own unix.Stat_t
	if err := unix.Stat(dir, &at); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if err := unix.Stat(beside, &own); err != nil {
		return fmt.Errorf("%s: %w", beside, err)
	}
	if at.Dev == own.Dev {
		return notTheVolume(volumeID, dir, "nothing is mounted there, it is on the node's own disk")
	}
	block := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(at.Dev), unix.Minor(at.Dev))
	for _, of := range []string{block, filepath.Join(block, "..")} { // the disk, or the one of the partition
		if serial, err := os.ReadFile(filepath.Join(of, "device", "serial")); err == nil {
			return serves(volumeID, dir, strings.TrimSpace(string(serial)))
		}
	}
	return nil
}

// serves judges the serial number of a device: that of an EBS volume is its id without the dash.
func serves(volumeID, dir, serial string) error {
	if strings.HasPrefix(serial, "vol") && serial != strings.ReplaceAll(volumeID, "-", "") {
		return notTheVolume(volumeID, dir, "its device is "+serial)
	}
	return nil
}

// View tries the device and then its partitions: a node's root disk has several.
func (s system) View(path, dir, inside string) (string, error) {
	for _, disk := range append([]string{path}, s.partitions(path)...) {
		holds, err := s.Holds(disk)
		if err != nil {
			return "", err
		}
		if holds != "ext4" && holds != "xfs" {
			continue
		}
		root, err := s.mount(disk, dir, unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOATIME|unix.MS_RDONLY)
		if err != nil {
			return "", err
		}
		if holdsDirectory(root, inside) {
			return root, nil
		}
		if err := s.Unmount(root); err != nil {
			return "", err
		}
	}
	return "", noDirectory(path, inside)
}

// partitions are a device's, by number.
func (s system) partitions(path string) []string {
	name := filepath.Base(path)
	entries, _ := filepath.Glob("/sys/block/" + name + "/" + name + "*") // the pattern is sound
	var out []string
	for _, e := range entries {
		out = append(out, s.at("dev", filepath.Base(e)))
	}
	return out
}

func (s system) mount(path, dir string, flags uintptr) (string, error) {
	holds, err := s.Holds(path)
	if err != nil {
		return "", err
	}
	if holds != "ext4" && holds != "xfs" {
		return "", fmt.Errorf("%s: mount: holds %s, not ext4 or xfs", path, orBlank(holds))
	}
	options := ""
	if holds == "xfs" && flags&unix.MS_RDONLY != 0 {
		options = "nouuid" // a copy has the identity of its original, which may be mounted here too
	}
	if err := unix.Mount(path, dir, holds, flags, options); err != nil {
		return "", fmt.Errorf("%s: mount at %s: %w", path, dir, err)
	}
	var disk, root unix.Stat_t
	if err := errors.Join(unix.Stat(path, &disk), unix.Stat(dir, &root)); err != nil {
		return "", errors.Join(err, s.Unmount(dir))
	}
	if disk.Rdev != root.Dev {
		return "", errors.Join(fmt.Errorf("%s: mount at %s: another device is there", path, dir), s.Unmount(dir))
	}
	return dir, nil
}

func orBlank(holds string) string {
	if holds == "" {
		return "nothing"
	}
	return holds
}

// Unmount does not detach lazily: a device that is still in use must not look free.
func (s system) Unmount(root string) error {
	var st unix.Stat_t
	if err := unix.Stat(root, &st); err != nil {
		return err
	}
	for try := 0; ; try++ {
		err := unix.Unmount(root, unix.UMOUNT_NOFOLLOW)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EBUSY) || try == 20 {
			return fmt.Errorf("%s: unmount: %w", root, err)
		}
		<-time.After(250 * time.Millisecond) // somebody may just be looking (a node agent's walk)
	}
	return nil
}

func (s system) flush(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
