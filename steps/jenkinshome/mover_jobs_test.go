package jenkinshome

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pipectl.dev/treecopy"
)

// TestAHomeThatLostItsJobsDoesNotEmptyTheCopy: between the copy and the cut-over another disk is mounted, on which a Jenkins has begun anew.
func TestAHomeThatLostItsJobsDoesNotEmptyTheCopy(t *testing.T) {
	for route, set := range map[string]func(*stage, *testing.T){routeAttach: func(*stage, *testing.T) {}, routeSnapshot: (*stage).apart, routeStream: (*stage).outside} {
		t.Run(route, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				set(s, t)
				pre, err := s.precopy(t.Context())
				if err != nil || pre.Move.Route != route {
					t.Fatalf("route %s, %v", pre.Move.Route, err)
				}
				had := jobsIn(s.disk())
				aside := filepath.Join(s.dir, "aside")
				if err := os.Rename(filepath.Join(s.home(), "jobs"), aside); err != nil {
					t.Fatal(err)
				}
				if _, err := s.migrate(t.Context(), pre.Move, "run-1"); code(err) != "JobsMissing" {
					t.Errorf("got %v", err)
				}
				s.await("the old Jenkins", s.oldRuns)
				if now := jobsIn(s.disk()); now != had || had < 2 || s.state() != Precopied {
					t.Errorf("the copy has %d jobs, had %d; state %s", now, had, s.state())
				}
				if err := os.Rename(aside, filepath.Join(s.home(), "jobs")); err != nil {
					t.Fatal(err)
				}
				if _, err := s.migrate(t.Context(), pre.Move, "run-2"); err != nil {
					t.Errorf("with them: %v", err)
				}
				s.sameHome(t)
			})
		})
	}
}

// homeOf is a home with these jobs; a/jobs/b is b in the folder a.
func homeOf(t *testing.T, jobs ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, j := range jobs {
		if err := os.MkdirAll(filepath.Join(dir, "jobs", j), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "jobs", j, "config.xml"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestJobsThatSomebodyDeletesAreFewer(t *testing.T) {
	all := homeOf(t, "a", "f", "f/jobs/b", "f/jobs/c")
	if n := jobsIn(all); n != 4 {
		t.Errorf("%d jobs, want 4: folders and what is in them", n)
	}
	for what, c := range map[string]struct {
		src, dst string
		ok       bool
	}{
		"nothing was copied yet": {homeOf(t), homeOf(t), true},
		"half are deleted":       {homeOf(t, "a", "f"), all, true},
		"one is left":            {homeOf(t, "a"), all, false},
		"none is left":           {homeOf(t), homeOf(t, "a"), false},
	} {
		if err := notEmptied(c.src, c.dst); (err == nil) != c.ok {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// farHome is a home as another mover lists it.
type farHome struct {
	dir   string
	asked int
	lost  bool
}

func (f *farHome) List(_ context.Context, dir string, _ bool) (*treecopy.Listing, error) {
	if f.asked++; f.lost {
		return nil, fmt.Errorf("list: %w", treecopy.ErrLost)
	}
	all, err := os.ReadDir(filepath.Join(f.dir, dir))
	l := &treecopy.Listing{}
	for _, e := range all {
		x := treecopy.RemoteEntry{Name: e.Name(), Stat: treecopy.Stat{Mode: 0o100644}}
		if e.IsDir() {
			x.Stat.Mode = 0o040755
		}
		l.Entries = append(l.Entries, x)
	}
	return l, err
}

func TestJobsOfAHomeOnAnotherMachineAreCountedWithFewQuestions(t *testing.T) {
	t.Parallel()
	flat := []string{"a", "b", "c", "d"}
	folders := []string{"f", "f/jobs/a", "f/jobs/b", "g", "g/jobs/a", "g/jobs/b"}
	for name, c := range map[string]struct {
		src, dst []string
		lost     bool
		asked    int
		code     string
	}{
		"nothing was copied yet":                {flat, nil, false, 0, ""},
		"all are there":                         {flat, flat, false, 1, ""},
		"half are left":                         {flat[:2], flat, false, 1, ""},
		"one is left":                           {flat[:1], flat, false, 2, "JobsMissing"},
		"none is left":                          {nil, flat, false, 1, "JobsMissing"},
		"one folder says enough":                {folders, folders, false, 2, ""},
		"the folders are left, and are empty":   {[]string{"f", "g"}, folders, false, 3, "JobsMissing"},
		"all were moved into a folder":          {[]string{"new", "new/jobs/a", "new/jobs/b"}, flat, false, 2, ""},
		"what is lost on its way is asked anew": {nil, flat, true, 1, "lost"},
	} {
		src := &farHome{dir: homeOf(t, c.src...), lost: c.lost}
		err := notEmptiedFar(t.Context(), src, homeOf(t, c.dst...))
		got := code(err)
		if errors.Is(err, treecopy.ErrLost) {
			got = "lost"
		}
		if got != c.code || src.asked != c.asked {
			t.Errorf("%s: got %v after %d questions, want %q after %d", name, err, src.asked, c.code, c.asked)
		}
	}
}
