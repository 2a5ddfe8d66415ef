package csi

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	storagev1 "k8s.io/api/storage/v1"
)

// Driver is the only driver that is played.
const Driver = "ebs.csi.aws.com"

// AttachmentName is the name that the attach-detach controller gives the VolumeAttachment of a volume to a node.
func AttachmentName(volumeHandle, driver, node string) string {
	sum := sha256.Sum256([]byte(volumeHandle + driver + node))
	return "csi-" + hex.EncodeToString(sum[:])
}

// HasDriver tells whether a node has registered a driver.
func HasDriver(node *storagev1.CSINode, driver string) bool {
	for _, d := range node.Spec.Drivers {
		if d.Name == driver {
			return true
		}
	}
	return false
}

// Mount finds an attached volume below the node's devices, formats it when it is blank, and returns the directory of
// its file system. fsType "" stands for ext4. A volume with another file system is refused, never formatted anew.
func Mount(devices, volume, fsType string) (string, error) {
	if fsType == "" {
		fsType = "ext4"
	}
	if !filepath.IsLocal(volume) || strings.ContainsRune(volume, filepath.Separator) {
		return "", fmt.Errorf("mount %q: no volume id", volume)
	}
	device := filepath.Join(devices, volume)
	if _, err := os.Stat(device); err != nil {
		return "", fmt.Errorf("mount %s: could not find device path: %w", volume, err)
	}
	mark, content := filepath.Join(device, "fstype"), filepath.Join(device, "fs")
	has, err := os.ReadFile(mark)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if err := os.MkdirAll(content, 0o755); err != nil {
			return "", fmt.Errorf("format %s: %w", volume, err)
		}
		if err := os.WriteFile(mark, []byte(fsType), 0o644); err != nil {
			return "", fmt.Errorf("format %s: %w", volume, err)
		}
		return content, nil
	case err != nil:
		return "", fmt.Errorf("mount %s: %w", volume, err)
	case strings.TrimSpace(string(has)) != fsType:
		return "", fmt.Errorf("mount %s: wrong fs type: the device holds %s, not %s", volume, strings.TrimSpace(string(has)), fsType)
	}
	return content, os.MkdirAll(content, 0o755)
}
