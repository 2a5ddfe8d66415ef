package applymanifests

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const definition = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Thing, plural: things}
  conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {service: {name: converter, namespace: default}}}}
  versions:
    - name: v1
      served: true
      storage: true
      schema: &schema
        openAPIV3Schema:
          type: object
          properties:
            spec: {type: object, properties: {size: {type: integer, minimum: 1, maximum: 9007199254740993}, share: {type: number, default: 0.5, maximum: 1.0}}}
    - {name: v1beta1, served: true, storage: false, schema: *schema}
    - {name: v1alpha1, served: false, storage: false, schema: {}}
`

// build is what kustomize makes of one definition that is fetched and one in a file.
func build(t *testing.T, more string) []*unstructured.Unstructured {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"kustomization.yaml":       "namespace: there\nlabels: [{pairs: {app: x}}]\nresources: [https://example.com/all.yaml, local.yaml, below]\n" + more,
		"local.yaml":               "apiVersion: v1\nkind: Service\nmetadata: {name: converter, namespace: default}\n---\n" + definition,
		"below/kustomization.yaml": "resources: [cm.yaml]\n", "below/cm.yaml": cm("one"),
	})
	l := loader{dir: dir, fetch: func(context.Context, string) ([]byte, error) {
		return []byte(cm("far") + "---\n" + strings.NewReplacer("things", "others", "Thing", "Other").Replace(definition)), nil
	}}
	objs, err := l.path(t.Context(), ".")
	if err != nil {
		t.Fatal(err)
	}
	return objs
}

func TestSchemasComeThroughKustomizeAsTheyAre(t *testing.T) {
	with, without := build(t, ""), build(t, "patches: []\n") // which might be of schemas
	if diff := cmp.Diff(without, with); diff != "" {
		t.Errorf("(-kustomize alone +with schemas kept):\n%s", diff)
	}
	for _, o := range with {
		for _, s := range schemasOf(o) {
			if size, _, _ := unstructured.NestedInt64(s, "openAPIV3Schema", "properties", "spec", "properties", "size", "maximum"); size != 9007199254740993 {
				t.Errorf("%s: maximum is %d", o.GetName(), size)
			}
		}
	}
}

func TestSchemasCanBePatched(t *testing.T) {
	objs := build(t, `patches:
  - target: {kind: CustomResourceDefinition}
    patch: |-
      - {op: replace, path: /spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size/minimum, value: 7}
`)
	patched := 0
	for _, o := range objs {
		if all := schemasOf(o); len(all) > 0 {
			if least, _, _ := unstructured.NestedInt64(all[0], "openAPIV3Schema", "properties", "spec", "properties", "size", "minimum"); least == 7 {
				patched++
			}
		}
	}
	if patched != 2 {
		t.Errorf("patched are %d definitions of 2", patched)
	}
}
