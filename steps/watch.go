package steps

import (
	"sync"
	"time"
)

// Watch is what one process saw of the locks of others. Clocks of machines differ, by hours when one is set wrong, so what a record says of
// time frees nothing: a holder is dead when its record stayed the same for the lock's whole life, by the clock of the one who watches, and
// it lives when its record was seen to change. A living one renews its record three times in a life, and gives the lock up itself when it
// could not (KeepLock).
type Watch struct {
	life time.Duration
	mu   sync.Mutex
	seen map[string]sighting // by key
}

type sighting struct {
	record string
	since  time.Time // when it was first seen so
	moved  bool      // it was another one before
}

// NewWatch watches locks that live for life after each renewal.
func NewWatch(life time.Duration) *Watch { return &Watch{life: life, seen: map[string]sighting{}} }

// State tells how a held lock stands for by, whose holder is who. record is anything that every write of the lock changes.
func (w *Watch) State(key, record string, who, by Holder) LockState {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	last, known := w.seen[key]
	if last.record != record || !known {
		last = sighting{record: record, since: now, moved: known}
		w.seen[key] = last
	}
	st := LockState{Turn: who.Turn()}
	switch {
	case who.Gone(by):
	case now.Sub(last.since) < w.life:
		st.Holder, st.Alive = &who, last.moved
	default:
		st.Silent = true
	}
	return st
}

// Free tells how a lock stands that nobody holds; last had it, nil where nobody ever did. Who is seen there next has just come.
func (w *Watch) Free(key string, last *Holder) LockState {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[key] = sighting{since: time.Now()}
	if last == nil {
		return LockState{}
	}
	return LockState{Turn: last.Turn()}
}
