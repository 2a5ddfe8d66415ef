package cloud_test

import (
	"errors"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"pipectl.dev/cloud"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
)

const lockKey = "111122223333/ap-northeast-2/blog/cluster"

func session(t *testing.T, o emulator.Options) (*emulator.Cloud, *cloud.Session) {
	t.Helper()
	c := emulator.New(o)
	t.Cleanup(c.Close)
	cfg := aws.Config{Region: emulator.FixtureRegion, Credentials: credentials.NewStaticCredentialsProvider(emulator.FixtureAccessKey, emulator.FixtureSecretKey, "")}
	s, err := cloud.Open(t.Context(), cloud.Options{Config: &cfg, HTTPClient: &http.Client{Transport: c.RoundTripper()}, Speed: 1})
	if err != nil {
		t.Fatal(err)
	}
	return c, s
}

func by(run, host string, pid int) steps.Holder {
	return steps.Holder{RunID: run, Who: "me", Host: host, PID: pid, Since: time.Now()}
}

func TestSecondRunWaitsThenNamesTheHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s := session(t, emulator.Options{})
		first, err := s.Locks().Lock(t.Context(), lockKey, by("run-1", "a", 0), 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Locks().Lock(t.Context(), lockKey, by("run-2", "b", 0), 10*time.Minute)
		var locked *steps.Error
		if !errors.As(err, &locked) || locked.Category != steps.Conflict || locked.Code != "Locked" {
			t.Fatalf("got %v, want Locked: the heartbeat keeps the lock alive", err)
		}
		if err := first.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		second, err := s.Locks().Lock(t.Context(), lockKey, by("run-2", "b", 0), 0)
		if err != nil {
			t.Fatalf("after release: %v", err)
		}
		if err := errors.Join(second.Release(t.Context()), second.Release(t.Context())); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDeadHolderIsTakenOver(t *testing.T) {
	gone := 1 << 22 // beyond any process id
	for name, c := range map[string]struct {
		host string
		pid  int
		wait time.Duration
	}{
		"a dead process on this host at once":       {"here", gone, 0},
		"another host once its lock has run out":    {"there", gone, 2 * time.Minute},
		"a process that lives once its lock is out": {"here", os.Getpid(), 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				world, s := session(t, emulator.Options{})
				world.SeedParameter("/pipectl/"+lockKey+"/lock/7", `{"attempt":"x","holder":{"runId":"dead","host":"`+c.host+`","pid":`+itoa(c.pid)+`,"expires":"`+time.Now().Add(time.Minute).Format(time.RFC3339)+`"}}`, false)
				if c.wait > 0 {
					if _, err := s.Locks().Lock(t.Context(), lockKey, by("run-2", "here", 1), 0); err == nil {
						t.Fatal("taken over too early")
					}
				}
				lease, err := s.Locks().Lock(t.Context(), lockKey, by("run-2", "here", 1), c.wait)
				if err != nil {
					t.Fatal(err)
				}
				_ = lease.Release(t.Context())
			})
		})
	}
}

func TestOfManyThatTryAtOnceOneHolds(t *testing.T) {
	for _, fault := range []string{"", "lost-response", "500", "throttle"} {
		t.Run("fault "+fault, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := emulator.Options{Seed: 9}
				if fault != "" {
					o.Faults = []emulator.Fault{{Service: "ssm", Action: "*", Kind: fault, Times: 8, At: 3}}
				}
				_, s := session(t, o)
				var inside, entered atomic.Int32
				done := make(chan error)
				for i := range 8 {
					go func() {
						lease, err := s.Locks().Lock(t.Context(), lockKey, by("run-"+itoa(i), "host"+itoa(i), 0), time.Hour)
						if err == nil {
							if inside.Add(1) > 1 {
								err = errors.New("two hold the lock")
							}
							entered.Add(1)
							time.Sleep(time.Minute)
							inside.Add(-1)
							err = errors.Join(err, lease.Release(t.Context()))
						}
						done <- err
					}()
				}
				for range 8 {
					if err := <-done; err != nil {
						t.Error(err)
					}
				}
				if entered.Load() != 8 {
					t.Errorf("%d of 8 got the lock", entered.Load())
				}
			})
		})
	}
}

func TestUnlockFreesAndTheHolderLearnsOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s := session(t, emulator.Options{})
		lease, err := s.Locks().Lock(t.Context(), lockKey, by("run-1", "a", 0), 0)
		if err != nil {
			t.Fatal(err)
		}
		who, err := s.Locks().Unlock(t.Context(), lockKey)
		if err != nil || who == nil || who.RunID != "run-1" {
			t.Fatalf("got %v, %v, want run-1", who, err)
		}
		select {
		case <-lease.Lost():
		case <-time.After(2 * time.Minute):
			t.Error("the holder did not learn that its lock is gone")
		}
		if who, err := s.Locks().Unlock(t.Context(), lockKey); who != nil || err != nil {
			t.Errorf("unlock of a free lock: %v, %v", who, err)
		}
	})
}

func itoa(n int) string { return strconv.Itoa(n) }

func TestALookTellsWhoHoldsAndWhoseTurnItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looking atomic.Bool
		_, s := session(t, emulator.Options{Ledger: func(c emulator.Call) {
			if looking.Load() && c.Write {
				t.Errorf("a look called %s", c.Action)
			}
		}})
		var keys []string
		for i := range 25 { // more than a page of SSM
			keys = append(keys, "111122223333/ap-northeast-2/blog/s"+itoa(i))
		}
		me := by("run-2", "b", 0)
		look := func() map[string]steps.LockState {
			t.Helper()
			looking.Store(true)
			defer looking.Store(false)
			all, err := s.Locks().Look(t.Context(), keys, me)
			if err != nil {
				t.Fatal(err)
			}
			return all
		}
		if st := look()[keys[0]]; st.Holder != nil || st.Turn != "" {
			t.Errorf("a lock that nobody took: %+v", st)
		}
		var leases []steps.Lease
		for _, k := range keys {
			l, err := s.Locks().Lock(t.Context(), k, by("run-1", "a", 0), 0)
			if err != nil {
				t.Fatal(err)
			}
			leases = append(leases, l)
		}
		held := look()
		for _, l := range leases {
			if err := l.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		freed := look()
		for _, k := range keys {
			if held[k].Holder == nil || held[k].Holder.RunID != "run-1" || held[k].Turn == "" {
				t.Errorf("%s while held: %+v", k, held[k])
			}
			if freed[k].Holder != nil || freed[k].Turn != held[k].Turn {
				t.Errorf("%s when free: %+v", k, freed[k])
			}
		}
		mine, err := s.Locks().Lock(t.Context(), keys[3], me, 0)
		if err != nil {
			t.Fatal(err)
		}
		if mine.Before() != freed[keys[3]].Turn {
			t.Errorf("taken after turn %q, seen was %q", mine.Before(), freed[keys[3]].Turn)
		}
		if st := look()[keys[3]]; st.Holder != nil || st.Turn == freed[keys[3]].Turn {
			t.Errorf("our own lock: %+v", st)
		}
		_ = mine.Release(t.Context())
	})
}
