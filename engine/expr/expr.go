package expr

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"
)

// Env compiles expressions over a set of variables.
type Env struct {
	cel   *cel.Env
	types *Types
	vars  map[string]*Type
}

// NewEnv declares the variables that expressions may use.
func NewEnv(ts *Types, vars map[string]*Type) (*Env, error) {
	opts := []cel.EnvOption{cel.CustomTypeProvider(ts), cel.CustomTypeAdapter(ts), ext.Strings(), ext.Lists(), cel.OptionalTypes()}
	for name, t := range vars {
		opts = append(opts, cel.Variable(name, t))
	}
	env, err := cel.NewEnv(opts...)
	if err != nil {
		return nil, fmt.Errorf("expressions: %w", err)
	}
	return &Env{cel: env, types: ts, vars: vars}, nil
}

// Expr is an expression found to be sound.
type Expr struct {
	Source string
	Type   *Type
	Refs   []Ref
	prg    cel.Program
}

// Ref is a chain of names that an expression reads, such as stages.home.outputs.zone.
type Ref []string

// Issue is something wrong with an expression, at a place in its source (both count from 1).
type Issue struct {
	Line, Col     int
	Message, Hint string
}

// Compile parses and type-checks src.
func (e *Env) Compile(src string) (*Expr, []Issue) {
	parsed, iss := e.cel.Parse(src)
	if iss.Err() != nil {
		return nil, issues(iss)
	}
	refs, wrong := e.follow(parsed.NativeRep())
	if len(wrong) > 0 {
		return nil, wrong
	}
	checked, iss := e.cel.Check(parsed)
	if iss.Err() != nil {
		return nil, issues(iss)
	}
	prg, err := e.cel.Program(checked, cel.EvalOptions(cel.OptPartialEval))
	if err != nil {
		return nil, []Issue{{Line: 1, Col: 1, Message: err.Error()}}
	}
	return &Expr{Source: src, Type: checked.OutputType(), Refs: refs, prg: prg}, nil
}

func issues(iss *cel.Issues) []Issue {
	var out []Issue
	for _, e := range iss.Errors() {
		first, _, _ := strings.Cut(e.Message, "\n")
		out = append(out, Issue{Line: e.Location.Line(), Col: e.Location.Column() + 1, Message: first})
	}
	return out
}

// follow reads every chain of names from a variable down, and checks it by name: CEL's own "undefined field" tells neither what is
// missing nor what was meant.
func (e *Env) follow(tree *ast.AST) ([]Ref, []Issue) {
	var refs []Ref
	var wrong []Issue
	inner := map[int64]bool{} // selects that are part of a longer chain
	visit := ast.NewExprVisitor(func(x ast.Expr) {
		if x.Kind() == ast.SelectKind {
			inner[x.AsSelect().Operand().ID()] = true
		}
	})
	ast.PostOrderVisit(tree.Expr(), visit)
	ast.PostOrderVisit(tree.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if inner[x.ID()] {
			return
		}
		chain, ids := names(x)
		if len(chain) == 0 || e.vars[chain[0]] == nil {
			return
		}
		refs = append(refs, chain)
		if i, hint := e.unknown(chain); i > 0 {
			at := tree.SourceInfo().GetStartLocation(ids[i])
			wrong = append(wrong, Issue{Line: at.Line(), Col: at.Column() + 2, Message: fmt.Sprintf("unknown %s %q", describe(chain, i), chain[i]), Hint: hint})
		}
	}))
	return refs, wrong
}

// names gives the chain of names of a.b.c, and the id of the node that added each.
func names(x ast.Expr) (Ref, []int64) {
	switch x.Kind() {
	case ast.IdentKind:
		return Ref{x.AsIdent()}, []int64{x.ID()}
	case ast.SelectKind:
		chain, ids := names(x.AsSelect().Operand())
		if len(chain) == 0 {
			return nil, nil
		}
		return append(chain, x.AsSelect().FieldName()), append(ids, x.ID())
	}
	return nil, nil
}

// unknown finds the first name of a chain that its object does not have; 0 when all are known or the type is open.
func (e *Env) unknown(chain Ref) (int, string) {
	t := e.vars[chain[0]]
	for i, name := range chain[1:] {
		switch t.Kind() {
		case types.StructKind:
			fields, ok := e.types.fields[t.TypeName()]
			if !ok {
				return 0, ""
			}
			next, ok := fields[name]
			if !ok {
				return i + 1, nearest(name, fields)
			}
			t = next
		case types.MapKind:
			t = t.Parameters()[1]
		default:
			return 0, ""
		}
	}
	return 0, ""
}

func describe(chain Ref, i int) string {
	switch {
	case chain[0] == "params" && i == 1:
		return "param"
	case chain[0] == "stages" && i == 1:
		return "stage"
	case chain[0] == "stages" && i == 3:
		return "output"
	default:
		return "field"
	}
}

// Vars are the values of variables: maps, slices, int64, float64, string, bool, nil, Secret.
type Vars map[string]any

// ErrUnknown says that the value depends on something not known yet.
var ErrUnknown = errors.New("not known yet")

// Eval computes the value; unknown lists chains that are not known yet. The value is ErrUnknown's when it depends on one of them.
func (x *Expr) Eval(vars Vars, unknown []Ref) (any, error) {
	patterns := make([]*cel.AttributePatternType, len(unknown))
	for i, ref := range unknown {
		patterns[i] = cel.AttributePattern(ref[0])
		for _, name := range ref[1:] {
			patterns[i].QualString(name)
		}
	}
	in, err := cel.PartialVars(map[string]any(vars), patterns...)
	if err != nil {
		return nil, err
	}
	out, _, err := x.prg.Eval(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", x.Source, err)
	}
	if types.IsUnknown(out) {
		return nil, ErrUnknown
	}
	v, err := native(out)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", x.Source, err)
	}
	return v, nil
}
