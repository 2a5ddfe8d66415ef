package steps

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// Holder says who holds a lock, so that a second run can name it and take over from a process that is gone.
type Holder struct {
	RunID   string    `json:"runId"`
	Who     string    `json:"who"` // principal or user, for people
	Host    string    `json:"host"`
	Machine string    `json:"machine,omitempty"` // which one of that name; with PID: a dead process on the same machine is taken over at once
	PID     int       `json:"pid"`
	Since   time.Time `json:"since"`
	Expires time.Time `json:"expires"` // by the holder's own clock, moved on by its heartbeat: a hint, which never frees a lock (see Watch)
}

func (h Holder) String() string {
	return fmt.Sprintf("run %s of %s on %s (pid %d), since %s", h.RunID, h.Who, h.Host, h.PID, h.Since.Format(time.RFC3339))
}

// Turn names this taking of a lock: no other one, not even of the same run, has the same.
func (h Holder) Turn() string { return h.RunID + " " + h.Since.UTC().Format(time.RFC3339Nano) }

// Gone reports whether h is known not to keep by out of a lock, whatever any clock says: its process on by's machine does not run, or it
// is by's own run. A run that is resumed has the id of the one before it, which may still be alive on the same machine: that one is not gone.
func (h Holder) Gone(by Holder) bool {
	named := h.Host != "" || h.Machine != "" // else any two would be on one machine
	here := named && h.Host == by.Host && h.Machine == by.Machine && h.PID > 0
	if here && errors.Is(syscall.Kill(h.PID, 0), syscall.ESRCH) {
		return true
	}
	return h.RunID == by.RunID && (!here || h.PID == by.PID)
}

// LockState is what a look at a lock tells.
type LockState struct {
	Holder *Holder // who holds it and is not known to be gone; nil: nobody
	Alive  bool    // the holder was seen to be there, not only its record
	Silent bool    // it names a holder that is dead, which took watching to find out: taking the lock once spares others that
	Turn   string  // the last taking of the lock, ended or not; "" when none is known. While it stays the same, nobody else had the lock.
}

// InDoubt reports whether it is worth another look whether the holder is dead, even when no wait is left. Who does not wait at all
// believes a record that says it is kept up: that can be wrong only to refuse, never to take a lock from one who lives.
func (s LockState) InDoubt(waits bool) bool {
	return s.Holder != nil && !s.Alive && (waits || time.Now().After(s.Holder.Expires))
}

// Lease is a lock that is held. Whoever made it keeps it alive by a heartbeat until Release.
type Lease interface {
	// Release frees the lock. It is safe to call twice.
	Release(ctx context.Context) error
	// Lost is closed when the heartbeat found the lock in other hands; nil means it cannot be lost.
	Lost() <-chan struct{}
	// Before is the lock's turn before this one took it, as a look would have told it (LockState.Turn).
	Before() string
}

// Locked is the error of a lock that somebody else holds.
func Locked(key string, by Holder) *Error {
	return &Error{
		Code: "Locked", Category: Conflict, Retryable: true,
		Message: fmt.Sprintf("%s: locked by %s", key, by),
		Hints:   []string{"wait for it with --lock-wait, or, if that run is dead, `pipectl unlock`"},
	}
}

// AwaitLock tries for key until try has it, another one has held it for all of wait (the error is then Locked and names it), or ctx
// ends. A holder that may be dead is watched beyond wait until that is known (LockState.InDoubt). Between two attempts it pauses for
// longest at most. try makes one attempt; neither a lease nor a holder means that somebody else was quicker just now, and is tried again
// at once.
func AwaitLock(ctx context.Context, key string, wait, longest time.Duration, try func() (Lease, LockState, error)) (Lease, error) {
	began := time.Now()
	for {
		held, other, err := try()
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", key, err)
		}
		if held != nil {
			return held, nil
		}
		left := wait - time.Since(began)
		if left <= 0 {
			switch {
			case other.InDoubt(wait > 0):
				left = longest
			case other.Holder != nil:
				return nil, Locked(key, *other.Holder)
			}
		}
		pause := time.NewTimer(min(max(left, 100*time.Millisecond), longest))
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil, fmt.Errorf("lock %s: %w", key, context.Cause(ctx))
		case <-pause.C:
		}
	}
}

// KeepLock renews a lock three times in its life, until stop is closed; then it returns true. A renewal that fails for reasons that may
// pass is tried again, more often. When it is in other hands (mine is false), and before somebody who watches it may take it for dead,
// KeepLock returns false: a life is counted from the beginning of the last renewal that succeeded, and none is begun in its last sixth,
// which is how long renew may take.
func KeepLock(life time.Duration, stop <-chan struct{}, renew func() (mine bool, err error)) bool {
	renewed, next := time.Now(), life/3
	for {
		pause := time.NewTimer(next)
		select {
		case <-stop:
			pause.Stop()
			return true
		case <-pause.C:
		}
		began := time.Now()
		mine, err := renew()
		left := life - life/6 - time.Since(renewed)
		switch {
		case err == nil && mine:
			renewed, next = began, max(life/3-time.Since(began), 0)
		case err == nil || left <= 0:
			return false
		default:
			next = min(life/12, left)
		}
	}
}
