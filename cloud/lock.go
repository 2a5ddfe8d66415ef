package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"pipectl.dev/steps"
)

const (
	lockLife = 90 * time.Second // a holder that is silent for so long is dead
	lockSkew = 15 * time.Second // by which another machine's clock may differ from ours
)

// Locks locks stages by SSM parameters /pipectl/KEY/lock/N. Making a parameter that must not exist yet is atomic, so of two that try at
// once one wins. The highest generation N holds; releasing writes that down and keeps the parameter, so that a number is never used
// twice, even by a client that looked long ago. Older generations are swept by whoever takes the next.
type Locks struct{ s *Session }

// Locks keeps locks in the session's region.
func (s *Session) Locks() *Locks { return &Locks{s: s} }

// generation is one parameter.
type generation struct {
	n     int
	value lockValue
}

type lockValue struct {
	Holder   steps.Holder `json:"holder"`
	Attempt  string       `json:"attempt"` // tells our own write from that of another attempt after a lost answer
	Released bool         `json:"released,omitempty"`
}

func lockPath(key string) string { return "/pipectl/" + key + "/lock" }

func parameterName(key string, n int) string { return lockPath(key) + "/" + strconv.Itoa(n) }

// Lock takes key for by, waiting up to wait for another holder. A holder that is silent for too long, or whose process on this host is
// gone, is taken over.
func (l *Locks) Lock(ctx context.Context, key string, by steps.Holder, wait time.Duration) (steps.Lease, error) {
	began := time.Now()
	for {
		held, other, err := l.try(ctx, key, by)
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", key, Explain(err))
		}
		if held != nil {
			go held.beat(context.WithoutCancel(ctx))
			return held, nil
		}
		left := wait - time.Since(began)
		if left <= 0 && other != nil {
			return nil, steps.Locked(key, *other)
		}
		pause := time.NewTimer(min(max(left, 100*time.Millisecond), 3*time.Second))
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil, fmt.Errorf("lock %s: %w", key, context.Cause(ctx))
		case <-pause.C:
		}
	}
}

// try makes one attempt. Neither a lock nor a holder means that somebody else was quicker just now.
func (l *Locks) try(ctx context.Context, key string, by steps.Holder) (*heldLock, *steps.Holder, error) {
	all, err := l.generations(ctx, key)
	if err != nil {
		return nil, nil, err
	}
	top := highest(all)
	if top != nil && top.value.live(by, time.Now()) {
		return nil, &top.value.Holder, nil
	}
	next := 1
	if top != nil {
		next = top.n + 1
	}
	attempt := ClientToken(key, by.RunID, by.Host, by.PID, next, time.Now().UnixNano())
	mine := &heldLock{l: l, key: key, n: next, value: lockValue{Holder: by, Attempt: attempt}, lost: make(chan struct{}), stop: make(chan struct{}), ended: make(chan struct{})}
	if won, err := mine.put(ctx, false); err != nil || !won {
		return nil, nil, err
	}
	// A look that was long ago may have led to a number that is no longer the highest.
	all, err = l.generations(ctx, key)
	if err != nil {
		return nil, nil, err
	}
	if top := highest(all); top != nil && top.n > next {
		return nil, nil, l.remove(ctx, parameterName(key, next))
	}
	for _, g := range all {
		if g.n < next {
			_ = l.remove(ctx, parameterName(key, g.n)) // the next holder sweeps what this one could not
		}
	}
	return mine, nil, nil
}

// live reports whether v keeps by out.
func (v lockValue) live(by steps.Holder, now time.Time) bool {
	if v.Released || v.Holder.RunID == by.RunID || now.After(v.Holder.Expires.Add(lockSkew)) {
		return false
	}
	dead := v.Holder.Host == by.Host && v.Holder.PID > 0 && errors.Is(syscall.Kill(v.Holder.PID, 0), syscall.ESRCH)
	return !dead
}

func highest(all []generation) *generation {
	var top *generation
	for i := range all {
		if top == nil || all[i].n > top.n {
			top = &all[i]
		}
	}
	return top
}

func (l *Locks) generations(ctx context.Context, key string) ([]generation, error) {
	var all []generation
	in := &ssm.GetParametersByPathInput{Path: aws.String(lockPath(key))}
	for {
		o, err := SSM(l.s).GetParametersByPath(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, p := range o.Parameters {
			g := generation{}
			var bad error
			if g.n, bad = strconv.Atoi(path.Base(aws.ToString(p.Name))); bad != nil {
				continue
			}
			if json.Unmarshal([]byte(aws.ToString(p.Value)), &g.value) != nil {
				g.value = lockValue{Released: true} // not ours to understand; its number is taken all the same
			}
			all = append(all, g)
		}
		if in.NextToken = o.NextToken; aws.ToString(in.NextToken) == "" {
			return all, nil
		}
	}
}

func (l *Locks) remove(ctx context.Context, name string) error {
	_, err := SSM(l.s).DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: &name})
	if IsNotFound(err) {
		return nil
	}
	return err
}

// Unlock frees key whoever holds it, and tells who did.
func (l *Locks) Unlock(ctx context.Context, key string) (*steps.Holder, error) {
	all, err := l.generations(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("unlock %s: %w", key, Explain(err))
	}
	top := highest(all)
	if top == nil || top.value.Released {
		return nil, nil
	}
	freed := &heldLock{l: l, key: key, n: top.n, value: top.value}
	freed.value.Released = true
	if _, err := freed.put(ctx, true); err != nil {
		return nil, fmt.Errorf("unlock %s: %w", key, Explain(err))
	}
	return &top.value.Holder, nil
}

// heldLock is a lock of ours.
type heldLock struct {
	l     *Locks
	key   string
	n     int
	value lockValue

	lost, stop, ended chan struct{}
	once              sync.Once
}

// put writes the parameter. Without over, won says whether it is ours: it may be although AWS says that it exists, when the answer to
// our own first attempt was lost.
func (h *heldLock) put(ctx context.Context, over bool) (won bool, err error) {
	v := h.value
	v.Holder.Expires = time.Now().Add(lockLife)
	text, err := json.Marshal(v)
	if err != nil {
		return false, err
	}
	name := parameterName(h.key, h.n)
	_, err = SSM(h.l.s).PutParameter(ctx, &ssm.PutParameterInput{Name: &name, Value: aws.String(string(text)), Type: ssmtypes.ParameterTypeString, Overwrite: &over})
	if !IsExists(err) {
		return err == nil, err
	}
	o, err := SSM(h.l.s).GetParameter(ctx, &ssm.GetParameterInput{Name: &name})
	if IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var there lockValue
	_ = json.Unmarshal([]byte(aws.ToString(o.Parameter.Value)), &there) // what cannot be read is not ours
	return there.Attempt == v.Attempt, nil
}

// ours reports whether the lock still is.
func (h *heldLock) ours(ctx context.Context) (bool, error) {
	all, err := h.l.generations(ctx, h.key)
	if err != nil {
		return false, err
	}
	top := highest(all)
	return top != nil && top.n == h.n && top.value.Attempt == h.value.Attempt && !top.value.Released, nil
}

// beat renews the lock three times in its life. A renewal that fails for reasons that may pass is tried again until the lock has run
// out; a lock in other hands is lost at once.
func (h *heldLock) beat(ctx context.Context) {
	defer close(h.ended)
	renewed := time.Now()
	for {
		pause := time.NewTimer(lockLife / 3)
		select {
		case <-h.stop:
			pause.Stop()
			return
		case <-pause.C:
		}
		mine, err := h.renew(ctx)
		switch {
		case err == nil && mine:
			renewed = time.Now()
		case err == nil || time.Since(renewed) > lockLife:
			close(h.lost)
			return
		}
	}
}

func (h *heldLock) renew(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, lockLife/6)
	defer cancel()
	mine, err := h.ours(ctx)
	if err != nil || !mine {
		return mine, err
	}
	return h.put(ctx, true)
}

// Lost is closed when the lock is in other hands.
func (h *heldLock) Lost() <-chan struct{} { return h.lost }

// Release frees the lock. It is safe to call twice.
func (h *heldLock) Release(ctx context.Context) error {
	var err error
	h.once.Do(func() {
		close(h.stop)
		<-h.ended
		var mine bool
		if mine, err = h.ours(ctx); err != nil || !mine {
			return
		}
		h.value.Released = true
		_, err = h.put(ctx, true)
	})
	if err != nil {
		return fmt.Errorf("unlock %s: %w", h.key, Explain(err))
	}
	return nil
}
