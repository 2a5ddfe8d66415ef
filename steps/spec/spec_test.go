package spec_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"pipectl.dev/steps/spec"
)

type document struct {
	Name     string            `yaml:"name" jsonschema:"required,pattern=^[a-z]{1\\,9}$"`
	Kind     string            `yaml:"kind" jsonschema:"enum=a,enum=b,default=a"`
	Count    int               `yaml:"count" jsonschema:"default=3,minimum=0,maximum=9"`
	On       bool              `yaml:"on" jsonschema:"default=true"`
	Share    float64           `yaml:"share"`
	Wait     spec.Duration     `yaml:"wait" jsonschema:"default=1m30s"`
	Disk     *spec.Size        `yaml:"disk" jsonschema:"default=20Gi"`
	Labels   map[string]string `yaml:"labels"`
	Groups   []group           `yaml:"groups"`
	ByName   map[string]group  `yaml:"byName"`
	Raw      yaml.Node         `yaml:"raw"`
	Any      any               `yaml:"any"`
	hidden   int               //nolint:unused // that it is no key is what is tested
	Inlined  `yaml:",inline"`
	computed bool
}

type Inlined struct {
	Extra string `yaml:"extra"`
}

type group struct {
	Min int `yaml:"min" jsonschema:"default=1"`
	Max int `yaml:"max" jsonschema:"required"`
}

func (d *document) SetDefaults() { d.computed = d.Count > 2 }

func (d *document) Validate() []spec.Problem {
	var out []spec.Problem
	for i, g := range d.Groups {
		if g.Min > g.Max {
			out = append(out, spec.Problem{Path: spec.Join(spec.Index("groups", i), "min"), Message: "exceeds max"})
		}
	}
	return out
}

func decode(t *testing.T, src string, deferred ...string) (document, []string) {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(src), &n); err != nil {
		t.Fatal(err)
	}
	var d document
	var got []string
	for _, p := range spec.Decode("f.yaml", &n, &d, deferred...) {
		text := strings.TrimPrefix(p.Error(), "f.yaml:")
		if p.Hint != "" {
			text += " | " + p.Hint
		}
		got = append(got, text)
	}
	return d, got
}

func TestProblems(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		src      string
		deferred []string
		want     []string
	}{
		"sound":                             {src: "name: x\n"},
		"a missing field":                   {src: "kind: a\n", want: []string{"1:1: name: is required"}},
		"a required field that is null":     {src: "name: null\n", want: []string{"1:7: name: is required"}},
		"an unknown key near a known one":   {src: "name: x\ncuont: 1\n", want: []string{`2:1: cuont: unknown field | did you mean "count"?`}},
		"a key unlike any":                  {src: "name: x\nzzzzzz: 1\n", want: []string{"2:1: zzzzzz: unknown field | known: name, kind, count, on, share, wait, disk, labels, groups, byName, raw, any, extra"}},
		"a key twice":                       {src: "name: x\nname: y\n", want: []string{"2:1: name: duplicate key"}},
		"a key of a map twice":              {src: "name: x\nlabels: {a: b, a: c}\n", want: []string{"2:16: labels.a: duplicate key"}},
		"scalars of wrong types":            {src: "name: [x]\ncount: 1.5\non: maybe\nshare: much\n", want: []string{"1:7: name: expected a string, got a list", `2:8: count: expected a whole number, got "1.5"`, `3:5: on: expected true or false, got "maybe"`, `4:8: share: expected a number, got "much"`}},
		"a mapping where a list belongs":    {src: "name: x\ngroups: {max: 1}\nlabels: [a]\n", want: []string{"2:9: groups: expected a list, got a mapping", "3:9: labels: expected a mapping, got a list"}},
		"a scalar where a mapping belongs":  {src: "name: x\ngroups: [many]\n", want: []string{`2:10: groups[0]: expected a mapping, got "many"`}},
		"outside of an enum":                {src: "name: x\nkind: c\n", want: []string{`2:7: kind: expected one of a, b, got "c"`}},
		"outside of a pattern with a comma": {src: "name: XX\n", want: []string{`1:7: name: "XX" does not match ^[a-z]{1,9}$`}},
		"too little and too much":           {src: "name: x\ncount: -1\n", want: []string{"2:8: count: must be at least 0, got -1"}},
		"too much":                          {src: "name: x\ncount: 10\n", want: []string{"2:8: count: must be at most 9, got 10"}},
		"a number without a unit":           {src: "name: x\nwait: 5\ndisk: 20\n", want: []string{`2:7: wait: expected a duration such as 90s, 15m or 1h30m, got "5"`, `3:7: disk: expected a size such as 20Gi or 500Mi, got "20"`}},
		"a negative time":                   {src: "name: x\nwait: -5s\n", want: []string{`2:7: wait: expected a duration such as 90s, 15m or 1h30m, got "-5s"`}},
		"deep down, all at once, in order":  {src: "groups:\n  - {mx: 3}\n  - {max: 3}\n  - {max: q}\n", want: []string{"1:1: name: is required", `2:5: groups[0].max: is required`, `2:6: groups[0].mx: unknown field | did you mean "max"?`, `4:11: groups[2].max: expected a whole number, got "q"`}},
		"validation finds its place":        {src: "name: x\ngroups:\n  - {max: 3}\n  - {max: 3, min: 4}\n", want: []string{"4:19: groups[1].min: exceeds max"}},
		"validation of a missing field":     {src: "name: x\ngroups: [{max: 0}]\n", want: []string{"2:10: groups[0].min: exceeds max"}},
		"nothing is said of what is unknown": {
			src: "name: later\ngroups: [{max: later}, {max: 3, min: 4}]\n", deferred: []string{"name", "groups[0].max"}, want: []string{"2:38: groups[1].min: exceeds max"},
		},
		"of what is wrong by its shape the rest is told too": {src: "name: X\ngroups:\n  - {max: 3, min: 4}\n", want: []string{`1:7: name: "X" does not match ^[a-z]{1,9}$`, "3:19: groups[0].min: exceeds max"}},
		"but not of what stands beside it":                   {src: "name: x\ngroups:\n  - {max: q, min: 4}\n", want: []string{`3:11: groups[0].max: expected a whole number, got "q"`}},
		"a key that stands twice has to be mended first":     {src: "name: x\ngroups: [{max: 3, min: 4}]\nname: y\n", want: []string{"3:1: name: duplicate key"}},
		"nor above it": {src: "name: x\ngroups: later\n", deferred: []string{"groups"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, got := decode(t, c.src, c.deferred...)
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("problems (-want +got):\n%s", d)
			}
		})
	}
}

func TestDefaultsFillOnlyWhatIsNotGiven(t *testing.T) {
	t.Parallel()
	got, problems := decode(t, "name: x\ngroups: [{max: 2}, {max: 2, min: 0}]\nbyName: {g: {max: 5}}\nextra: e\n")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want := document{
		Name: "x", Kind: "a", Count: 3, On: true, Wait: spec.Duration{Duration: 90 * time.Second}, Disk: &spec.Size{Bytes: 20 << 30},
		Groups: []group{{Min: 1, Max: 2}, {Min: 0, Max: 2}}, ByName: map[string]group{"g": {Min: 1, Max: 5}}, Inlined: Inlined{Extra: "e"}, computed: true,
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(document{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	zero, problems := decode(t, "name: x\ncount: 0\non: false\nwait: 0s\n")
	if len(problems) > 0 || zero.Count != 0 || zero.On || zero.Wait.Duration != 0 || zero.computed {
		t.Errorf("what is given as zero was changed: %+v %v", zero, problems)
	}
}

func TestSizesAndDurationsReadBackAsWritten(t *testing.T) {
	t.Parallel()
	for text, gib := range map[string]int32{"20Gi": 20, "500Mi": 1, "1.5Ti": 1536, "3Ki": 1, "0Gi": 0} {
		var s, back spec.Size
		if err := yaml.Unmarshal([]byte(text), &s); err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, &back); err != nil || back != s || s.GiB() != gib {
			t.Errorf("%s is %s, reads back as %s, %d GiB: %v", text, raw, back, s.GiB(), err)
		}
	}
	var d spec.Duration
	if err := json.Unmarshal([]byte(`"1h30m"`), &d); err != nil || d.Duration != 90*time.Minute {
		t.Errorf("%v %v", d, err)
	}
	if raw, err := json.Marshal(d); err != nil || string(raw) != `"1h30m0s"` {
		t.Errorf("%s %v", raw, err)
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"nodeGroups", "network", "name"}
	for in, want := range map[string]string{
		"nodegroups": `did you mean "nodeGroups"?`, "netwrok": `did you mean "network"?`, "nmae": `did you mean "name"?`, "qqqq": "known: nodeGroups, network, name",
	} {
		if got := spec.Nearest(in, known); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	if got := spec.Nearest("x", nil); got != "none is declared" {
		t.Error(got)
	}
}
