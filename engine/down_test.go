package engine_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/engine"
	"pipectl.dev/engine/lock"
	"pipectl.dev/steps"
)

const stack = head + `  stages:
    - {name: disk, step: keep-data, with: {name: disk}}
    - {name: net, step: make-thing, with: {name: net}}
    - {name: node, step: make-thing, with: {name: "n-${{ stages.net.outputs.id }}"}}
    - {name: app, step: make-thing, needs: [disk], with: {name: "a-${{ stages.node.outputs.id }}"}}
`

// up runs the stack and forgets the calls.
func up(t *testing.T, w *world, store engine.Store) *engine.Pipeline {
	t.Helper()
	p := load(t, w, stack)
	if res := runner(store).Run(t.Context(), p, engine.RunOptions{}); res.ExitCode() != 0 {
		t.Fatalf("%+v", res.Errors)
	}
	w.calls = nil
	return p
}

func TestDownReleasesThenDeletesBackwardsAndKeepsData(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]bool{"with the store": false, "with an empty store": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, store := newWorld(), newMemory()
			p := up(t, w, store)
			if lose {
				store = newMemory()
			}
			res := runner(store).Down(t.Context(), p, engine.DownOptions{})
			if res.ExitCode() != 0 || statuses(res) != "disk:Skipped net:Destroyed node:Destroyed app:Destroyed" || res.Status != steps.Destroyed {
				t.Errorf("exit %d, %s, %s %+v", res.ExitCode(), statuses(res), res.Status, res.Errors)
			}
			if d := cmp.Diff(map[string]int{"disk": 1}, w.things); d != "" {
				t.Errorf("left (-want +got):\n%s", d)
			}
			calls := slices.DeleteFunc(slices.Clone(w.calls), func(c string) bool { return !strings.HasPrefix(c, "release") && !strings.HasPrefix(c, "delete") })
			at := func(c string) int { return slices.Index(calls, c) }
			app, node := "a-id-n-id-net", "n-id-net"
			for _, pair := range [][2]string{{"release " + app, "release " + node}, {"release " + node, "release net"}, {"release net", "delete " + app}, {"release disk", "delete " + app}, {"delete " + app, "delete " + node}, {"delete " + node, "delete net"}, {"delete " + app, "delete disk"}} {
				if at(pair[0]) < 0 || at(pair[0]) > at(pair[1]) {
					t.Errorf("%s must come before %s: %v", pair[0], pair[1], calls)
				}
			}
			if res.Changes.Delete != 3 || w.count("plan") != w.count("plan disk") || w.count("apply") != 0 {
				t.Errorf("%+v, %v", res.Changes, w.calls)
			}
			if again := runner(store).Down(t.Context(), p, engine.DownOptions{}); again.ExitCode() != 0 || again.Changes.Delete != 0 {
				t.Errorf("second down: %+v", again)
			}
			back := runner(store).Run(t.Context(), p, engine.RunOptions{})
			if statuses(back) != "disk:Skipped net:Succeeded node:Succeeded app:Succeeded" {
				t.Errorf("run after down: %s %+v", statuses(back), back.Errors)
			}
		})
	}
}

func TestDownSaysWhatIsKeptAndWhatThatCosts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opts  engine.DownOptions
		ask   bool
		shown steps.Counts // before
		disk  engine.PlanState
		cost  *steps.Cost // after
	}{
		"asked":                       {ask: true, shown: steps.Counts{Delete: 3, Keep: 1}, disk: engine.AllKeep, cost: contentCost},
		"not asked":                   {cost: contentCost},
		"with data, nothing is left":  {ask: true, opts: engine.DownOptions{WithData: "blog"}, shown: steps.Counts{Delete: 4}, disk: engine.HasChanges},
		"with data, without question": {opts: engine.DownOptions{WithData: "blog"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := up(t, newWorld(), newMemory())
			r := runner(newMemory())
			asked := false
			if c.ask {
				r.Confirm = func(_ context.Context, q engine.Question) (bool, error) {
					asked = true
					if q.Plan.Changes != c.shown || q.Plan.Stages[0].State != c.disk || q.Plan.Cost.HourlyUSD != 2 {
						t.Errorf("shown: %+v, disk: %s, %+v", q.Plan.Changes, q.Plan.Stages[0].State, q.Plan.Cost)
					}
					return true, nil
				}
			}
			res := r.Down(t.Context(), p, c.opts)
			if res.ExitCode() != 0 || asked != c.ask {
				t.Errorf("exit %d, asked %v, %+v", res.ExitCode(), asked, res.Errors)
			}
			if d := cmp.Diff(c.cost, res.Cost); d != "" {
				t.Errorf("cost of what is left (-want +got):\n%s", d)
			}
		})
	}
}

var contentCost = steps.Cost{PricesAsOf: "2026-01-01", Items: []steps.CostItem{{What: "disk's content", HourlyUSD: 0.1, Data: true}}}.Sum()

func TestADeclinedDownSaysThatAllIsStillThere(t *testing.T) {
	t.Parallel()
	p := up(t, newWorld(), newMemory())
	r := runner(newMemory())
	r.Confirm = func(context.Context, engine.Question) (bool, error) { return false, nil }
	res := r.Down(t.Context(), p, engine.DownOptions{})
	if res.ExitCode() != 13 || len(res.Next.Exists) != 4 || slices.ContainsFunc(res.Next.Exists, func(c steps.Change) bool { return c.Action != "keep" }) {
		t.Errorf("exit %d, %+v", res.ExitCode(), res.Next)
	}
}

func TestDestroyNeedsTheName(t *testing.T) {
	t.Parallel()
	w := newWorld()
	p := up(t, w, newMemory())
	if res := runner(nil).Down(t.Context(), p, engine.DownOptions{WithData: "blag"}); res.ExitCode() != 2 || len(w.calls) != 0 {
		t.Errorf("exit %d, %v", res.ExitCode(), w.calls)
	}
	if res := runner(nil).Down(t.Context(), p, engine.DownOptions{WithData: "blog"}); res.ExitCode() != 0 || res.Status != steps.Destroyed || len(w.things) != 0 {
		t.Errorf("exit %d, left %v", res.ExitCode(), w.things)
	}
}

func TestDownOnBrokenWorlds(t *testing.T) {
	t.Parallel()
	held := &steps.Error{Code: "Held", Category: steps.Precondition, Message: "still in use"}
	away := &steps.Error{Code: "ClusterUnreachable", Category: steps.Transient, Message: "does not answer"}
	app := "a-id-n-id-net"
	for name, c := range map[string]struct {
		gone string // a thing that is gone already
		on   string
		err  error
		opts engine.DownOptions
		want string
		exit int
		left []string
	}{
		"the middle is gone, what hung on it cannot be named": {gone: "n-id-net", want: "disk:Skipped net:Destroyed node:Destroyed app:Destroyed", left: []string{app, "disk"}},
		"what cannot let go keeps what it needs":              {on: "release " + app, err: held, want: "disk:Blocked net:Blocked node:Blocked app:Failed", exit: 16, left: []string{app, "disk", "n-id-net", "net"}},
		"--force goes on all the same":                        {on: "release " + app, err: held, opts: engine.DownOptions{Force: true}, want: "disk:Skipped net:Destroyed node:Destroyed app:Failed", exit: 16, left: []string{"disk"}},
		"what cannot be reached is left behind":               {on: "delete " + app, err: away, want: "disk:Skipped net:Destroyed node:Destroyed app:Errored", exit: 16, left: []string{app, "disk"}},
		"what cannot be looked at is removed all the same":    {on: "observe " + app, err: away, want: "disk:Skipped net:Destroyed node:Destroyed app:Destroyed", left: []string{"disk"}},
		"no credentials: nothing is tried":                    {on: "observe net", err: &steps.Error{Code: "Expired", Category: steps.Credentials, Message: "token expired"}, want: "", exit: 11, left: []string{app, "disk", "n-id-net", "net"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			p := up(t, w, newMemory())
			delete(w.things, c.gone)
			if c.on != "" {
				w.on[c.on] = func(context.Context, steps.Env) error { return c.err }
			}
			res := runner(newMemory()).Down(t.Context(), p, c.opts)
			if res.ExitCode() != c.exit || statuses(res) != c.want {
				t.Errorf("exit %d, %s, %+v", res.ExitCode(), statuses(res), res.Errors)
			}
			var left []string
			for n := range w.things {
				left = append(left, n)
			}
			slices.Sort(left)
			if d := cmp.Diff(c.left, left); d != "" {
				t.Errorf("left (-want +got):\n%s", d)
			}
		})
	}
}

func TestDownIsBoundedWhereAStageDoesNotAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p := up(t, w, newMemory())
		w.on["observe n-id-net"] = func(ctx context.Context, _ steps.Env) error { <-ctx.Done(); return ctx.Err() }
		r := runner(newMemory())
		r.Locker = lock.NewMemory()
		res := r.Down(t.Context(), p, engine.DownOptions{})
		if res.ExitCode() != 0 || w.things["net"] != 0 || len(res.Warnings) == 0 {
			t.Errorf("exit %d, left %v, %+v", res.ExitCode(), w.things, res)
		}
	})
}

func TestStatusObservesAndComparesAndWritesNothing(t *testing.T) {
	t.Parallel()
	w, store := newWorld(), newMemory()
	p := up(t, w, store)
	delete(w.things, "n-id-net")
	w.things["net"]++
	rep := runner(store).Status(t.Context(), p)
	var got []string
	for _, s := range rep.Stages {
		state := "absent"
		switch {
		case s.Exists:
			state = "exists"
		case s.Unknown:
			state = "unknown"
		}
		for _, c := range s.Drift {
			state += " but for " + string(c.Action) + " " + c.Name
		}
		got = append(got, s.Stage+" "+state+" "+string(s.Last.Status))
	}
	if d := cmp.Diff([]string{"disk exists Succeeded", "net exists but for update net Succeeded", "node absent Succeeded", "app absent Succeeded"}, got); d != "" {
		t.Errorf("status (-want +got):\n%s", d)
	}
	if len(w.did("observe"))+len(w.did("plan")) != len(w.calls) {
		t.Errorf("more than looked: %v", w.calls)
	}
	raw, found, err := runner(nil).Observe(t.Context(), p, "net")
	if err != nil || !found || !strings.Contains(string(raw), `"id":"id-net"`) {
		t.Errorf("%s %v %v", raw, found, err)
	}
}
