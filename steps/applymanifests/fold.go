package applymanifests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// plainFields are those of a kustomization that leave the schemas of custom resource definitions alone.
var plainFields = []string{
	"apiVersion", "kind", "metadata", "namespace", "resources", "bases", "namePrefix", "nameSuffix", "labels", "commonLabels", "commonAnnotations",
	"images", "replicas", "configMapGenerator", "secretGenerator", "generatorOptions", "buildMetadata", "sortOptions",
}

// leavesSchemas reports whether a kustomization's document has no other fields.
func leavesSchemas(doc *yaml.Node) bool {
	for i := 0; i < len(doc.Content); i += 2 {
		if !slices.Contains(plainFields, doc.Content[i].Value) {
			return false
		}
	}
	return true
}

// folded keeps schemas of custom resource definitions while kustomize works: it copies each mapping once for each level above it, so the
// schemas of Argo CD's took nine tenths of its time and most of its memory.
type folded struct {
	schemas map[string]any // by what stands in their place
}

const foldMark = "schema kept by pipectl: "

// fold returns objs as text for kustomize, without the schemas; it takes them out of objs.
func (f *folded) fold(objs []*unstructured.Unstructured) ([]byte, error) {
	var out bytes.Buffer
	for _, o := range objs {
		for _, schema := range schemasOf(o) {
			mark := fmt.Sprintf("%s%d", foldMark, len(f.schemas))
			f.schemas[mark], schema["openAPIV3Schema"] = schema["openAPIV3Schema"], mark
		}
		raw, err := json.Marshal(o.Object)
		if err != nil {
			return nil, err
		}
		out.Write(append(raw, "\n---\n"...))
	}
	return out.Bytes(), nil
}

// unfold puts back what fold took out.
func (f *folded) unfold(objs []*unstructured.Unstructured) error {
	for _, o := range objs {
		for _, schema := range schemasOf(o) {
			mark, ok := schema["openAPIV3Schema"].(string)
			if !ok || !strings.HasPrefix(mark, foldMark) {
				continue
			}
			kept, ok := f.schemas[mark]
			if !ok {
				return fmt.Errorf("%s: its schema is lost", o.GetName())
			}
			schema["openAPIV3Schema"] = kept
		}
	}
	return nil
}

// schemasOf are the schemas of a custom resource definition's versions; none of any other object.
func schemasOf(o *unstructured.Unstructured) []map[string]any {
	if o.GetKind() != "CustomResourceDefinition" {
		return nil
	}
	var out []map[string]any
	versions, _, _ := unstructured.NestedFieldNoCopy(o.Object, "spec", "versions")
	list, _ := versions.([]any)
	for _, v := range list {
		version, _ := v.(map[string]any)
		if schema, ok := version["schema"].(map[string]any); ok && schema["openAPIV3Schema"] != nil {
			out = append(out, schema)
		}
	}
	return out
}
