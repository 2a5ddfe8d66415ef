package kube

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	coordv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/steps"
)

const (
	leaseTime       = time.Minute     // a holder that was watched, and was silent for so long, is dead
	leasePoll       = 2 * time.Second // longest pause while another one holds it
	holderNote      = "pipectl.dev/holder"
	lockKeyNote     = "pipectl.dev/lock"
	leaseNamePrefix = "pipectl-"
)

// Locks locks stages by Lease objects in one namespace, for pipelines that have no AWS account to keep the lock in. A Lease is kept when
// it is released, one for each stage.
type Locks struct {
	client    *Client
	namespace string
	watch     *steps.Watch
}

// Locks keeps its leases in namespace, which must exist.
func (c *Client) Locks(namespace string) *Locks {
	return &Locks{c, namespace, steps.NewWatch(leaseTime)}
}

// Lock takes key for by, waiting up to wait for another holder. A holder that was not seen to renew its lease for a minute, or whose
// process on this host is gone, is taken over. Two that try at once are told apart by the API server: the second write fails.
func (l *Locks) Lock(ctx context.Context, key string, by steps.Holder, wait time.Duration) (steps.Lease, error) {
	return steps.AwaitLock(ctx, key, wait, leasePoll, func() (steps.Lease, steps.LockState, error) {
		held, other, err := l.try(ctx, key, by)
		if held == nil {
			return nil, other, err
		}
		go held.beat(context.WithoutCancel(ctx))
		return held, steps.LockState{}, nil
	})
}

// Look tells how the locks stand. It only reads, and needs no right that taking them does not.
func (l *Locks) Look(ctx context.Context, keys []string, by steps.Holder) (map[string]steps.LockState, error) {
	api := l.client.Typed.CoordinationV1().Leases(l.namespace)
	out := make(map[string]steps.LockState, len(keys))
	for _, key := range keys {
		there, err := api.Get(ctx, leaseName(key), metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("lock %s: %w", key, Explain(err))
		}
		if err == nil && holder(there) != nil {
			out[key] = l.state(key, there, by)
		}
	}
	return out, nil
}

// state is how a lock stands for by whose lease is there: one that was released names no holder any more.
func (l *Locks) state(key string, there *coordv1.Lease, by steps.Holder) steps.LockState {
	who := holder(there)
	if there.Spec.HolderIdentity == nil || who == nil {
		return l.watch.Free(key, who)
	}
	return l.watch.State(key, there.ResourceVersion, *who, by)
}

// try makes one attempt. Neither a lease nor a holder means that somebody else was quicker just now.
func (l *Locks) try(ctx context.Context, key string, by steps.Holder) (*held, steps.LockState, error) {
	api := l.client.Typed.CoordinationV1().Leases(l.namespace)
	old, err := api.Get(ctx, leaseName(key), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		l.watch.Free(key, nil)
		_, err = api.Create(ctx, lease(key, by, time.Now(), nil), metav1.CreateOptions{FieldManager: FieldManager})
		return l.won(key, by, "", err)
	}
	if err != nil {
		return nil, steps.LockState{}, Explain(err)
	}
	st := l.state(key, old, by)
	if st.Holder != nil {
		return nil, st, nil
	}
	_, err = api.Update(ctx, lease(key, by, time.Now(), old), metav1.UpdateOptions{FieldManager: FieldManager})
	if apierrors.IsNotFound(err) { // released in between
		return nil, steps.LockState{}, nil
	}
	return l.won(key, by, st.Turn, err)
}

func (l *Locks) won(key string, by steps.Holder, before string, err error) (*held, steps.LockState, error) {
	if apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) {
		return nil, steps.LockState{}, nil
	}
	if err != nil {
		return nil, steps.LockState{}, Explain(err)
	}
	return &held{locks: l, key: key, by: by, before: before, lost: make(chan struct{}), stop: make(chan struct{}), ended: make(chan struct{})}, steps.LockState{}, nil
}

// Unlock frees key whoever holds it, and tells who did.
func (l *Locks) Unlock(ctx context.Context, key string) (*steps.Holder, error) {
	api := l.client.Typed.CoordinationV1().Leases(l.namespace)
	old, err := api.Get(ctx, leaseName(key), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err == nil {
		err = api.Delete(ctx, old.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &old.UID}})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("unlock %s: %w", key, Explain(err))
	}
	if old.Spec.HolderIdentity == nil {
		return nil, nil // it was free already
	}
	return holder(old), nil
}

func leaseName(key string) string {
	sum := sha256.Sum256([]byte(key)) // a key holds slashes and may be longer than a name
	return leaseNamePrefix + hex.EncodeToString(sum[:10])
}

// lease is the object that says by holds key; over is the one it replaces.
func lease(key string, by steps.Holder, now time.Time, over *coordv1.Lease) *coordv1.Lease {
	by.Expires = now.Add(leaseTime)
	note, _ := json.Marshal(by) //nolint:errchkjson // plain fields only
	seconds := int32(leaseTime / time.Second)
	renew := metav1.NewMicroTime(now)
	l := &coordv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: leaseName(key), Labels: OwnerLabels()}}
	if over != nil {
		l = over.DeepCopy()
	}
	l.Annotations = map[string]string{lockKeyNote: key, holderNote: string(note)}
	l.Spec = coordv1.LeaseSpec{HolderIdentity: &by.RunID, LeaseDurationSeconds: &seconds, RenewTime: &renew}
	return l
}

func holder(l *coordv1.Lease) *steps.Holder {
	var h steps.Holder
	if err := json.Unmarshal([]byte(l.Annotations[holderNote]), &h); err != nil || h.RunID == "" {
		return nil
	}
	return &h
}

// held is a lock of ours.
type held struct {
	locks  *Locks
	key    string
	by     steps.Holder
	before string

	lost, stop, ended chan struct{}
	once              sync.Once
}

// beat renews the lock until it is released or lost.
func (h *held) beat(ctx context.Context) {
	defer close(h.ended)
	if !steps.KeepLock(leaseTime, h.stop, func() (bool, error) { return h.renew(ctx) }) {
		close(h.lost)
	}
}

func (h *held) renew(ctx context.Context) (mine bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, leaseTime/6)
	defer cancel()
	api := h.locks.client.Typed.CoordinationV1().Leases(h.locks.namespace)
	now, err := api.Get(ctx, leaseName(h.key), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !h.ours(now) {
		return false, nil
	}
	_, err = api.Update(ctx, lease(h.key, h.by, time.Now(), now), metav1.UpdateOptions{FieldManager: FieldManager})
	return err == nil, err
}

// ours reports whether the lease still says that it is this lock.
func (h *held) ours(l *coordv1.Lease) bool {
	who := holder(l)
	return l.Spec.HolderIdentity != nil && who != nil && who.Turn() == h.by.Turn()
}

// Lost implements steps.Lease.
func (h *held) Lost() <-chan struct{} { return h.lost }

// Before implements steps.Lease.
func (h *held) Before() string { return h.before }

// Release implements steps.Lease. The object stays, without a holder: whose turn it was tells others whether they were alone.
func (h *held) Release(ctx context.Context) error {
	var err error
	h.once.Do(func() {
		close(h.stop)
		<-h.ended
		api := h.locks.client.Typed.CoordinationV1().Leases(h.locks.namespace)
		now, getErr := api.Get(ctx, leaseName(h.key), metav1.GetOptions{})
		if apierrors.IsNotFound(getErr) {
			return
		}
		if err = getErr; err != nil || !h.ours(now) {
			return
		}
		now.Spec.HolderIdentity = nil
		_, err = api.Update(ctx, now, metav1.UpdateOptions{FieldManager: FieldManager})
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			err = nil
		}
	})
	if err != nil {
		return fmt.Errorf("unlock %s: %w", h.key, Explain(err))
	}
	return nil
}
