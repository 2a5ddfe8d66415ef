package kube

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	coordv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/steps"
)

const (
	leaseTime       = time.Minute      // a holder that is silent for so long is dead
	clockSkew       = 15 * time.Second // by which another machine's clock may differ from ours
	holderNote      = "pipectl.dev/holder"
	lockKeyNote     = "pipectl.dev/lock"
	leaseNamePrefix = "pipectl-"
)

// Locks locks stages by Lease objects in one namespace, for pipelines that have no AWS account to keep the lock in.
type Locks struct {
	client    *Client
	namespace string
}

// Locks keeps its leases in namespace, which must exist.
func (c *Client) Locks(namespace string) *Locks { return &Locks{client: c, namespace: namespace} }

// Lock takes key for by, waiting up to wait for another holder. A holder that let its lease run out, or whose process on this host is
// gone, is taken over. Two that try at once are told apart by the API server: the second write fails.
func (l *Locks) Lock(ctx context.Context, key string, by steps.Holder, wait time.Duration) (steps.Lease, error) {
	began := time.Now()
	for {
		held, other, err := l.try(ctx, key, by)
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", key, err)
		}
		if held != nil {
			go held.beat(context.WithoutCancel(ctx))
			return held, nil
		}
		left := wait - time.Since(began)
		if left <= 0 && other != nil {
			return nil, steps.Locked(key, *other)
		}
		pause := time.NewTimer(min(max(left, 100*time.Millisecond), 2*time.Second))
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil, fmt.Errorf("lock %s: %w", key, context.Cause(ctx))
		case <-pause.C:
		}
	}
}

// try makes one attempt. Neither a lease nor a holder means that somebody else was quicker just now.
func (l *Locks) try(ctx context.Context, key string, by steps.Holder) (*held, *steps.Holder, error) {
	api := l.client.Typed.CoordinationV1().Leases(l.namespace)
	old, err := api.Get(ctx, leaseName(key), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = api.Create(ctx, lease(key, by, time.Now(), nil), metav1.CreateOptions{FieldManager: FieldManager})
		return l.won(key, by, err)
	}
	if err != nil {
		return nil, nil, Explain(err)
	}
	if who := holder(old); who != nil && who.RunID != by.RunID && !abandoned(*who, by, time.Now()) {
		return nil, who, nil
	}
	_, err = api.Update(ctx, lease(key, by, time.Now(), old), metav1.UpdateOptions{FieldManager: FieldManager})
	if apierrors.IsNotFound(err) { // released in between
		return nil, nil, nil
	}
	return l.won(key, by, err)
}

func (l *Locks) won(key string, by steps.Holder, err error) (*held, *steps.Holder, error) {
	if apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, Explain(err)
	}
	return &held{locks: l, key: key, by: by, lost: make(chan struct{}), stop: make(chan struct{}), ended: make(chan struct{})}, nil, nil
}

// Unlock frees key whoever holds it.
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
	return holder(old), nil
}

// abandoned reports that a holder is gone: silent for too long, or a process of this host that does not run.
func abandoned(who, by steps.Holder, now time.Time) bool {
	if now.After(who.Expires.Add(clockSkew)) {
		return true
	}
	return who.Host == by.Host && who.PID > 0 && errors.Is(syscall.Kill(who.PID, 0), syscall.ESRCH)
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
	locks *Locks
	key   string
	by    steps.Holder

	lost, stop, ended chan struct{}
	once              sync.Once
}

// beat renews the lease three times in its life. A renewal that fails for reasons that may pass is tried again until the lease has run
// out; a lease in other hands is lost at once.
func (h *held) beat(ctx context.Context) {
	defer close(h.ended)
	renewed := time.Now()
	for {
		pause := time.NewTimer(leaseTime / 3)
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
		case err == nil || time.Since(renewed) > leaseTime:
			close(h.lost)
			return
		}
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
	if who := holder(now); who == nil || who.RunID != h.by.RunID {
		return false, nil
	}
	_, err = api.Update(ctx, lease(h.key, h.by, time.Now(), now), metav1.UpdateOptions{FieldManager: FieldManager})
	return err == nil, err
}

func (h *held) Lost() <-chan struct{} { return h.lost }

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
		if err = getErr; err != nil {
			return
		}
		if who := holder(now); who == nil || who.RunID != h.by.RunID {
			return
		}
		err = api.Delete(ctx, now.Name, metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{UID: &now.UID, ResourceVersion: &now.ResourceVersion}})
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			err = nil
		}
	})
	if err != nil {
		return fmt.Errorf("unlock %s: %w", h.key, Explain(err))
	}
	return nil
}
