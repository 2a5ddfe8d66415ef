package jenkinshome

import (
	"context"
	"errors"
	"time"

	"pipectl.dev/steps"
)

// leaseWait is how long to wait for another mover. One that died is taken over once it was watched for a minute, on this host at once; one
// that lives is told about once it was seen to.
const leaseWait = 20 * time.Second

// leaseKeys are what one mover holds: nobody else moves this workload, and nobody else moves anything onto this volume. The leases lie in
// the source cluster. The Job of the critical section needs none: whoever joins it agrees with it by the record.
func (m *mission) leaseKeys() []string {
	return []string{"move of " + m.move.Source.Namespace + "/" + m.move.Source.Workload, "move onto " + m.move.VolumeID}
}

func (m *mission) holder() steps.Holder {
	h := steps.Self()
	h.RunID, h.Since = m.env.RunID, time.Now()
	return h
}

// alone takes the leases of a move. The context it returns ends when one of them is lost; release (none, where it failed) is called once,
// at the end.
func (m *mission) alone(ctx context.Context, none func()) (held context.Context, release func(), err error) {
	var leases []steps.Lease
	locks := m.source.Locks(m.move.Source.Namespace)
	free := func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		for _, l := range leases {
			if err := l.Release(last); err != nil {
				m.env.Log.Warn("lease", "error", err.Error()) // whoever comes next finds nobody behind it
			}
		}
		for _, key := range m.leaseKeys() {
			if !m.forget { // a released lease is kept: it remembers whose turn it was
				break
			}
			if _, err := locks.Unlock(last, key); err != nil {
				m.env.Log.Warn("lease", "error", err.Error())
			}
		}
	}
	// Where the first is a dead mover's, so are the others: they are watched at the same time.
	others := time.AfterFunc(time.Second, func() { _, _ = locks.Look(ctx, m.leaseKeys(), m.holder()) })
	defer others.Stop()
	for _, key := range m.leaseKeys() {
		l, err := locks.Lock(ctx, key, m.holder(), leaseWait)
		if err != nil {
			free()
			return ctx, none, another(err)
		}
		leases = append(leases, l)
	}
	held, cancel := context.WithCancelCause(ctx)
	for _, l := range leases {
		go func() {
			select {
			case <-l.Lost():
				cancel(errLeaseLost)
			case <-held.Done():
			}
		}()
	}
	return held, func() { cancel(nil); free() }, nil
}

// orLost is why an operation failed: the end of its context says less than what ended it.
func orLost(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errLeaseLost) {
		return errLeaseLost
	}
	return err
}

var errLeaseLost = &steps.Error{Code: "LeaseLost", Category: steps.Conflict, Message: "another mover took this move over",
	Hints: []string{"let it go on; `pipectl move status` shows how far it is"}}

// another says of a held lease what to do about it: it is no stage's lock.
func another(err error) error {
	var e *steps.Error
	if !errors.As(err, &e) || e.Code != "Locked" {
		return err
	}
	return &steps.Error{Code: "MoverRunning", Category: steps.Conflict, Retryable: true, Message: e.Message,
		Hints: []string{"let that run end (`pipectl move status`); if it has just died, this same command takes over a minute later"}}
}
