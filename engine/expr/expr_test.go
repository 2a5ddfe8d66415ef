package expr_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"pipectl.dev/engine/expr"
	"pipectl.dev/steps"
	"pipectl.dev/steps/spec"
)

type outputs struct {
	Name    string            `json:"name"`
	Count   int64             `json:"count"`
	Ratio   float64           `json:"ratio"`
	When    time.Time         `json:"when"`
	Wait    spec.Duration     `json:"wait"`
	Nested  *nested           `json:"nested,omitempty"`
	Many    []nested          `json:"many"`
	ByName  map[string]nested `json:"byName"`
	Raw     any               `json:"raw"`
	Bytes   []byte            `json:"bytes"`
	Skipped string            `json:"-"`
	Inner
}

type Inner struct {
	Deep string `json:"deep"`
}

type nested struct {
	ID   string  `json:"id"`
	Self *nested `json:"self,omitempty"`
}

func environment(t *testing.T) (*expr.Env, *expr.Types) {
	t.Helper()
	ts, err := expr.NewTypes()
	if err != nil {
		t.Fatal(err)
	}
	env, err := expr.NewEnv(ts, map[string]*expr.Type{"o": ts.Of(reflect.TypeFor[outputs]()), "s": expr.SecretType, "later": ts.Of(reflect.TypeFor[nested]()), "on": expr.BoolType})
	if err != nil {
		t.Fatal(err)
	}
	return env, ts
}

const document = `{"name":"n","count":9007199254740993,"ratio":2,"when":"2026-01-01T00:00:00Z","wait":"1m0s","many":[{"id":"a"},{"id":"b"}],"byName":{"x-y":{"id":"c"}},"raw":{"n":1,"f":1.5},"bytes":"eA==","deep":"d"}`

func TestEval(t *testing.T) {
	t.Parallel()
	env, _ := environment(t)
	o, err := expr.FromJSON([]byte(document), reflect.TypeFor[outputs]())
	if err != nil {
		t.Fatal(err)
	}
	vars := expr.Vars{"o": o, "s": expr.Secret{Name: "token"}, "on": true}
	for src, want := range map[string]any{
		"o.name":                               "n",
		"o.count + 1":                          int64(9007199254740994),
		"o.ratio * 1.5":                        3.0,
		"o.wait":                               "1m0s",
		"o.when":                               "2026-01-01T00:00:00Z",
		"o.deep":                               "d",
		"o.many.map(m, m.id)":                  []any{"a", "b"},
		"o.many[1]":                            map[string]any{"id": "b"},
		"o.byName['x-y'].id":                   "c",
		"o.raw.n + 1":                          int64(2),
		"o.raw.f":                              1.5,
		"has(o.nested)":                        false,
		"has(o.nested) ? o.nested.id : 'none'": "none",
		"s":                                    expr.Secret{Name: "token"},
		"on ? o.name : later.id":               "n",
		"on || later.id == 'x'":                true,
		"'a-b'.split('-')":                     []any{"a", "b"},
		"{'k': [1, 2]}":                        map[string]any{"k": []any{int64(1), int64(2)}},
		"null":                                 nil,
	} {
		t.Run(src, func(t *testing.T) {
			t.Parallel()
			x, issues := env.Compile(src)
			if len(issues) > 0 {
				t.Fatal(issues)
			}
			got, err := x.Eval(vars, []expr.Ref{{"later"}})
			if d := cmp.Diff(want, got); err != nil || d != "" {
				t.Errorf("%v (-want +got):\n%s", err, d)
			}
		})
	}
	for src, want := range map[string]string{
		"o.nested.id":           "no such key: nested",
		"o.raw.gone":            "no such key: gone",
		"o.many[7].id":          "index out of bounds: 7",
		"[s]":                   "a secret can only be passed on whole",
		"{'k': s}":              "a secret can only be passed on whole",
		"duration('1m')":        "a value of type google.protobuf.Duration cannot stand in YAML",
		"{1: 2}":                "a map key of type int cannot stand in YAML",
		"string(dyn(s))":        "no such overload: string(secret)",
		"dyn(s) == dyn('x')":    "a secret can only be passed on whole",
		"!on || later.id > 'a'": expr.ErrUnknown.Error(),
		"later.id":              expr.ErrUnknown.Error(),
	} {
		t.Run(src, func(t *testing.T) {
			t.Parallel()
			x, issues := env.Compile(src)
			if len(issues) > 0 {
				t.Fatal(issues)
			}
			got, err := x.Eval(vars, []expr.Ref{{"later"}})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, %v, want %s", got, err, want)
			}
			if want == expr.ErrUnknown.Error() && !errors.Is(err, expr.ErrUnknown) {
				t.Error(err)
			}
		})
	}
}

func TestCompileFindsNamesAndTypes(t *testing.T) {
	t.Parallel()
	env, _ := environment(t)
	for src, want := range map[string]expr.Issue{
		"o.nmae":             {Line: 1, Col: 3, Message: `unknown field "nmae"`, Hint: `did you mean "name"?`},
		"1 +\n  o.many.size": {Line: 2, Col: 9, Message: ""},
		"o.name + o.count":   {Line: 1, Col: 8, Message: "found no matching overload for '_+_' applied to '(string, int)'"},
		"q.name":             {Line: 1, Col: 1, Message: "undeclared reference to 'q' (in container '')"},
		"o.nested.self.idd":  {Line: 1, Col: 15, Message: `unknown field "idd"`, Hint: `did you mean "id"?`},
		"o.Skipped":          {Line: 1, Col: 3, Message: `unknown field "Skipped"`, Hint: "known: byName, bytes, count, deep, many, name, nested, ratio, raw, wait, when"},
		"string(s)":          {Line: 1, Col: 7, Message: "found no matching overload for 'string' applied to '(secret)'"},
	} {
		t.Run(src, func(t *testing.T) {
			t.Parallel()
			_, issues := env.Compile(src)
			if len(issues) == 0 {
				t.Fatal("no issue")
			}
			if want.Message == "" {
				want.Message = issues[0].Message // only its place is ours
			}
			if d := cmp.Diff(want, issues[0]); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

type target struct {
	Name   string            `yaml:"name"`
	Count  int32             `yaml:"count"`
	Share  float32           `yaml:"share"`
	On     *bool             `yaml:"on"`
	Wait   spec.Duration     `yaml:"wait"`
	Token  steps.Secret      `yaml:"token"`
	Names  []string          `yaml:"names"`
	Map    map[string]string `yaml:"map"`
	Any    any               `yaml:"any"`
	Node   yaml.Node         `yaml:"node"`
	Nested nestedSpec        `yaml:"nested"`
}

type nestedSpec struct {
	ID   string      `yaml:"id" jsonschema:"required"`
	Self *nestedSpec `yaml:"self"`
}

func TestFits(t *testing.T) {
	t.Parallel()
	env, ts := environment(t)
	for _, c := range []struct{ src, field, want string }{
		{"o.name", "Name", ""}, {"o.count", "Name", "expected string, got int"}, {"o.count", "Count", ""}, {"o.ratio", "Count", "expected int, got double"},
		{"o.count", "Share", ""}, {"on", "On", ""}, {"o.name", "On", "expected bool, got string"}, {"o.wait", "Wait", ""}, {"o.count", "Wait", "expected a duration (string), got int"},
		{"s", "Token", ""}, {"s", "Name", "a secret fits only a secret field, this one takes string"}, {"s", "Any", "a secret fits only a secret field, this one takes anything"},
		{"[s]", "Names", "a secret can only be passed on whole"}, {"o.name", "Token", ""}, {"o.many.map(m, m.id)", "Names", ""}, {"o.many", "Names", "expected string, got expr_test.nested"},
		{"o.name", "Names", "expected list of string, got string"}, {"{'a': 'b'}", "Map", ""}, {"later", "Map", "self: expected string, got expr_test.nested"}, {"o.raw", "Count", ""},
		{"o.many", "Any", ""}, {"o.many", "Node", ""}, {"o.nested", "Nested", ""}, {"o", "Nested", `has no field "id", which is required`}, {"o.name", "Nested", "expected object expr_test.nestedSpec, got string"},
	} {
		t.Run(c.src+" into "+c.field, func(t *testing.T) {
			t.Parallel()
			x, issues := env.Compile(c.src)
			if len(issues) > 0 {
				t.Fatal(issues)
			}
			f, _ := reflect.TypeFor[target]().FieldByName(c.field)
			if got := ts.Fits(x.Type, f.Type); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain": "plain", "": "", "${{ a }}": "<a>", "x${{a}}y${{ b.c }}": "x|<a>|y|<b.c>", "$${{ a }}": "${{ a }}",
		`${{ "}}" + '{{' }}`: `<"}}" + '{{'>`, `${{ {'a': {'b': 1}}.a }}`: `<{'a': {'b': 1}}.a>`, `${{ "a\"}}" }}`: `<"a\"}}">`, "${{": "error", "${{ a }": "error", "${{ 'a }}": "error", "$ {{ a }}": "$ {{ a }}",
	} {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			parts, err := expr.Split(in)
			var got []string
			for _, p := range parts {
				if p.Expr {
					p.Text = "<" + p.Text + ">"
				}
				got = append(got, p.Text)
			}
			text := strings.Join(got, "|")
			if err != nil {
				text = "error"
			}
			if text != want {
				t.Errorf("%s, want %s", text, want)
			}
		})
	}
}
