package engine_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"encoding/json"
	"github.com/google/go-cmp/cmp"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

func env(m map[string]string) func(string) (string, bool) {
	return func(k string) (string, bool) { v, ok := m[k]; return v, ok }
}

func TestParamsComeFromTheNearestSource(t *testing.T) {
	t.Parallel()
	const src = head + `  env:
    staging: {region: us-west-1, params: {zone: of-env}}
  region: ${{ params.home }}
  params:
    home: {default: eu-west-1}
    zone: {default: of-default}
    size: {type: int, default: 2}
    items: {type: list, default: [a]}
    tags: {type: object, default: {k: v}}
    public: {type: bool, default: false}
  stages:
    - {name: a, step: make-thing, with: {name: "${{ params.zone }}", size: "${{ params.size * 2 }}", items: "${{ params.items }}", tags: "${{ params.tags }}", public: "${{ params.public }}"}}
`
	terraform := `{"zone":{"sensitive":false,"type":"string","value":"of-tf"},"vpc":{"sensitive":false,"type":"string","value":"v"},"size":{"sensitive":false,"type":"number","value":7}}`
	for name, c := range map[string]struct {
		opts func(*engine.LoadOptions)
		zone string
		from string
	}{
		"default":                     {zone: "of-default", from: "default", opts: func(*engine.LoadOptions) {}},
		"environment of the pipeline": {zone: "of-env", from: "env staging", opts: func(o *engine.LoadOptions) { o.Env = "staging" }},
		"environment variable before it": {zone: "of-var", from: "PIPECTL_PARAM_ZONE", opts: func(o *engine.LoadOptions) {
			o.Env, o.Getenv = "staging", env(map[string]string{"PIPECTL_PARAM_ZONE": "of-var"})
		}},
		"file before it": {zone: "of-file", from: "f.yaml", opts: func(o *engine.LoadOptions) {
			o.Getenv = env(map[string]string{"PIPECTL_PARAM_ZONE": "of-var"})
			o.ParamFiles = []engine.ParamFile{{Name: "e.yaml", Source: []byte("zone: of-first\n")}, {Name: "f.yaml", Source: []byte("zone: of-file\n")}}
		}},
		"Terraform's outputs, others ignored": {zone: "of-tf", from: "tf.json", opts: func(o *engine.LoadOptions) {
			o.ParamFiles = []engine.ParamFile{{Name: "tf.json", Source: []byte(terraform)}}
		}},
		"flag before all": {zone: "of-flag", from: "--param", opts: func(o *engine.LoadOptions) {
			o.Params = map[string]string{"zone": "of-flag", "items": "[x, y]", "public": "true"}
			o.ParamFiles = []engine.ParamFile{{Name: "f.yaml", Source: []byte("zone: of-file\n")}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			p := load(t, w, src, c.opts)
			for _, x := range p.Params {
				if x.Name == "zone" && (x.Value != c.zone || x.Source != c.from) {
					t.Errorf("zone is %v from %s", x.Value, x.Source)
				}
			}
			if res := runner(nil).Run(t.Context(), p, engine.RunOptions{}); res.ExitCode() != 0 {
				t.Fatalf("%+v", res.Errors)
			}
			got := w.seen["apply "+c.zone]
			want := makeSpec{Name: c.zone, Size: 4, Items: []string{"a"}, Tags: map[string]string{"k": "v"}}
			switch c.from {
			case "tf.json":
				want.Size = 14
			case "--param":
				want.Items, want.Public = []string{"x", "y"}, true
			}
			if d := cmp.Diff(want, got, cmp.AllowUnexported(steps.Secret{})); d != "" {
				t.Errorf("spec (-want +got):\n%s", d)
			}
			if region := map[bool]string{true: "us-west-1", false: "eu-west-1"}[strings.Contains(name, "environment")]; p.Region != region {
				t.Errorf("region %q, want %q", p.Region, region)
			}
		})
	}
}

func TestValidateNeedsNoValues(t *testing.T) {
	t.Parallel()
	src := head + "  params: {zone: {}, n: {type: int}, t: {type: secret}}\n  stages:\n    - {name: a, step: make-thing, with: {name: \"x-${{ params.zone }}\", size: \"${{ params.n }}\", token: \"${{ params.t }}\"}}\n"
	load(t, newWorld(), src, func(o *engine.LoadOptions) { o.AllowMissing = true })
}

const withSecrets = head + `  params:
    fromEnv: {type: secret, from: {env: TOKEN}}
    fromFile: {type: secret, from: {file: token.txt}}
    fromSSM: {type: secret, from: {ssm: /x/y}}
    given: {type: secret}
    unset: {type: secret, optional: true, from: {env: NOWHERE}}
  stages:
    - {name: a, step: make-thing, with: {name: a, token: "${{ params.fromEnv }}"}}
    - {name: b, step: make-thing, with: {name: b, token: "${{ params.fromFile }}"}}
    - {name: c, step: make-thing, continueOnError: true, with: {name: c, token: "${{ params.fromSSM }}"}}
    - {name: d, step: make-thing, with: {name: d, token: "${{ params.given }}"}}
    - {name: e, step: make-thing, with: {name: e, token: "${{ params.unset }}"}}
`

type source map[string]string

func (s source) Resolve(_ context.Context, f engine.From) (string, error) { return s[f.SSM], nil }

func TestSecretsReachTheStepAndNothingElse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "token.txt"), []byte("file \"secret\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, store := newWorld(), newMemory()
	p := load(t, w, withSecrets, func(o *engine.LoadOptions) {
		o.File = filepath.Join(dir, "p.yaml")
		o.Getenv = env(map[string]string{"PIPECTL_PARAM_GIVEN": "given/secret+"})
	})
	secrets := map[string]string{"a": "env-secret", "b": `file "secret"`, "c": "ssm-secret", "d": "given/secret+", "e": ""}
	for stage, value := range secrets {
		w.on["apply "+stage] = func(_ context.Context, env steps.Env) error {
			env.Note("token is " + value)
			env.Log.Info("token "+value, "value", value, "in", map[string]string{"k": value})
			if stage == "c" {
				return &steps.Error{Code: "Refused", Category: steps.Permission, Message: "user:" + value + " refused"}
			}
			return nil
		}
	}
	var log, stream bytes.Buffer
	r := runner(store)
	r.Getenv, r.Secrets = env(map[string]string{"TOKEN": "env-secret"}), source{"/x/y": "ssm-secret"}
	r.Log = slog.New(slog.NewJSONHandler(&log, nil))
	r.Record = engine.NewEventWriter(&stream).Record
	res := r.Run(t.Context(), p, engine.RunOptions{})
	if res.ExitCode() != 16 {
		t.Fatalf("exit %d, %+v", res.ExitCode(), res.Errors)
	}
	for stage, value := range secrets {
		if got := w.seen["apply "+stage].Token.Reveal(); got != value {
			t.Errorf("stage %s got %q, want %q", stage, got, value)
		}
	}
	result, err := json.Marshal(res)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := json.Marshal(store.results)
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{"log": log.String(), "events": stream.String(), "result": string(result), "store": string(stored)} {
		for _, value := range []string{"env-secret", "ssm-secret", "given/secret", "file \\", `file \\\"`} {
			if strings.Contains(text, value) {
				t.Errorf("%s holds %q:\n%s", where, value, text)
			}
		}
		if !strings.Contains(text, "***") {
			t.Errorf("%s says nothing of the token", where)
		}
	}
	first, second := res.Stages[0].InputsDigest, res.Stages[4].InputsDigest
	r.Getenv = env(map[string]string{"TOKEN": "another"})
	clear(w.on)
	clear(w.things)
	if again := r.Run(t.Context(), p, engine.RunOptions{}); again.Stages[0].InputsDigest != first || first == second {
		t.Errorf("the digest changes with the secret: %s and %s", first, again.Stages[0].InputsDigest)
	}
}

func TestASecretThatCannotBeReadStopsTheRunBeforeItStarts(t *testing.T) {
	t.Parallel()
	w := newWorld()
	p := load(t, w, withSecrets, func(o *engine.LoadOptions) { o.Getenv = env(map[string]string{"PIPECTL_PARAM_GIVEN": "x"}) })
	res := runner(nil).Run(t.Context(), p, engine.RunOptions{})
	if res.ExitCode() != 2 || len(res.Errors) != 3 || w.count("apply") != 0 {
		t.Errorf("exit %d, %+v", res.ExitCode(), res.Errors)
	}
	if one := runner(nil).Run(t.Context(), p, engine.RunOptions{Stages: []string{"d"}}); one.ExitCode() != 0 {
		t.Errorf("a stage that uses none of them: %+v", one.Errors)
	}
}

func TestRedactorKnowsTheSpellingsOfASecret(t *testing.T) {
	t.Parallel()
	r := engine.NewRedactor()
	r.Add("pa$$ w/ord+1\"x")
	r.Add("abc") // too short to look for
	for name, c := range map[string]struct{ in, want string }{
		"as it is":               {`x pa$$ w/ord+1"x y`, `x *** y`},
		"in JSON":                {`{"k":"pa$$ w/ord+1\"x"}`, `{"k":"***"}`},
		"in a query":             {`?p=pa%24%24+w%2Ford%2B1%22x&q`, `?p=***&q`},
		"in a path":              {`/pa$$%20w%2Ford+1%22x/`, `/***/`},
		"in base64":              {`cGEkJCB3L29yZCsxIng=`, `***g=`},
		"in base64 after a name": {`dXNlcjpwYSQkIHcvb3JkKzEieA==`, `dXNlcjp***A==`},
		"a short one":            {`abc`, `abc`},
		"cut off":                {`have "x pa$$ w/o..., want "pa$$ w/ord+1\"...`, `have "x ***..., want "***...`},
		"cut off in base64":      {`have "cGEkJCB3L29y...`, `have "***...`},
		"cut off too early":      {`have "x pa$...`, `have "x pa$...`},
		"no end of it":           {`pa$$ w/o. pa$$..`, `pa$$ w/o. pa$$..`},
		"nothing":                {``, ``},
	} {
		t.Run(name, func(t *testing.T) {
			if got := r.String(c.in); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestASecretThatIsAPieceOfTheFormatBreaksNothing(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"null", "true", `":""`, "stage", "2026-", "blog", "Succeeded", "0.25"} {
		w, store, ev := newWorld(), newMemory(), &events{}
		p := load(t, w, head+"  params: {t: {type: secret, from: {env: T}}}\n  stages:\n    - {name: a, step: make-thing, with: {name: x, token: \"${{ params.t }}\"}}\n")
		r := runner(store)
		r.Getenv, r.Record = env(map[string]string{"T": value}), ev.record
		res := r.Run(t.Context(), p, engine.RunOptions{})
		if res == nil || res.Exit != 0 || len(res.Stages) != 1 || res.StartedAt.IsZero() || len(store.results) == 0 {
			t.Errorf("%q: %+v", value, res)
		}
		for i, e := range ev.all {
			if e.Seq != int64(i+1) || e.Time.IsZero() {
				t.Errorf("%q: event %d is %+v", value, i, e)
			}
		}
	}
}

func TestTheWrongAccountIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld()
	p := load(t, w, head+"  account: \"000000000001\"\n  stages:\n    - {name: a, step: make-thing, with: {name: x}}\n")
	res := runner(nil).Run(t.Context(), p, engine.RunOptions{})
	if res.ExitCode() != 11 || len(w.calls) != 0 || !strings.Contains(res.Errors[0].Message, "000000000001") {
		t.Errorf("exit %d, %v, %+v", res.ExitCode(), w.calls, res.Errors)
	}
}
