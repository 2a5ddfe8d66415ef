package engine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

const savable = head + `  params:
    size: {type: int, default: 3}
    token: {type: secret, from: {env: TOKEN}}
  stages:
    - {name: a, step: make-thing, with: {name: ta, size: "${{ params.size }}", token: "${{ params.token }}"}}
    - {name: b, step: make-thing, with: {name: "t-${{ stages.a.outputs.id }}", size: "${{ stages.a.outputs.size }}"}}
    - {name: c, step: make-thing, with: {name: tc, items: [policy.json]}}
`

// saving is a pipeline with a file beside it, its saved plan written and read again, and a runner that must not ask.
type saving struct {
	w      *world
	dir    string
	src    string
	params map[string]string
	tool   steps.Tool
}

func (s *saving) load(t *testing.T) *engine.Pipeline {
	return load(t, s.w, s.src, func(o *engine.LoadOptions) { o.File, o.Params = filepath.Join(s.dir, "p.yaml"), s.params })
}

func (s *saving) runner(t *testing.T) *engine.Runner {
	r := runner(newMemory())
	r.Tool = s.tool
	r.Getenv = func(string) (string, bool) { return "hunter2", true }
	r.Confirm = func(context.Context, engine.Question) (bool, error) {
		t.Error("somebody was asked")
		return false, nil
	}
	return r
}

func (s *saving) save(t *testing.T) *engine.SavedPlan {
	t.Helper()
	p, r := s.load(t), s.runner(t)
	plan := r.Plan(t.Context(), p, engine.RunOptions{})
	saved, err := engine.SavePlan(p, plan, r.Tool, engine.Arguments{File: p.File})
	if err != nil || len(plan.Errors) > 0 {
		t.Fatal(err, plan.Errors)
	}
	text, err := json.Marshal(saved)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "hunter2") {
		t.Errorf("the plan tells a secret: %s", text)
	}
	back, err := engine.ReadPlan("plan.json", text)
	if err != nil {
		t.Fatal(err)
	}
	return back
}

// many is a pipeline with 22 params.
func many() string {
	text := head + "  params:\n"
	for i := range 22 {
		text += fmt.Sprintf("    p%02d: {type: int}\n", i)
	}
	return text + "  stages:\n    - {name: a, step: make-thing, with: {name: ta}}\n"
}

func manyParams(value int) map[string]string {
	out := map[string]string{}
	for i := range 22 {
		out[fmt.Sprintf("p%02d", i)] = strconv.Itoa(value)
	}
	return out
}

func TestASavedPlanIsAppliedAsItIsOrNotAtAll(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		src     string // "": savable
		before  func(*saving)
		between func(*testing.T, *saving)
		exit    int
		says    string
		applied []string
	}{
		"nothing moved; what was deferred is planned on the way": {applied: []string{"apply ta", "apply tc", "apply t-id-ta"}},
		"the file moved": {between: func(_ *testing.T, s *saving) { s.src += "    - {name: d, step: make-thing, with: {name: td}}\n" },
			exit: 10, says: "p.yaml: its text"},
		"a param moved": {between: func(_ *testing.T, s *saving) { s.params = map[string]string{"size": "4"} },
			exit: 10, says: "param size: was 3, is 4"},
		"another build of pipectl": {between: func(_ *testing.T, s *saving) { s.tool.Version = "v2" }, exit: 10, says: "pipectl: was v1, is v2"},
		"a file that a stage names moved": {between: func(t *testing.T, s *saving) {
			if err := os.WriteFile(filepath.Join(s.dir, "policy.json"), []byte("{2}"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, exit: 10, says: "policy.json: its content"},
		"what was to be made is there": {between: func(_ *testing.T, s *saving) { s.w.things["tc"] = 1 },
			exit: 10, says: "the plan is out of date. Since it was made, this has moved:\n  - stage c: was planned as changes, now as keep\n  - stage c: thing/tc: was to create, now to keep"},
		"more moved than anybody reads": {before: func(s *saving) { s.params = manyParams(0) }, between: func(_ *testing.T, s *saving) { s.params = manyParams(1) }, src: many(),
			exit: 10, says: "\n  - param p19: was 0, is 1\n  - and 2 more"},
		"what was there is gone": {before: func(s *saving) { s.w.things["tc"] = 1 }, between: func(_ *testing.T, s *saving) { delete(s.w.things, "tc") },
			exit: 10, says: "thing/tc: was to keep, now to create"},
		"what was there differs": {before: func(s *saving) { s.w.things["tc"] = 1 }, between: func(_ *testing.T, s *saving) { s.w.things["tc"] = 2 },
			exit: 10, says: "thing/tc: was to keep, now to update"},
		"an output that was foreseen comes out as said": {before: func(s *saving) { s.w.foresee = map[string]map[string]any{"ta": {"id": "id-ta", "size": 3}} },
			applied: []string{"apply ta", "apply tc", "apply t-id-ta"}},
		"an output that was foreseen comes out otherwise": {before: func(s *saving) { s.w.foresee = map[string]map[string]any{"ta": {"id": "id-tx", "size": 3}} },
			exit: 10, says: "stage b: thing/t-id-ta: was not in the plan, is now to create", applied: []string{"apply ta", "apply tc"}},
		"a stage that must be asked about is not": {src: head + "  stages:\n    - {name: a, step: make-thing, confirm: ask, with: {name: ta}}\n", exit: 13, says: "waits for approval"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &saving{w: newWorld(), dir: t.TempDir(), src: c.src, tool: steps.Tool{Version: "v1"}}
			if s.src == "" {
				s.src = savable
			}
			if err := os.WriteFile(filepath.Join(s.dir, "policy.json"), []byte("{}"), 0o600); err != nil {
				t.Fatal(err)
			}
			if c.before != nil {
				c.before(s)
			}
			saved := s.save(t)
			if c.between != nil {
				c.between(t, s)
			}
			res := s.runner(t).Run(t.Context(), s.load(t), engine.RunOptions{Saved: saved})
			var says []string
			for _, e := range res.Errors {
				says = append(says, e.Message)
			}
			if res.ExitCode() != c.exit || !strings.Contains(strings.Join(says, "\n"), c.says) {
				t.Errorf("exit %d, %q; want %d, %q", res.ExitCode(), says, c.exit, c.says)
			}
			got := map[string]bool{}
			for _, call := range s.w.did("apply") {
				got[call] = true
			}
			want := map[string]bool{}
			for _, call := range c.applied {
				want[call] = true
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("applied (-want +got):\n%s", d)
			}
		})
	}
}

func TestWhatIsNoSavedPlanIsToldByPlace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"cut off":          {"{\"kind\": \"SavedPlan\",\n  \"plan\": }", "plan.json:2:11: not a saved plan: invalid character '}' looking for beginning of value"},
		"another document": {`{"apiVersion": "pipectl.dev/v1", "kind": "PlanReport"}`, `plan.json:1:1: not a saved plan: kind is "PlanReport" of "pipectl.dev/v1", not SavedPlan of pipectl.dev/v1`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := engine.ReadPlan("plan.json", []byte(c.text)); err == nil || err.Error() != c.want {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}
