package applymanifests

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"pipectl.dev/steps"
)

// kustomization is the path of dir's kustomization file, "" if it has none.
func kustomization(dir string) string {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path
		}
	}
	return ""
}

// kustomize builds dir. What it names by URL is fetched by us first and given from memory, so that kustomize itself never uses the
// network, nor git.
func (l loader) kustomize(ctx context.Context, dir string) ([]*unstructured.Unstructured, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	fs := &overlay{FileSystem: filesys.MakeFsOnDisk(), files: map[string][]byte{}, manifests: map[string][]*unstructured.Unstructured{}, plain: true}
	if err := l.prefetch(ctx, fs, abs, map[string]bool{}); err != nil {
		return nil, err
	}
	schemas := &folded{schemas: map[string]any{}}
	if err := fs.fold(schemas); err != nil {
		return nil, fmt.Errorf("kustomize: %w", err)
	}
	opts := krusty.MakeDefaultOptions()
	opts.LoadRestrictions = types.LoadRestrictionsNone // the fetched files lie beside the kustomization, in memory
	built, err := krusty.MakeKustomizer(opts).Run(fs, abs)
	if err != nil {
		return nil, &steps.Error{Code: "KustomizeFailed", Category: steps.BadInput, Message: "kustomize", Err: err}
	}
	var objs []*unstructured.Unstructured
	for _, r := range built.Resources() { // one after the other: all of Argo CD's as one text took three times the memory
		text, err := r.MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("kustomize: %w", err)
		}
		more, err := decode(text)
		if err != nil {
			return nil, fmt.Errorf("kustomize: %s: %w", r.CurId(), err)
		}
		objs = append(objs, more...)
	}
	return objs, schemas.unfold(objs)
}

// prefetch rewrites the kustomization of dir, and of those below it that it names, to use fetched copies.
func (l loader) prefetch(ctx context.Context, fs *overlay, dir string, seen map[string]bool) error {
	file := kustomization(dir)
	if file == "" || seen[dir] {
		return nil
	}
	seen[dir] = true
	raw, err := os.ReadFile(file)
	if err != nil {
		return missing(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return bad("%s: %v", filepath.Base(file), err)
	}
	if len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return nil
	}
	fs.plain = fs.plain && leavesSchemas(doc.Content[0])
	changed := false
	for i := 0; i+1 < len(doc.Content[0].Content); i += 2 {
		key, list := doc.Content[0].Content[i], doc.Content[0].Content[i+1]
		if key.Value != "resources" && key.Value != "bases" && key.Value != "components" {
			continue
		}
		for _, item := range list.Content {
			rewritten, err := l.entry(ctx, fs, dir, item, seen)
			if err != nil {
				return fmt.Errorf("%s:%d: %w", filepath.Base(file), item.Line, err)
			}
			changed = changed || rewritten
		}
	}
	if !changed {
		return nil
	}
	if raw, err = yaml.Marshal(&doc); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	fs.files[file] = raw
	return nil
}

func (l loader) entry(ctx context.Context, fs *overlay, dir string, item *yaml.Node, seen map[string]bool) (rewritten bool, err error) {
	if !remote(item.Value) {
		path := item.Value
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		if _, err := os.Stat(path); err != nil {
			return false, &steps.Error{Code: "NoSuchPath", Category: steps.BadInput, Message: item.Value + ": no such file or directory",
				Hints: []string{"Git repositories are not cloned: name the raw https URL of a file"}}
		}
		if raw, objs := definitions(path); raw != nil {
			fs.instead(dir, item, raw, objs)
			return true, nil
		}
		return false, l.prefetch(ctx, fs, path, seen)
	}
	if repository(item.Value) {
		return false, bad("%s: Git repositories are not cloned: name the raw https URL of a file", item.Value)
	}
	raw, err := l.fetch(ctx, item.Value)
	if err != nil {
		return false, fmt.Errorf("%s: %w", item.Value, err)
	}
	objs, err := documents(raw)
	if err != nil {
		return false, fmt.Errorf("%s: is not a manifest: %w", item.Value, err)
	}
	fs.instead(dir, item, raw, objs)
	return true, nil
}

// instead has an item of dir's kustomization name a file in memory.
func (o *overlay) instead(dir string, item *yaml.Node, raw []byte, objs []*unstructured.Unstructured) {
	sum := sha256.Sum256([]byte(item.Value))
	name := ".fetched-" + hex.EncodeToString(sum[:8]) + ".yaml"
	path := filepath.Join(dir, name)
	o.files[path], o.manifests[path] = raw, objs
	item.Value, item.Tag, item.Style = name, "!!str", 0
}

// fold takes schemas out of the files in memory that hold some, where no kustomization does anything to them.
func (o *overlay) fold(into *folded) error {
	for path, objs := range o.manifests {
		if !o.plain || !slices.ContainsFunc(objs, func(obj *unstructured.Unstructured) bool { return len(schemasOf(obj)) > 0 }) {
			continue
		}
		raw, err := into.fold(objs)
		if err != nil {
			return err
		}
		o.files[path] = raw
	}
	o.manifests = nil
	return nil
}

// definitions reads a file that holds custom resource definitions. Of any other, also of one that cannot be read, kustomize knows what to say.
func definitions(path string) ([]byte, []*unstructured.Unstructured) {
	raw, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(raw, []byte("CustomResourceDefinition")) {
		return nil, nil
	}
	objs, err := documents(raw)
	if err != nil {
		return nil, nil
	}
	return raw, objs
}

// repository reports URLs that kustomize would clone.
func repository(address string) bool {
	u, err := url.Parse(address)
	return err != nil || strings.Contains(u.Path, "//") || u.Query().Has("ref") || strings.HasSuffix(u.Path, ".git")
}

// overlay is the disk with some files held in memory.
type overlay struct {
	filesys.FileSystem
	files map[string][]byte

	manifests map[string][]*unstructured.Unstructured // those of files, decoded
	plain     bool                                    // no kustomization does anything to schemas
}

func (o *overlay) ReadFile(path string) ([]byte, error) {
	if raw, ok := o.files[filepath.Clean(path)]; ok {
		return raw, nil
	}
	return o.FileSystem.ReadFile(path) //nolint:wrapcheck // kustomize reads the cause
}

func (o *overlay) Exists(path string) bool {
	_, ok := o.files[filepath.Clean(path)]
	return ok || o.FileSystem.Exists(path)
}

func (o *overlay) CleanedAbs(path string) (filesys.ConfirmedDir, string, error) {
	if _, ok := o.files[filepath.Clean(path)]; ok && !o.FileSystem.Exists(path) {
		dir, err := filesys.ConfirmDir(o.FileSystem, filepath.Dir(path))
		return dir, filepath.Base(path), err //nolint:wrapcheck // kustomize reads the cause
	}
	return o.FileSystem.CleanedAbs(path) //nolint:wrapcheck // kustomize reads the cause
}
