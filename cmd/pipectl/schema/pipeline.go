package schema

import (
	"reflect"

	"github.com/invopop/jsonschema"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

// Pipeline is the schema of a pipeline file: each stage's `with` is the spec of the step that the stage names.
func Pipeline(all []steps.Definition) *jsonschema.Schema {
	s := ofYAML(reflect.TypeFor[engine.Document]())
	s.Version, s.ID, s.Title = Draft, jsonschema.ID(base+"pipeline.json"), "pipectl pipeline"
	s.Definitions = jsonschema.Definitions{}
	for _, d := range all {
		with := Step(d)
		with.Version, with.ID = "", ""
		s.Definitions[d.Name] = with
	}
	for _, key := range []string{"stages", "finally"} {
		stage := property(property(s, "spec"), key).Items
		stage.AllOf = cases(all)
		property(stage, "step").Enum = names(all)
	}
	return s
}

// cases binds `with` to the step named beside it.
func cases(all []steps.Definition) []*jsonschema.Schema {
	var out []*jsonschema.Schema
	for _, d := range all {
		named, with := jsonschema.NewProperties(), jsonschema.NewProperties()
		named.Set("step", &jsonschema.Schema{Const: d.Name})
		with.Set("with", &jsonschema.Schema{Ref: "#/$defs/" + d.Name})
		out = append(out, &jsonschema.Schema{If: &jsonschema.Schema{Properties: named}, Then: &jsonschema.Schema{Properties: with}})
	}
	return out
}

func names(all []steps.Definition) []any {
	out := make([]any, len(all))
	for i, d := range all {
		out[i] = d.Name
	}
	return out
}

func property(s *jsonschema.Schema, key string) *jsonschema.Schema {
	p, ok := s.Properties.Get(key)
	if !ok {
		panic("schema: no property " + key) // the document type lost a field: found by the first test
	}
	return p
}
