package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestWritingDownHasItsTimeAndLessWhenTheRunIsCancelled(t *testing.T) {
	for name, test := range map[string]struct {
		cancelled, want time.Duration // cancelled: after so long, negative: never
	}{
		"a run that goes on":             {-1, time.Minute},
		"one that was cancelled before":  {0, 5 * time.Second},
		"one that is meanwhile":          {10 * time.Second, 15 * time.Second},
		"one that is at the last moment": {58 * time.Second, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				run, cancel := context.WithCancel(t.Context())
				defer cancel()
				if test.cancelled == 0 {
					cancel()
				} else if test.cancelled > 0 {
					time.AfterFunc(test.cancelled, cancel)
				}
				began := time.Now()
				ctx, done := recording(run)
				defer done()
				<-ctx.Done()
				if got := time.Since(began); got != test.want {
					t.Errorf("has %s, want %s", got, test.want)
				}
			})
		})
	}
}
