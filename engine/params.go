package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"

	"pipectl.dev/engine/expr"
	"pipectl.dev/steps/spec"
)

// EnvName is the environment variable that gives a param: gitToken is PIPECTL_PARAM_GIT_TOKEN.
func EnvName(param string) string {
	var b strings.Builder
	lower := false
	for _, r := range param {
		if lower && unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		lower = unicode.IsLower(r) || unicode.IsDigit(r)
		b.WriteRune(unicode.ToUpper(r))
	}
	return "PIPECTL_PARAM_" + b.String()
}

var paramTypes = map[string]*expr.Type{
	"string": expr.StringType, "int": expr.IntType, "bool": expr.BoolType, "list": expr.ListType, "object": expr.MapType, "secret": expr.SecretType,
}

// params gives every declared param its value: flag, file, environment variable, from, environment's own, default.
func (l *loader) params() {
	given := l.paramFiles()
	decl := spec.Locate(l.root, "spec.params")
	if decl.Kind != yaml.MappingNode || len(l.doc.Spec.Params) == 0 {
		decl = &yaml.Node{Kind: yaml.MappingNode}
	}
	for i := 0; i+1 < len(decl.Content); i += 2 {
		k := decl.Content[i]
		doc, ok := l.doc.Spec.Params[k.Value]
		if !ok || slices.ContainsFunc(l.p.Params, func(p Param) bool { return p.Name == k.Value }) {
			continue
		}
		l.name(k, "param", k.Value)
		p := Param{Name: k.Value, Type: doc.Type, Description: doc.Description, From: doc.From, Optional: doc.Optional, Line: k.Line, Col: k.Column}
		if paramTypes[p.Type] == nil {
			p.Type = "string"
		}
		l.value(&p, doc, given[k.Value])
		l.p.Params = append(l.p.Params, p)
	}
	for _, name := range sortedKeys(l.o.Params) {
		if _, ok := l.doc.Spec.Params[name]; !ok {
			l.addAt(spec.Locate(l.root, "spec"), "", fmt.Sprintf("--param %s: unknown param %q", name, name), spec.Nearest(name, sortedKeys(l.doc.Spec.Params)))
		}
	}
}

// found is a value before its type is checked.
type found struct {
	node   *yaml.Node
	source string
	file   string // where node stands; "" for flags and environment variables
}

func (l *loader) value(p *Param, doc ParamDoc, file *found) {
	l.from(p)
	text, flag := l.o.Params[p.Name]
	env, inEnv := l.getenv(EnvName(p.Name))
	own, inOwn := l.doc.Spec.Env[l.o.Env].Params[p.Name]
	if flag && p.Secret() {
		l.add(p.Line, p.Col, "", fmt.Sprintf("--param %s: a secret must not stand in process arguments", p.Name),
			fmt.Sprintf("give it by its `from:`, by %s or by a file with --params", EnvName(p.Name)))
		return
	}
	switch {
	case flag:
		l.set(p, found{node: l.text(p, text, "--param"), source: "--param"})
	case file != nil:
		l.set(p, *file)
	case inEnv:
		l.set(p, found{node: l.text(p, env, EnvName(p.Name)), source: EnvName(p.Name)})
	case p.From != nil:
		p.Source = "from"
	case inOwn:
		l.set(p, found{node: &own, source: "env " + l.o.Env, file: l.o.File})
	case doc.Default.Kind != 0:
		l.fallback(p, doc)
	case !p.Optional && !l.o.AllowMissing:
		l.add(p.Line, p.Col, "spec.params."+p.Name, "has no value", ways(*p))
	}
}

func ways(p Param) string {
	if p.Secret() {
		return fmt.Sprintf("give it by %s, by a file with --params, or by `from:` in the pipeline", EnvName(p.Name))
	}
	return fmt.Sprintf("give it by --param %s=..., by %s, by a file with --params, or by a default in the pipeline", p.Name, EnvName(p.Name))
}

func (l *loader) fallback(p *Param, doc ParamDoc) {
	if p.Secret() {
		l.addAt(&doc.Default, "spec.params."+p.Name+".default", "a secret cannot have a default", "say where it is kept: `from: {env: NAME}`")
		return
	}
	if doc.Default.Kind == yaml.ScalarNode && expr.Has(doc.Default.Value) {
		l.addAt(&doc.Default, "spec.params."+p.Name+".default", "a default cannot hold expressions", "")
		return
	}
	l.set(p, found{node: &doc.Default, source: "default", file: l.o.File})
}

// from checks where a value is kept; only what the engine or a SecretSource can read without a type is allowed.
func (l *loader) from(p *Param) {
	if p.From == nil {
		return
	}
	n := 0
	for _, set := range []bool{p.From.Env != "", p.From.File != "", p.From.SSM != "", p.From.SecretsManager != "", p.From.K8s != nil} {
		if set {
			n++
		}
	}
	if n != 1 {
		l.add(p.Line, p.Col, "spec.params."+p.Name+".from", fmt.Sprintf("expected exactly one of env, file, ssm, secretsmanager, k8s, got %d", n), "")
	}
	if !p.Secret() {
		l.add(p.Line, p.Col, "spec.params."+p.Name+".from", "only a secret is read from elsewhere", "make it `type: secret`, or give it by "+EnvName(p.Name))
		p.From = nil
	}
}

// text reads the text of a flag or an environment variable: as it is for strings, else as YAML.
func (l *loader) text(p *Param, text, source string) *yaml.Node {
	if p.Type == "string" || p.Type == "secret" {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text, Line: p.Line, Column: p.Col}
	}
	n, problems := parse(source, []byte(text))
	if len(problems) > 0 {
		l.add(p.Line, p.Col, "spec.params."+p.Name, fmt.Sprintf("%s: %s", source, problems[0].Message), "")
		return nil
	}
	return n
}

func (l *loader) set(p *Param, f found) {
	if f.node == nil {
		return
	}
	p.Source = f.source
	v, err := paramValue(p.Type, f.node)
	switch {
	case err != nil && f.file != "":
		l.problems = append(l.problems, spec.Problem{File: f.file, Line: f.node.Line, Col: f.node.Column, Path: "param " + p.Name, Message: err.Error()})
	case err != nil:
		l.add(p.Line, p.Col, "spec.params."+p.Name, f.source+": "+err.Error(), "")
	case p.Secret():
		p.secret, _ = v.(string)
	default:
		p.Value = v
	}
}

func paramValue(kind string, n *yaml.Node) (any, error) {
	want := map[string]yaml.Kind{"list": yaml.SequenceNode, "object": yaml.MappingNode}[kind]
	if want == 0 {
		want = yaml.ScalarNode
	}
	wrong := fmt.Errorf("expected %s, got %s", article(kind), shape(kind, n))
	if n.Kind != want || n.Tag == "!!null" {
		return nil, wrong
	}
	switch kind {
	case "string", "secret":
		return n.Value, nil
	case "int":
		v, err := strconv.ParseInt(n.Value, 10, 64)
		if err != nil {
			return nil, wrong
		}
		return v, nil
	case "bool":
		if n.Value != "true" && n.Value != "false" {
			return nil, wrong
		}
		return n.Value == "true", nil
	}
	return plain(n)
}

func article(kind string) string {
	switch kind {
	case "int", "object":
		return "an " + kind
	default:
		return "a " + kind
	}
}

func shape(kind string, n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case kind == "secret":
		return "something else" // never its text
	default:
		return strconv.Quote(n.Value)
	}
}

// plain turns a node into maps, slices and scalars as expressions see them.
func plain(n *yaml.Node) (any, error) {
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("expected keys that are strings: %w", err)
	}
	return expr.FromJSON(raw, nil)
}
