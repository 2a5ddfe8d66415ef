package treecopy

import (
	"context"
	"sync"
	"time"
)

// limiter spaces work out to a rate. A nil limiter does not limit.
type limiter struct {
	mu   sync.Mutex
	rate float64 // units per second
	next time.Time
}

func newLimiter(rate int64) *limiter {
	if rate <= 0 {
		return nil
	}
	return &limiter{rate: float64(rate)}
}

// wait books n units and sleeps until they are due. A quarter of a second's worth may go at once, so that small files are not
// slept for one by one.
func (l *limiter) wait(ctx context.Context, n int64) error {
	if l == nil || n <= 0 {
		return nil
	}
	const burst = 250 * time.Millisecond
	l.mu.Lock()
	now := time.Now()
	if earliest := now.Add(-burst); l.next.Before(earliest) {
		l.next = earliest
	}
	l.next = l.next.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
	d := l.next.Sub(now)
	l.mu.Unlock()
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
