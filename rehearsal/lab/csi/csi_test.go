package csi

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestAttachmentNameIsTheControllers(t *testing.T) {
	// printf 'vol-1ebs.csi.aws.comn1' | sha256sum
	const want = "csi-ddbfb4470da740e26d0871a8e7cbfaaea0fe241c682170c176b52f44abb4a3be"
	if got := AttachmentName("vol-1", Driver, "n1"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestMount(t *testing.T) {
	for name, c := range map[string]struct {
		attached   bool
		has, asked string
		want       string // part of the error; "" for none
		formatted  string
	}{
		"a blank volume is formatted":               {true, "", "xfs", "", "xfs"},
		"a blank volume is ext4 when none is asked": {true, "", "", "", "ext4"},
		"a volume with the right file system":       {true, "ext4\n", "ext4", "", "ext4\n"},
		"a foreign file system is refused":          {true, "xfs", "ext4", "wrong fs type", "xfs"},
		"a volume that is not attached":             {false, "", "ext4", "could not find device path", ""},
	} {
		t.Run(name, func(t *testing.T) {
			devices, volume := t.TempDir(), t.TempDir()
			if c.attached {
				if err := os.Symlink(volume, filepath.Join(devices, "vol-1")); err != nil {
					t.Fatal(err)
				}
			}
			if c.has != "" {
				if err := os.WriteFile(filepath.Join(volume, "fstype"), []byte(c.has), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			dir, err := Mount(devices, "vol-1", c.asked)
			switch {
			case c.want == "" && err != nil:
				t.Fatal(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Fatalf("got %v, want %s", err, c.want)
			case c.want == "":
				if info, err := os.Stat(dir); err != nil || !info.IsDir() {
					t.Errorf("the mount is %v, %v", info, err)
				}
			}
			if got, _ := os.ReadFile(filepath.Join(volume, "fstype")); string(got) != c.formatted {
				t.Errorf("the volume holds %q, want %q", got, c.formatted)
			}
		})
	}
}

func TestMountTakesOnlyAnID(t *testing.T) {
	for _, id := range []string{"../vol-1", "a/b", ""} {
		if _, err := Mount(t.TempDir(), id, ""); err == nil {
			t.Errorf("%q was mounted", id)
		}
	}
}

func TestPending(t *testing.T) {
	now := metav1.Now()
	for name, c := range map[string]struct {
		attached bool
		deleted  *metav1.Time
		held     bool
		want     bool
	}{
		"new":                     {false, nil, false, true},
		"attached":                {true, nil, true, false},
		"to be detached":          {true, &now, true, true},
		"detached":                {true, &now, false, false},
		"never attached, deleted": {false, &now, true, true},
	} {
		a := &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: c.deleted}, Status: storagev1.VolumeAttachmentStatus{Attached: c.attached}}
		if c.held {
			a.Finalizers = []string{finalizer}
		}
		if got := pending(a); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
