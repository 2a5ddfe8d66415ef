package engine_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pipectl.dev/engine"
	"pipectl.dev/results"
	"pipectl.dev/steps"
)

const minting = head + `  stages:
    - {name: db, step: mint-password, with: {name: root}}
    - {name: app, step: make-thing, with: {name: ta, token: "${{ stages.db.outputs.password }}"}}
    - {name: job, step: make-thing, with: {name: tj, token: "${{ stages.db.outputs.users[0].token }}"}}
  outputs:
    user: ${{ stages.db.outputs.user }}
`

func TestSensitiveOutputsArePassedOnButSeenNowhere(t *testing.T) {
	t.Parallel()
	w, dir, ev := newWorld(), t.TempDir(), &events{}
	p := load(t, w, minting)
	open := func() *engine.Runner {
		r := runner(results.NewDir(dir, results.Owner{Pipeline: "blog", Identity: "123456789012/eu/blog"}))
		r.Record = ev.record
		return r
	}
	received := func(what string) {
		t.Helper()
		if a, j := w.seen["apply ta"].Token.Reveal(), w.seen["apply tj"].Token.Reveal(); a != "hunter-root" || j != "token-root" {
			t.Errorf("%s: later stages got %q and %q", what, a, j)
		}
	}
	first := open().Run(t.Context(), p, engine.RunOptions{})
	if first.ExitCode() != 0 {
		t.Fatalf("%+v", first.Errors)
	}
	received("in one run")
	if string(first.Stages[0].Outputs) != `{"user":"root","password":{"sensitive":"password"},"users":[{"token":{"sensitive":"users.0.token"}}]}` {
		t.Errorf("outputs %s", first.Stages[0].Outputs)
	}
	if string(first.Outputs["user"]) != `"root"` {
		t.Errorf("the pipeline's outputs: %v", first.Outputs)
	}
	for name, opts := range map[string]engine.RunOptions{
		"a stage of another process, with the stored result": {Stages: []string{"app", "job"}, Force: true},
		"another run, which observes":                        {Force: false},
	} {
		delete(w.seen, "apply ta")
		delete(w.seen, "apply tj")
		w.things = map[string]int{"minted": 1}
		if res := open().Run(t.Context(), p, opts); res.ExitCode() != 0 {
			t.Fatalf("%s: %+v", name, res.Errors)
		}
		received(name)
	}
	seen, err := json.Marshal([]any{first, ev.all})
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	for _, f := range files(t, dir) {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(f, "db.sensitive") {
			kept++
			if st, err := os.Stat(f); err != nil || st.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v %v", f, st.Mode(), err)
			}
			continue
		}
		seen = append(seen, raw...)
	}
	for _, value := range []string{"hunter-root", "token-root"} {
		if strings.Contains(string(seen), value) {
			t.Errorf("%s is seen", value)
		}
	}
	if kept != 1 {
		t.Errorf("%d files of sensitive outputs", kept)
	}
	if res := open().Down(t.Context(), p, engine.DownOptions{}); res.ExitCode() != 0 {
		t.Fatalf("down: %+v", res.Errors)
	}
	for _, f := range files(t, dir) {
		if strings.HasSuffix(f, ".sensitive") {
			t.Errorf("after down there is still %s", f)
		}
	}
}

func TestASensitiveOutputWithoutItsValueIsMissedByName(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.things["minted"] = 1
	res := runner(results.NewDir(t.TempDir(), results.Owner{Pipeline: "blog"})).Run(t.Context(), load(t, w, minting), engine.RunOptions{})
	var told []string
	for _, e := range res.Errors { // in the order in which the stages were looked at
		told = append(told, e.Message+" "+e.Hint)
	}
	slices.Sort(told)
	const want = "p.yaml:7:61: token: stages.db.outputs.password: its value is not kept any more run the stage that makes it again, with --force"
	if res.ExitCode() != 2 || len(told) != 2 || told[0] != want {
		t.Errorf("exit %d, %+v", res.ExitCode(), res.Errors)
	}
	if w.count("apply") != 0 {
		t.Errorf("%v", w.calls)
	}
}

func TestAStoreThatKeepsNoSecretsRefusesSensitiveOutputs(t *testing.T) {
	t.Parallel()
	res := runner(newMemory()).Run(t.Context(), load(t, newWorld(), minting), engine.RunOptions{})
	if res.ExitCode() != 16 || res.Errors[0].Code != "ResultNotKept" || res.Stages[0].Status != steps.Succeeded {
		t.Errorf("exit %d, %+v", res.ExitCode(), res.Errors)
	}
}

func TestASensitiveOutputFitsOnlyASecretField(t *testing.T) {
	t.Parallel()
	for name, with := range map[string]string{
		"a string":       `{name: "${{ stages.db.outputs.password }}"}`,
		"a longer text":  `{name: "x-${{ stages.db.outputs.password }}"}`,
		"a whole object": `{name: x, tags: "${{ stages.db.outputs }}"}`,
		"a comparison":   `{name: x, public: "${{ stages.db.outputs.password == 'a' }}"}`,
	} {
		src := head + "  stages:\n    - {name: db, step: mint-password, with: {name: root}}\n    - {name: b, step: make-thing, with: " + with + "}\n"
		if _, problems := engine.Load(engine.LoadOptions{File: "p.yaml", Source: []byte(src), Catalog: catalogOf(newWorld())}); len(problems) == 0 {
			t.Errorf("%s was accepted", name)
		}
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
