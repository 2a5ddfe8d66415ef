package cloud

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"pipectl.dev/steps"
)

const (
	lockLife = 90 * time.Second // a holder that was watched, and was silent for so long, is dead
	lockPoll = 3 * time.Second  // longest pause while another one holds it
)

// Locks locks stages by SSM parameters /pipectl/KEY/lock/N. Making a parameter that must not exist yet is atomic, so of two that try at
// once one wins. The highest generation N holds; releasing writes that down and keeps the parameter, so that a number is never used
// twice, even by a client that looked long ago. Older generations are swept by whoever takes the next.
type Locks struct {
	s     *Session
	watch *steps.Watch
}

// Locks keeps locks in the session's region.
func (s *Session) Locks() *Locks { return &Locks{s, steps.NewWatch(lockLife)} }

// generation is one parameter.
type generation struct {
	n      int
	record string // what every write changes
	value  lockValue
}

type lockValue struct {
	Holder   steps.Holder `json:"holder"`
	Attempt  string       `json:"attempt"` // tells our own write from that of another attempt after a lost answer
	Released bool         `json:"released,omitempty"`
}

func lockPath(key string) string { return "/pipectl/" + key + "/lock" }

func parameterName(key string, n int) string { return lockPath(key) + "/" + strconv.Itoa(n) }

// Lock takes key for by, waiting up to wait for another holder. A holder that was not seen to renew its lock for its whole life, or whose
// process on this host is gone, is taken over.
func (l *Locks) Lock(ctx context.Context, key string, by steps.Holder, wait time.Duration) (steps.Lease, error) {
	return steps.AwaitLock(ctx, key, wait, lockPoll, func() (steps.Lease, steps.LockState, error) {
		held, other, err := l.try(ctx, key, by)
		if held == nil {
			return nil, other, Explain(err)
		}
		go held.beat(context.WithoutCancel(ctx))
		return held, steps.LockState{}, nil
	})
}

// Look tells how the locks stand, all of them by one listing of what their keys have in common. It only reads.
func (l *Locks) Look(ctx context.Context, keys []string, by steps.Holder) (map[string]steps.LockState, error) {
	out := make(map[string]steps.LockState, len(keys))
	above := map[string]bool{}
	for _, k := range keys {
		above[path.Dir(k)] = true
	}
	for dir := range above {
		all, err := l.list(ctx, "/pipectl/"+dir, true)
		if err != nil {
			return nil, fmt.Errorf("locks of %s: %w", dir, Explain(err))
		}
		for _, k := range keys {
			if path.Dir(k) == dir {
				out[k] = l.state(k, highest(all[lockPath(k)]), by)
			}
		}
	}
	return out, nil
}

// state is how a lock stands for by whose highest generation is top; nil is a lock that nobody ever took.
func (l *Locks) state(key string, top *generation, by steps.Holder) steps.LockState {
	switch {
	case top == nil:
		return l.watch.Free(key, nil)
	case top.value.Released:
		return l.watch.Free(key, &top.value.Holder)
	}
	return l.watch.State(key, strconv.Itoa(top.n)+" "+top.record, top.value.Holder, by)
}

// try makes one attempt. Neither a lock nor a holder means that somebody else was quicker just now.
func (l *Locks) try(ctx context.Context, key string, by steps.Holder) (*heldLock, steps.LockState, error) {
	all, err := l.generations(ctx, key)
	if err != nil {
		return nil, steps.LockState{}, err
	}
	top := highest(all)
	st := l.state(key, top, by)
	if st.Holder != nil {
		return nil, st, nil
	}
	next := 1
	if top != nil {
		next = top.n + 1
	}
	attempt := ClientToken(key, by.RunID, by.Host, by.PID, next, time.Now().UnixNano())
	mine := &heldLock{l: l, key: key, n: next, before: st.Turn, value: lockValue{Holder: by, Attempt: attempt}, lost: make(chan struct{}), stop: make(chan struct{}), ended: make(chan struct{})}
	if won, err := mine.put(ctx, false); err != nil || !won {
		return nil, steps.LockState{}, err
	}
	// A look that was long ago may have led to a number that is no longer the highest.
	all, err = l.generations(ctx, key)
	if err != nil {
		return nil, steps.LockState{}, err
	}
	if top := highest(all); top != nil && top.n > next {
		return nil, steps.LockState{}, l.remove(ctx, parameterName(key, next))
	}
	for _, g := range all {
		if g.n < next {
			_ = l.remove(ctx, parameterName(key, g.n)) // the next holder sweeps what this one could not
		}
	}
	return mine, steps.LockState{}, nil
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
	all, err := l.list(ctx, lockPath(key), false)
	return all[lockPath(key)], err
}

// list reads the generations of all locks below dir, by the lock's path.
func (l *Locks) list(ctx context.Context, dir string, recursive bool) (map[string][]generation, error) {
	found, err := Paged(ctx, func(ctx context.Context, token *string) ([]ssmtypes.Parameter, *string, error) {
		o, err := SSM(l.s).GetParametersByPath(ctx, &ssm.GetParametersByPathInput{NextToken: token, Path: aws.String(dir), Recursive: &recursive})
		if err != nil {
			return nil, nil, err
		}
		return o.Parameters, o.NextToken, nil
	})
	if err != nil {
		return nil, err
	}
	all := map[string][]generation{}
	for _, p := range found {
		g := generation{record: fmt.Sprint(p.Version, " ", aws.ToString(p.Value))}
		of, number := path.Split(aws.ToString(p.Name))
		var bad error
		if g.n, bad = strconv.Atoi(number); bad != nil {
			continue
		}
		if json.Unmarshal([]byte(aws.ToString(p.Value)), &g.value) != nil {
			g.value = lockValue{Released: true} // not ours to understand; its number is taken all the same
		}
		of = path.Clean(of)
		all[of] = append(all[of], g)
	}
	return all, nil
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
	l      *Locks
	key    string
	n      int
	value  lockValue
	before string

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

// beat renews the lock until it is released or lost.
func (h *heldLock) beat(ctx context.Context) {
	defer close(h.ended)
	if !steps.KeepLock(lockLife, h.stop, func() (bool, error) { return h.renew(ctx) }) {
		close(h.lost)
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

// Before implements steps.Lease.
func (h *heldLock) Before() string { return h.before }

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
