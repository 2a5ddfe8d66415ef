package jenkinshome

import (
	"context"
	"log/slog"
	"time"

	"pipectl.dev/steps/jenkinshome/device"
)

// mountTarget makes the target ready to be written to and returns how to let go of it. On route sameNode the claim is there already.
func mountTarget(ctx context.Context, dev device.Devices, a moverArgs, log *slog.Logger) (root string, release func() error, err error) {
	if a.Volume == "" {
		if a.Claimed != "" {
			err = dev.Mounted(a.Claimed, a.Target, a.Scratch)
		}
		return a.Target, func() error { return nil }, err
	}
	find, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	path, err := dev.Find(find, a.Volume)
	if err != nil {
		return "", nil, err
	}
	holds, err := dev.Holds(path)
	if err != nil {
		return "", nil, err
	}
	log.Info("device found", "device", path, "holds", holds)
	if holds == "" {
		if err := dev.Format(ctx, path); err != nil {
			return "", nil, err
		}
		log.Info("device formatted", "device", path)
	}
	if holds == "ext4" {
		grow(log, path, func() (before, after int64, err error) { return dev.Grow(ctx, path) })
	}
	if root, err = dev.Mount(path, a.Target); err != nil {
		return "", nil, err
	}
	if holds == "xfs" {
		grow(log, path, func() (before, after int64, err error) { return dev.GrowMounted(path, root) })
	}
	return root, func() error { return dev.Unmount(root) }, nil
}

// grow gives the file system what the volume has grown by since it was formatted. Where that fails the copy finds out whether there is room.
func grow(log *slog.Logger, path string, by func() (before, after int64, err error)) {
	switch before, after, err := by(); {
	case err != nil:
		log.Warn("the file system stays as large as it is: " + err.Error())
	case after > before:
		log.Info("file system grown", "device", path, "from", before, "to", after)
	}
}

// fileSystem is the type of what the volume was formatted with, by us or by somebody before.
func (p precopy) fileSystem(ctx context.Context) (string, error) {
	path, err := p.dev.Find(ctx, p.args.Volume)
	if err != nil {
		return "", err
	}
	return p.dev.Holds(path)
}
