package engine

import (
	"fmt"
	"regexp"

	"gopkg.in/yaml.v3"

	"pipectl.dev/engine/expr"
	"pipectl.dev/steps/spec"
)

// outputs compiles the pipeline's own outputs.
func (l *loader) outputs() {
	n := get(get(l.root, "spec"), "outputs")
	if n == nil || n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i].Value
		c := compiler{l: l, path: "spec.outputs." + name}
		c.tree(n.Content[i+1], nil, "")
		l.p.Outputs = append(l.p.Outputs, PipelineOutput{Name: name, stage: &Stage{Name: name, with: n.Content[i+1], fields: c.fields}})
	}
}

// Shapes of values of the pipeline itself. Which regions there are is AWS's to say; a zone, or a half of a name, is none for sure.
var (
	regionShape  = regexp.MustCompile(`^[a-z]+(-[a-z]+)+-[0-9]+$`)
	accountShape = regexp.MustCompile(`^[0-9]{12}$`)
)

// constant evaluates a value of the pipeline itself (region, account), which may use params but no stages, and holds it to a shape.
func (l *loader) constant(key, value string, shape *regexp.Regexp, such string) string {
	path := "spec." + key
	at := spec.Locate(l.root, path)
	if at.Kind != yaml.ScalarNode || at.Value != value {
		at = spec.Locate(l.root, "spec.env."+l.o.Env+"."+key)
	}
	if expr.Has(value) {
		value = l.paramsOnly(key, path, at)
	}
	if value != "" && !shape.MatchString(value) {
		l.addAt(at, path, fmt.Sprintf("expected %s, got %q", such, value), "")
	}
	return value
}

// paramsOnly evaluates an expression that is needed before any stage runs; "" while it is not known, or wrong.
func (l *loader) paramsOnly(key, path string, at *yaml.Node) string {
	c := compiler{l: l, path: path}
	c.scalar(at, stringType, "")
	if len(c.fields) == 0 {
		return ""
	}
	s := Stage{with: at, fields: c.fields}
	for _, ref := range s.refs() {
		if ref[0] == "stages" {
			l.addAt(at, path, fmt.Sprintf("%s is needed before any stage runs: it can use params only", key), "")
			return ""
		}
	}
	in, problems := s.evaluate(l.p, l.p.known())
	l.problems = append(l.problems, problems...)
	if len(in.Partial) > 0 || len(problems) > 0 {
		return ""
	}
	return in.With.Value
}
