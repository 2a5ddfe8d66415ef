package steps_test

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"pipectl.dev/steps"
)

const life = time.Minute

// record is a lock as a service keeps it: written whole, with a number that every write moves on.
type record struct {
	holder  *steps.Holder
	version int
}

func (r *record) write(h steps.Holder, clock time.Duration) {
	h.Expires = time.Now().Add(clock + life)
	r.holder, r.version = &h, r.version+1
}

// lock takes r for by as the lockers do.
func (r *record) lock(ctx context.Context, w *steps.Watch, by steps.Holder, wait time.Duration) (steps.Lease, error) {
	return steps.AwaitLock(ctx, "k", wait, 2*time.Second, func() (steps.Lease, steps.LockState, error) {
		if r.holder == nil {
			w.Free("k", nil)
		} else if st := w.State("k", strconv.Itoa(r.version), *r.holder, by); st.Holder != nil {
			return nil, st, nil
		}
		r.write(by, 0)
		return lease{}, steps.LockState{}, nil
	})
}

func TestWhoLivesIsJudgedByWhatIsSeenNotByClocks(t *testing.T) {
	const fast, slow = time.Hour, -time.Hour
	for name, c := range map[string]struct {
		clock   time.Duration // of the holder, against that of the one who watches
		silent  time.Duration // for how long the holder had been silent when we came; a dead one was never seen
		renews  time.Duration // until when; 0: it is dead
		release time.Duration // when it lets go
		wait    time.Duration
		taken   bool
		after   time.Duration
	}{
		"a living one is named at once to who does not wait":                  {renews: time.Hour},
		"a living one is named once it renewed to who waits a little":         {renews: time.Hour, wait: 5 * time.Second, after: 21 * time.Second},
		"a living one is named after the wait when it was seen by then":       {renews: time.Hour, wait: 30 * time.Second, after: 30 * time.Second},
		"a living one is not taken over in ten lives":                         {renews: time.Hour, wait: 10 * time.Minute, after: 10 * time.Minute},
		"a living one whose clock is slow is not taken over":                  {clock: slow, renews: 2 * time.Hour, wait: 10 * time.Minute, after: 10 * time.Minute},
		"a living one whose clock is slow is watched even without a wait":     {clock: slow, renews: time.Hour, after: 20 * time.Second},
		"a living one whose clock is fast is not taken over":                  {clock: fast, renews: time.Hour, wait: 10 * time.Minute, after: 10 * time.Minute},
		"a dead one that died just now is taken over after a life":            {wait: 5 * time.Second, taken: true, after: life},
		"a dead one that died just now is named to who does not wait":         {},
		"a dead one of long ago is watched even without a wait":               {silent: 10 * time.Hour, taken: true, after: life},
		"a dead one whose clock was fast is taken over after a life":          {clock: fast, wait: 20 * time.Second, taken: true, after: life},
		"a dead one whose clock was slow is taken over after a life":          {clock: slow, wait: 20 * time.Second, taken: true, after: life},
		"one that dies while it is watched is taken over a life later":        {renews: 45 * time.Second, wait: 5 * time.Minute, taken: true, after: 40*time.Second + life},
		"one that lets go is followed at once":                                {renews: time.Hour, release: 10 * time.Second, wait: time.Minute, taken: true, after: 10 * time.Second},
		"one that lets go is followed at once, whatever its clock says":       {clock: fast, renews: time.Hour, release: 10 * time.Second, wait: time.Minute, taken: true, after: 10 * time.Second},
		"one that is in doubt and lets go is followed though no wait is left": {clock: slow, renews: time.Hour, release: 10 * time.Second, taken: true, after: 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &record{}
				r.write(steps.Holder{RunID: "theirs", Host: "there"}, c.clock)
				time.Sleep(c.silent)
				began := time.Now()
				stop := make(chan struct{})
				go func() {
					for {
						select {
						case <-stop:
							return
						case <-time.After(life / 3):
						}
						if r.holder != nil && r.holder.RunID == "theirs" && time.Since(began) < c.renews {
							r.write(*r.holder, c.clock)
						}
					}
				}()
				if c.release > 0 {
					time.AfterFunc(c.release, func() { r.holder = nil })
				}
				_, err := r.lock(t.Context(), steps.NewWatch(life), steps.Holder{RunID: "mine", Host: "here"}, c.wait)
				close(stop)
				if took := time.Since(began); (err == nil) != c.taken || took < c.after || took > c.after+2*time.Second {
					t.Errorf("after %s: %v; want taken %v after %s", took, err, c.taken, c.after)
				}
			})
		})
	}
}

func TestOfTwoThatWatchADeadOneOneFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, began := &record{}, time.Now()
		r.write(steps.Holder{RunID: "dead", Host: "there"}, -time.Hour)
		type end struct {
			err   error
			after time.Duration
		}
		ends := make(chan end)
		for i := range 2 {
			go func() {
				_, err := r.lock(t.Context(), steps.NewWatch(life), steps.Holder{RunID: strconv.Itoa(i), Host: "here"}, 0)
				ends <- end{err, time.Since(began)}
			}()
		}
		first, second := <-ends, <-ends
		if first.err != nil || first.after != life {
			t.Errorf("the first: %+v", first)
		}
		if second.err == nil || second.after > life+2*time.Second {
			t.Errorf("the second: %+v", second) // who took it is seen to live: it has just come
		}
	})
}

func TestAWatchIsOfEachLockByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, them, me := steps.NewWatch(life), steps.Holder{RunID: "theirs", Host: "there"}, steps.Holder{RunID: "mine", Host: "here"}
		if st := w.State("a", "1", them, me); st.Holder == nil || st.Alive {
			t.Errorf("at first sight: %+v", st)
		}
		time.Sleep(life / 2)
		if st := w.State("b", "1", them, me); st.Holder == nil {
			t.Errorf("another lock: %+v", st)
		}
		time.Sleep(life / 2)
		if st := w.State("a", "1", them, me); st.Holder != nil || !st.Silent {
			t.Errorf("after a life: %+v", st)
		}
		if st := w.State("b", "1", them, me); st.Holder == nil || st.Silent {
			t.Errorf("another lock after half of one: %+v", st)
		}
		if st := w.State("a", "2", them, me); st.Holder == nil || !st.Alive {
			t.Errorf("it was only slow: %+v", st)
		}
		if st := w.Free("c", &them); st.Holder != nil || st.Turn != them.Turn() {
			t.Errorf("a lock that was let go stands %+v", st)
		}
		if st := w.State("c", "1", them, me); st.Holder == nil || !st.Alive {
			t.Errorf("one that came while we watched: %+v", st)
		}
	})
}
