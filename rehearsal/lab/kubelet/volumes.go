package kubelet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/rehearsal/lab/csi"
)

// materialise makes every volume of the pod a directory (or, for a hostPath, maybe a file) and tells where each is.
// It may be called again after an error.
func (w *worker) materialise(ctx context.Context) (map[string]string, error) {
	paths := map[string]string{}
	pod := w.current()
	for _, volume := range pod.Spec.Volumes {
		path, err := w.volume(ctx, pod, volume)
		if err != nil {
			return nil, fmt.Errorf("volume %q: %w", volume.Name, err)
		}
		paths[volume.Name] = path
	}
	return paths, nil
}

func (w *worker) volume(ctx context.Context, pod *v1.Pod, volume v1.Volume) (string, error) {
	dir := filepath.Join(w.dir, "volumes", volume.Name)
	switch {
	case volume.HostPath != nil:
		return w.hostPath(volume.HostPath)
	case volume.PersistentVolumeClaim != nil:
		return w.claim(ctx, pod, volume.PersistentVolumeClaim.ClaimName)
	case volume.EmptyDir != nil:
		return dir, w.emptyDir(dir, volume.Name)
	case volume.Ephemeral != nil:
		return w.claim(ctx, pod, pod.Name+"-"+volume.Name)
	}
	files, err := w.files(ctx, pod, volume)
	if err != nil {
		return "", err
	}
	return dir, writeFiles(dir, files)
}

// podsDir is where a kubelet keeps the volumes of its pods.
const podsDir = "/var/lib/kubelet/pods"

// emptyDir makes one, and shows it where a real node has it. It lies elsewhere: there, sockets in it would have names that are too long.
func (w *worker) emptyDir(dir, name string) error {
	shown := filepath.Join(w.inRoot(podsDir), string(w.uid), "volumes", "kubernetes.io~empty-dir", name)
	if err := errors.Join(os.MkdirAll(dir, 0o777), os.MkdirAll(filepath.Dir(shown), 0o755)); err != nil {
		return err
	}
	if err := os.Symlink(dir, shown); !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// hostPath is below the node's own root; what the pod asks for must be there, as on a real node.
func (w *worker) hostPath(source *v1.HostPathVolumeSource) (string, error) {
	path := w.inRoot(source.Path)
	kind := v1.HostPathUnset
	if source.Type != nil {
		kind = *source.Type
	}
	switch kind {
	case v1.HostPathDirectoryOrCreate:
		return path, os.MkdirAll(path, 0o755)
	case v1.HostPathFileOrCreate:
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o644)
		if err != nil {
			return "", err
		}
		return path, f.Close()
	case v1.HostPathUnset:
		// Nothing is checked; container runtimes make a missing directory.
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return path, os.MkdirAll(path, 0o755)
		}
		return path, nil
	}
	info, err := os.Stat(path)
	if real, rerr := filepath.EvalSymlinks(path); rerr == nil { // a mount follows links
		path = real
	}
	if err != nil {
		return "", fmt.Errorf("hostPath type check failed: %s is not a %s", source.Path, strings.ToLower(string(kind)))
	}
	if kind == v1.HostPathDirectory && !info.IsDir() || kind == v1.HostPathFile && !info.Mode().IsRegular() {
		return "", fmt.Errorf("hostPath type check failed: %s is not a %s", source.Path, strings.ToLower(string(kind)))
	}
	return path, nil
}

// inRoot is a path of the node as it is on this machine.
func (w *worker) inRoot(path string) string {
	return filepath.Join(w.k.opts.NodesDir, w.node.InstanceID, "root", filepath.Clean("/"+path))
}

// claim finds the volume bound to a claim; only what a played node can mount is known.
func (w *worker) claim(ctx context.Context, pod *v1.Pod, name string) (string, error) {
	claim, err := w.k.client.CoreV1().PersistentVolumeClaims(pod.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if claim.Status.Phase != v1.ClaimBound || claim.Spec.VolumeName == "" {
		return "", fmt.Errorf("persistentvolumeclaim %q is not bound", name)
	}
	pv, err := w.k.client.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	path, err := w.mountVolume(ctx, pv)
	if err != nil {
		return "", err
	}
	return path, w.shareWithGroup(ctx, pod, pv, path)
}

func (w *worker) mountVolume(ctx context.Context, pv *v1.PersistentVolume) (string, error) {
	switch {
	case pv.Spec.HostPath != nil:
		return w.hostPath(pv.Spec.HostPath)
	case pv.Spec.Local != nil:
		directory := v1.HostPathDirectory
		return w.hostPath(&v1.HostPathVolumeSource{Path: pv.Spec.Local.Path, Type: &directory})
	case pv.Spec.CSI != nil:
		return w.mountCSI(ctx, pv)
	}
	return "", fmt.Errorf("persistentvolume %q: its kind is not played; hostPath, local and csi are", pv.Name)
}

// mountCSI waits (by error) for the attachment, then mounts what is attached.
func (w *worker) mountCSI(ctx context.Context, pv *v1.PersistentVolume) (string, error) {
	source := pv.Spec.CSI
	registered, err := w.k.client.StorageV1().CSINodes().Get(ctx, w.node.Name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return "", err
	}
	if err != nil || !csi.HasDriver(registered, source.Driver) {
		return "", fmt.Errorf("driver name %s not found in the list of registered CSI drivers", source.Driver)
	}
	name := csi.AttachmentName(source.VolumeHandle, source.Driver, w.node.Name)
	attachment, err := w.k.client.StorageV1().VolumeAttachments().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("waiting for attachment of %s: %w", source.VolumeHandle, err)
	}
	if !attachment.Status.Attached {
		if attachment.Status.AttachError != nil {
			return "", fmt.Errorf("attach of %s failed: %s", source.VolumeHandle, attachment.Status.AttachError.Message)
		}
		return "", fmt.Errorf("%s is not attached yet", source.VolumeHandle)
	}
	// The controller must know it too: it detaches only what it has seen attached.
	node, err := w.k.client.CoreV1().Nodes().Get(ctx, w.node.Name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	unique := v1.UniqueVolumeName("kubernetes.io/csi/" + source.Driver + "^" + source.VolumeHandle)
	if !slices.ContainsFunc(node.Status.VolumesAttached, func(a v1.AttachedVolume) bool { return a.Name == unique }) {
		return "", fmt.Errorf("%s is not yet in the list of node's volumesAttached", source.VolumeHandle)
	}
	return csi.Mount(filepath.Join(w.k.opts.NodesDir, w.node.InstanceID, "devices"), source.VolumeHandle, source.FSType)
}

// mounts tells where each volume mount of a container really is, subPath included.
func mounts(c *v1.Container, volumes map[string]string, vars map[string]string) ([]mount, error) {
	all := make([]mount, 0, len(c.VolumeMounts))
	for _, m := range c.VolumeMounts {
		host, ok := volumes[m.Name]
		if !ok {
			return nil, fmt.Errorf("mount %s: no volume %q", m.MountPath, m.Name)
		}
		sub := m.SubPath
		if m.SubPathExpr != "" {
			sub = expand(m.SubPathExpr, vars)
		}
		if sub != "" {
			if !filepath.IsLocal(sub) {
				return nil, fmt.Errorf("mount %s: subPath %q leaves the volume", m.MountPath, sub)
			}
			host = filepath.Join(host, sub)
			if _, err := os.Stat(host); errors.Is(err, os.ErrNotExist) {
				if err := os.MkdirAll(host, 0o755); err != nil {
					return nil, err
				}
			}
		}
		all = append(all, mount{path: filepath.Clean(m.MountPath), host: host})
	}
	return all, nil
}
