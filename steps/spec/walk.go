package spec

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// walker checks a node against a Go type without decoding it: yaml.v3's Node.Decode forgets KnownFields and reports no columns.
type walker struct{ problems Problems }

func (w *walker) add(n *yaml.Node, path, format string, args ...any) {
	w.problems = append(w.problems, Problem{Path: path, Message: fmt.Sprintf(format, args...), Line: n.Line, Col: n.Column})
}

var unmarshaler = reflect.TypeFor[yaml.Unmarshaler]()

func (w *walker) value(n *yaml.Node, t reflect.Type, path string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch n.Kind {
	case yaml.DocumentNode:
		w.value(n.Content[0], t, path)
		return
	case yaml.AliasNode:
		w.value(n.Alias, t, path)
		return
	}
	if n.Tag == "!!null" || t == reflect.TypeFor[yaml.Node]() || t.Kind() == reflect.Interface {
		return
	}
	if reflect.PointerTo(t).Implements(unmarshaler) {
		if err := n.Decode(reflect.New(t).Interface()); err != nil {
			w.add(n, path, "%s", strings.TrimPrefix(err.Error(), "yaml: "))
		}
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		w.structure(n, t, path)
	case reflect.Map:
		w.mapping(n, t, path)
	case reflect.Slice:
		w.sequence(n, t, path)
	default:
		w.scalar(n, t, path)
	}
}

func (w *walker) structure(n *yaml.Node, t reflect.Type, path string) {
	if n.Kind != yaml.MappingNode {
		w.add(n, path, "expected a mapping, got %s", describe(n))
		return
	}
	fields := Fields(t)
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if w.twice(k, seen, path) {
			continue
		}
		f, ok := fields.byKey(k.Value)
		if !ok {
			w.add(k, Join(path, k.Value), "unknown field")
			w.problems[len(w.problems)-1].Hint = fields.nearest(k.Value)
			continue
		}
		if f.Required && v.Tag == "!!null" && v.HeadComment != later {
			w.add(v, Join(path, f.Key), "is required")
			continue
		}
		before := len(w.problems)
		w.value(v, f.Type, Join(path, f.Key))
		if len(w.problems) == before {
			w.rules(v, f, Join(path, f.Key))
		}
	}
	for _, f := range fields {
		if f.Required && !seen[f.Key] {
			w.add(n, Join(path, f.Key), "is required")
		}
	}
}

func (w *walker) twice(k *yaml.Node, seen map[string]bool, path string) bool {
	if seen[k.Value] {
		w.add(k, Join(path, k.Value), "duplicate key")
		return true
	}
	seen[k.Value] = true
	return false
}

func (w *walker) mapping(n *yaml.Node, t reflect.Type, path string) {
	if n.Kind != yaml.MappingNode {
		w.add(n, path, "expected a mapping, got %s", describe(n))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if !w.twice(n.Content[i], seen, path) {
			w.value(n.Content[i+1], t.Elem(), Join(path, n.Content[i].Value))
		}
	}
}

func (w *walker) sequence(n *yaml.Node, t reflect.Type, path string) {
	if n.Kind != yaml.SequenceNode {
		w.add(n, path, "expected a list, got %s", describe(n))
		return
	}
	for i, c := range n.Content {
		w.value(c, t.Elem(), Index(path, i))
	}
}

func (w *walker) scalar(n *yaml.Node, t reflect.Type, path string) {
	want := map[reflect.Kind]string{reflect.Bool: "true or false", reflect.String: "a string", reflect.Float64: "a number"}[t.Kind()]
	if want == "" {
		want = "a whole number"
	}
	if n.Kind != yaml.ScalarNode {
		w.add(n, path, "expected %s, got %s", want, describe(n))
		return
	}
	err := n.Decode(reflect.New(t).Interface())
	if whole := want == "a whole number" && n.ShortTag() != "!!int"; err != nil || whole { // yaml.v3 would cut 1.5 to 1
		w.add(n, path, "expected %s, got %s", want, describe(n))
	}
}

// rules checks what a jsonschema tag says of a scalar that is present.
func (w *walker) rules(n *yaml.Node, f Field, path string) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return
	}
	if len(f.Enum) > 0 && !slices.Contains(f.Enum, n.Value) {
		w.add(n, path, "expected one of %s, got %q", strings.Join(f.Enum, ", "), n.Value)
	}
	if f.Pattern != "" && !regexp.MustCompile(f.Pattern).MatchString(n.Value) {
		w.add(n, path, "%q does not match %s", n.Value, f.Pattern)
	}
	v, err := strconv.ParseFloat(n.Value, 64)
	if err != nil {
		return
	}
	if f.Minimum != nil && v < *f.Minimum {
		w.add(n, path, "must be at least %v, got %s", *f.Minimum, n.Value)
	}
	if f.Maximum != nil && v > *f.Maximum {
		w.add(n, path, "must be at most %v, got %s", *f.Maximum, n.Value)
	}
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	default:
		return strconv.Quote(n.Value)
	}
}
