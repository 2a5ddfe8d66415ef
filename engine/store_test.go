package engine_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pipectl.dev/engine"
	"pipectl.dev/results"
	"pipectl.dev/steps"
)

func TestAStoreThatIsFullEndsTheRunPartlyFailed(t *testing.T) {
	t.Parallel()
	w, store := newWorld(), newMemory()
	store.fail = errors.Join(errors.New("write home.json"), syscall.ENOSPC)
	res := runner(store).Run(t.Context(), load(t, w, chain), engine.RunOptions{})
	if res.ExitCode() != 16 || statuses(res) != "a:Succeeded b:Succeeded c:Succeeded" || len(w.things) != 3 || !strings.Contains(res.Errors[0].Message, "no space left") {
		t.Errorf("exit %d, %s, %+v", res.ExitCode(), statuses(res), res.Errors)
	}
}

func TestResultsOfOthersAreNotOverwrittenAndBrokenOnesAreFoundOutAgain(t *testing.T) {
	t.Parallel()
	const good = `{"apiVersion":"pipectl.dev/v1","kind":"StageResult","pipeline":"shop","stage":"a"}`
	for name, c := range map[string]struct {
		content string
		exit    int
		kept    bool
	}{
		"of another pipeline": {good, 10, true},
		"truncated":           {good[:40], 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, dir := newWorld(), t.TempDir()
			path := filepath.Join(dir, "a.json")
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			p := load(t, w, chain)
			w.things["ta"] = 3
			for _, run := range []func(r *engine.Runner) *engine.RunResult{
				func(r *engine.Runner) *engine.RunResult {
					return r.Run(t.Context(), p, engine.RunOptions{Stages: []string{"b"}})
				},
				func(r *engine.Runner) *engine.RunResult { return r.Down(t.Context(), p, engine.DownOptions{}) },
			} {
				res := run(runner(results.NewDir(dir, results.Owner{Pipeline: "blog"})))
				told := strings.Join(res.Warnings, " ")
				for _, e := range res.Errors {
					told += e.Message + e.Hint
				}
				raw, err := os.ReadFile(path)
				if res.ExitCode() != c.exit || err != nil || (string(raw) == c.content) != c.kept && res.Verb == "down" {
					t.Errorf("%s: exit %d, %+v, %s %v", res.Verb, res.ExitCode(), res.Errors, raw, err)
				}
				if res.Verb == "run" && !strings.Contains(told, path) {
					t.Errorf("the file is not named: %s", told)
				}
			}
		})
	}
}

func TestResultsSurviveTheProcess(t *testing.T) {
	t.Parallel()
	w, dir := newWorld(), t.TempDir()
	p := load(t, w, chain)
	open := func() *engine.Runner {
		return runner(results.NewDir(dir, results.Owner{Pipeline: "blog", Identity: "123456789012/eu/blog"}))
	}
	if res := open().Run(t.Context(), p, engine.RunOptions{}); res.ExitCode() != 0 {
		t.Fatalf("%+v", res.Errors)
	}
	w.calls = nil
	res := open().Run(t.Context(), p, engine.RunOptions{Stages: []string{"b"}})
	if statuses(res) != "b:Skipped" || w.count("observe") != 0 || res.Stages[0].Status != steps.Skipped {
		t.Errorf("%s, %v", statuses(res), w.calls)
	}
}
