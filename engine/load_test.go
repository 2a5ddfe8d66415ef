package engine_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/engine"
)

// one wraps a `with` of one stage, which starts on line 7.
func one(with string) string {
	return head + "  stages:\n    - {name: a, step: make-thing, with: {name: x}}\n    - name: b\n      step: make-thing\n      with:\n" + indent(with, 8)
}

func indent(s string, n int) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString(strings.Repeat(" ", n) + line)
	}
	return b.String()
}

func TestEveryProblemIsPlacedAndHinted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		src  string
		opts func(*engine.LoadOptions)
		want []string // "line:col: text | hint"
	}{
		"a typo in a key of the envelope": {
			src:  "apiVersion: pipectl.dev/v1\nkind: Pipeline\nmetadata: {name: blog}\nspec:\n  stagse: []\n",
			want: []string{`5:3: spec.stagse: unknown field | did you mean "stages"?`, `5:3: spec.stages: is required`},
		},
		"a typo in a key of a step, and a wrong type beside it": {
			src:  one("nmae: x\nsize: big\n"),
			want: []string{`10:9: spec.stages[1].with.nmae: unknown field | did you mean "name"?`, `10:9: spec.stages[1].with.name: is required`, `11:15: spec.stages[1].with.size: expected a whole number, got "big"`},
		},
		"an unknown step": {
			src:  head + "  stages:\n    - {name: a, step: make-thong}\n",
			want: []string{`6:23: unknown step "make-thong" | did you mean "make-thing"?`},
		},
		"an unknown stage in an expression": {
			src:  one("name: y\nitems: [\"${{ stages.aa.outputs.id }}\"]\n"),
			want: []string{`11:29: spec.stages[1].with.items[0]: unknown stage "aa" | did you mean "a"?`},
		},
		"an unknown output": {
			src:  one("name: ${{ stages.a.outputs.idd }}\n"),
			want: []string{`10:36: spec.stages[1].with.name: unknown output "idd" | did you mean "id"?`},
		},
		"an unknown field below an output": {
			src:  one("name: ${{ stages.a.outputs.cluster.eks.nmae }}\n"),
			want: []string{`10:48: spec.stages[1].with.name: unknown field "nmae" | did you mean "name"?`},
		},
		"an unknown param in the middle of a text": {
			src:  head + "  params: {zone: {default: z}}\n  stages:\n    - name: a\n      step: make-thing\n      with:\n        name: pre-${{ params.zone }}-${{ params.zoone }}\n",
			want: []string{`10:49: spec.stages[0].with.name: unknown param "zoone" | did you mean "zone"?`},
		},
		"an expression of a type that the field does not take": {
			src:  one("name: y\nsize: ${{ stages.a.outputs.id }}\n"),
			want: []string{`11:15: spec.stages[1].with.size: expected int, got string`},
		},
		"an object where a string belongs": {
			src:  one("name: ${{ stages.a.outputs.cluster }}\n"),
			want: []string{`10:15: spec.stages[1].with.name: expected string, got steps.ClusterRef`},
		},
		"a list in the middle of a text": {
			src:  one("name: x-${{ stages.a.outputs.items }}\n"),
			want: []string{`10:15: spec.stages[1].with.name: a value of type list(string) cannot be part of a longer text`},
		},
		"operands that do not go together": {
			src:  one("name: y\nsize: ${{ 1 + stages.a.outputs.id }}\n"),
			want: []string{`11:21: spec.stages[1].with.size: found no matching overload for '_+_' applied to '(int, string)'`},
		},
		"an expression that is not closed": {
			src:  one("name: ${{ stages.a.outputs.id }\n"),
			want: []string{"10:15: spec.stages[1].with.name: `${{` without `}}` | close it, or write $${{ for the text itself"},
		},
		"a condition that is no condition": {
			src:  head + "  stages:\n    - {name: a, step: make-thing, with: {name: x}, when: \"'yes'\"}\n",
			want: []string{`6:58: spec.stages[0].when: expected true or false, got string`},
		},
		"an unknown stage in a condition": {
			src:  head + "  stages:\n    - {name: a, step: make-thing, with: {name: x}, when: stages.q.status == 'Failed'}\n",
			want: []string{`6:65: spec.stages[0].when: unknown stage "q" | known: a`},
		},
		"a quoted condition": {
			src:  head + "  stages:\n    - {name: a, step: make-thing, with: {name: x}, when: \"stages.q.status == 'Failed'\"}\n",
			want: []string{`6:66: spec.stages[0].when: unknown stage "q" | known: a`},
		},
		"an expression in a folded block": {
			src:  one("name: >-\n  x\n  ${{ stages.a.outputs.id +\n  stages.a.outputs.idd }}\n"),
			want: []string{`13:28: spec.stages[1].with.name: unknown output "idd" | did you mean "id"?`},
		},
		"a condition in a block": {
			src:  head + "  stages:\n    - name: a\n      step: make-thing\n      with: {name: x}\n      when: |\n        true &&\n        stages.q.status == 'Failed'\n",
			want: []string{`11:16: spec.stages[0].when: unknown stage "q" | known: a`},
		},
		"an expression behind an alias": {
			src:  head + "  params: {zone: {default: &z \"${{ params.zone }}\"}}\n  stages:\n    - {name: a, step: make-thing, with: {name: &n \"${{ stages.q.outputs.id }}\"}}\n    - {name: b, step: make-thing, with: {name: *n}}\n",
			want: []string{"5:28: spec.params.zone.default: a default cannot hold expressions", `7:63: spec.stages[0].with.name: unknown stage "q" | known: a, b`, `8:48: spec.stages[1].with.name: unknown stage "q" | known: a, b`},
		},
		"a cycle": {
			src:  head + "  stages:\n    - {name: a, step: make-thing, with: {name: \"${{ stages.b.outputs.id }}\"}}\n    - {name: b, step: make-thing, needs: [c], with: {name: y}}\n    - {name: c, step: make-thing, needs: [a], with: {name: z}}\n",
			want: []string{`6:14: stages need each other: a > b > c > a | remove one of the references or needs`},
		},
		"a duplicate stage": {
			src:  head + "  stages:\n    - {name: a, step: make-thing, with: {name: x}}\n    - {name: a, step: make-thing, with: {name: y}}\n",
			want: []string{`7:14: spec.stages[1].name: duplicate stage "a", first on line 6 | give each stage a name of its own`},
		},
		"a dash in a name": {
			src:  head + "  stages:\n    - {name: my-stage-2, step: make-thing, with: {name: x}}\n",
			want: []string{`6:14: stage name "my-stage-2": expected letters and digits, starting with a small letter | call it "myStage2": in an expression a dash would be a minus`},
		},
		"an unknown stage in needs": {
			src:  head + "  stages:\n    - {name: a, step: make-thing, needs: [aa], with: {name: x}}\n",
			want: []string{`6:43: unknown stage "aa" | did you mean "a"?`},
		},
		"two stages that declare the same": {
			src:  head + "  stages:\n    - {name: a, step: make-thing, with: {name: x}}\n    - {name: b, step: make-thing, with: {name: x}}\n",
			want: []string{`7:14: stage "b" declares thing/x, as stage "a" does | give one of them another name: what exists is found by its name, not by its stage`},
		},
		"a stage that needs one of finally": {
			src:  head + "  stages:\n    - {name: a, step: make-thing, needs: [z], with: {name: x}}\n  finally:\n    - {name: z, step: make-thing, with: {name: z}}\n",
			want: []string{`6:14: stage "a" needs "z", which runs after all others (finally)`},
		},
		"a param without a value": {
			src:  head + "  params:\n    gitToken: {type: secret}\n    oldZone: {type: string}\n  stages:\n    - {name: a, step: make-thing, with: {name: x}}\n",
			want: []string{`6:5: spec.params.gitToken: has no value | give it by PIPECTL_PARAM_GIT_TOKEN, by a file with --params, or by ` + "`from:` in the pipeline", `7:5: spec.params.oldZone: has no value | give it by --param oldZone=..., by PIPECTL_PARAM_OLD_ZONE, by a file with --params, or by a default in the pipeline`},
		},
		"an unknown param on the command line": {
			src:  head + "  params: {zone: {default: z}}\n  stages:\n    - {name: a, step: make-thing, with: {name: x}}\n",
			opts: func(o *engine.LoadOptions) { o.Params = map[string]string{"zoen": "q"} },
			want: []string{`5:3: --param zoen: unknown param "zoen" | did you mean "zone"?`},
		},
		"a secret on the command line": {
			src:  head + "  params: {t: {type: secret}}\n  stages:\n    - {name: a, step: make-thing, with: {name: x}}\n",
			opts: func(o *engine.LoadOptions) { o.Params = map[string]string{"t": "hunter2"} },
			want: []string{`5:12: --param t: a secret must not stand in process arguments | give it by its ` + "`from:`" + `, by PIPECTL_PARAM_T or by a file with --params`},
		},
		"a secret in the middle of a text": {
			src:  head + "  params: {t: {type: secret, from: {env: T}}}\n  stages:\n    - {name: a, step: make-thing, with: {name: x, token: \"Bearer ${{ params.t }}\"}}\n",
			want: []string{`7:58: spec.stages[0].with.token: a secret cannot be part of a longer text: a secret can only be passed on whole`},
		},
		"a secret in a field that is none": {
			src:  head + "  params: {t: {type: secret, from: {env: T}}}\n  stages:\n    - {name: a, step: make-thing, with: {name: \"${{ params.t }}\"}}\n",
			want: []string{`7:48: spec.stages[0].with.name: a secret fits only a secret field, this one takes string`},
		},
		"a secret compared with a guess": {
			src:  head + "  params: {t: {type: secret, from: {env: T}}}\n  stages:\n    - {name: a, step: make-thing, with: {name: x}, when: params.t == 'hunter2'}\n",
			want: []string{`7:67: spec.stages[0].when: found no matching overload for '_==_' applied to '(secret, string)'`},
		},
		"a secret with a default": {
			src:  head + "  params: {t: {type: secret, default: hunter2}}\n  stages:\n    - {name: a, step: make-thing, with: {name: x}}\n",
			want: []string{`5:39: spec.params.t.default: a secret cannot have a default | say where it is kept: ` + "`from: {env: NAME}`"},
		},
		"a param of a wrong type, from a flag and from a file": {
			src: head + "  params: {n: {type: int}, b: {type: bool}}\n  stages:\n    - {name: a, step: make-thing, with: {name: x}}\n",
			opts: func(o *engine.LoadOptions) {
				o.Params = map[string]string{"n": "many"}
				o.ParamFiles = []engine.ParamFile{{Name: "v.yaml", Source: []byte("# values\nb: yes please\n")}}
			},
			want: []string{`5:12: spec.params.n: --param: expected an int, got "many"`, `v.yaml:2:4: param b: expected a bool, got "yes please"`},
		},
		"an unknown param in a file": {
			src: head + "  params: {zone: {default: z}}\n  stages:\n    - {name: a, step: make-thing, with: {name: x}}\n",
			opts: func(o *engine.LoadOptions) {
				o.ParamFiles = []engine.ParamFile{{Name: "v.yaml", Source: []byte("zoen: q\n")}}
			},
			want: []string{`v.yaml:1:1: zoen: unknown param | did you mean "zone"?`},
		},
		"an optional param without a value, used without a guard": {
			src:  head + "  params: {z: {optional: true}}\n  stages:\n    - {name: a, step: make-thing, with: {name: \"${{ params.z }}\"}}\n",
			want: []string{`7:48: spec.stages[0].with.name: params.z: no such key: z | it may be absent (an optional param, a stage that was skipped): guard it, as in "${{ has(params.x) ? params.x : 'other' }}"`},
		},
		"an unquoted conditional": {
			src:  one("name: ${{ true ? 'a' : 'b' }}\n"),
			want: []string{"10:15: mapping values are not allowed in this context | quote the whole value, as in \"${{ a ? b : c }}\": unquoted `: ` is YAML's own syntax"},
		},
		"an unquoted expression in a flow map": {
			src:  head + "  stages:\n    - {name: a, step: make-thing, with: {name: ${{ params.z }}}}\n",
			want: []string{"6:48: did not find expected ',' or '}' | quote the value, as in {zone: \"${{ params.zone }}\"}: inside { } and [ ] an unquoted `${{` is YAML's own syntax"},
		},
		"a condition that starts with a YAML tag": {
			src:  head + "  params: {z: {type: bool, default: true}}\n  stages:\n    - name: a\n      step: make-thing\n      with: {name: x}\n      when: !params.z\n",
			want: []string{"10:13: unknown YAML tag \"!params.z\" | quote the whole value: an unquoted `!` starts a YAML tag"},
		},
		"an alias that contains itself": {
			src:  head + "  stages: &s\n    - *s\n",
			want: []string{`6:7: alias *s contains itself`},
		},
		"a pipectl that is too old": {
			src:  head + "  requires: {pipectl: \">=9\"}\n  stages:\n    - {name: a, step: make-thing, with: {name: x}}\n",
			opts: func(o *engine.LoadOptions) { o.Tool = "1.2.3" },
			want: []string{`5:23: spec.requires.pipectl: needs pipectl >=9, this is 1.2.3 | install a pipectl that fits, or change the range`},
		},
		"a region and an account that are none": {
			src:  head + "  region: ${{ params.r }}\n  account: 12345\n  params: {r: {type: string, default: eu-central-1a}}\n  stages:\n    - {name: a, step: make-thing, with: {name: x}}\n",
			want: []string{`5:11: spec.region: expected a region such as ap-northeast-2, got "eu-central-1a"`, `6:12: spec.account: expected the 12 digits of an AWS account, got "12345"`},
		},
		"another kind of document": {
			src:  "apiVersion: v1\nkind: Pod\nmetadata: {name: Blog}\nspec: {stages: []}\n",
			want: []string{`1:13: apiVersion: expected one of pipectl.dev/v1, got "v1"`, `2:7: kind: expected one of Pipeline, got "Pod"`, `3:18: metadata.name: "Blog" does not match ^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$`, `4:16: spec.stages: expected at least one stage`},
		},
		"an empty file": {src: "", want: []string{`1:1: the file is empty`}},
		"many mistakes at once": {
			src: head + "  stages:\n    - {name: a, step: make-thin, when: 1, with: {}}\n    - {name: a-b, step: make-thing, with: {naem: x}}\n    - {step: make-thing, nedes: [a], timeout: 5, with: {name: \"${{ stages.a.outputs.x + }}\"}}\n",
			want: []string{
				`6:23: unknown step "make-thin" | did you mean "make-thing"?`, `6:40: spec.stages[0].when: expected true or false, got int`,
				`7:14: stage name "a-b": expected letters and digits, starting with a small letter | call it "aB": in an expression a dash would be a minus`,
				`7:43: spec.stages[1].with.name: is required`, `7:44: spec.stages[1].with.naem: unknown field | did you mean "name"?`,
				`8:7: spec.stages[2].name: is required`, `8:26: spec.stages[2].nedes: unknown field | did you mean "needs"?`,
				`8:47: spec.stages[2].timeout: expected a duration such as 90s, 15m or 1h30m, got "5"`,
				`8:88: spec.stages[2].with.name: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := engine.LoadOptions{File: "p.yaml", Source: []byte(c.src), Catalog: catalogOf(newWorld())}
			if c.opts != nil {
				c.opts(&o)
			}
			p, problems := engine.Load(o)
			if p != nil {
				t.Error("a pipeline with problems was returned")
			}
			var got []string
			for _, x := range problems {
				text := strings.TrimPrefix(x.Error(), "p.yaml:")
				if x.Hint != "" {
					text += " | " + x.Hint
				}
				got = append(got, text)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("problems (-want +got):\n%s", d)
			}
		})
	}
}
