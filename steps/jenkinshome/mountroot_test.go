//go:build root && linux

package jenkinshome

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pipectl.dev/steps/jenkinshome/device"
	"pipectl.dev/treecopy"
	"pipectl.dev/treecopy/treetest"
)

// loopDevice is a blank block device of some MiB.
func loopDevice(t *testing.T, mib int64) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests need root: they make a loop device, format and mount it")
	}
	file := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(mib<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	return loopOf(t, file)
}

// loopOf is a block device with the content of a file.
func loopOf(t *testing.T, file string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "losetup", "--find", "--show", file).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s (is there a loop device?)", err, out)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", dev).CombinedOutput(); err != nil {
			t.Errorf("losetup --detach: %v: %s", err, out)
		}
	})
	return dev
}

func mountPoint(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // where the test failed in the middle
	return dir
}

func TestRootADeviceIsFormattedMountedCopiedToAndUnmounted(t *testing.T) {
	disk := loopDevice(t, 256)
	d := device.Open("/")
	if holds, err := d.Holds(disk); err != nil || holds != "" {
		t.Fatalf("a blank device holds %q, %v", holds, err)
	}
	if err := d.Format(t.Context(), disk); err != nil {
		t.Fatal(err)
	}
	if holds, err := d.Holds(disk); err != nil || holds != "ext4" {
		t.Fatalf("a formatted device holds %q, %v", holds, err)
	}
	if err := d.Format(t.Context(), disk); code(err) != "DeviceNotBlank" {
		t.Fatalf("formatted again: %v", err)
	}
	home, dir := filepath.Join(t.TempDir(), "home"), mountPoint(t)
	if err := treetest.JenkinsHome(home, treetest.Options{Files: 1500, Seed: 3}); err != nil {
		t.Fatal(err)
	}
	root, err := d.Mount(disk, dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "lost+found")); err != nil {
		t.Errorf("that is not the volume: %v", err)
	}
	first, err := treecopy.Copy(t.Context(), home, root, treecopy.Options{KeepRoot: true, Delete: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Unmount(root); err != nil {
		t.Fatal(err)
	}
	if names, _ := os.ReadDir(dir); len(names) > 0 {
		t.Fatalf("still mounted: %v", names)
	}
	if _, err := d.Mount(disk, dir); err != nil {
		t.Fatal(err)
	}
	back, err := treecopy.Digest(t.Context(), dir, treecopy.Options{})
	if err != nil || back.ManifestHash != first.ManifestHash {
		t.Errorf("after mounting again: %v, %d files of %d", err, back.Seen.Files, first.Seen.Files)
	}
	if err := d.Unmount(dir); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "e2fsck", "-fn", disk).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v: %s", err, out)
	}
}

func TestRootAnotherFileSystemIsNeverFormatted(t *testing.T) {
	disk := loopDevice(t, 64)
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte("XFSB"), 0)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	if err := device.Open("/").Format(t.Context(), disk); code(err) != "DeviceNotBlank" || !strings.Contains(err.Error(), "xfs") {
		t.Errorf("got %v", err)
	}
}

// fixedDevice finds one device whatever is asked for: a loop device has no NVMe serial number.
type fixedDevice struct {
	device.Devices
	path string
}

func (f fixedDevice) Find(context.Context, string) (string, error) { return f.path, nil }

func TestRootTheMoverOnADevice(t *testing.T) {
	disk := loopDevice(t, 256)
	home := filepath.Join(t.TempDir(), "home")
	if err := treetest.JenkinsHome(home, treetest.Options{Files: 1500, Seed: 4}); err != nil {
		t.Fatal(err)
	}
	a := moverDefaults
	a.Source, a.Target, a.Volume, a.Identity, a.RunID, a.Exclude, a.Passes = home, mountPoint(t), "vol-0", "jenkins u ns/w to vol-0", "r1", defaultExcludes, 3
	res, err := precopy{args: a, dev: fixedDevice{device.Open("/"), disk}, log: slog.New(slog.DiscardHandler)}.run(t.Context())
	if err != nil || res.Figures == nil || res.Figures.Files == 0 {
		t.Fatalf("%v %+v", err, res)
	}
	b, _ := json.Marshal(res)
	if bytes.Contains(b, []byte("master.key")) {
		t.Error("the result names a secret's file content")
	}
	d := device.Open("/")
	if _, err := d.Mount(disk, a.Target); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(a.Target)
	if err != nil || fi.Mode()&os.ModeSetgid == 0 || fi.Mode().Perm() != 0o775 {
		t.Errorf("root: %v %v", fi.Mode(), err)
	}
	secret, err := os.Stat(filepath.Join(a.Target, "secrets", "master.key"))
	if err != nil || secret.Mode().Perm() != 0o600 {
		t.Errorf("master.key: %v %v", secret.Mode(), err)
	}
	// Another Jenkins' home is refused by the marker.
	if err := d.Unmount(a.Target); err != nil {
		t.Fatal(err)
	}
	a.Identity = "jenkins u2 other/w to vol-0"
	if _, err := (precopy{args: a, dev: fixedDevice{d, disk}, log: slog.New(slog.DiscardHandler)}).run(t.Context()); code(err) != "CopyRefused" {
		t.Errorf("another home: %v", err)
	}
	if names, _ := os.ReadDir(a.Target); len(names) > 0 {
		t.Error("a refused copy leaves the volume mounted")
	}
}

// TestRootFormatInAChroot formats as a mover in a pod does: the node's root is somewhere else, and the tool is the node's.
func TestRootFormatInAChroot(t *testing.T) {
	disk := loopDevice(t, 64)
	host := mountPoint(t)
	if err := unix.Mount("/", host, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", host, "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	d := device.Open(host)
	if err := d.Format(t.Context(), filepath.Join(host, disk)); err != nil {
		t.Fatal(err)
	}
	if holds, err := device.Open("/").Holds(disk); err != nil || holds != "ext4" {
		t.Errorf("holds %q, %v", holds, err)
	}
	bare := device.Open(t.TempDir())
	blank := loopDevice(t, 64)
	if err := bare.Format(t.Context(), blank); code(err) != "NoMkfs" {
		t.Errorf("a node without mkfs.ext4: %v", err)
	}
}

func TestRootADiskIsViewedReadOnlyAndOnlyWhereItHasTheDirectory(t *testing.T) {
	disk := loopDevice(t, 64)
	d := device.Open("/")
	if err := d.Format(t.Context(), disk); err != nil {
		t.Fatal(err)
	}
	dir := mountPoint(t)
	root, err := d.Mount(disk, dir)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(os.MkdirAll(filepath.Join(root, "var/lib/jenkins"), 0o755), os.Symlink("/etc", filepath.Join(root, "out")), d.Unmount(root))
	if err != nil {
		t.Fatal(err)
	}
	for _, inside := range []string{"srv/jenkins", "out", "../etc"} { // missing, a link that leads to this machine's own files, a path that does
		if _, err := d.View(disk, dir, inside); code(err) != "HomeNotOnDisk" {
			t.Errorf("%s: got %v", inside, err)
		}
	}
	if root, err = d.View(disk, dir, "var/lib/jenkins"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "x"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("written to: %v", err)
	}
	if err := d.Unmount(root); err != nil {
		t.Error(err)
	}
}
