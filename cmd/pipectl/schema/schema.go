// Package schema makes JSON Schema, and the tables of the reference, from the Go types that decode YAML and write results.
//
// The types are the only source; nothing here repeats what a tag already says, and nothing here reads a file.
package schema

import (
	"encoding/json"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"
	"gopkg.in/yaml.v3"

	"pipectl.dev/steps"
	"pipectl.dev/steps/spec"
)

// Draft is the dialect of every schema made here.
const Draft = "https://json-schema.org/draft/2020-12/schema"

// base is the prefix of every schema's $id.
const base = "https://pipectl.dev/schema/"

// ofYAML reflects a type that is decoded from YAML; its keys are the yaml tags.
func ofYAML(t reflect.Type) *jsonschema.Schema {
	r := &jsonschema.Reflector{
		FieldNameTag: "yaml", RequiredFromJSONSchemaTags: true, DoNotReference: true, ExpandedStruct: true, Anonymous: true, Mapper: special,
	}
	s := r.ReflectFromType(t)
	s.Version = ""
	return s
}

// ofJSON reflects a type that is written as JSON. Unknown fields are allowed: readers must accept newer writers.
func ofJSON(t reflect.Type) *jsonschema.Schema {
	r := &jsonschema.Reflector{
		DoNotReference: true, ExpandedStruct: true, Anonymous: true, AllowAdditionalProperties: true, Mapper: special,
	}
	s := r.ReflectFromType(t)
	s.Version = ""
	return s
}

// special is the schema of scalars that are Go structs, and of values that may be anything.
func special(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[spec.Duration]():
		return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$`, Examples: []any{"90s", "15m", "1h30m"}}
	case reflect.TypeFor[spec.Size]():
		return &jsonschema.Schema{Type: "string", Pattern: `^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti)$`, Examples: []any{"20Gi", "500Mi"}}
	case reflect.TypeFor[steps.Secret]():
		return &jsonschema.Schema{Type: "string", WriteOnly: true}
	case reflect.TypeFor[steps.Sensitive]():
		return &jsonschema.Schema{Type: "object", Required: []string{"sensitive"}, Description: "a reference to a value that is kept apart: {\"sensitive\": NAME}"}
	case reflect.TypeFor[yaml.Node](), reflect.TypeFor[json.RawMessage](), reflect.TypeFor[any]():
		return &jsonschema.Schema{}
	}
	return nil
}

// Step is the schema of a step's `with:` alone.
func Step(d steps.Definition) *jsonschema.Schema {
	s := orExpression(ofYAML(d.Spec))
	s.Version, s.ID, s.Title, s.Description = Draft, jsonschema.ID(base+d.Name+".json"), d.Name, d.Summary
	return s
}

// Outputs is the schema of what a step leaves.
func Outputs(d steps.Definition) *jsonschema.Schema {
	s := ofJSON(d.Outputs)
	s.Version, s.ID, s.Title = Draft, jsonschema.ID(base+d.Name+"-outputs.json"), d.Name+" outputs"
	return s
}

// Document is the schema of a JSON document of ours, such as a result.
func Document(name, title string, t reflect.Type) *jsonschema.Schema {
	s := ofJSON(t)
	s.Version, s.ID, s.Title = Draft, jsonschema.ID(base+name+".json"), title
	return s
}

const expression = `\$\{\{.*\}\}`

// orExpression lets every value below s also be an expression. A string needs no addition, unless a rule would refuse it.
func orExpression(s *jsonschema.Schema) *jsonschema.Schema {
	if s == nil || s == jsonschema.TrueSchema || s == jsonschema.FalseSchema {
		return s
	}
	if s.Properties != nil {
		for p := s.Properties.Oldest(); p != nil; p = p.Next() {
			p.Value = orString(orExpression(p.Value))
		}
	}
	s.Items = orString(orExpression(s.Items))
	if s.AdditionalProperties != nil && s.AdditionalProperties != jsonschema.FalseSchema {
		s.AdditionalProperties = orString(orExpression(s.AdditionalProperties))
	}
	return s
}

func orString(s *jsonschema.Schema) *jsonschema.Schema {
	if s == nil || s == jsonschema.TrueSchema || anything(s) || plainString(s) {
		return s
	}
	out := &jsonschema.Schema{
		Description: s.Description, Default: s.Default, Examples: s.Examples,
		AnyOf: []*jsonschema.Schema{s, {Type: "string", Pattern: expression}},
	}
	s.Description, s.Default, s.Examples = "", nil, nil
	return out
}

func anything(s *jsonschema.Schema) bool {
	return s.Type == "" && s.AnyOf == nil && s.OneOf == nil && s.Ref == "" && s.Properties == nil
}

func plainString(s *jsonschema.Schema) bool {
	return s.Type == "string" && s.Pattern == "" && len(s.Enum) == 0 && s.Format == ""
}

// Row is one field of the reference.
type Row struct {
	Path     string // nodeGroups[].min
	Type     string
	Required bool
	Default  string
	Doc      string
}

// Rows lists the fields of s, parents before children.
func Rows(s *jsonschema.Schema) []Row { return rows(s, "") }

func rows(s *jsonschema.Schema, prefix string) []Row {
	var out []Row
	s = value(s)
	if s.Properties == nil {
		return nil
	}
	required := map[string]bool{}
	for _, r := range s.Required {
		required[r] = true
	}
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		v := value(p.Value)
		row := Row{Path: prefix + p.Key, Type: typeOf(v), Required: required[p.Key], Doc: first(p.Value.Description, v.Description)}
		if def := p.Value.Default; def != nil {
			row.Default = text(def)
		} else if v.Default != nil {
			row.Default = text(v.Default)
		}
		out = append(out, row)
		out = append(out, rows(inner(v), row.Path+suffix(v)+".")...)
	}
	return out
}

// value is the schema without the expression that may stand for it.
func value(s *jsonschema.Schema) *jsonschema.Schema {
	if len(s.AnyOf) == 2 && s.AnyOf[1].Pattern == expression {
		return s.AnyOf[0]
	}
	return s
}

// inner is the schema below a list or a map.
func inner(s *jsonschema.Schema) *jsonschema.Schema {
	switch {
	case s.Items != nil:
		return value(s.Items)
	case s.Properties == nil && s.AdditionalProperties != nil && s.AdditionalProperties != jsonschema.FalseSchema:
		return value(s.AdditionalProperties)
	default:
		return s
	}
}

func suffix(s *jsonschema.Schema) string {
	switch {
	case s.Items != nil:
		return "[]"
	case s.Properties == nil && s.AdditionalProperties != nil:
		return ".*"
	default:
		return ""
	}
}

func typeOf(s *jsonschema.Schema) string {
	switch {
	case s.Items != nil:
		return "list of " + typeOf(value(s.Items))
	case s.WriteOnly:
		return "secret"
	case len(s.Enum) > 0:
		words := make([]string, len(s.Enum))
		for i, e := range s.Enum {
			words[i] = "`" + text(e) + "`"
		}
		return strings.Join(words, ", ")
	case strings.HasPrefix(s.Pattern, "^([0-9]+(\\.[0-9]+)?(ns"):
		return "duration"
	case strings.HasSuffix(s.Pattern, "(Ki|Mi|Gi|Ti)$"):
		return "size"
	case s.Type == "object" && s.Properties == nil && s.AdditionalProperties != nil:
		return "map of " + typeOf(value(s.AdditionalProperties))
	case s.Type == "":
		return "any"
	default:
		return s.Type
	}
}

func text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	raw, _ := json.Marshal(v) // defaults and enums come from tags: scalars
	return string(raw)
}

func first(ss ...string) string {
	for _, s := range ss {
		if s != "" {
			return s
		}
	}
	return ""
}
