package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
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
			problems = append(problems, spec.Problem{File: p.File, Line: f.node.Line, Col: f.node.Column, Path: f.path, Message: err.Error(), Hint: guard(err)})
		case isSecret && v.secrets == nil:
			in.Partial = append(in.Partial, f.path)
		case isSecret && lost(v.secrets, secret.Name):
			problems = append(problems, spec.Problem{File: p.File, Line: f.node.Line, Col: f.node.Column, Path: f.path,
				Message: secret.Name + ": its value is not kept any more", Hint: "run the stage that makes it again, with --force"})
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

// lost reports a sensitive output without its value; a param that is unset has one, "".
func lost(secrets map[string]string, name string) bool {
	_, known := secrets[name]
	return !known && strings.HasPrefix(name, "stages.")
}

// guard is the hint for a value that is absent.
func guard(err error) string {
	if !strings.Contains(err.Error(), "no such key") {
		return ""
	}
	return "it may be absent (an optional param, a stage that was skipped): guard it, as in \"${{ has(params.x) ? params.x : 'other' }}\""
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
		if slices.ContainsFunc(unknown, func(u expr.Ref) bool { n := min(len(u), len(ref)); return slices.Equal(u[:n], ref[:n]) }) {
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
