//go:build root && linux

package jenkinshome

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pipectl.dev/steps/jenkinshome/device"
	"pipectl.dev/treecopy"
	"pipectl.dev/treecopy/treetest"
)

// TestRootPowerIsLostAtAnyMoment takes images of a device while a home is copied onto it, and of what it holds the moment the copy is
// called complete, as a machine that loses its power leaves it: what was not written back is missing. Whatever the marker says then must be
// true, and a copy that goes on from there must end equal.
func TestRootPowerIsLostAtAnyMoment(t *testing.T) {
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	if err := treetest.JenkinsHome(home, treetest.Options{Files: 4000, Seed: 6}); err != nil {
		t.Fatal(err)
	}
	disk := loopDevice(t, 128)
	d := device.Open("/")
	if err := d.Format(t.Context(), disk); err != nil {
		t.Fatal(err)
	}
	root, err := d.Mount(disk, mountPoint(t))
	if err != nil {
		t.Fatal(err)
	}
	backing, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(disk), "loop/backing_file"))
	if err != nil {
		t.Fatal(err)
	}
	var images []string
	cut := func() {
		image := filepath.Join(dir, fmt.Sprintf("image-%d", len(images)))
		if out, err := exec.Command("cp", "--sparse=always", string(bytes.TrimSpace(backing)), image).CombinedOutput(); err != nil {
			t.Errorf("cp: %v: %s", err, out)
		}
		images = append(images, image)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(30 * time.Millisecond)
		defer tick.Stop()
		for len(images) < 12 {
			select {
			case <-stop:
				return
			case <-tick.C:
				cut()
			}
		}
	}()
	rep, err := treecopy.Copy(t.Context(), home, root, crashOptions(root))
	close(stop)
	<-stopped
	cut()
	if uerr := d.Unmount(root); err != nil || uerr != nil {
		t.Fatal(err, uerr)
	}
	complete := 0
	for i, image := range images {
		if afterTheCrash(t, home, image, rep.ManifestHash) {
			complete++
		} else if i == len(images)-1 {
			t.Error("the copy was called complete, and the device does not say so")
		}
	}
	t.Logf("%d images, %d of them complete", len(images), complete)
	if len(images) < 3 || complete == len(images) {
		t.Errorf("no image is of the middle of the copy")
	}
}

func crashOptions(root string) treecopy.Options {
	return treecopy.Options{Delete: true, Manifest: manifestOf(root), Source: "home", KeepRoot: true}
}

// afterTheCrash mounts an image, as a machine does that has started again, and says whether the copy on it is called complete.
func afterTheCrash(t *testing.T, home, image, hash string) (complete bool) {
	t.Helper()
	d := device.Open("/")
	root, err := d.Mount(loopOf(t, image), mountPoint(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Unmount(root); err != nil {
			t.Error(err)
		}
	}()
	m, err := treecopy.ReadMarker(root)
	if complete = err == nil && m.State == treecopy.MarkerComplete; complete {
		if _, err := treecopy.VerifyFile(t.Context(), root, manifestOf(root), treecopy.Options{}); err != nil || m.ManifestHash != hash {
			t.Errorf("%s: complete, but: %v", image, err)
		}
		return true
	}
	if err := anotherBoot(filepath.Join(root, treecopy.MarkerName)); err != nil {
		t.Fatal(err)
	}
	rep, err := treecopy.Copy(t.Context(), home, root, crashOptions(root))
	if err != nil || rep.ManifestHash != hash {
		t.Errorf("%s: copied on: %v", image, err)
		return false
	}
	if _, err := treecopy.VerifyFile(t.Context(), root, manifestOf(root), treecopy.Options{}); err != nil {
		t.Errorf("%s: copied on: %v", image, err)
	}
	return false
}

// anotherBoot has the marker be of before the machine started; this one did not. A marker that never reached the disk stays away.
func anotherBoot(marker string) error {
	b, err := os.ReadFile(marker)
	if errors.Is(err, unix.ENOENT) || err == nil && len(b) == 0 {
		return os.RemoveAll(marker)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(marker, regexp.MustCompile(`"bootId": *"[^"]*"`).ReplaceAll(b, []byte(`"bootId":"another"`)), 0o600)
}
