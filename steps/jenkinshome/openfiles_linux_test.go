package jenkinshome

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// opened opens a file, until the test ends or close is called.
func opened(t *testing.T, path string, flags int) (close func()) {
	t.Helper()
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	close = func() { _ = f.Close() } // it may be closed already
	t.Cleanup(close)
	return close
}

func TestWhoHasAFileOfTheHomeOpenToWrite(t *testing.T) {
	home, other := t.TempDir(), t.TempDir()
	for _, dir := range []string{filepath.Join(home, "jobs/a"), filepath.Join(other, "jobs/a")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"log", "read", "gone"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	found := func(want ...string) {
		t.Helper()
		got, err := openToWrite("/proc", home)
		if err != nil {
			t.Fatal(err)
		}
		for i, rel := range want {
			want[i] = fmt.Sprintf("%s (pid %d): %s", nameOf("/proc/self"), os.Getpid(), rel)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	opened(t, filepath.Join(home, "jobs/a/read"), os.O_RDONLY)
	opened(t, filepath.Join(other, "jobs/a/log"), os.O_WRONLY)
	opened(t, filepath.Join(home, "jobs/a/gone"), os.O_WRONLY)
	if err := os.Remove(filepath.Join(home, "jobs/a/gone")); err != nil {
		t.Fatal(err)
	}
	found()
	done := opened(t, filepath.Join(home, "jobs/a/log"), os.O_WRONLY|os.O_APPEND)
	found("jobs/a/log")
	done()
	found()
	if got, err := openToWrite(filepath.Join(home, "no-proc"), home); err != nil || got != nil {
		t.Errorf("a node whose processes cannot be seen: %q, %v", got, err)
	}
	if os.Geteuid() != 0 {
		t.Log("not root: nothing can be mounted, so no container is played")
		return
	}
	mounted := filepath.Join(t.TempDir(), "var/jenkins_home") // as in a container
	if err := os.MkdirAll(mounted, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(home, mounted, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(mounted, unix.MNT_DETACH) }()
	done = opened(t, filepath.Join(mounted, "jobs/a/log"), os.O_RDWR)
	found("jobs/a/log")
	done()
}

// TestAProcessOfTheNodeThatHasTheHomeOpenTurnsTheCutOverBack has one that no API server knows of: this test.
func TestAProcessOfTheNodeThatHasTheHomeOpenTurnsTheCutOverBack(t *testing.T) {
	for name, at := range map[string]string{"before the last pass": string(doAwaitEnd), "after it": "last pass done"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				real := procOf
				procOf = func(string) string { return "/proc" }
				t.Cleanup(func() { procOf = real })
				pre, err := s.precopy(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				done := func() {}
				s.on(at, func() { done = opened(t, filepath.Join(s.home(), "config.xml"), os.O_WRONLY|os.O_APPEND) }) // and writes nothing yet
				_, err = s.migrate(t.Context(), pre.Move, "run-1")
				if code(err) != "HomeShared" || !strings.Contains(err.Error(), "config.xml") {
					t.Fatalf("got %v", err)
				}
				s.await("the old Jenkins", s.oldRuns)
				s.safe(t)
				time.AfterFunc(5*time.Second, done)
				time.Sleep(10 * time.Second)
				if _, err := s.migrate(t.Context(), pre.Move, "run-2"); err != nil {
					t.Errorf("once it is closed: %v", err)
				}
				s.sameHome(t)
			})
		})
	}
}
