package device

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// rehearsal plays devices: one symbolic link per attached volume, to a directory with the file system's content (fs) and type (fstype).
type rehearsal struct{ dir string }

func (r rehearsal) Find(ctx context.Context, volumeID string) (string, error) {
	link := filepath.Join(r.dir, volumeID)
	for {
		path, err := filepath.EvalSymlinks(link)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if !pause(ctx, 100*time.Millisecond) {
			return "", notFound(volumeID)
		}
	}
}

func (r rehearsal) Holds(path string) (string, error) {
	b, err := os.ReadFile(filepath.Join(path, "fstype"))
	if errors.Is(err, fs.ErrNotExist) {
		names, err := os.ReadDir(filepath.Join(path, "fs"))
		if len(names) > 0 {
			return Unknown, nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return "", err
	}
	return strings.TrimSpace(string(b)), err
}

func (r rehearsal) Format(_ context.Context, path string) error {
	holds, err := r.Holds(path)
	if err != nil {
		return err
	}
	if holds != "" {
		return notBlank(path, holds)
	}
	if err := os.MkdirAll(filepath.Join(path, "fs"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(path, "fstype"), []byte("ext4"), 0o644)
}

func (r rehearsal) Mount(path, _ string) (string, error) {
	root := filepath.Join(path, "fs")
	if _, err := os.Stat(root); err != nil {
		return "", err
	}
	return root, nil
}

// Mounted knows a volume by where its link leads.
func (r rehearsal) Mounted(volumeID, dir, _ string) error {
	want, err := filepath.EvalSymlinks(filepath.Join(r.dir, volumeID, "fs"))
	if errors.Is(err, fs.ErrNotExist) {
		return notTheVolume(volumeID, dir, "it is not attached")
	}
	if err != nil {
		return err
	}
	if have, err := filepath.EvalSymlinks(dir); err != nil || have != want {
		return errors.Join(err, notTheVolume(volumeID, dir, "another one is mounted there"))
	}
	return nil
}

// Grow has nothing to do: directories have no size of their own.
func (rehearsal) Grow(context.Context, string) (before, after int64, err error) { return 0, 0, nil }

// GrowMounted has nothing to do either.
func (rehearsal) GrowMounted(string, string) (before, after int64, err error) { return 0, 0, nil }

func (r rehearsal) View(path, dir, inside string) (string, error) {
	root, err := r.Mount(path, dir)
	if err != nil {
		return "", err
	}
	if !holdsDirectory(root, inside) {
		return "", noDirectory(path, inside)
	}
	return root, nil
}

// Unmount notices when the volume was taken away while it was in use.
func (r rehearsal) Unmount(root string) error {
	disk := filepath.Dir(root)
	links, err := os.ReadDir(r.dir)
	if err != nil {
		return err
	}
	for _, l := range links {
		if to, err := filepath.EvalSymlinks(filepath.Join(r.dir, l.Name())); err == nil && to == disk {
			return nil
		}
	}
	return errors.New(disk + ": was detached while it was mounted")
}

// pause waits; false when ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
