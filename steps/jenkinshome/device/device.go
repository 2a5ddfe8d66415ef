// Package device is the one seam between the mover and the node's block devices: find an attached volume, look whether it is blank, format
// it, mount it, unmount it. The real one works on Linux as root; the rehearsal's plays the same with directories.
//
// It must never format what is not blank, never guess a device, and never leave a mount behind a successful Unmount.
package device

import (
	"cmp"
	"context"
	"os"

	"pipectl.dev/steps"
)

// RehearsalEnv names a directory of attached "devices"; when it is set, nothing real is looked at.
const RehearsalEnv = "PIPECTL_REHEARSAL_DEVICES"

// Devices is what the mover needs of a node.
type Devices interface {
	// Find returns the path of an attached volume's device, waiting for it to appear until ctx ends.
	Find(ctx context.Context, volumeID string) (path string, err error)
	// Holds says what the device holds: "" when it is blank, the type of its file system, or "unknown content".
	Holds(path string) (string, error)
	// Format makes an ext4 file system on a blank device.
	Format(ctx context.Context, path string) error
	// Mount makes the file system readable and writable and returns the directory that it can be seen at; dir is where to mount it.
	Mount(path, dir string) (root string, err error)
	// Mounted makes sure that dir, which somebody else has mounted, is the volume: not the node's own disk, which beside is on, nor another
	// volume where the device tells.
	Mounted(volumeID, dir, beside string) error
	// Grow makes an ext4 file system that is not mounted as large as its device. Sizes are in bytes; equal ones mean that it was so already.
	Grow(ctx context.Context, path string) (before, after int64, err error)
	// GrowMounted does the same for an xfs file system, once it is mounted at root.
	GrowMounted(path, root string) (before, after int64, err error)
	// View makes the file system that has the directory inside readable, on the device or one of its partitions, and returns the directory
	// that its root can be seen at; dir is where to mount it. A journal that was not closed is replayed: the device must be a copy.
	View(path, dir, inside string) (root string, err error)
	// Unmount writes everything back and lets go of the device.
	Unmount(root string) error
}

// Unknown is what Holds says of content that it does not recognise.
const Unknown = "unknown content"

// Open returns the node's devices. host is where the node's root file system is mounted.
func Open(host string) Devices {
	if dir := os.Getenv(RehearsalEnv); dir != "" {
		return rehearsal{dir}
	}
	return system(host)
}

func notFound(volumeID string) error {
	return &steps.Error{Code: "DeviceNotFound", Category: steps.Precondition, Retryable: true,
		Message: "volume " + volumeID + ": no device of it is attached to this node",
		Hints:   []string{"is the node the instance that the volume is attached to? `from.instanceId` names it"}}
}

// holdsDirectory says whether inside is a directory below root, reached without leaving it.
func holdsDirectory(root, inside string) bool {
	r, err := os.OpenRoot(root)
	if err != nil {
		return false
	}
	defer func() { _ = r.Close() }() // read only
	fi, err := r.Stat(cmp.Or(inside, "."))
	return err == nil && fi.IsDir()
}

func noDirectory(path, inside string) error {
	return &steps.Error{Code: "HomeNotOnDisk", Category: steps.Precondition, Message: path + ": no file system on it has the directory /" + inside,
		Hints: []string{"the home may lie on another disk than the node's root, or be reached by a symbolic link; use route attach"}}
}

func notTheVolume(volumeID, dir, why string) error {
	return &steps.Error{Code: "NotTheVolume", Category: steps.Precondition, Message: dir + ": is not volume " + volumeID + ": " + why,
		Hints: []string{"see the events of the pod, and what its claim is bound to; nothing was written"}}
}

func notBlank(path, holds string) error {
	return &steps.Error{Code: "DeviceNotBlank", Category: steps.Precondition, Message: path + ": format: holds " + holds,
		Hints: []string{"only a blank volume is formatted; use a new one, or wipe this one yourself"}}
}
