package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"pipectl.dev/steps"
	"pipectl.dev/steps/wait"
)

// Retries wait longer each time, and not all at the same moment.
const (
	firstPause = 2 * time.Second
	lastPause  = time.Minute
	// grace is how long a cancelled stage may take to finish the unit in hand; the process has 20 s in all.
	grace = 18 * time.Second
)

func (st *state) begin() { st.result.StartedAt = time.Now().UTC() }

func (st *state) end(speed float64) {
	r := &st.result
	r.FinishedAt = time.Now().UTC()
	if r.StartedAt.IsZero() {
		r.StartedAt = r.FinishedAt
	}
	r.DurationSeconds = r.FinishedAt.Sub(r.StartedAt).Seconds()
	r.SimulatedSeconds = simulated(r.DurationSeconds, st.cloud, speed)
}

// simulated is a duration as it would have been with the cloud at its real pace: what passed while something was waited for that only
// the cloud hurries counts speed times, the rest (waits for Kubernetes, copying, calls) as it was. Zero outside of a rehearsal.
func simulated(seconds float64, cloud *wait.Meter, speed float64) float64 {
	if speed <= 1 {
		return 0
	}
	return seconds + min(cloud.Measured().Seconds(), seconds)*(speed-1)
}

// attempts applies a stage until it succeeds, fails for good, or has no attempt left.
func (x *run) attempts(ctx context.Context, st *state) (json.RawMessage, error) {
	if old, err := x.store.Get(ctx, st.stage.Name); err == nil && old != nil && old.RunID == x.runID {
		st.result.Attempt = old.Attempt
	}
	for try := 0; ; try++ {
		st.result.Attempt++
		raw, err := x.attempt(ctx, st)
		if err == nil || try >= st.stage.Retries || ctx.Err() != nil {
			return raw, err
		}
		e := steps.Classify(err)
		if !e.Retryable || e.Category == steps.Internal {
			return nil, err
		}
		pause := backoff(try, rand.Float64())
		x.say(st, steps.Event{Type: steps.Diagnostic, Message: fmt.Sprintf("attempt %d: %v; again in %s", st.result.Attempt, e.Message, pause.Round(time.Second))})
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		}
	}
}

// backoff is the pause after an attempt (counted from 0): doubling, capped, between half and the whole of it by random (0 to 1).
func backoff(try int, random float64) time.Duration {
	full := min(firstPause<<min(try, 10), lastPause)
	return time.Duration(float64(full) * (0.5 + random/2))
}

// attempt is one Apply. A cancelled one gets some time to stop by itself, then the run goes on without it.
func (x *run) attempt(ctx context.Context, st *state) (json.RawMessage, error) {
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if st.stage.Timeout > 0 {
		late := &steps.Error{
			Code: "TimedOut", Category: steps.Timeout, Message: fmt.Sprintf("not done within the stage's timeout of %s", st.stage.Timeout),
			Hints: []string{"raise `timeout`, or run the same command again: it carries on"},
		}
		timer := time.AfterFunc(st.stage.Timeout, func() { cancel(late) })
		defer timer.Stop()
	}
	if lost := x.lost(st.stage.Name); lost != nil {
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			select {
			case <-lost:
				cancel(&steps.Error{Code: "LockLost", Category: steps.Conflict, Message: "the lock went to another run", Hints: []string{"see what else runs this pipeline"}})
			case <-stop:
			}
		}()
	}
	return x.bounded(work, st, func() (raw json.RawMessage, err error) {
		err = x.guard(st, func() error {
			raw, err = st.stage.Definition.Apply(work, x.env(st), st.in.Input)
			return err
		})
		return raw, err
	})
}

// bounded waits for work, but not longer than grace once ctx has ended.
func (x *run) bounded(ctx context.Context, st *state, work func() (json.RawMessage, error)) (json.RawMessage, error) {
	type outcome struct {
		raw json.RawMessage
		err error
	}
	c := make(chan outcome, 1)
	go func() {
		raw, err := work()
		c <- outcome{raw, err}
	}()
	select {
	case o := <-c:
		return o.raw, because(ctx, o.err)
	case <-ctx.Done():
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case o := <-c:
		return o.raw, because(ctx, o.err)
	case <-timer.C:
		x.heard(st, steps.Event{Type: steps.Diagnostic, Message: fmt.Sprintf("did not stop within %s of being cancelled; what it had begun may go on", grace)})
		return nil, context.Cause(ctx)
	}
}

// because names the reason for which ctx ended, where a step only says that it was cancelled.
func because(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return context.Cause(ctx)
	}
	return err
}
