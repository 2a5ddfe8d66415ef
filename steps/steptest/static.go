package steptest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"pipectl.dev/steps"
	"pipectl.dev/steps/spec"
)

var kebab = regexp.MustCompile(`^[a-z]+(-[a-z0-9]+)+$`)

// Static checks what can be checked without a world: name, example, docs, tags, and that outputs survive JSON.
func Static(t *testing.T, def steps.Definition) {
	t.Helper()
	t.Run("the name is in kebab case and the summary one line", func(t *testing.T) {
		if !kebab.MatchString(def.Name) {
			t.Errorf("name %q", def.Name)
		}
		if def.Summary == "" || strings.Contains(def.Summary, "\n") || len(def.Summary) > 120 {
			t.Errorf("summary %q", def.Summary)
		}
	})
	t.Run("the example passes", func(t *testing.T) {
		if err := def.Check(input(t, def, "")).Err(); err != nil {
			t.Error(err)
		}
	})
	t.Run("a misspelt key fails on its line", func(t *testing.T) { misspelt(t, def) })
	t.Run("any part may be unknown yet", func(t *testing.T) { partial(t, def) })
	t.Run("a part of the wrong type is the only thing that is called wrong", func(t *testing.T) { mistyped(t, def) })
	t.Run("every field of the spec has a doc and equal tags", func(t *testing.T) {
		documented(t, def.Spec, "with", map[reflect.Type]bool{})
	})
	t.Run("every output has a doc", func(t *testing.T) {
		outputsDocumented(t, def.Outputs, "outputs", map[reflect.Type]bool{})
	})
	t.Run("outputs survive JSON", func(t *testing.T) { survives(t, def.Outputs) })
}

func misspelt(t *testing.T, def steps.Definition) {
	in := input(t, def, "")
	if in.With.Kind != yaml.MappingNode {
		t.Fatal("the example is not a mapping")
	}
	for i := 0; i+1 < len(in.With.Content); i += 2 {
		key := in.With.Content[i]
		good := key.Value
		key.Value = good + "x"
		found := false
		for _, p := range def.Check(in) {
			found = found || p.Line == key.Line && p.Col == key.Column && p.Path == key.Value && p.Hint != ""
		}
		if !found {
			t.Errorf("%q: no problem with a hint at %d:%d", key.Value, key.Line, key.Column)
		}
		key.Value = good
	}
}

// partial checks that a spec of which a part is not known yet is still sound, and that naming its resources does not fail.
func partial(t *testing.T, def steps.Definition) {
	in := input(t, def, "")
	for i := 0; i+1 < len(in.With.Content); i += 2 {
		in.Partial = []string{in.With.Content[i].Value}
		if err := def.Check(in).Err(); err != nil {
			t.Errorf("%s unknown: %v", in.Partial[0], err)
		}
		def.Keys(in)
	}
}

// mistyped puts a list in the place of each scalar and the other way round: rules that look at several fields must not take what is wrong
// for what is missing.
func mistyped(t *testing.T, def steps.Definition) {
	in := input(t, def, "")
	var visit func(n *yaml.Node)
	visit = func(n *yaml.Node) {
		was := *n
		*n = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "wrong", Line: was.Line, Column: was.Column}
		if was.Kind == yaml.ScalarNode {
			item := *n
			*n = yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: []*yaml.Node{&item}, Line: was.Line, Column: was.Column}
		}
		if ps := def.Check(in); len(ps) > 1 {
			t.Errorf("line %d:%d of the wrong type: %v", was.Line, was.Column, ps)
		}
		*n = was
		switch n.Kind {
		case yaml.MappingNode:
			for i := 1; i < len(n.Content); i += 2 {
				visit(n.Content[i])
			}
		case yaml.SequenceNode:
			for _, x := range n.Content {
				visit(x)
			}
		}
	}
	for i := 1; i < len(in.With.Content); i += 2 {
		visit(in.With.Content[i])
	}
}

func ours(rt reflect.Type) bool {
	return rt.Kind() == reflect.Struct && strings.HasPrefix(rt.PkgPath(), "pipectl.dev/")
}

var unmarshaler = reflect.TypeFor[yaml.Unmarshaler]()

func elem(rt reflect.Type) reflect.Type {
	for rt.Kind() == reflect.Pointer || rt.Kind() == reflect.Slice || rt.Kind() == reflect.Map || rt.Kind() == reflect.Array {
		rt = rt.Elem()
	}
	return rt
}

func documented(t *testing.T, rt reflect.Type, path string, seen map[reflect.Type]bool) {
	if rt = elem(rt); !ours(rt) || seen[rt] || reflect.PointerTo(rt).Implements(unmarshaler) {
		return
	}
	seen[rt] = true
	for _, f := range spec.Fields(rt) {
		at := path + "." + f.Key
		if f.Doc == "" {
			t.Errorf("%s has no jsonschema_description", at)
		}
		name, _, _ := strings.Cut(rt.FieldByIndex(f.Index).Tag.Get("json"), ",")
		if name != f.Key {
			t.Errorf("%s: yaml calls it %q, json %q", at, f.Key, name)
		}
		documented(t, f.Type, at, seen)
	}
}

func outputsDocumented(t *testing.T, rt reflect.Type, path string, seen map[reflect.Type]bool) {
	if rt = elem(rt); !ours(rt) || seen[rt] {
		return
	}
	seen[rt] = true
	for _, f := range reflect.VisibleFields(rt) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" || f.Anonymous && name == "" {
			continue
		}
		at := path + "." + name
		if name == "" {
			t.Errorf("%s.%s has no json tag", path, f.Name)
		}
		if f.Tag.Get("jsonschema_description") == "" {
			t.Errorf("%s has no jsonschema_description", at)
		}
		outputsDocumented(t, f.Type, at, seen)
	}
}

func survives(t *testing.T, rt reflect.Type) {
	v := reflect.New(rt)
	if err := fill(v.Elem(), 0); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(v.Interface())
	if err != nil {
		t.Fatal(err)
	}
	back := reflect.New(rt)
	if err := json.Unmarshal(raw, back.Interface()); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	if !reflect.DeepEqual(v.Interface(), back.Interface()) {
		t.Errorf("%s reads back as %+v, was %+v", raw, back.Elem(), v.Elem())
	}
}

// fill sets every field, so that one that JSON loses is seen.
func fill(v reflect.Value, depth int) error {
	if depth > 8 {
		return nil
	}
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)))
		return nil
	case spec.Duration:
		v.Set(reflect.ValueOf(spec.Duration{Duration: time.Minute}))
		return nil
	case json.RawMessage:
		v.SetBytes([]byte(`{"k":1}`))
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(0.5)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return fill(v.Elem(), depth+1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		return fill(v.Index(0), depth+1)
	case reflect.Map:
		x := reflect.New(v.Type().Elem()).Elem()
		if err := fill(x, depth+1); err != nil {
			return err
		}
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("key").Convert(v.Type().Key()), x)
	case reflect.Struct:
		for i := range v.NumField() {
			if !v.Type().Field(i).IsExported() {
				return fmt.Errorf("%s has an unexported field, which JSON loses", v.Type())
			}
			if err := fill(v.Field(i), depth+1); err != nil {
				return err
			}
		}
	case reflect.Interface:
		v.Set(reflect.ValueOf("anything"))
	}
	return nil
}
