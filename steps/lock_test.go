package steps_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipectl.dev/steps"
)

type lease struct{}

func (lease) Release(context.Context) error { return nil }
func (lease) Lost() <-chan struct{}         { return nil }
func (lease) Before() string                { return "" }

func TestAwaitLock(t *testing.T) {
	ann := steps.LockState{Holder: &steps.Holder{RunID: "r1", Who: "ann"}, Alive: true}
	for name, c := range map[string]struct {
		free   time.Duration // when the holder lets go
		wait   time.Duration
		cancel time.Duration
		want   string // of the error; "" for none
		after  time.Duration
	}{
		"a free lock is taken at once":                {},
		"one that is held is refused without a wait":  {free: time.Hour, want: "k: locked by run r1 of ann"},
		"one that is held for too long is refused":    {free: time.Hour, wait: time.Minute, want: "k: locked by run r1 of ann", after: time.Minute},
		"one that becomes free is taken":              {free: 10 * time.Second, wait: time.Minute, after: 12 * time.Second},
		"a wait ends with its context, and tells why": {free: time.Hour, wait: time.Hour, cancel: 5 * time.Second, want: "enough", after: 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				if c.cancel > 0 {
					time.AfterFunc(c.cancel, func() { cancel(errors.New("enough")) })
				}
				began := time.Now()
				got, err := steps.AwaitLock(ctx, "k", c.wait, 3*time.Second, func() (steps.Lease, steps.LockState, error) {
					if time.Since(began) < c.free {
						return nil, ann, nil
					}
					return lease{}, steps.LockState{}, nil
				})
				if took := time.Since(began); took != c.after {
					t.Errorf("after %s, want %s", took, c.after)
				}
				if (got != nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, %v", got, err)
				}
			})
		})
	}
}

func TestKeepLock(t *testing.T) {
	bad := errors.New("throttled")
	for name, c := range map[string]struct {
		renew func(since time.Duration) (bool, error)
		stop  time.Duration
		kept  bool
		after time.Duration
	}{
		"it is kept until it is stopped":                {func(time.Duration) (bool, error) { return true, nil }, 5 * time.Minute, true, 5 * time.Minute},
		"in other hands it is lost at the next renewal": {func(since time.Duration) (bool, error) { return since < time.Minute, nil }, time.Hour, false, 60 * time.Second},
		"a renewal that takes its time does not shift it": {func(since time.Duration) (bool, error) {
			time.Sleep(10 * time.Second)
			return since < 2*time.Minute, nil
		}, time.Hour, false, 130 * time.Second},
		"trouble for less than its life passes": {func(since time.Duration) (bool, error) {
			return since > 70*time.Second, errIf(since <= 70*time.Second, bad)
		}, 5 * time.Minute, true, 5 * time.Minute},
		"trouble ends it before somebody may take it for dead": {func(time.Duration) (bool, error) { return false, bad }, time.Hour, false, 75 * time.Second},
		"so does trouble that takes as long as it may":         {func(since time.Duration) (bool, error) { time.Sleep(15 * time.Second); return false, bad }, time.Hour, false, 75*time.Second + 15*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, stop := time.Now(), make(chan struct{})
				stopping := time.AfterFunc(c.stop, func() { close(stop) })
				defer stopping.Stop()
				kept := steps.KeepLock(90*time.Second, stop, func() (bool, error) { return c.renew(time.Since(began)) })
				if took := time.Since(began); kept != c.kept || took != c.after {
					t.Errorf("kept %v after %s, want %v after %s", kept, took, c.kept, c.after)
				}
			})
		})
	}
}

func errIf(cond bool, err error) error {
	if cond {
		return err
	}
	return nil
}
