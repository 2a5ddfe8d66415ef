package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"pipectl.dev/steps"
)

const (
	// lookAge is how old a look at the locks may be: stages that are skipped one right after the other share one.
	lookAge = time.Second
	// holdPoll is the pause between two looks at a lock that somebody else holds.
	holdPoll = 3 * time.Second
	// mostTurns is how often a run plans anew because others changed things; who is overtaken more often is in a quarrel, not in a queue.
	mostTurns = 6
)

// errOvertaken says that somebody else holds a stage, or had it since it was planned: what the plan says of it may be wrong, also that
// there is nothing to do. The stage is not begun; the run plans again.
var errOvertaken = errors.New("overtaken by another run")

// turns is what a run knows of the locks. A run looks at the locks before it plans. A stage whose lock, or that of a stage which it
// needs, somebody else holds or has had since, is planned anew, whether it was to be changed or to be skipped: being skipped takes no lock,
// so looking is all that a run with nothing to do costs. Locks that a run takes are kept to its end, so that another run or a `down` cannot
// slip in between two of its stages.
type turns struct {
	mu       sync.Mutex
	patience time.Duration              // what is left of --lock-wait
	count    int                        // how often the run was overtaken
	seen     map[string]string          // by stage: its lock's turn when it was planned
	held     map[string]steps.Lease     // by stage
	last     map[string]steps.LockState // the last look, by key
	lookedAt time.Time
}

// by is who this run is to others.
func (x *run) by() steps.Holder {
	h := x.r.Holder
	h.RunID, h.Since = x.runID, time.Now().UTC()
	return h
}

// look tells how the locks of all selected stages stand, or stood less than age ago.
func (x *run) look(ctx context.Context, age time.Duration) (map[string]steps.LockState, error) {
	t := &x.turns
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last != nil && time.Since(t.lookedAt) < age {
		return t.last, nil
	}
	var keys []string
	for _, s := range x.p.Stages {
		if x.states[s.Name].selected {
			keys = append(keys, LockKey(x.id, s.Name))
		}
	}
	at := time.Now()
	all, err := x.r.Locker.Look(ctx, keys, x.by())
	if err != nil {
		return nil, err
	}
	t.last, t.lookedAt = all, at
	return all, nil
}

// holds reports whether this run has a stage's lock, and has not lost it.
func (x *run) holds(stage string) bool {
	x.turns.mu.Lock()
	defer x.turns.mu.Unlock()
	lease := x.turns.held[stage]
	if lease == nil {
		return false
	}
	select {
	case <-lease.Lost():
		return false
	default:
		return true
	}
}

// undisturbed fails with errOvertaken when a stage, or a selected one that it needs, is or was in other hands since it was planned.
func (x *run) undisturbed(ctx context.Context, st *state) error {
	if x.r.Locker == nil {
		return nil
	}
	all, err := x.look(ctx, lookAge)
	if err != nil {
		return err
	}
	for name := range x.p.closure([]string{st.stage.Name}, func(s *Stage) []string { return s.Needs }) {
		now := all[LockKey(x.id, name)]
		if x.states[name].selected && !x.holds(name) && (now.Holder != nil || now.Turn != x.turns.seen[name]) {
			return errOvertaken
		}
	}
	return nil
}

// hold takes a stage's lock, unless this run has it. A lock that somebody else has, or had since the stage was planned, is errOvertaken.
func (x *run) hold(ctx context.Context, st *state) error {
	name := st.stage.Name
	if x.r.Locker == nil || x.holds(name) {
		return nil
	}
	lease, err := x.r.Locker.Lock(ctx, LockKey(x.id, name), x.by(), 0)
	if err != nil {
		if steps.Classify(err).Code == "Locked" {
			return errOvertaken
		}
		return err
	}
	x.turns.mu.Lock()
	defer x.turns.mu.Unlock()
	if x.turns.held == nil {
		x.turns.held = map[string]steps.Lease{}
	}
	x.turns.held[name] = lease
	if lease.Before() != x.turns.seen[name] {
		return errOvertaken
	}
	return nil
}

// lost is closed when the lock of a stage, which this run holds, is in other hands; nil where that cannot be.
func (x *run) lost(stage string) <-chan struct{} {
	x.turns.mu.Lock()
	defer x.turns.mu.Unlock()
	if lease := x.turns.held[stage]; lease != nil {
		return lease.Lost()
	}
	return nil
}

// free gives all locks back.
func (x *run) free(ctx context.Context) {
	x.turns.mu.Lock()
	held := x.turns.held
	x.turns.held = nil
	x.turns.mu.Unlock()
	ctx, cancel := recording(ctx)
	defer cancel()
	var each sync.WaitGroup
	for _, name := range slices.Sorted(maps.Keys(held)) {
		each.Go(func() {
			if err := held[name].Release(ctx); err != nil {
				x.warn(fmt.Sprintf("lock of stage %s: %v", name, err))
			}
		})
	}
	each.Wait()
}

// holdAll takes the locks of all stages or none: holding some while waiting for others would stop a run that could otherwise end.
func (x *run) holdAll(ctx context.Context) error {
	for try := 1; ; try++ {
		if err := x.quiet(ctx); err != nil {
			return err
		}
		var err error
		for _, s := range x.p.Stages {
			if err = x.hold(ctx, x.states[s.Name]); err != nil {
				break
			}
		}
		if !errors.Is(err, errOvertaken) {
			return err
		}
		x.free(ctx)
		if try == mostTurns {
			return x.quarrel()
		}
	}
}

func (x *run) quarrel() error {
	return &steps.Error{
		Code: "Overtaken", Category: steps.Conflict, Retryable: true, Message: "others kept changing what this run had planned",
		Hints: []string{"see what else runs this pipeline, then run the same command again"},
	}
}

// again reports whether the run has to plan anew, and makes it ready for that: what it did and still holds stays done, the rest is
// forgotten. surveyed says that it ended with the survey, whose errors count only when nobody disturbed it.
func (x *run) again(ctx context.Context, surveyed bool) bool {
	if ctx.Err() != nil {
		return false
	}
	if surveyed && !x.disturbed(ctx) || !surveyed && !x.overtaken {
		return false
	}
	x.turns.count++
	var err error
	switch {
	case x.failed != "":
		err = notStarted(fmt.Sprintf("stage %q did not succeed", x.failed), steps.Partial)
	case x.turns.count == mostTurns:
		err = x.quarrel()
	}
	if err != nil {
		x.giveUp(ctx, err)
		return false
	}
	x.renew()
	return true
}

// disturbed reports whether any selected stage is or was in other hands since it was planned.
func (x *run) disturbed(ctx context.Context) bool {
	for _, st := range x.states {
		if st.selected && errors.Is(x.undisturbed(ctx, st), errOvertaken) {
			return true
		}
	}
	return false
}

// renew forgets what was planned and found out, but not what this run did under locks that it still holds.
func (x *run) renew() {
	x.mu.Lock()
	defer x.mu.Unlock()
	kept := map[string]bool{}
	for name, old := range x.states {
		if old.done && old.selected && old.result.Attempt > 0 && x.holds(name) {
			kept[name] = true
			old.plan = StagePlan{Stage: name, Step: old.stage.Definition.Name, State: AllKeep, Outputs: old.raw, Needs: old.stage.Needs}
			continue
		}
		next := x.fresh(old.stage)
		next.selected, next.finished, next.notes = old.selected, old.finished, old.notes
		x.states[name] = next
	}
	x.errors = slices.DeleteFunc(x.errors, func(e StageError) bool { return !kept[e.Stage] })
	x.overtaken, x.executing = false, false
}

// giveUp ends a run that may not go on because of others; stages that it had not begun yet say so.
func (x *run) giveUp(ctx context.Context, why error) {
	if steps.Classify(why).Code != "NotStarted" {
		x.fault("", why)
	}
	if x.turns.count == 0 {
		return // nothing was begun at all
	}
	for _, s := range x.p.Stages {
		if st := x.states[s.Name]; st.selected && !st.done {
			x.head(st)
			x.finish(ctx, st, steps.Blocked, notStarted("another run was quicker", steps.Conflict))
		}
	}
}
