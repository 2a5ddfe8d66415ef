// Package wait polls until something is so. It is the only poll loop of the product for cloud waits.
//
// It knows nothing of AWS or Kubernetes: callers say what "done" and "not yet" mean. Time is the standard library's, so tests run it
// in a testing/synctest bubble; the only adjustment is Speed, by which a rehearsal's cloud runs faster than the real one.
package wait

import (
	"context"
	"fmt"
	"time"
)

// Options says how long something should take and how long it may.
type Options struct {
	Expect  time.Duration // usual duration; polls gather around it. Zero: poll at Min from the start
	Timeout time.Duration // zero: until ctx ends
	Min     time.Duration // shortest interval; default 2 s
	Max     time.Duration // longest interval; default 15 s
	Speed   float64       // how many times faster than real the waited-for world runs; zero means 1
	Report  func(Progress)
}

// Progress is what a wait has to say, after every poll. Durations are in the waited-for world's time.
type Progress struct {
	Detail  string
	Elapsed time.Duration
	Expect  time.Duration
	Speed   float64 // how many times faster than real that time runs; at least 1
}

// A Probe looks once. detail is for people ("CREATING"). An error ends the wait; "not yet" is done == false, not an error.
type Probe func(ctx context.Context) (done bool, detail string, err error)

// TimeoutError says what a wait last saw.
type TimeoutError struct {
	After  time.Duration
	Detail string
}

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("not done after %s (last seen: %s)", e.After.Round(time.Second), e.Detail)
}

// Until polls probe until it is done, fails, the timeout passes or ctx ends.
func Until(ctx context.Context, o Options, probe Probe) error {
	if o.Speed <= 0 {
		o.Speed = 1
	}
	start := time.Now()
	if o.Speed > 1 {
		defer meterOf(ctx).open()()
	}
	for {
		done, detail, err := probe(ctx)
		if done || err != nil {
			return err
		}
		elapsed := time.Duration(float64(time.Since(start)) * o.Speed)
		if o.Report != nil {
			o.Report(Progress{Detail: detail, Elapsed: elapsed, Expect: o.Expect, Speed: o.Speed})
		}
		if o.Timeout > 0 && elapsed >= o.Timeout {
			return &TimeoutError{After: elapsed, Detail: detail}
		}
		pause := time.NewTimer(time.Duration(float64(o.next(elapsed)) / o.Speed))
		select {
		case <-ctx.Done():
			pause.Stop()
			return context.Cause(ctx)
		case <-pause.C:
		}
	}
}

// next is the pause before the next poll: a quarter of what is left until the expected end, or of how overdue it is, so that
// polls are dense where the end is likely (overshoot stays near Min) and sparse elsewhere.
func (o Options) next(elapsed time.Duration) time.Duration {
	low, high := o.Min, o.Max
	if low == 0 {
		low = 2 * time.Second
	}
	if high == 0 {
		high = 15 * time.Second
	}
	left := o.Expect - elapsed
	if left < 0 {
		left = -left
	}
	if o.Expect == 0 {
		left = 0
	}
	return min(max(left/4, low), max(high, low))
}
