package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

// rapid prints the seed of a run that fails, and how to repeat it.
func TestStagesRunInTheOrderOfTheGraphAndNotMoreThanAllowed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(rt, "stages")
		needs := map[int][]int{}
		src := head + "  stages:\n"
		perm := rapid.Permutation(order(n)).Draw(rt, "file order")
		for _, i := range perm {
			for j := range i {
				if rapid.Bool().Draw(rt, fmt.Sprintf("%d needs %d", i, j)) {
					needs[i] = append(needs[i], j)
				}
			}
			src += fmt.Sprintf("    - {name: s%d, step: make-thing, needs: [%s], with: {name: t%d}}\n", i, names(needs[i]), i)
		}
		limit := rapid.IntRange(1, 3).Draw(rt, "limit")
		w := newWorld()
		var mu sync.Mutex
		done, running, most := map[int]bool{}, 0, 0
		for i := range n {
			w.on[fmt.Sprintf("apply t%d", i)] = func(context.Context, steps.Env) error {
				mu.Lock()
				defer mu.Unlock()
				for _, j := range needs[i] {
					if !done[j] {
						return fmt.Errorf("s%d started before s%d was done", i, j)
					}
				}
				running++
				most = max(most, running)
				mu.Unlock()
				mu.Lock()
				running--
				done[i] = true
				return nil
			}
		}
		p, problems := engine.Load(engine.LoadOptions{File: "p.yaml", Source: []byte(src), Catalog: catalogOf(w)})
		if err := problems.Err(); err != nil {
			rt.Fatal(err)
		}
		r := runner(nil)
		r.MaxParallel = limit
		res := r.Run(context.Background(), p, engine.RunOptions{})
		if res.ExitCode() != 0 || len(done) != n || most > limit {
			rt.Fatalf("exit %d, %d of %d done, %d at once of %d: %+v", res.ExitCode(), len(done), n, most, limit, res.Errors)
		}
	})
}

func order(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func names(is []int) string {
	var out []string
	for _, i := range is {
		out = append(out, fmt.Sprintf("s%d", i))
	}
	return strings.Join(out, ", ")
}

// Whatever fails where, every selected stage has a status, nothing runs after what it needs failed, and a second run mends it.
func TestAnyFailureLeavesARunThatCanBeResumed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(2, 6).Draw(rt, "stages")
		src := head + "  stages:\n"
		for i := range n {
			need := ""
			if i > 0 {
				need = fmt.Sprintf("s%d", rapid.IntRange(0, i-1).Draw(rt, "need"))
			}
			src += fmt.Sprintf("    - {name: s%d, step: make-thing, needs: [%s], with: {name: t%d}}\n", i, need, i)
		}
		w, store := newWorld(), newMemory()
		bad := rapid.IntRange(0, n-1).Draw(rt, "failing")
		w.on[fmt.Sprintf("apply t%d", bad)] = func(context.Context, steps.Env) error {
			return &steps.Error{Code: "No", Category: steps.Unhealthy, Err: errors.New("no")}
		}
		p, problems := engine.Load(engine.LoadOptions{File: "p.yaml", Source: []byte(src), Catalog: catalogOf(w)})
		if err := problems.Err(); err != nil {
			rt.Fatal(err)
		}
		res := runner(store).Run(context.Background(), p, engine.RunOptions{})
		if res.ExitCode() != 17 || len(res.Stages) != n {
			rt.Fatalf("exit %d, %s", res.ExitCode(), statuses(res))
		}
		clear(w.on)
		again := runner(store).Run(context.Background(), p, engine.RunOptions{Resume: true})
		if again.ExitCode() != 0 || len(w.things) != n || w.count(fmt.Sprintf("apply t%d", bad)) != 2 {
			rt.Fatalf("exit %d, %s, %v", again.ExitCode(), statuses(again), w.calls)
		}
	})
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(chain))
	f.Add([]byte(stack))
	f.Add([]byte(withSecrets))
	f.Add([]byte(head + "  stages: &s\n    - *s\n    - <<: *s\n"))
	f.Add([]byte(head + "  stages:\n    - {name: a, step: make-thing, when: \"${{ }}\", with: {name: \"${{ '}}' + \\\"{{\\\" }}\"}}\n"))
	catalog := catalogOf(newWorld())
	f.Fuzz(func(t *testing.T, src []byte) {
		p, problems := engine.Load(engine.LoadOptions{File: "p.yaml", Source: src, Catalog: catalog, AllowMissing: true})
		if (p == nil) == (len(problems) == 0) {
			t.Fatalf("a pipeline and %d problems", len(problems))
		}
		lines := 1 // YAML counts more line breaks than "\n"
		for _, brk := range []string{"\n", "\r", "\u0085", "\u2028", "\u2029"} {
			lines += strings.Count(string(src), brk)
		}
		for _, x := range problems {
			if x.Line < 1 || x.Col < 1 || x.Line > lines+1 {
				t.Fatalf("a problem without a place: %+v", x)
			}
		}
	})
}
