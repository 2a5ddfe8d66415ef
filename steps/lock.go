package steps

import (
	"context"
	"fmt"
	"time"
)

// Holder says who holds a lock, so that a second run can name it and take over from a process that is gone.
type Holder struct {
	RunID   string    `json:"runId"`
	Who     string    `json:"who"`  // principal or user, for people
	Host    string    `json:"host"` // with PID: a dead process on the same host is taken over at once
	PID     int       `json:"pid"`
	Since   time.Time `json:"since"`
	Expires time.Time `json:"expires"` // moved on by the heartbeat; a lock past it is free
}

func (h Holder) String() string {
	return fmt.Sprintf("run %s of %s on %s (pid %d), since %s", h.RunID, h.Who, h.Host, h.PID, h.Since.Format(time.RFC3339))
}

// Lease is a lock that is held. Whoever made it keeps it alive by a heartbeat until Release.
type Lease interface {
	// Release frees the lock. It is safe to call twice.
	Release(ctx context.Context) error
	// Lost is closed when the heartbeat found the lock in other hands; nil means it cannot be lost.
	Lost() <-chan struct{}
}

// Locked is the error of a lock that somebody else holds.
func Locked(key string, by Holder) *Error {
	return &Error{
		Code: "Locked", Category: Conflict, Retryable: true,
		Message: fmt.Sprintf("%s: locked by %s", key, by),
		Hints:   []string{"wait for it with --lock-wait, or, if that run is dead, `pipectl unlock`"},
	}
}
