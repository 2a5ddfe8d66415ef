package kubelet

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAVolumeIsSharedWithItsGroupOnce(t *testing.T) {
	root := filepath.Join(t.TempDir(), "fs")
	secret, dir := filepath.Join(root, "secrets", "key"), filepath.Join(root, "secrets")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o755, 0o770, 0o755 | os.ModeSetgid, 0o660 | os.ModeSetgid} {
		if err := os.Chmod(root, mode); err != nil {
			t.Fatal(err)
		}
		if rootShared(root, os.Getgid()) {
			t.Errorf("a root of mode %v looks shared", mode)
		}
	}
	if err := os.Chmod(root, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := shareAll(root, os.Getgid()); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{root: 0o770 | os.ModeDir | os.ModeSetgid, dir: 0o770 | os.ModeDir | os.ModeSetgid, secret: 0o660} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v %v, want %v", path, info.Mode(), err, want)
		}
	}
	if !rootShared(root, os.Getgid()) {
		t.Error("a volume that was shared does not look so")
	}
	if os.Geteuid() == 0 && rootShared(root, os.Getgid()+1) {
		t.Error("another group looks like ours")
	}
}
