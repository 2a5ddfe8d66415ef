package kubelet

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// environment evaluates envFrom and env of a container, in order, $(NAME) expanded. Paths are not rewritten yet.
func (w *worker) environment(ctx context.Context, pod *v1.Pod, c *v1.Container) (map[string]string, error) {
	env := map[string]string{}
	for _, from := range c.EnvFrom {
		values, err := w.envFrom(ctx, pod, from)
		if err != nil {
			return nil, err
		}
		for key, value := range values {
			env[from.Prefix+key] = value
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			env[e.Name] = expand(e.Value, env)
			continue
		}
		value, set, err := w.envValue(ctx, pod, c, e.ValueFrom)
		if err != nil {
			return nil, fmt.Errorf("env %s: %w", e.Name, err)
		}
		if set {
			env[e.Name] = value
		}
	}
	return env, nil
}

func (w *worker) envFrom(ctx context.Context, pod *v1.Pod, from v1.EnvFromSource) (map[string]string, error) {
	switch {
	case from.ConfigMapRef != nil:
		files, err := w.configMap(ctx, pod.Namespace, from.ConfigMapRef.Name, nil, nil, from.ConfigMapRef.Optional)
		return texts(files), err
	case from.SecretRef != nil:
		files, err := w.secret(ctx, pod.Namespace, from.SecretRef.Name, nil, nil, from.SecretRef.Optional)
		return texts(files), err
	}
	return nil, nil
}

func texts(files map[string]file) map[string]string {
	all := map[string]string{}
	for name, f := range files {
		all[name] = string(f.data)
	}
	return all
}

// envValue reads one source; set is false where an optional one is missing.
func (w *worker) envValue(ctx context.Context, pod *v1.Pod, c *v1.Container, from *v1.EnvVarSource) (value string, set bool, err error) {
	switch {
	case from.FieldRef != nil:
		value, err = w.field(pod, from.FieldRef.FieldPath)
		return value, err == nil, err
	case from.ResourceFieldRef != nil:
		return resourceField(c, from.ResourceFieldRef), true, nil
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		object, err := w.k.client.CoreV1().ConfigMaps(pod.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		if err != nil {
			return "", false, missing(err, ref.Optional)
		}
		if value, ok := object.Data[ref.Key]; ok {
			return value, true, nil
		}
		return "", false, missingKey("configmap", pod.Namespace, ref.Name, ref.Key, ref.Optional)
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		object, err := w.k.client.CoreV1().Secrets(pod.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		if err != nil {
			return "", false, missing(err, ref.Optional)
		}
		if value, ok := object.Data[ref.Key]; ok {
			return string(value), true, nil
		}
		return "", false, missingKey("secret", pod.Namespace, ref.Name, ref.Key, ref.Optional)
	}
	return "", false, nil
}

func missing(err error, optional *bool) error {
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil
	}
	return err
}

func missingKey(kind, namespace, name, key string, optional *bool) error {
	if optional != nil && *optional {
		return nil
	}
	return fmt.Errorf("couldn't find key %s in %s %s/%s", key, kind, namespace, name)
}

// field is a downward API field. The pod's IP is the address that its process can really use.
func (w *worker) field(pod *v1.Pod, path string) (string, error) {
	path, subscript, _ := strings.Cut(path, "['")
	subscript = strings.TrimSuffix(subscript, "']")
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.podIP", "status.podIPs":
		return w.address, nil
	case "status.hostIP", "status.hostIPs":
		return w.node.PrivateIP, nil
	case "metadata.labels":
		return labelField(pod.Labels, subscript), nil
	case "metadata.annotations":
		return labelField(pod.Annotations, subscript), nil
	}
	return "", fmt.Errorf("field %s: not played", path)
}

func labelField(values map[string]string, key string) string {
	if key != "" {
		return values[key]
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		lines = append(lines, fmt.Sprintf("%s=%q", name, values[name]))
	}
	return strings.Join(lines, "\n")
}

// resourceField is a limit or request of the container; "0" where it has none.
func resourceField(c *v1.Container, ref *v1.ResourceFieldSelector) string {
	list := c.Resources.Limits
	name, limits := strings.CutPrefix(ref.Resource, "limits.")
	if !limits {
		name = strings.TrimPrefix(ref.Resource, "requests.")
		list = c.Resources.Requests
	}
	quantity := list[v1.ResourceName(name)]
	return fmt.Sprint(quantity.Value())
}
