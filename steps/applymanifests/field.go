package applymanifests

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pipectl.dev/steps"
)

// parseField reads a path such as spec.containers[0].image into keys (string) and indexes (int). A key with dots stands in brackets
// and quotes: metadata.annotations["example.com/x"].
func parseField(path string) ([]any, error) {
	var out []any
	rest := path
	for rest != "" {
		switch {
		case strings.HasPrefix(rest, `["`):
			end := strings.Index(rest, `"]`)
			if end < 3 {
				return nil, fmt.Errorf("expected a closing \"] in %q", path)
			}
			out, rest = append(out, rest[2:end]), rest[end+2:]
		case strings.HasPrefix(rest, "["):
			end := strings.Index(rest, "]")
			if end < 0 {
				return nil, fmt.Errorf("expected a closing ] in %q", path)
			}
			n, err := strconv.Atoi(rest[1:end])
			if err != nil || n < 0 {
				return nil, fmt.Errorf("expected a number in brackets, got %q", rest[1:end])
			}
			out, rest = append(out, n), rest[end+1:]
		default:
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			if end == 0 {
				return nil, fmt.Errorf("expected a field name in %q", path)
			}
			out, rest = append(out, rest[:end]), rest[end:]
		}
		if strings.HasPrefix(rest, ".") {
			if rest = rest[1:]; rest == "" {
				return nil, fmt.Errorf("expected a field name after the last dot of %q", path)
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("expected the path of a field, such as spec.source.repoURL")
	}
	if _, ok := out[0].(string); !ok {
		return nil, fmt.Errorf("expected a field name first, got %q", path)
	}
	return out, nil
}

// put sets the field at path; mappings on the way are made, list items are not.
func put(at any, path []any, value any) (any, error) {
	if len(path) == 0 {
		return value, nil
	}
	if key, ok := path[0].(string); ok {
		if at == nil {
			at = map[string]any{}
		}
		m, ok := at.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s: expected a mapping above it", key)
		}
		inner, err := put(m[key], path[1:], value)
		if err != nil {
			return nil, err
		}
		m[key] = inner
		return m, nil
	}
	i := path[0].(int)
	list, ok := at.([]any)
	if !ok || i >= len(list) {
		return nil, fmt.Errorf("[%d]: no such list item", i)
	}
	inner, err := put(list[i], path[1:], value)
	if err != nil {
		return nil, err
	}
	list[i] = inner
	return list, nil
}

// set applies the settings to the objects. One that fits no object is a mistake in the pipeline: it would silently do nothing.
func set(objs []*unstructured.Unstructured, settings []Setting, known func(i int) bool) error {
	for i, s := range settings {
		if !known(i) {
			continue
		}
		value, err := plain(s.Value)
		if err != nil {
			return fmt.Errorf("set[%d].value: %w", i, err)
		}
		path, err := parseField(s.Field)
		if err != nil {
			return fmt.Errorf("set[%d].field: %w", i, err)
		}
		hits := 0
		for _, o := range objs {
			if o.GetKind() != s.Kind || o.GetName() != s.Name || (s.Namespace != "" && o.GetNamespace() != s.Namespace) {
				continue
			}
			hits++
			if _, err := put(o.Object, path, value); err != nil {
				return bad("set[%d]: %s %s: %s: %v", i, s.Kind, s.Name, s.Field, err)
			}
		}
		if hits == 0 {
			return bad("set[%d]: no object %s %s in paths", i, s.Kind, s.Name)
		}
	}
	return nil
}

// plain turns a value decoded from YAML into what JSON decodes to, as Kubernetes objects are made of.
func plain(v any) (any, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	wrapped := &unstructured.Unstructured{}
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Value","value":%s}`, raw)
	if err := wrapped.UnmarshalJSON([]byte(text)); err != nil {
		return nil, err
	}
	return wrapped.Object["value"], nil
}

func bad(format string, args ...any) error {
	return &steps.Error{Code: "InvalidManifest", Category: steps.BadInput, Message: fmt.Sprintf(format, args...)}
}
