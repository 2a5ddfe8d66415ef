package engine

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"pipectl.dev/engine/expr"
	"pipectl.dev/steps/spec"
)

// compile finds, checks and keeps the expressions of a stage.
func (l *loader) compile(s *Stage) {
	sn := l.nodes[s]
	c := compiler{l: l, path: sn.path + ".with"}
	c.tree(s.with, s.Definition.Spec, "")
	s.fields = c.fields
	sn.broken = c.broken
	l.nodes[s] = sn
	if sn.when == nil || sn.when.Kind != yaml.ScalarNode || sn.when.Tag == "!!null" {
		return
	}
	src, nth := strings.TrimSpace(sn.when.Value), -1
	if parts, err := expr.Split(src); err == nil && len(parts) == 1 && parts[0].Expr {
		src, nth = parts[0].Text, 0
	}
	x, issues := l.env.Compile(src)
	if len(issues) > 0 {
		c.report(sn.when, nth, src, sn.path+".when", issues)
		return
	}
	if x.Type != expr.BoolType && x.Type != expr.AnyType {
		l.addAt(sn.when, sn.path+".when", "expected true or false, got "+expr.Name(x.Type), "")
	}
	s.when, s.whenNode = x, sn.when
}

// compiler walks a `with` and the Go type it fills side by side.
type compiler struct {
	l      *loader
	path   string
	fields []field
	broken []string
}

var unmarshaler = reflect.TypeFor[yaml.Unmarshaler]()

// tree goes down node; rt is nil where the step has no such field, which its own check will say.
func (c *compiler) tree(n *yaml.Node, rt reflect.Type, path string) {
	for rt != nil && rt.Kind() == reflect.Pointer {
		rt = rt.Elem()
	}
	switch n.Kind {
	case yaml.ScalarNode:
		if expr.Has(n.Value) {
			c.scalar(n, rt, path)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			if expr.Has(k.Value) {
				c.l.addAt(k, c.at(path), "a key cannot hold expressions", "")
				continue
			}
			c.tree(n.Content[i+1], below(rt, k.Value), spec.Join(path, k.Value))
		}
	case yaml.SequenceNode:
		for i, x := range n.Content {
			var elem reflect.Type
			if rt != nil && rt.Kind() == reflect.Slice {
				elem = rt.Elem()
			}
			c.tree(x, elem, spec.Index(path, i))
		}
	}
}

func below(rt reflect.Type, key string) reflect.Type {
	switch {
	case rt == nil || reflect.PointerTo(rt).Implements(unmarshaler):
		return nil
	case rt.Kind() == reflect.Map:
		return rt.Elem()
	case rt.Kind() == reflect.Struct:
		for _, f := range spec.Fields(rt) {
			if f.Key == key {
				return f.Type
			}
		}
	}
	return nil
}

func (c *compiler) at(path string) string { return strings.TrimSuffix(spec.Join(c.path, path), ".") }

func (c *compiler) scalar(n *yaml.Node, rt reflect.Type, path string) {
	parts, err := expr.Split(n.Value)
	if err != nil {
		c.l.addAt(n, c.at(path), err.Error(), "close it, or write $${{ for the text itself")
		c.broken = append(c.broken, path)
		return
	}
	f := field{path: path, node: n}
	nth := 0
	for _, p := range parts {
		if !p.Expr {
			f.parts = append(f.parts, piece{text: p.Text})
			continue
		}
		x, issues := c.l.env.Compile(p.Text)
		if len(issues) > 0 {
			c.report(n, nth, p.Text, c.at(path), issues)
			c.broken = append(c.broken, path)
			return
		}
		f.parts = append(f.parts, piece{text: p.Text, expr: x})
		nth++
	}
	if why := c.fits(f, rt); why != "" {
		c.l.addAt(n, c.at(path), why, "")
		c.broken = append(c.broken, path)
		return
	}
	c.fields = append(c.fields, f)
}

// fits checks what the expressions yield against the field they fill.
func (c *compiler) fits(f field, rt reflect.Type) string {
	if f.whole() {
		if rt == nil {
			rt = reflect.TypeFor[any]()
		}
		return c.l.types.Fits(f.parts[0].expr.Type, rt)
	}
	for _, p := range f.parts {
		if p.expr == nil {
			continue
		}
		switch t := p.expr.Type; {
		case t.TypeName() == expr.SecretType.TypeName():
			return "a secret cannot be part of a longer text: a secret can only be passed on whole"
		case !slices.Contains([]string{"string", "int", "bool", "double", "dyn"}, t.TypeName()):
			return fmt.Sprintf("a value of type %s cannot be part of a longer text", expr.Name(t))
		}
	}
	if rt == nil {
		return ""
	}
	return c.l.types.Fits(expr.StringType, rt)
}

// report places issues of one expression in the file. nth counts the expressions of the scalar; -1 is a `when` without `${{ }}`.
func (c *compiler) report(n *yaml.Node, nth int, src, path string, issues []expr.Issue) {
	for _, i := range issues {
		line, col := place(string(c.l.o.Source), n, nth, src, byteOffset(src, i.Line, i.Col))
		c.l.add(line, col, path, i.Message, i.Hint)
	}
}
