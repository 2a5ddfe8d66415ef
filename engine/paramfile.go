package engine

import (
	"fmt"
	"maps"
	"slices"

	"gopkg.in/yaml.v3"

	"pipectl.dev/steps/spec"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// paramFiles reads all params files, later ones winning.
func (l *loader) paramFiles() map[string]*found {
	out := map[string]*found{}
	for _, f := range l.o.ParamFiles {
		root, problems := parse(f.Name, f.Source)
		l.problems = append(l.problems, problems...)
		if root == nil {
			continue
		}
		if root.Kind != yaml.MappingNode {
			l.problems = append(l.problems, spec.Problem{File: f.Name, Line: root.Line, Col: root.Column, Message: "expected a mapping of params"})
			continue
		}
		terraform := isTerraform(root)
		for i := 0; i+1 < len(root.Content); i += 2 {
			l.fileParam(out, f.Name, root.Content[i], root.Content[i+1], terraform)
		}
	}
	return out
}

func (l *loader) fileParam(out map[string]*found, file string, k, v *yaml.Node, terraform bool) {
	doc, known := l.doc.Spec.Params[k.Value]
	at := spec.Problem{File: file, Line: k.Line, Col: k.Column, Path: k.Value}
	switch {
	case !known && terraform:
		return // a Terraform configuration has outputs for others too
	case !known:
		at.Message, at.Hint = "unknown param", spec.Nearest(k.Value, sortedKeys(l.doc.Spec.Params))
		l.problems = append(l.problems, at)
		return
	case terraform:
		if sensitive := spec.Locate(v, "sensitive"); sensitive.Value == "true" && doc.Type != "secret" {
			at.Message, at.Hint = "is sensitive in Terraform", fmt.Sprintf("declare param %s as `type: secret`", k.Value)
			l.problems = append(l.problems, at)
			return
		}
		v = spec.Locate(v, "value")
	}
	out[k.Value] = &found{node: v, source: file, file: file}
}

// isTerraform tells `terraform output -json`: every value is an object with a type, a value and sensitive.
func isTerraform(root *yaml.Node) bool {
	for i := 1; i < len(root.Content); i += 2 {
		for _, key := range []string{"type", "value", "sensitive"} {
			if n := root.Content[i]; n.Kind != yaml.MappingNode || spec.Locate(n, key) == n {
				return false
			}
		}
	}
	return len(root.Content) > 0
}
