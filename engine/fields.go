package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"pipectl.dev/engine/expr"
	"pipectl.dev/steps"
	"pipectl.dev/steps/spec"
)

// field is a scalar that holds expressions.
type field struct {
	path  string
	node  *yaml.Node
	parts []piece
}

type piece struct {
	text string
	expr *expr.Expr // nil: literal text
}

func (f field) whole() bool { return len(f.parts) == 1 && f.parts[0].expr != nil }

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
		line, col := place(string(c.l.o.Source), n, nth, src, offset(src, i.Line, i.Col))
		c.l.add(line, col, path, i.Message, i.Hint)
	}
}

// offset turns a line and a column of an expression into bytes.
func offset(src string, line, col int) int { return byteOffset(src, line, col) }

func (s *Stage) refs() []expr.Ref {
	var out []expr.Ref
	for _, f := range s.fields {
		for _, p := range f.parts {
			if p.expr != nil {
				out = append(out, p.expr.Refs...)
			}
		}
	}
	if s.when != nil {
		out = append(out, s.when.Refs...)
	}
	return out
}

// values is what expressions are evaluated over. secrets is nil until a run resolved them; an optional one that is unset is "".
type values struct {
	vars    expr.Vars
	unknown []expr.Ref
	secrets map[string]string
}

// inputs is a stage's `with`, evaluated as far as values are known.
type inputs struct {
	steps.Input
	deferred []Deferred
	digest   string // "" while something is not known
}

// evaluate fills in the expressions of a stage. Problems are those of values, such as a key that is absent.
func (s *Stage) evaluate(p *Pipeline, v values) (inputs, spec.Problems) {
	in := inputs{Input: steps.Input{File: p.File}}
	var problems spec.Problems
	real, masked := map[*yaml.Node]*yaml.Node{}, map[*yaml.Node]*yaml.Node{}
	for _, f := range s.fields {
		value, err := f.value(v)
		switch secret, isSecret := value.(expr.Secret); {
		case errors.Is(err, expr.ErrUnknown):
			in.Partial = append(in.Partial, f.path)
			in.deferred = append(in.deferred, Deferred{Path: f.path, After: f.after(v.unknown)})
		case err != nil:
			problems = append(problems, spec.Problem{File: p.File, Line: f.node.Line, Col: f.node.Column, Path: f.path, Message: err.Error()})
		case isSecret && v.secrets == nil:
			in.Partial = append(in.Partial, f.path)
		case isSecret:
			real[f.node], masked[f.node] = secretNode(f.node, v.secrets[secret.Name]), valueNode(f.node, "secret:"+secret.Name)
		default:
			real[f.node] = valueNode(f.node, value)
			masked[f.node] = real[f.node]
		}
	}
	in.With = replace(s.with, real)
	if len(in.Partial) == 0 && len(problems) == 0 {
		in.digest = digest(s.Definition.Name, replace(s.with, masked))
	}
	return in, problems
}

func (f field) value(v values) (any, error) {
	if f.whole() {
		return f.parts[0].expr.Eval(v.vars, v.unknown)
	}
	var b strings.Builder
	for _, p := range f.parts {
		if p.expr == nil {
			b.WriteString(p.text)
			continue
		}
		x, err := p.expr.Eval(v.vars, v.unknown)
		if err != nil {
			return nil, err
		}
		text, ok := expr.Text(x)
		if !ok {
			return nil, fmt.Errorf("%s: cannot be part of a longer text", p.text)
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

// after names the stages that a value waits for.
func (f field) after(unknown []expr.Ref) []string {
	var out []string
	for _, p := range f.parts {
		if p.expr != nil {
			out = append(out, waitsFor(p.expr, unknown)...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func waitsFor(x *expr.Expr, unknown []expr.Ref) []string {
	var out []string
	for _, ref := range x.Refs {
		if len(ref) < 2 || ref[0] != "stages" {
			continue
		}
		if slices.ContainsFunc(unknown, func(u expr.Ref) bool { return len(u) <= len(ref) && slices.Equal(u, ref[:len(u)]) }) {
			out = append(out, ref[1])
		}
	}
	return out
}

func digest(step string, with *yaml.Node) string {
	v, err := plain(with)
	if err != nil {
		return ""
	}
	raw, err := json.Marshal(map[string]any{"step": step, "with": v})
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// replace copies a tree with some nodes changed.
func replace(n *yaml.Node, by map[*yaml.Node]*yaml.Node) *yaml.Node {
	if r, ok := by[n]; ok {
		return r
	}
	c := *n
	c.Content = make([]*yaml.Node, len(n.Content))
	for i, x := range n.Content {
		c.Content[i] = replace(x, by)
	}
	return &c
}

func secretNode(at *yaml.Node, value string) *yaml.Node {
	if value == "" {
		return null(at) // an optional secret that is unset leaves its field unset
	}
	return valueNode(at, value)
}

// valueNode writes a value as YAML that stands where its expression stood.
func valueNode(at *yaml.Node, v any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: at.Line, Column: at.Column}
	switch v := v.(type) {
	case nil:
		return null(at)
	case string:
		n.Tag, n.Value, n.Style = "!!str", v, yaml.DoubleQuotedStyle
	case bool:
		n.Tag, n.Value = "!!bool", strconv.FormatBool(v)
	case int64:
		n.Tag, n.Value = "!!int", strconv.FormatInt(v, 10)
	case float64:
		n.Tag, n.Value = "!!float", strconv.FormatFloat(v, 'g', -1, 64)
	case []any:
		n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		for _, x := range v {
			n.Content = append(n.Content, valueNode(at, x))
		}
	case map[string]any:
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
		for _, k := range sortedKeys(v) {
			n.Content = append(n.Content, valueNode(at, k), valueNode(at, v[k]))
		}
	}
	return n
}
