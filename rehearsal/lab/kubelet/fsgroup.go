package kubelet

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The rights that a volume's group gets, and what the root of a volume must have for the kubelet to believe that all of it has them.
const (
	groupFile = 0o660
	groupDir  = 0o110
	rootMode  = groupFile | groupDir
)

// shareWithGroup does for a pod's fsGroup what a kubelet does: before the pod starts every file of the volume gets the group and its rights,
// at each start anew unless the policy is OnRootMismatch and the root is as it should be.
func (w *worker) shareWithGroup(ctx context.Context, pod *v1.Pod, pv *v1.PersistentVolume, root string) error {
	s := pod.Spec.SecurityContext
	if s == nil || s.FSGroup == nil {
		return nil
	}
	applies, err := w.groupApplies(ctx, pv)
	if err != nil || !applies {
		return err
	}
	if p := s.FSGroupChangePolicy; p != nil && *p == v1.FSGroupChangeOnRootMismatch && rootShared(root, int(*s.FSGroup)) {
		return nil
	}
	w.event(v1.EventTypeNormal, "VolumePermissionChange", fmt.Sprintf("Setting group %d on all files of %s", *s.FSGroup, pv.Name))
	return shareAll(root, int(*s.FSGroup))
}

func shareAll(root string, group int) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return shareOne(path, d, group)
	})
}

func shareOne(path string, d fs.DirEntry, group int) error {
	_ = os.Lchown(path, -1, group) // a kubelet says so in its log and goes on; who is not root can give nothing away
	info, err := d.Info()
	if err != nil || info.Mode()&os.ModeSymlink != 0 {
		return err
	}
	mode := info.Mode() | groupFile
	if d.IsDir() {
		mode |= groupDir | os.ModeSetgid
	}
	return os.Chmod(path, mode)
}

// rootShared tells whether a volume's root looks like one whose files have the group. A kubelet that is not root is not held to the group:
// nobody could have given it.
func rootShared(root string, group int) bool {
	info, err := os.Stat(root)
	if err != nil {
		return false
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Gid) != group && os.Geteuid() == 0 {
		return false
	}
	return info.Mode().Perm()&rootMode == rootMode && info.Mode()&os.ModeSetgid != 0
}

// groupApplies tells whether fsGroup means anything for a volume: a driver may say that it does not.
func (w *worker) groupApplies(ctx context.Context, pv *v1.PersistentVolume) (bool, error) {
	switch {
	case pv.Spec.Local != nil:
		return true, nil
	case pv.Spec.CSI == nil:
		return false, nil
	}
	driver, err := w.k.client.StorageV1().CSIDrivers().Get(ctx, pv.Spec.CSI.Driver, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return false, err
	}
	if err == nil && driver.Spec.FSGroupPolicy != nil {
		switch *driver.Spec.FSGroupPolicy {
		case storagev1.FileFSGroupPolicy:
			return true, nil
		case storagev1.NoneFSGroupPolicy:
			return false, nil
		}
	}
	return pv.Spec.CSI.FSType != "" && slices.Contains(pv.Spec.AccessModes, v1.ReadWriteOnce), nil
}
