package engine

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"pipectl.dev/engine/expr"
	"pipectl.dev/steps/spec"
)

// stageNode keeps what only loading needs of a stage.
type stageNode struct {
	node, name, when *yaml.Node
	path             string // spec.stages[0]
	needs            []*yaml.Node
	broken           []string // paths below with whose expression is wrong: reported once, not again by the step
}

// stages reads the stages from their nodes, not from the decoded document: one bad stage must not hide the others.
func (l *loader) stages() {
	l.nodes = map[*Stage]stageNode{}
	for _, list := range []string{"stages", "finally"} {
		seq := get(get(l.root, "spec"), list)
		if seq == nil || seq.Kind != yaml.SequenceNode {
			continue
		}
		for i, n := range seq.Content {
			if n.Kind == yaml.MappingNode {
				l.stage(n, spec.Index("spec."+list, i), list == "finally")
			}
		}
	}
	if seq := get(get(l.root, "spec"), "stages"); seq != nil && seq.Kind == yaml.SequenceNode && len(seq.Content) == 0 {
		l.addAt(seq, "spec.stages", "expected at least one stage", "")
	}
}

func (l *loader) stage(n *yaml.Node, path string, finally bool) {
	var doc StageDoc
	lenient(n, &doc)
	s := &Stage{
		Name: text(n, "name"), Finally: finally, Confirm: text(n, "confirm") == "ask", Timeout: doc.Timeout.Duration,
		Retries: doc.Retries, Continue: doc.ContinueOnError, Line: n.Line, Col: n.Column,
	}
	sn := stageNode{node: n, path: path, name: get(n, "name"), when: get(n, "when")}
	if sn.name == nil {
		sn.name = n
	}
	if needs := get(n, "needs"); needs != nil && needs.Kind == yaml.SequenceNode {
		sn.needs = needs.Content
	}
	s.with = get(n, "with")
	if s.with == nil || s.with.Tag == "!!null" {
		s.with = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: n.Line, Column: n.Column}
	}
	l.define(s, n)
	l.nodes[s] = sn
	l.p.Stages = append(l.p.Stages, s)
	if s.Name == "" {
		return // reported as a missing field
	}
	l.name(sn.name, "stage", s.Name)
	if first, twice := l.p.byName[s.Name]; twice {
		l.addAt(sn.name, path+".name", fmt.Sprintf("duplicate stage %q, first on line %d", s.Name, first.Line), "give each stage a name of its own")
		return
	}
	l.p.byName[s.Name] = s
}

func (l *loader) define(s *Stage, n *yaml.Node) {
	name := text(n, "step")
	if name == "" {
		return
	}
	var known []string
	for _, d := range l.o.Catalog {
		if known = append(known, d.Name); d.Name == name {
			s.Definition = d
			return
		}
	}
	l.addAt(get(n, "step"), "", fmt.Sprintf("unknown step %q", name), spec.Nearest(name, known))
}

func get(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func text(n *yaml.Node, key string) string {
	if v := get(n, key); v != nil && v.Kind == yaml.ScalarNode && v.Tag != "!!null" {
		return v.Value
	}
	return ""
}

// declare tells the expressions' compiler what params and stages there are.
func (l *loader) declare() error {
	ts, err := expr.NewTypes()
	if err != nil {
		return err
	}
	params, all := map[string]*expr.Type{}, map[string]*expr.Type{}
	for _, p := range l.p.Params {
		params[p.Name] = paramTypes[p.Type]
	}
	for name, s := range l.p.byName {
		outputs := expr.AnyType
		if s.Definition.Outputs != nil {
			outputs = ts.Of(s.Definition.Outputs)
		}
		all[name] = ts.Object("stage "+name, map[string]*expr.Type{"outputs": outputs, "status": expr.StringType})
	}
	l.types = ts
	l.env, err = expr.NewEnv(ts, map[string]*expr.Type{"params": ts.Object("params", params), "stages": ts.Object("stages", all)})
	return err
}

// edges finds what every stage waits for, and that the graph has an order.
func (l *loader) edges() {
	for _, s := range l.p.Stages {
		need := map[string]bool{}
		for _, ref := range s.refs() {
			if len(ref) >= 2 && ref[0] == "stages" {
				need[ref[1]] = true
			}
		}
		s.References = l.inFileOrder(need)
		for _, n := range l.nodes[s].needs {
			if _, ok := l.p.byName[n.Value]; !ok {
				l.addAt(n, "", fmt.Sprintf("unknown stage %q", n.Value), spec.Nearest(n.Value, sortedKeys(l.p.byName)))
				continue
			}
			need[n.Value] = true
		}
		s.Needs = l.inFileOrder(need)
		for _, name := range s.Needs {
			if l.p.byName[name].Finally && !s.Finally {
				l.addAt(l.nodes[s].name, "", fmt.Sprintf("stage %q needs %q, which runs after all others (finally)", s.Name, name), "")
			}
		}
	}
	if cycle := l.p.cycle(); cycle != nil {
		first := l.nodes[l.p.byName[cycle[0]]].name
		l.addAt(first, "", "stages need each other: "+strings.Join(cycle, " > "), "remove one of the references or needs")
	}
}

func (l *loader) inFileOrder(names map[string]bool) []string {
	var out []string
	for _, s := range l.p.Stages {
		if names[s.Name] && !slices.Contains(out, s.Name) && l.p.byName[s.Name] == s {
			out = append(out, s.Name)
		}
	}
	return out
}

// check lets every step look at its `with`, as far as values are known, and finds resources declared twice.
func (l *loader) check() {
	owner := map[string]string{}
	for _, s := range l.p.Stages {
		if s.Definition.Name == "" {
			continue
		}
		in, problems := s.evaluate(l.p, l.p.known())
		sn := l.nodes[s]
		in.Partial = append(in.Partial, sn.broken...)
		if len(problems) == 0 {
			problems = s.Definition.Check(in.Input)
		}
		for _, p := range problems {
			p.Path = spec.Join(sn.path+".with", p.Path)
			p.Path = strings.TrimSuffix(p.Path, ".")
			l.problems = append(l.problems, p)
		}
		for _, key := range s.keys(in, problems) {
			if first, taken := owner[key]; taken {
				l.addAt(sn.name, "", fmt.Sprintf("stage %q declares %s, as stage %q does", s.Name, key, first), "give one of them another name: what exists is found by its name, not by its stage")
				continue
			}
			owner[key] = s.Name
		}
	}
}

func (s *Stage) keys(in inputs, problems spec.Problems) []string {
	if len(problems) > 0 {
		return nil
	}
	keys := slices.Clone(s.Definition.Keys(in.Input))
	slices.Sort(keys)
	return slices.Compact(keys)
}

// known are the values that are known without running anything.
func (p *Pipeline) known() values {
	v := values{vars: p.vars(nil), unknown: []expr.Ref{{"stages"}}}
	for _, x := range p.Params {
		if x.Value == nil && !x.Secret() && !x.Optional {
			v.unknown = append(v.unknown, expr.Ref{"params", x.Name})
		}
	}
	return v
}

func (p *Pipeline) vars(stages map[string]any) expr.Vars {
	params := map[string]any{}
	for _, x := range p.Params {
		switch {
		case x.Secret():
			params[x.Name] = expr.Secret{Name: x.Name}
		case x.Value != nil:
			params[x.Name] = x.Value
		}
	}
	if stages == nil {
		stages = map[string]any{}
	}
	return expr.Vars{"params": params, "stages": stages}
}
