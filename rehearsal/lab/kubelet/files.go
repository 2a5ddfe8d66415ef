package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// file is one file of a volume that is made of API objects.
type file struct {
	data []byte
	mode fs.FileMode
}

// files collects the content of a configMap, secret, projected or downwardAPI volume by path in the volume.
func (w *worker) files(ctx context.Context, pod *v1.Pod, volume v1.Volume) (map[string]file, error) {
	switch {
	case volume.ConfigMap != nil:
		s := volume.ConfigMap
		return w.configMap(ctx, pod.Namespace, s.Name, s.Items, s.DefaultMode, s.Optional)
	case volume.Secret != nil:
		s := volume.Secret
		return w.secret(ctx, pod.Namespace, s.SecretName, s.Items, s.DefaultMode, s.Optional)
	case volume.DownwardAPI != nil:
		return w.downward(pod, volume.DownwardAPI.Items, volume.DownwardAPI.DefaultMode)
	case volume.Projected != nil:
		return w.projected(ctx, pod, volume.Name, volume.Projected)
	}
	return nil, errors.New("its kind is not played")
}

func (w *worker) configMap(ctx context.Context, namespace, name string, items []v1.KeyToPath, mode *int32, optional *bool) (map[string]file, error) {
	object, err := w.k.client.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	data := map[string][]byte{}
	for key, value := range object.Data {
		data[key] = []byte(value)
	}
	for key, value := range object.BinaryData {
		data[key] = value
	}
	return pick(data, items, mode, optional)
}

func (w *worker) secret(ctx context.Context, namespace, name string, items []v1.KeyToPath, mode *int32, optional *bool) (map[string]file, error) {
	object, err := w.k.client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return pick(object.Data, items, mode, optional)
}

// pick chooses the keys that items name, all of them where there are no items.
func pick(data map[string][]byte, items []v1.KeyToPath, mode *int32, optional *bool) (map[string]file, error) {
	files := map[string]file{}
	if len(items) == 0 {
		for key, value := range data {
			files[key] = file{value, fileMode(nil, mode)}
		}
		return files, nil
	}
	for _, item := range items {
		value, ok := data[item.Key]
		if !ok {
			if optional != nil && *optional {
				continue
			}
			return nil, fmt.Errorf("references non-existent key %q", item.Key)
		}
		files[item.Path] = file{value, fileMode(item.Mode, mode)}
	}
	return files, nil
}

func (w *worker) downward(pod *v1.Pod, items []v1.DownwardAPIVolumeFile, mode *int32) (map[string]file, error) {
	files := map[string]file{}
	for _, item := range items {
		value := ""
		if item.FieldRef != nil {
			var err error
			if value, err = w.field(pod, item.FieldRef.FieldPath); err != nil {
				return nil, err
			}
		}
		files[item.Path] = file{[]byte(value), fileMode(item.Mode, mode)}
	}
	return files, nil
}

func (w *worker) projected(ctx context.Context, pod *v1.Pod, volume string, source *v1.ProjectedVolumeSource) (map[string]file, error) {
	all := map[string]file{}
	for _, s := range source.Sources {
		var files map[string]file
		var err error
		switch {
		case s.ServiceAccountToken != nil:
			files, err = w.token(ctx, pod, volume, s.ServiceAccountToken, source.DefaultMode)
		case s.ConfigMap != nil:
			files, err = w.configMap(ctx, pod.Namespace, s.ConfigMap.Name, s.ConfigMap.Items, source.DefaultMode, s.ConfigMap.Optional)
		case s.Secret != nil:
			files, err = w.secret(ctx, pod.Namespace, s.Secret.Name, s.Secret.Items, source.DefaultMode, s.Secret.Optional)
		case s.DownwardAPI != nil:
			files, err = w.downward(pod, s.DownwardAPI.Items, source.DefaultMode)
		default:
			err = errors.New("a projected source's kind is not played")
		}
		if err != nil {
			return nil, err
		}
		for path, f := range files {
			all[path] = f
		}
	}
	return all, nil
}

// token asks for a token bound to the pod and has it renewed well before it ends.
func (w *worker) token(ctx context.Context, pod *v1.Pod, volume string, source *v1.ServiceAccountTokenProjection, mode *int32) (map[string]file, error) {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: source.ExpirationSeconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	if source.Audience != "" {
		request.Spec.Audiences = []string{source.Audience}
	}
	answer, err := w.k.client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("token of %s: %w", pod.Spec.ServiceAccountName, err)
	}
	w.renewal.Do(func() { go w.renewTokens(pod) })
	w.noteExpiry(answer.Status.ExpirationTimestamp.Time)
	return map[string]file{source.Path: {[]byte(answer.Status.Token), fileMode(nil, mode)}}, nil
}

// renewTokens rewrites the pod's projected volumes when four fifths of the shortest token's life are over.
func (w *worker) renewTokens(pod *v1.Pod) {
	for {
		timer := time.NewTimer(max(time.Until(w.nextExpiry())*4/5, 10*time.Second))
		select {
		case <-w.life.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		w.noteExpiry(time.Time{})
		for _, volume := range pod.Spec.Volumes {
			if volume.Projected == nil {
				continue
			}
			if _, err := w.volume(w.life, pod, volume); err != nil && w.life.Err() == nil {
				w.k.opts.Log.Warn("token renewal", "pod", w.name, "volume", volume.Name, "error", err)
			}
		}
	}
}

// noteExpiry keeps the earliest expiry; the zero time starts anew.
func (w *worker) noteExpiry(at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at.IsZero() || w.expiry.IsZero() || at.Before(w.expiry) {
		w.expiry = at
	}
}

func (w *worker) nextExpiry() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.expiry
}

// writeFiles makes dir hold exactly files; each arrives whole, as a reader may be there.
func writeFiles(dir string, files map[string]file) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	paths := make([]string, 0, len(files))
	for path := range files {
		paths = append(paths, path)
	}
	sort.Strings(paths)
	for _, path := range paths {
		if !filepath.IsLocal(path) {
			return fmt.Errorf("file %q leaves the volume", path)
		}
		target := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		temp := target + ".new"
		if err := os.WriteFile(temp, files[path].data, 0o600); err != nil {
			return err
		}
		// The owner must be able to read it: without root there is no other way in.
		if err := os.Chmod(temp, files[path].mode|0o400); err != nil {
			return err
		}
		if err := os.Rename(temp, target); err != nil {
			return err
		}
	}
	return nil
}

func fileMode(own, common *int32) fs.FileMode {
	for _, mode := range []*int32{own, common} {
		if mode != nil {
			return fs.FileMode(*mode) & fs.ModePerm
		}
	}
	return 0o644
}
