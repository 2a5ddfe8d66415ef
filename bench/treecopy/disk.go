package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// diskIO is what a run read from the source's device and wrote to the target's.
type diskIO struct{ reads, writes, readMB, writeMB float64 }

// The limits of a gp3 volume as it comes: requests and bytes per second.
const (
	maxIOPS  = 3000
	maxBytes = 125 << 20
)

// floor is the time that these requests take on such volumes at least, whatever copies: source and target work at the same time.
func (d diskIO) floor() float64 {
	return max(d.reads/maxIOPS, d.writes/maxIOPS, d.readMB*1e6/maxBytes, d.writeMB*1e6/maxBytes)
}

// disk is an ext4 file system on a loop device over a file on tmpfs: nothing of it is slow but what a limit makes slow.
type disk struct {
	dev, file, at string
	limited       bool
}

func command(argv ...string) (string, error) {
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

func newDisk(dir, name string, size int64) (*disk, error) {
	d := &disk{file: filepath.Join(dir, name+".img"), at: filepath.Join(dir, name)}
	f, err := os.Create(d.file)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(size), f.Close(), os.Mkdir(d.at, 0o755)); err != nil {
		return nil, err
	}
	if d.dev, err = command("losetup", "--find", "--show", d.file); err != nil {
		return nil, err
	}
	return d, d.format()
}

// format makes the disk new and mounts it.
func (d *disk) format() error {
	_ = unix.Unmount(d.at, 0) // it may not be mounted
	if _, err := command("mkfs.ext4", "-q", "-F", "-i", "8192", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", d.dev); err != nil {
		return err
	}
	return d.mount()
}

func (d *disk) mount() error { return unix.Mount(d.dev, d.at, "ext4", 0, "") }

func (d *disk) end() error {
	return errors.Join(d.limit(false), unix.Unmount(d.at, 0), exec.Command("losetup", "--detach", d.dev).Run(), os.Remove(d.file), os.Remove(d.at))
}

// blkio is the root group of the block controller, version 1: of all groups only its limits hold for write-back too.
const blkio = "/sys/fs/cgroup/blkio/blkio.throttle."

// limit sets or lifts the limits of a gp3 volume for the device.
func (d *disk) limit(on bool) error {
	if d.limited == on {
		return nil
	}
	id, err := d.id()
	if err != nil {
		return err
	}
	for name, v := range map[string]int{"read_iops": maxIOPS, "write_iops": maxIOPS, "read_bps": maxBytes, "write_bps": maxBytes} {
		if !on {
			v = 0
		}
		line := fmt.Sprintf("%s %d", id, v)
		if err := os.WriteFile(blkio+name+"_device", []byte(line), 0); err != nil {
			return fmt.Errorf("limit %s: %w", d.dev, err)
		}
	}
	d.limited = on
	return nil
}

// stat reads the device's counters. With limits the limiter's requests count: it sees them before neighbours are joined.
func (d *disk) stat(limited bool) (s diskIO, err error) {
	b, err := os.ReadFile("/sys/block/" + filepath.Base(d.dev) + "/stat")
	if err != nil {
		return s, err
	}
	var skip float64
	if _, err = fmt.Sscan(string(b), &s.reads, &skip, &s.readMB, &skip, &s.writes, &skip, &s.writeMB); err != nil {
		return s, err
	}
	s.readMB, s.writeMB = s.readMB*512/1e6, s.writeMB*512/1e6
	if !limited {
		return s, nil
	}
	s.reads, s.writes = 0, 0
	if b, err = os.ReadFile(blkio + "io_serviced"); err != nil {
		return s, err
	}
	id, err := d.id()
	if err != nil {
		return s, err
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		var n float64
		if rest, ok := strings.CutPrefix(line, id+" Read "); ok {
			_, err = fmt.Sscan(rest, &n)
			s.reads = n
		} else if rest, ok := strings.CutPrefix(line, id+" Write "); ok {
			_, err = fmt.Sscan(rest, &n)
			s.writes = n
		}
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

// id is the device's number as the controller writes it.
func (d *disk) id() (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(d.dev, &st); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)), nil
}

func (c *course) cold() ([]table, error) {
	return c.onDisks("Copy, cold caches, ext4 to ext4 on devices with spare IOPS (loop over tmpfs), synced", false)
}

func (c *course) throttled() ([]table, error) {
	return c.onDisks("Copy, cold caches, ext4 to ext4 on loop devices limited to 3,000 IOPS and 125 MiB/s (blkio.throttle), synced", true)
}

// onDisks copies from a cold disk to a new one.
func (c *course) onDisks(title string, limited bool) (_ []table, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("needs root")
	}
	from, err := newDisk(c.dir, "disk-src", 2<<30)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, from.end()) }()
	to, err := newDisk(c.dir, "disk-dst", 2<<30)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, to.end()) }()
	src := filepath.Join(from.at, "home")
	if _, err := command("cp", "-a", c.src, src); err != nil {
		return nil, err
	}
	out := table{title: title, disk: true, note: "floor: the time that the tool's own requests take at 3,000 IOPS and 125 MiB/s on each side."}
	for range c.rounds {
		for _, t := range c.tools() {
			s, err := c.cold1(t, src, from, to, limited)
			if err != nil {
				return nil, err
			}
			out.add(t.name, s)
		}
	}
	return []table{out}, nil
}

// cold1 is one copy on disks; a sync of the target belongs to it, since treecopy ends with one.
func (c *course) cold1(t tool, src string, from, to *disk, limited bool) (s sample, err error) {
	if err := to.format(); err != nil {
		return s, err
	}
	if err := errors.Join(unix.Unmount(from.at, 0), from.mount()); err != nil {
		return s, err
	}
	unix.Sync()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		return s, err
	}
	if err := errors.Join(from.limit(limited), to.limit(limited)); err != nil {
		return s, err
	}
	r0, err := from.stat(limited)
	if err != nil {
		return s, err
	}
	w0, err := to.stat(limited)
	if err != nil {
		return s, err
	}
	dst := filepath.Join(to.at, "home")
	script := `mkdir "$1"; shift; "$@" && sync -f "$0"`
	s, err = c.took(append([]string{"sh", "-c", script, to.at, dst}, t.argv(src, dst)...)...)
	r1, rerr := from.stat(limited)
	w1, werr := to.stat(limited)
	s.io = diskIO{reads: r1.reads - r0.reads, readMB: r1.readMB - r0.readMB, writes: w1.writes - w0.writes, writeMB: w1.writeMB - w0.writeMB}
	return s, errors.Join(err, rerr, werr, from.limit(false), to.limit(false))
}
