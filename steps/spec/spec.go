// Package spec decodes YAML into Go types strictly and says, for every problem at once, where it stands: file:line:col.
//
// The Go type is the only description of a document: its yaml tags give the keys, its jsonschema tags the rules
// (required, enum=, default=, pattern=, minimum=, maximum=), its methods SetDefaults and Validate the rest. The same tags
// make the published JSON Schema. This package must not know pipelines, steps or expressions, and never touches the network.
package spec

import (
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Defaulter is implemented by documents with defaults that a tag cannot say. It runs after tag defaults.
type Defaulter interface{ SetDefaults() }

// Validator is implemented by documents with rules that a tag cannot say. It runs last. What is not known yet, or not sound by its tags, is
// zero then, and what Validate says at, above or below it is dropped.
// A Problem it returns needs Path and Message only; positions are filled in here.
type Validator interface{ Validate() []Problem }

// Decode fills into (a pointer) from node: known keys only, right types, tag rules, defaults, validation.
//
// deferred lists paths (such as "nodeGroups[0].zones[0]") whose values are not known yet: they are left zero, and no
// problem at, above or below them is reported, nor what Validate says of values beside them in the same part. The returned Problems are sorted by position; nil means sound.
func Decode(file string, node *yaml.Node, into any, deferred ...string) Problems {
	root := withoutDeferred(node, "", deferred)
	w := &walker{}
	w.value(root, reflect.TypeOf(into).Elem(), "")
	if len(w.problems) == 0 {
		if err := root.Decode(into); err != nil {
			w.add(root, "", "%s", strings.TrimPrefix(err.Error(), "yaml: "))
		}
	}
	if len(w.problems) == 0 {
		w.problems = judge(into, root, deferred)
		return w.finish(file, root, deferred)
	}
	out := append(w.finish(file, root, deferred), w.rest(file, node, into, deferred)...)
	out.sort()
	return out
}

// judge applies what tags cannot say to a document whose shape is sound.
func judge(into any, root *yaml.Node, deferred []string) Problems {
	applyDefaults(reflect.ValueOf(into).Elem(), root)
	if d, ok := into.(Defaulter); ok {
		d.SetDefaults()
	}
	v, ok := into.(Validator)
	if !ok {
		return nil
	}
	return slices.DeleteFunc(v.Validate(), func(p Problem) bool { return besides(p.Path, deferred) })
}

// rest is what judge says of a document beside what is wrong with its shape, which counts as not known: the reader learns everything at once.
func (w *walker) rest(file string, node *yaml.Node, into any, deferred []string) Problems {
	for _, p := range w.problems {
		deferred = append(slices.Clip(deferred), p.Path)
	}
	root := withoutDeferred(node, "", deferred)
	sound := reflect.New(reflect.TypeOf(into).Elem()).Interface()
	if slices.Contains(deferred, "") || root.Decode(sound) != nil {
		return nil
	}
	return (&walker{problems: judge(sound, root, deferred)}).finish(file, root, deferred)
}

func (w *walker) finish(file string, root *yaml.Node, deferred []string) Problems {
	var out Problems
	for _, p := range w.problems {
		if slices.ContainsFunc(deferred, func(d string) bool { return related(p.Path, d) }) {
			continue
		}
		if p.Line == 0 {
			n := Locate(root, p.Path)
			p.Line, p.Col = n.Line, n.Column
		}
		p.File = file
		out = append(out, p)
	}
	out.sort()
	return out
}

// besides reports whether a value next to path, below the top, is not known yet: a rule that compares the two saw a zero there.
func besides(path string, deferred []string) bool {
	parent := func(p string) string { return p[:max(strings.LastIndexByte(p, '.'), 0)] }
	return parent(path) != "" && slices.ContainsFunc(deferred, func(d string) bool { return parent(d) == parent(path) })
}

// related reports whether one path is the other or lies above or below it. The root path relates to everything.
func related(a, b string) bool {
	return a == b || a == "" || b == "" || under(a, b) || under(b, a)
}

func under(path, top string) bool {
	return strings.HasPrefix(path, top+".") || strings.HasPrefix(path, top+"[")
}

// later marks a null that stands for a value not known yet.
const later = "deferred"

// withoutDeferred copies node with every deferred path replaced by null: a null leaves the Go field zero and shifts no index.
func withoutDeferred(node *yaml.Node, path string, deferred []string) *yaml.Node {
	if len(deferred) == 0 {
		return node
	}
	if slices.Contains(deferred, path) {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null", HeadComment: later, Line: node.Line, Column: node.Column}
	}
	c := *node
	c.Content = slices.Clone(node.Content)
	switch node.Kind {
	case yaml.DocumentNode:
		c.Content[0] = withoutDeferred(node.Content[0], path, deferred)
	case yaml.MappingNode:
		for i := 0; i+1 < len(c.Content); i += 2 {
			c.Content[i+1] = withoutDeferred(node.Content[i+1], Join(path, node.Content[i].Value), deferred)
		}
	case yaml.SequenceNode:
		for i := range c.Content {
			c.Content[i] = withoutDeferred(node.Content[i], Index(path, i), deferred)
		}
	}
	return &c
}
