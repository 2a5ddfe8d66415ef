package engine_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

// watched is a Locker where somebody, dead or alive, holds stage b by a record that is all that is seen of him.
type watched struct {
	engine.Locker
	watch  *steps.Watch
	holder *steps.Holder
	record string
}

const watchedKey = "123456789012/eu/blog/b"

func (w *watched) state(by steps.Holder) steps.LockState {
	if w.holder == nil {
		return steps.LockState{}
	}
	return w.watch.State(watchedKey, w.record, *w.holder, by)
}

func (w *watched) Look(ctx context.Context, keys []string, by steps.Holder) (map[string]steps.LockState, error) {
	all, err := w.Locker.Look(ctx, keys, by)
	if w.holder != nil {
		all[watchedKey] = w.state(by)
	}
	return all, err
}

func (w *watched) Lock(ctx context.Context, key string, by steps.Holder, wait time.Duration) (steps.Lease, error) {
	if key == watchedKey {
		if st := w.state(by); st.Holder != nil {
			return nil, steps.Locked(key, *st.Holder)
		}
		w.holder = nil
	}
	return w.Locker.Lock(ctx, key, by, wait)
}

func TestARunThatDoesNotWaitStillFindsOutWhetherAHolderIsDead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		says   time.Duration // how long the holder's record says that it is good
		renews bool
		have   map[string]int
		exit   int
		after  time.Duration
	}{
		"it takes over from a dead one":                    {says: -time.Hour, after: time.Minute},
		"with nothing to do it buries a dead one":          {says: -time.Hour, have: map[string]int{"ta": 1, "tb": 1, "tc": 1}, after: time.Minute},
		"it names one whose clock is slow when it renewed": {says: -time.Hour, renews: true, exit: 12, after: 21 * time.Second},
		"it names at once one whose record is good":        {says: time.Hour, exit: 12},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, locks, r, _ := two()
				for k, v := range c.have {
					w.things[k] = v
				}
				l := &watched{Locker: locks, watch: steps.NewWatch(time.Minute), record: "1",
					holder: &steps.Holder{RunID: "other", Who: "bob", Host: "there", Expires: time.Now().Add(c.says)}}
				r.Locker = l
				if c.renews {
					time.AfterFunc(20*time.Second, func() { l.record = "2" })
				}
				p, began := load(t, w, three), time.Now()
				res := r.Run(t.Context(), p, engine.RunOptions{})
				if took := time.Since(began); res.ExitCode() != c.exit || took < c.after || took > c.after+3*time.Second {
					t.Errorf("exit %d after %s: %+v", res.ExitCode(), took, res.Errors)
				}
				if c.exit == 12 {
					if !strings.Contains(res.Errors[0].Message, "of bob") {
						t.Errorf("%+v", res.Errors)
					}
					return
				}
				began, l.watch = time.Now(), steps.NewWatch(time.Minute) // another process
				if res := r.Run(t.Context(), p, engine.RunOptions{}); res.ExitCode() != 0 || time.Since(began) > 0 {
					t.Errorf("the next run: exit %d after %s: %+v", res.ExitCode(), time.Since(began), res.Errors)
				}
			})
		})
	}
}
