package cloud

import (
	"context"
	"sync"
)

// Look is what one or a few Describe calls said, shared by all resources that read it: a plan fetches it once, and resources that wait
// side by side share each new one. Nobody is given the same answer twice, nor one that began before the last change.
type Look[T any] struct {
	Fetch func(context.Context) (T, error)

	mu    sync.Mutex // never held during a fetch
	clock int        // counts fetches and changes
	dirty int        // clock of the last change
	last  answer[T]
	now   *fetching[T]
	seen  map[string]int // per reader, clock of the answer it was given last
}

type answer[T any] struct {
	began int // clock; 0: none yet
	value T
}

type fetching[T any] struct {
	began int
	done  chan struct{}
	value T
	err   error
}

// Changed says that something was made, changed or removed: later answers must have been fetched after now.
func (l *Look[T]) Changed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clock++
	l.dirty = l.clock
}

// Get returns an answer that is new to reader.
func (l *Look[T]) Get(ctx context.Context, reader string) (T, error) {
	for {
		l.mu.Lock()
		if l.seen == nil {
			l.seen = map[string]int{}
		}
		after := max(l.dirty, l.seen[reader])
		if l.last.began > after {
			l.seen[reader] = l.last.began
			v := l.last.value
			l.mu.Unlock()
			return v, nil
		}
		if f := l.now; f != nil {
			l.mu.Unlock()
			select {
			case <-f.done:
			case <-ctx.Done():
				var none T
				return none, context.Cause(ctx)
			}
			if f.err != nil && f.began > after {
				return f.value, f.err
			}
			continue
		}
		l.clock++
		f := &fetching[T]{began: l.clock, done: make(chan struct{})}
		l.now = f
		l.mu.Unlock()
		if err := l.run(ctx, f); err != nil {
			return f.value, err
		}
	}
}

func (l *Look[T]) run(ctx context.Context, f *fetching[T]) error {
	f.value, f.err = l.Fetch(ctx)
	l.mu.Lock()
	if f.err == nil {
		l.last = answer[T]{began: f.began, value: f.value}
	}
	l.now = nil
	l.mu.Unlock()
	close(f.done)
	return f.err
}

// Warm fetches the first answer, for whoever reads first. An error is left for the readers to meet.
func (l *Look[T]) Warm(ctx context.Context) { _, _ = l.Get(ctx, "") }

// Peek gives the last answer without asking, if there is one; it does not count as read.
func (l *Look[T]) Peek() (value T, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last.value, l.last.began > 0
}
