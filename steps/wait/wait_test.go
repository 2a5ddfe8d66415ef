package wait_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pipectl.dev/steps/wait"
)

func TestPollsAreDenseWhereTheEndIsLikely(t *testing.T) {
	for name, c := range map[string]struct {
		o         wait.Options
		ends      time.Duration // in the waited-for world
		overshoot time.Duration
		polls     int // at most
	}{
		"as expected":                        {wait.Options{Expect: 8 * time.Minute}, 8 * time.Minute, 3 * time.Second, 60},
		"a tenth late":                       {wait.Options{Expect: 8 * time.Minute}, 528 * time.Second, 15 * time.Second, 60},
		"a fifth early":                      {wait.Options{Expect: 8 * time.Minute}, 384 * time.Second, 16 * time.Second, 50},
		"nothing expected":                   {wait.Options{}, 20 * time.Second, 2 * time.Second, 12},
		"a world that runs 60 times faster":  {wait.Options{Expect: 8 * time.Minute, Speed: 60}, 8 * time.Minute, 3 * time.Second, 60},
		"longest pause shorter than minimum": {wait.Options{Expect: time.Minute, Min: 20 * time.Second, Max: time.Second}, time.Minute, 20 * time.Second, 5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				speed := max(c.o.Speed, 1)
				began, polls := time.Now(), 0
				elapsed := func() time.Duration { return time.Duration(float64(time.Since(began)) * speed) }
				err := wait.Until(t.Context(), c.o, func(context.Context) (bool, string, error) {
					polls++
					return elapsed() >= c.ends, "", nil
				})
				if over := elapsed() - c.ends; err != nil || over > c.overshoot || polls > c.polls {
					t.Errorf("%v: %s too late after %d polls", err, over, polls)
				}
			})
		})
	}
}

func TestAWaitEnds(t *testing.T) {
	broken := errors.New("terminal state")
	for name, c := range map[string]struct {
		o      wait.Options
		probe  wait.Probe
		cancel time.Duration
		want   error
		after  time.Duration
	}{
		"by a probe's error":     {probe: func(context.Context) (bool, string, error) { return false, "", broken }, want: broken},
		"by its timeout":         {o: wait.Options{Timeout: time.Minute}, probe: func(context.Context) (bool, string, error) { return false, "CREATING", nil }, after: time.Minute},
		"by the context's cause": {probe: func(context.Context) (bool, string, error) { return false, "", nil }, cancel: 3 * time.Second, want: broken, after: 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				if c.cancel > 0 {
					time.AfterFunc(c.cancel, func() { cancel(broken) })
				}
				began := time.Now()
				err := wait.Until(ctx, c.o, c.probe)
				var late *wait.TimeoutError
				switch {
				case c.want != nil && !errors.Is(err, c.want):
					t.Error(err)
				case c.want == nil && (!errors.As(err, &late) || late.Error() != "not done after 1m0s (last seen: CREATING)"):
					t.Error(err)
				}
				if time.Since(began) != c.after {
					t.Errorf("after %s", time.Since(began))
				}
				cancel(nil)
			})
		})
	}
}
