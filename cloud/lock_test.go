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

// seeded is a lock as a holder elsewhere wrote it, whose clock is ahead.
func seeded(world *emulator.Cloud, host string, pid int, ahead time.Duration) {
	world.SeedParameter("/pipectl/"+lockKey+"/lock/7", `{"attempt":"x","holder":{"runId":"other","host":"`+host+`","pid":`+itoa(pid)+`,"expires":"`+
		time.Now().Add(90*time.Second+ahead).Format(time.RFC3339Nano)+`"}}`, false)
}

func TestDeadHolderIsTakenOver(t *testing.T) {
	gone, life := 1<<22, 90*time.Second // beyond any process id
	for name, c := range map[string]struct {
		host  string
		pid   int
		ahead time.Duration // its clock
		ago   time.Duration // when it wrote last
		wait  time.Duration
		taken bool
		after time.Duration
	}{
		"a dead process on this host at once":                    {host: "here", pid: gone, taken: true},
		"another host once it was watched for a life":            {host: "there", pid: gone, wait: 10 * time.Second, taken: true, after: life},
		"another host whose clock was fast, just so":             {host: "there", pid: gone, ahead: time.Hour, wait: 10 * time.Second, taken: true, after: life},
		"another host whose clock was slow, just so":             {host: "there", pid: gone, ahead: -time.Hour, taken: true, after: life},
		"another host that died long ago, without a wait":        {host: "there", pid: gone, ago: time.Hour, taken: true, after: life},
		"not another host that died just now, without a wait":    {host: "there", pid: gone},
		"a process that lives but is silent, when it was a life": {host: "here", pid: os.Getpid(), wait: time.Second, taken: true, after: life},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				world, s := session(t, emulator.Options{})
				seeded(world, c.host, c.pid, c.ahead)
				time.Sleep(c.ago)
				began := time.Now()
				lease, err := s.Locks().Lock(t.Context(), lockKey, by("run-2", "here", 1), c.wait)
				if took := time.Since(began); (err == nil) != c.taken || took < c.after || took > c.after+5*time.Second {
					t.Fatalf("after %s: %v", took, err)
				}
				if err == nil {
					_ = lease.Release(t.Context())
				}
			})
		})
	}
}

func TestALivingHolderIsNotTakenOverWhateverItsClockSays(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"right": 0, "an hour fast": time.Hour, "an hour slow": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				world, s := session(t, emulator.Options{})
				seeded(world, "there", 1, ahead)
				renewing := time.NewTicker(30 * time.Second)
				defer renewing.Stop()
				ended := make(chan struct{})
				go func() {
					for {
						select {
						case <-ended:
							return
						case <-renewing.C:
							seeded(world, "there", 1, ahead)
						}
					}
				}()
				for _, wait := range []time.Duration{0, 10 * time.Second, 20 * time.Minute} {
					began := time.Now()
					_, err := s.Locks().Lock(t.Context(), lockKey, by("run-2", "here", 1), wait)
					var locked *steps.Error
					if took := time.Since(began); !errors.As(err, &locked) || locked.Code != "Locked" || took > max(wait, 30*time.Second)+5*time.Second {
						t.Errorf("waiting %s: after %s: %v", wait, took, err)
					}
				}
				close(ended)
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
