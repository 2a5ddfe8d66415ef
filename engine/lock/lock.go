// Package lock keeps two runs apart on one machine: File by a lock on a file that the kernel frees when its process is gone, Memory for
// tests. It knows neither AWS nor Kubernetes, whose locks keep runs on different machines apart.
package lock

import (
	"context"
	"sync"
	"time"

	"pipectl.dev/steps"
)

// Memory is a lock within one process.
type Memory struct {
	mu   sync.Mutex
	held map[string]*lease
	last map[string]string // turn of who took it last
}

// NewMemory returns a Memory where nothing is locked.
func NewMemory() *Memory { return &Memory{held: map[string]*lease{}, last: map[string]string{}} }

type lease struct {
	m      *Memory
	key    string
	by     steps.Holder
	before string
	gone   chan struct{} // closed when it is free again
	lost   chan struct{} // closed when somebody else freed it
}

// Lock implements engine.Locker.
func (m *Memory) Lock(ctx context.Context, key string, by steps.Holder, wait time.Duration) (steps.Lease, error) {
	late := time.NewTimer(wait)
	defer late.Stop()
	for {
		l, other := m.try(key, by)
		if other == nil {
			return l, nil
		}
		select {
		case <-other.gone:
		case <-late.C:
			return nil, steps.Locked(key, other.by)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (m *Memory) try(key string, by steps.Holder) (mine, other *lease) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l := m.held[key]; l != nil {
		return nil, l
	}
	l := &lease{m: m, key: key, by: by, before: m.last[key], gone: make(chan struct{}), lost: make(chan struct{})}
	m.held[key], m.last[key] = l, by.Turn()
	return l, nil
}

// Look implements engine.Locker.
func (m *Memory) Look(_ context.Context, keys []string, _ steps.Holder) (map[string]steps.LockState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]steps.LockState{}
	for _, k := range keys {
		st := steps.LockState{Turn: m.last[k]}
		if l := m.held[k]; l != nil {
			st.Holder, st.Alive = &l.by, true
		}
		out[k] = st
	}
	return out, nil
}

// Unlock implements engine.Locker.
func (m *Memory) Unlock(_ context.Context, key string) (*steps.Holder, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.held[key]
	if l == nil {
		return nil, nil
	}
	delete(m.held, key)
	close(l.lost)
	close(l.gone)
	return &l.by, nil
}

// Release implements steps.Lease.
func (l *lease) Release(context.Context) error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if l.m.held[l.key] == l {
		delete(l.m.held, l.key)
		close(l.gone)
	}
	return nil
}

// Before implements steps.Lease.
func (l *lease) Before() string { return l.before }

// Lost implements steps.Lease.
func (l *lease) Lost() <-chan struct{} { return l.lost }
