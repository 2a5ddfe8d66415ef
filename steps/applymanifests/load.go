package applymanifests

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// loader reads manifests; it never talks to a cluster.
type loader struct {
	dir   string // of the pipeline file
	fetch func(ctx context.Context, url string) ([]byte, error)
}

// objects are the manifests of all paths with the settings put in, in the order in which they stand, followed by the Secrets.
func (l loader) objects(ctx context.Context, env steps.Env, s Spec) ([]*unstructured.Unstructured, error) {
	var objs []*unstructured.Unstructured
	for i, p := range s.Paths {
		if env.Unknown(fmt.Sprintf("paths[%d]", i)) {
			continue
		}
		more, err := l.path(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("paths[%d] %s: %w", i, p, err)
		}
		objs = append(objs, more...)
	}
	known := func(i int) bool { return !env.Unknown(fmt.Sprintf("set[%d]", i)) && !env.Unknown("paths") }
	if err := set(objs, s.Set, known); err != nil {
		return nil, err
	}
	if err := twice(objs); err != nil {
		return nil, err
	}
	for _, x := range s.Secrets {
		objs = x.into(objs, s.Namespace)
	}
	return objs, nil
}

// into adds the Secret, or its values to the Secret of that name that the manifests hold.
func (x SecretSpec) into(objs []*unstructured.Unstructured, namespace string) []*unstructured.Unstructured {
	own := x.object()
	for _, o := range objs {
		if o.GetKind() != "Secret" || o.GetName() != x.Name || cmp.Or(o.GetNamespace(), namespace) != x.Namespace {
			continue
		}
		data, _ := o.Object["data"].(map[string]any)
		if data == nil {
			data = map[string]any{}
		}
		maps.Copy(data, own.Object["data"].(map[string]any))
		o.Object["data"] = data
		labels := o.GetLabels()
		if labels == nil {
			labels = map[string]string{}
		}
		maps.Copy(labels, x.Labels)
		o.SetLabels(labels)
		return objs
	}
	return append(objs, own)
}

// twice refuses an object that is given two times: which one wins would depend on chance.
func twice(objs []*unstructured.Unstructured) error {
	seen := map[string]bool{}
	for _, o := range objs {
		id := o.GroupVersionKind().GroupKind().String() + " " + kube.RefOf(o).ID()
		if seen[id] {
			return bad("%s stands in the manifests twice", kube.RefOf(o))
		}
		seen[id] = true
	}
	return nil
}

func (l loader) path(ctx context.Context, path string) ([]*unstructured.Unstructured, error) {
	if remote(path) {
		raw, err := l.fetch(ctx, path)
		if err != nil {
			return nil, err
		}
		return documents(raw)
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(l.dir, path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, missing(err)
	}
	if !info.IsDir() {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, missing(err)
		}
		return documents(raw)
	}
	if kustomization(path) != "" {
		return l.kustomize(ctx, path)
	}
	return directory(path)
}

func missing(err error) error {
	return &steps.Error{Code: "NoSuchPath", Category: steps.BadInput, Err: err, Hints: []string{"`paths` are relative to the pipeline file"}}
}

// directory reads all manifests of one directory, not of those below it.
func directory(dir string) ([]*unstructured.Unstructured, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, missing(err)
	}
	var out []*unstructured.Unstructured
	for _, e := range entries {
		if e.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(e.Name())) {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, missing(err)
		}
		objs, err := documents(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		out = append(out, objs...)
	}
	if len(out) == 0 {
		return nil, bad("no manifests (*.yaml, *.yml, *.json) in it")
	}
	return out, nil
}

// documents decodes a stream of YAML documents or JSON; lists are taken apart.
func documents(raw []byte) ([]*unstructured.Unstructured, error) {
	texts, ok := jsonTexts(raw)
	if !ok {
		var err error
		if texts, err = yamlTexts(raw); err != nil {
			return nil, err
		}
	}
	var out []*unstructured.Unstructured
	for i, text := range texts {
		if len(text) == 0 || bytes.Equal(text, []byte("null")) {
			continue
		}
		objs, err := decode(text)
		if err != nil {
			return nil, bad("document %d: %v", i+1, err)
		}
		out = append(out, objs...)
	}
	return out, nil
}

// jsonTexts takes one JSON text after the other. A brace alone makes no JSON: YAML has them too.
func jsonTexts(raw []byte) ([][]byte, bool) {
	var out [][]byte
	for dec := json.NewDecoder(bytes.NewReader(raw)); ; {
		var text json.RawMessage
		if err := dec.Decode(&text); err != nil {
			return out, errors.Is(err, io.EOF) && len(out) > 0
		}
		out = append(out, text)
	}
}

// yamlTexts turns each YAML document into JSON.
func yamlTexts(raw []byte) ([][]byte, error) {
	var out [][]byte
	for r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw))); ; {
		text, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err == nil {
			text, err = yaml.YAMLToJSON(text)
		}
		if err != nil {
			return nil, bad("document %d: %v", len(out)+1, err)
		}
		out = append(out, bytes.TrimSpace(text))
	}
}

func decode(raw []byte) ([]*unstructured.Unstructured, error) {
	obj, _, err := unstructured.UnstructuredJSONScheme.Decode(raw, nil, nil)
	if err != nil {
		return nil, err
	}
	if list, ok := obj.(*unstructured.UnstructuredList); ok {
		var out []*unstructured.Unstructured
		for i := range list.Items {
			out = append(out, &list.Items[i])
		}
		return out, nil
	}
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("expected an object, got %T", obj)
	}
	if u.GetAPIVersion() == "" {
		return nil, errors.New("has no apiVersion")
	}
	if u.GetName() == "" {
		return nil, fmt.Errorf("%s has no metadata.name", u.GetKind())
	}
	return []*unstructured.Unstructured{u}, nil
}

func (x SecretSpec) object() *unstructured.Unstructured {
	data := map[string]any{}
	for k, v := range x.Data {
		data[k] = base64.StdEncoding.EncodeToString([]byte(v.Reveal()))
	}
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": x.Type, "data": data,
	}}
	o.SetNamespace(x.Namespace)
	o.SetName(x.Name)
	if len(x.Labels) > 0 {
		o.SetLabels(maps.Clone(x.Labels))
	}
	return o
}

// images lists the container images that objects name, at any depth.
func images(objs []*unstructured.Unstructured) []string {
	found := map[string]bool{}
	for _, o := range objs {
		if o.GetKind() != "CustomResourceDefinition" {
			collect(o.Object, found)
		}
	}
	return slices.AppendSeq([]string{}, slices.Values(slices.Sorted(maps.Keys(found))))
}

func collect(v any, found map[string]bool) {
	switch x := v.(type) {
	case []any:
		for _, e := range x {
			collect(e, found)
		}
	case map[string]any:
		for _, key := range []string{"containers", "initContainers"} {
			list, _ := x[key].([]any)
			for _, c := range list {
				m, _ := c.(map[string]any)
				if image, ok := m["image"].(string); ok && image != "" {
					found[image] = true
				}
			}
		}
		for _, e := range x {
			collect(e, found)
		}
	}
}

func remote(path string) bool {
	return strings.HasPrefix(path, "https://") || strings.HasPrefix(path, "http://")
}
