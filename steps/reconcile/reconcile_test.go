package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"pipectl.dev/steps/reconcile"
)

// cloud is a world of things that take time to be ready and to be gone.
type cloud struct {
	mu      sync.Mutex
	ready   map[string]time.Time
	gone    map[string]time.Time
	drift   map[string][]string
	foreign map[string]bool
	calls   []string
	takes   time.Duration
	fail    map[string]error
	slow    map[string]time.Duration // how long a write itself takes
}

type state struct{}

func newCloud() *cloud {
	return &cloud{ready: map[string]time.Time{}, gone: map[string]time.Time{}, drift: map[string][]string{}, foreign: map[string]bool{}, fail: map[string]error{}, slow: map[string]time.Duration{}, takes: time.Minute}
}

func (c *cloud) observe(name string) reconcile.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.ready[name]
	if until, going := c.gone[name]; going && !time.Now().Before(until) {
		return reconcile.Status{}
	}
	if !ok {
		return reconcile.Status{}
	}
	return reconcile.Status{Exists: true, Ready: !time.Now().Before(at), Drift: c.drift[name], ID: "id-" + name, Detail: "STATE", Foreign: c.foreign[name]}
}

func (c *cloud) write(ctx context.Context, verb, name string, do func()) error {
	c.mu.Lock()
	slow, err := c.slow[name], c.fail[verb+" "+name]
	c.mu.Unlock()
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, verb+" "+name)
	if err == nil {
		do()
	}
	return err
}

func (c *cloud) resource(name string, needs ...string) reconcile.Resource[state] {
	for i, n := range needs {
		needs[i] = "thing/" + n
	}
	return reconcile.Resource[state]{
		Kind: "thing", Name: name, Needs: needs, Expect: c.takes, Gone: c.takes,
		Observe: func(context.Context, *state) (reconcile.Status, error) {
			return c.observe(name), c.fail["observe "+name]
		},
		Create: func(ctx context.Context, _ *state) error {
			return c.write(ctx, "create", name, func() { delete(c.gone, name); c.ready[name] = time.Now().Add(c.takes) })
		},
		Update: func(ctx context.Context, _ *state, _ []string) error {
			return c.write(ctx, "update", name, func() { delete(c.drift, name) })
		},
		Delete: func(ctx context.Context, _ *state) error {
			return c.write(ctx, "delete", name, func() { c.gone[name] = time.Now().Add(c.takes) })
		},
	}
}

func actions(cs []reconcile.Change) string {
	var out []string
	for _, c := range cs {
		out = append(out, c.Name+":"+string(c.Action))
	}
	return strings.Join(out, " ")
}

func TestApplyTakesTheLongestPathAndTheSecondTimeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud()
		rs := []reconcile.Resource[state]{c.resource("vpc"), c.resource("left", "vpc"), c.resource("right", "vpc"), c.resource("top", "left", "right")}
		plan, err := reconcile.Plan(t.Context(), &state{}, rs, reconcile.Options{})
		if err != nil || actions(plan) != "vpc:create left:create right:create top:create" || len(c.calls) != 0 {
			t.Fatalf("%s %v %v", actions(plan), err, c.calls)
		}
		began := time.Now()
		if err := reconcile.Apply(t.Context(), &state{}, rs, reconcile.Options{}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 3*time.Minute || took > 3*time.Minute+9*time.Second {
			t.Errorf("three waits of a minute took %s", took)
		}
		began = time.Now()
		var done []reconcile.Change
		report := func(p reconcile.Progress) { done = append(done, p.Change) }
		if err := reconcile.Apply(t.Context(), &state{}, rs, reconcile.Options{Report: report, Parallel: 1}); err != nil || time.Since(began) != 0 || len(c.calls) != 4 {
			t.Errorf("again: %v after %s, %v", err, time.Since(began), c.calls)
		}
		if len(done) != 4 || slices.ContainsFunc(done, func(x reconcile.Change) bool { return x.Action != reconcile.Keep }) {
			t.Errorf("reported %v", done)
		}
		if err := reconcile.Destroy(t.Context(), &state{}, rs, reconcile.Options{}); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff("delete top", c.calls[4]); d != "" || c.calls[7] != "delete vpc" {
			t.Errorf("removed in the order %v", c.calls[4:])
		}
		if err := reconcile.Destroy(t.Context(), &state{}, rs, reconcile.Options{}); err != nil || len(c.calls) != 8 {
			t.Errorf("again: %v, %v", err, c.calls[8:])
		}
	})
}

func TestWhatTheWorldHoldsDecidesTheVerb(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(*cloud, *reconcile.Resource[state])
		want string
		err  string
	}{
		"absent":                    {func(*cloud, *reconcile.Resource[state]) {}, "x:create", ""},
		"as wanted":                 {func(c *cloud, _ *reconcile.Resource[state]) { c.ready["x"] = time.Now() }, "x:keep", ""},
		"not ready yet: waited for": {func(c *cloud, _ *reconcile.Resource[state]) { c.ready["x"] = time.Now().Add(time.Minute) }, "x:keep", ""},
		"drifted": {func(c *cloud, _ *reconcile.Resource[state]) {
			c.ready["x"], c.drift["x"] = time.Now(), []string{"size"}
		}, "x:update", ""},
		"drifted, and cannot be mended": {func(c *cloud, r *reconcile.Resource[state]) {
			c.ready["x"], c.drift["x"], r.Update = time.Now(), []string{"cidr"}, nil
		}, "x:refuse", "thing/x: refuse: cannot be changed in place: [cidr]"},
		"somebody else's":  {func(c *cloud, _ *reconcile.Resource[state]) { c.ready["x"], c.foreign["x"] = time.Now(), true }, "x:refuse", "thing/x: refuse: exists and does not carry our owner tag; it is left alone"},
		"retired":          {func(c *cloud, r *reconcile.Resource[state]) { c.ready["x"], r.Retired = time.Now(), true }, "x:delete", ""},
		"retired and gone": {func(_ *cloud, r *reconcile.Resource[state]) { r.Retired = true }, "", ""},
		"retired, but somebody else's": {func(c *cloud, r *reconcile.Resource[state]) {
			c.ready["x"], c.foreign["x"], r.Retired = time.Now(), true, true
		}, "", ""},
		"not wanted": {func(_ *cloud, r *reconcile.Resource[state]) { r.Unless = func(*state) bool { return true } }, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newCloud()
				r := w.resource("x")
				c.set(w, &r)
				plan, err := reconcile.Plan(t.Context(), &state{}, []reconcile.Resource[state]{r}, reconcile.Options{})
				if err != nil || actions(plan) != c.want {
					t.Errorf("planned %s, %v", actions(plan), err)
				}
				err = reconcile.Apply(t.Context(), &state{}, []reconcile.Resource[state]{r}, reconcile.Options{})
				if text := fmt.Sprint(err); c.err != "" && text != c.err || c.err == "" && err != nil {
					t.Errorf("applied: %v, want %q", err, c.err)
				}
			})
		})
	}
}

func TestWhatIsRetiredGoesAfterWhatTakesItsPlaceAndDependentsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud()
		old, user := c.resource("old"), c.resource("user", "old")
		if err := reconcile.Apply(t.Context(), &state{}, []reconcile.Resource[state]{old, user}, reconcile.Options{}); err != nil {
			t.Fatal(err)
		}
		old, user = c.resource("old", "user"), c.resource("user", "new") // a retired one needs those that go before it
		old.Retired, user.Retired = true, true
		rs := []reconcile.Resource[state]{old, user, c.resource("new")}
		if plan, err := reconcile.Plan(t.Context(), &state{}, rs, reconcile.Options{}); err != nil || actions(plan) != "old:delete user:delete new:create" {
			t.Errorf("planned %s, %v", actions(plan), err)
		}
		for range 2 {
			if err := reconcile.Apply(t.Context(), &state{}, rs, reconcile.Options{}); err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff([]string{"create new", "delete user", "delete old"}, c.calls[2:]); d != "" || c.observe("old").Exists {
			t.Error(d)
		}
	})
}

func TestDataIsRemovedOnlyWhenAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud()
		r := c.resource("disk")
		r.Data = true
		rs := []reconcile.Resource[state]{r}
		if err := reconcile.Apply(t.Context(), &state{}, rs, reconcile.Options{}); err != nil {
			t.Fatal(err)
		}
		if err := reconcile.Destroy(t.Context(), &state{}, rs, reconcile.Options{}); err != nil || len(c.calls) != 1 {
			t.Errorf("%v, %v", err, c.calls)
		}
		if err := reconcile.Destroy(t.Context(), &state{}, rs, reconcile.Options{WithData: true}); err != nil || len(c.calls) != 2 {
			t.Errorf("%v, %v", err, c.calls)
		}
	})
}

func TestAfterAFailureWhatRunsIsFinishedAndNothingStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud()
		bad := errors.New("quota")
		c.fail["create bad"], c.slow["bad"] = bad, time.Second // by then the slow one has begun
		rs := []reconcile.Resource[state]{c.resource("slow"), c.resource("bad"), c.resource("after", "slow")}
		var failed []string
		o := reconcile.Options{Report: func(p reconcile.Progress) {
			if p.Phase == reconcile.Failed {
				failed = append(failed, p.Name)
			}
		}}
		err := reconcile.Apply(t.Context(), &state{}, rs, o)
		if !errors.Is(err, bad) || err.Error() != "thing/bad: create: quota" {
			t.Error(err)
		}
		if !c.observe("slow").Ready || slices.Contains(c.calls, "create after") || !slices.Equal(failed, []string{"bad"}) {
			t.Errorf("calls %v, failed %v", c.calls, failed)
		}
	})
}

func TestCancelFinishesTheCallInHandButNotTheWait(t *testing.T) {
	for name, c := range map[string]struct {
		call time.Duration
		took time.Duration
		made bool
	}{
		"a call of five seconds is finished":   {5 * time.Second, 5 * time.Second, true},
		"a call that hangs is given 15 s more": {time.Hour, 16 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newCloud()
				w.slow["x"] = c.call
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				began := time.Now()
				err := reconcile.Apply(ctx, &state{}, []reconcile.Resource[state]{w.resource("x")}, reconcile.Options{})
				if !errors.Is(err, context.Canceled) || time.Since(began) != c.took || (len(w.calls) == 1) != c.made {
					t.Errorf("%v after %s, %v", err, time.Since(began), w.calls)
				}
			})
		})
	}
}

func TestListsThatHaveNoOrderAreRefused(t *testing.T) {
	c := newCloud()
	first := c.resource("a")
	first.GoneFirst = []string{"thing/b"}
	for name, x := range map[string]struct {
		rs   []reconcile.Resource[state]
		want string
	}{
		"twice":                    {[]reconcile.Resource[state]{c.resource("a"), c.resource("a")}, "thing/a is declared twice"},
		"a need that is not there": {[]reconcile.Resource[state]{c.resource("a", "b")}, "thing/a needs thing/b, which is not declared"},
		"a circle":                 {[]reconcile.Resource[state]{c.resource("a", "a")}, "resources need each other: thing/a > thing/a"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := reconcile.Apply(t.Context(), &state{}, x.rs, reconcile.Options{}); err == nil || err.Error() != x.want {
				t.Error(err)
			}
		})
	}
	if err := reconcile.Destroy(t.Context(), &state{}, []reconcile.Resource[state]{first, c.resource("b", "a")}, reconcile.Options{}); err != nil {
		t.Errorf("b needs a and goes before it, twice said: %v", err)
	}
	back := c.resource("b")
	back.GoneFirst = []string{"thing/a"}
	if err := reconcile.Destroy(t.Context(), &state{}, []reconcile.Resource[state]{first, back}, reconcile.Options{}); err == nil || !strings.Contains(err.Error(), "need each other") {
		t.Errorf("a circle on the way down only: %v", err)
	}
}

// rapid prints the seed of a run that fails.
func TestAnyGraphIsMadeInOrderAndRemovedBackwards(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 7).Draw(rt, "resources")
		c := newCloud()
		c.takes = 0
		needs := map[string][]string{}
		var rs []reconcile.Resource[state]
		for i := range n {
			name := fmt.Sprint(i)
			for j := range i {
				if rapid.Bool().Draw(rt, "edge") {
					needs[name] = append(needs[name], fmt.Sprint(j))
				}
			}
			rs = append(rs, c.resource(name, slices.Clone(needs[name])...))
		}
		o := reconcile.Options{Parallel: rapid.IntRange(1, 4).Draw(rt, "parallel")}
		if err := errors.Join(reconcile.Apply(context.Background(), &state{}, rs, o), reconcile.Destroy(context.Background(), &state{}, rs, o)); err != nil {
			rt.Fatal(err)
		}
		for name, ns := range needs {
			for _, need := range ns {
				if slices.Index(c.calls, "create "+need) > slices.Index(c.calls, "create "+name) || slices.Index(c.calls, "delete "+need) < slices.Index(c.calls, "delete "+name) {
					rt.Fatalf("%s needs %s: %v", name, need, c.calls)
				}
			}
		}
	})
}

func TestAPanicInOneResourceIsItsErrorAndTheOthersAreFinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		finished := false
		exists := map[string]bool{}
		make := func(name string, create func()) reconcile.Resource[state] {
			return reconcile.Resource[state]{Kind: "thing", Name: name,
				Observe: func(context.Context, *state) (reconcile.Status, error) {
					return reconcile.Status{Exists: exists[name], Ready: exists[name]}, nil
				},
				Create: func(context.Context, *state) error { create(); exists[name] = true; return nil },
			}
		}
		err := reconcile.Apply(t.Context(), &state{}, []reconcile.Resource[state]{
			make("slow", func() { time.Sleep(time.Minute); finished = true }),
			make("broken", func() { time.Sleep(time.Second); panic("oops") }),
		}, reconcile.Options{})
		var p *reconcile.PanicError
		if !errors.As(err, &p) || p.Value != "oops" || len(p.Stack) == 0 || !finished {
			t.Errorf("got %v, the other finished: %v", err, finished)
		}
	})
}
