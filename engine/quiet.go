package engine

import (
	"context"
	"fmt"
	"path"
	"time"

	"pipectl.dev/steps"
)

// quiet waits until nobody else holds a selected stage, and notes whose turn it was at each: what is planned from then on is good as long
// as that stays so. It fails with steps.Locked, which names the holder, when patience is over and the holder is not one that may be dead.
func (x *run) quiet(ctx context.Context) error {
	if x.r.Locker == nil {
		return nil
	}
	waits, buried := x.turns.patience > 0, false
	for {
		all, err := x.look(ctx, 0)
		if err != nil {
			return err
		}
		key, st := x.holder(all)
		if st.Holder == nil {
			if !buried && x.bury(ctx, all) {
				buried = true
				continue
			}
			x.note(all)
			return nil
		}
		locked, pause, say := steps.Locked(key, *st.Holder), min(x.turns.patience, holdPoll), "locked by "
		switch {
		case x.turns.patience > 0:
			x.turns.patience -= pause
		case st.InDoubt(waits):
			pause, say = holdPoll, "watching for a sign of life of "
		default:
			return locked
		}
		x.say(x.states[path.Base(key)], steps.Event{Type: steps.Waiting, Message: say + st.Holder.String(), ElapsedSeconds: time.Since(x.began).Seconds()})
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%s: %w", locked.Message, context.Cause(ctx))
		}
	}
}

// bury frees the locks of holders that turned out to be dead, and reports whether there were any: a run with nothing to do would take none
// of them, and the next run would have to find out again. Where that is not possible, it has to.
func (x *run) bury(ctx context.Context, all map[string]steps.LockState) (dead bool) {
	for _, s := range x.p.Stages {
		key := LockKey(x.id, s.Name)
		if !all[key].Silent || x.holds(s.Name) {
			continue
		}
		dead = true
		if lease, err := x.r.Locker.Lock(ctx, key, x.by(), 0); err == nil {
			_ = lease.Release(ctx)
		}
	}
	return dead
}

// holder is who else holds the first selected stage that anybody else does, and that lock's key.
func (x *run) holder(all map[string]steps.LockState) (key string, st steps.LockState) {
	for _, s := range x.p.Stages {
		key := LockKey(x.id, s.Name)
		if st := all[key]; st.Holder != nil && !x.holds(s.Name) {
			return key, st
		}
	}
	return "", steps.LockState{}
}

func (x *run) note(all map[string]steps.LockState) {
	t := &x.turns
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen = map[string]string{}
	for _, s := range x.p.Stages {
		t.seen[s.Name] = all[LockKey(x.id, s.Name)].Turn
	}
	t.last = nil // what is planned from now on is held against a later look
}
