package lock_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipectl.dev/engine"
	"pipectl.dev/engine/lock"
	"pipectl.dev/steps"
)

var (
	_ engine.Locker = (*lock.File)(nil)
	_ engine.Locker = (*lock.Memory)(nil)
)

func holder() steps.Holder { return steps.Holder{RunID: "r1", Who: "ann", Host: "h", PID: os.Getpid()} }

func TestBothLocksKeepTheSecondOutAndNameTheFirst(t *testing.T) {
	t.Parallel()
	for name, l := range map[string]engine.Locker{"file": lock.NewFile(t.TempDir() + "/locks"), "memory": lock.NewMemory()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, err := l.Lock(t.Context(), "1/eu/blog/a", holder(), 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = l.Lock(t.Context(), "1/eu/blog/b", holder(), 0); err != nil {
				t.Errorf("another key: %v", err)
			}
			_, err = l.Lock(t.Context(), "1/eu/blog/a", holder(), time.Millisecond)
			var e *steps.Error
			if !errors.As(err, &e) || e.Category.ExitCode() != 12 || !strings.Contains(e.Message, "run r1 of ann on h") {
				t.Errorf("second: %v", err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err = l.Lock(ctx, "1/eu/blog/a", holder(), time.Hour); !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: %v", err)
			}
			for range 2 {
				if err := first.Release(t.Context()); err != nil {
					t.Errorf("release: %v", err)
				}
			}
			again, err := l.Lock(t.Context(), "1/eu/blog/a", holder(), 0)
			if err != nil {
				t.Fatalf("after release: %v", err)
			}
			if err := again.Release(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestALookTellsWhoHoldsAndWhoseTurnItWas(t *testing.T) {
	t.Parallel()
	for name, l := range map[string]engine.Locker{"file": lock.NewFile(t.TempDir() + "/locks"), "memory": lock.NewMemory()} {
		look := func() steps.LockState {
			t.Helper()
			all, err := l.Look(t.Context(), []string{"k", "other"}, holder())
			if err != nil {
				t.Fatal(err)
			}
			return all["k"]
		}
		if st := look(); st.Holder != nil || st.Turn != "" {
			t.Errorf("%s: a lock that nobody took: %+v", name, st)
		}
		first, err := l.Lock(t.Context(), "k", holder(), 0)
		if err != nil {
			t.Fatal(err)
		}
		held := look()
		if held.Holder == nil || held.Holder.Who != "ann" || held.Turn != holder().Turn() {
			t.Errorf("%s: while held: %+v", name, held)
		}
		if err := first.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if st := look(); st.Holder != nil || st.Turn != held.Turn {
			t.Errorf("%s: when free: %+v", name, st)
		}
		next := holder()
		next.RunID = "r2"
		second, err := l.Lock(t.Context(), "k", next, 0)
		if err != nil || second.Before() != held.Turn {
			t.Fatalf("%s: taken after turn %q: %v", name, second.Before(), err)
		}
		if st := look(); st.Turn == held.Turn {
			t.Errorf("%s: the turn did not change", name)
		}
		_ = second.Release(t.Context())
	}
}

func TestUnlock(t *testing.T) {
	t.Parallel()
	file := lock.NewFile(t.TempDir())
	if h, err := file.Unlock(t.Context(), "k"); h != nil || err != nil {
		t.Errorf("a lock that nobody made: %v, %v", h, err)
	}
	lease, err := file.Lock(t.Context(), "k", holder(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if h, err := file.Unlock(t.Context(), "k"); h == nil || h.Who != "ann" || err == nil {
		t.Errorf("a lock of a living process: %v, %v", h, err)
	}
	if err := lease.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if h, err := file.Unlock(t.Context(), "k"); h != nil || err != nil {
		t.Errorf("a lock that is free: %v, %v", h, err)
	}
	mem := lock.NewMemory()
	held, err := mem.Lock(t.Context(), "k", holder(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if h, err := mem.Unlock(t.Context(), "k"); h == nil || err != nil {
		t.Errorf("memory: %v, %v", h, err)
	}
	select {
	case <-held.Lost():
	default:
		t.Error("the one who held it is not told")
	}
}

func TestWaitingEndsWhenTheLockIsFree(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for name, l := range map[string]engine.Locker{"file": lock.NewFile(t.TempDir()), "memory": lock.NewMemory()} {
			lease, err := l.Lock(t.Context(), "k", holder(), 0)
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			time.AfterFunc(10*time.Second, func() { _ = lease.Release(context.Background()) })
			second, err := l.Lock(t.Context(), "k", holder(), time.Minute)
			if took := time.Since(began); err != nil || took < 10*time.Second || took > 11*time.Second {
				t.Fatalf("%s: %v after %s", name, err, took)
			}
			_ = second.Release(t.Context())
		}
	})
}
