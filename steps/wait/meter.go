package wait

import (
	"context"
	"sync"
	"time"
)

// Meter adds up the time in which at least one wait for a faster world (Options.Speed above 1) goes on. It is safe for concurrent use;
// the zero value is ready.
type Meter struct {
	mu     sync.Mutex
	waits  int
	since  time.Time
	sum    time.Duration
	parent *Meter
}

// Below returns a Meter whose waits count for m as well.
func (m *Meter) Below() *Meter { return &Meter{parent: m} }

type meterKey struct{}

// With returns a context whose waits m measures.
func (m *Meter) With(ctx context.Context) context.Context {
	return context.WithValue(ctx, meterKey{}, m)
}

func meterOf(ctx context.Context) *Meter {
	m, _ := ctx.Value(meterKey{}).(*Meter)
	return m
}

// Measured is the real time that passed in such waits, those under way included.
func (m *Meter) Measured() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waits > 0 {
		return m.sum + time.Since(m.since)
	}
	return m.sum
}

// open begins a wait; the function it returns ends it. A nil Meter measures nothing.
func (m *Meter) open() (done func()) {
	if m == nil {
		return func() {}
	}
	above := m.parent.open()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waits++; m.waits == 1 {
		m.since = time.Now()
	}
	return func() {
		above()
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.waits--; m.waits == 0 {
			m.sum += time.Since(m.since)
		}
	}
}
