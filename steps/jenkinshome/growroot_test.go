//go:build root && linux

package jenkinshome

import (
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pipectl.dev/steps"
	"pipectl.dev/steps/jenkinshome/device"
	"pipectl.dev/treecopy/treetest"
)

// enlarge gives a loop device more room, as ModifyVolume does to a volume.
func enlarge(t *testing.T, disk string, mib int64) {
	t.Helper()
	file, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(disk), "loop/backing_file"))
	if err == nil {
		err = os.Truncate(strings.TrimSpace(string(file)), mib<<20)
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "losetup", "--set-capacity", disk).CombinedOutput(); err != nil {
		t.Fatalf("losetup --set-capacity: %v: %s", err, out)
	}
}

// TestRootAVolumeThatIsTooSmallIsNamedAndGrows fails for want of room, gets a larger device, and carries on.
func TestRootAVolumeThatIsTooSmallIsNamedAndGrows(t *testing.T) {
	for name, c := range map[string]struct {
		mib   int64
		files int
	}{"bytes": {16, 6000}, "inodes": {64, 9000}} {
		t.Run(name, func(t *testing.T) {
			disk := loopDevice(t, c.mib)
			home := filepath.Join(t.TempDir(), "home")
			if err := treetest.JenkinsHome(home, treetest.Options{Files: c.files, Seed: 5}); err != nil {
				t.Fatal(err)
			}
			a := moverDefaults
			a.Source, a.Target, a.Volume, a.Identity, a.RunID, a.Passes = home, mountPoint(t), "vol-0", "jenkins u ns/w to vol-0", "r1", 3
			copied := func() (moverResult, error) {
				return precopy{args: a, dev: fixedDevice{device.Open("/"), disk}, log: slog.New(slog.NewTextHandler(t.Output(), nil))}.run(t.Context())
			}
			_, err := copied()
			if e := steps.Classify(err); code(err) != "NoSpace" || e.Category != steps.Precondition || len(e.Hints) != 1 || !strings.Contains(e.Hints[0], "raise `size` of the data-volume stage by at least 1Gi") {
				t.Fatalf("got %v %+v", err, e.Hints)
			}
			enlarge(t, disk, 512)
			res, err := copied()
			if err != nil || res.Figures == nil || res.Figures.Files == 0 {
				t.Fatalf("%v %+v", err, res)
			}
			if out, err := exec.CommandContext(t.Context(), "e2fsck", "-fn", disk).CombinedOutput(); err != nil {
				t.Errorf("e2fsck: %v: %s", err, out)
			}
		})
	}
}

// TestRootAFileSystemGrowsInAChroot grows as a mover in a pod does, and only where there is something to grow.
func TestRootAFileSystemGrowsInAChroot(t *testing.T) {
	disk, host := loopDevice(t, 320), mountPoint(t)
	if err := errors.Join(unix.Mount("/", host, "", unix.MS_BIND|unix.MS_REC, ""), unix.Mount("", host, "", unix.MS_PRIVATE|unix.MS_REC, "")); err != nil {
		t.Fatal(err)
	}
	d, path := device.Open(host), filepath.Join(host, disk)
	if err := d.Format(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if before, after, err := d.Grow(t.Context(), path); err != nil || before != after || before != 320<<20 {
		t.Errorf("as large as the device: %d, %d, %v", before, after, err)
	}
	enlarge(t, disk, 1024)
	if before, after, err := device.Open(t.TempDir()).Grow(t.Context(), disk); code(err) != "NoTool" || before != after {
		t.Errorf("a node without tools: %d, %d, %v", before, after, err)
	}
	if before, after, err := d.Grow(t.Context(), path); err != nil || before != 320<<20 || after != 1024<<20 {
		t.Errorf("from %d to %d, %v", before, after, err)
	}
}

// TestRootAnXFSVolumeGrowsAsItIsMounted enlarges a volume that somebody has formatted otherwise.
func TestRootAnXFSVolumeGrowsAsItIsMounted(t *testing.T) {
	disk := loopDevice(t, 320)
	if out, err := exec.CommandContext(t.Context(), "mkfs.xfs", "-q", disk).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.xfs: %v: %s (it is in the package xfsprogs)", err, out)
	}
	a := moverDefaults
	a.Target, a.Volume = mountPoint(t), "vol-0"
	mounted := func() (size int64) {
		t.Helper()
		root, release, err := mountTarget(t.Context(), fixedDevice{device.Open("/"), disk}, a, slog.New(slog.NewTextHandler(t.Output(), nil)))
		if err != nil {
			t.Fatal(err)
		}
		var st unix.Statfs_t
		err = errors.Join(unix.Statfs(root, &st), os.WriteFile(filepath.Join(root, "x"), []byte("x"), 0o600), release())
		if err != nil {
			t.Fatal(err)
		}
		return int64(st.Blocks) * st.Bsize
	}
	first := mounted()
	if again := mounted(); again != first {
		t.Errorf("as large as the device: %d, was %d", again, first)
	}
	enlarge(t, disk, 1024)
	if now := mounted(); now < first+600<<20 {
		t.Errorf("of %d on a larger device, was %d", now, first)
	}
	if out, err := exec.CommandContext(t.Context(), "xfs_repair", "-n", disk).CombinedOutput(); err != nil {
		t.Errorf("xfs_repair: %v: %s", err, out)
	}
}
