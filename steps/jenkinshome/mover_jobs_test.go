package jenkinshome

import (
	"os"
	"path/filepath"
	"testing"
)

// TestAHomeThatLostItsJobsDoesNotEmptyTheCopy: between the copy and the cut-over another disk is mounted, on which a Jenkins has begun anew.
func TestAHomeThatLostItsJobsDoesNotEmptyTheCopy(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
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
}

func TestJobsThatSomebodyDeletesAreFewer(t *testing.T) {
	home := func(jobs ...string) string {
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
	all := home("a", "f", "f/jobs/b", "f/jobs/c")
	if n := jobsIn(all); n != 4 {
		t.Errorf("%d jobs, want 4: folders and what is in them", n)
	}
	for what, c := range map[string]struct {
		src, dst string
		ok       bool
	}{
		"nothing was copied yet": {home(), home(), true},
		"half are deleted":       {home("a", "f"), all, true},
		"one is left":            {home("a"), all, false},
		"none is left":           {home(), home("a"), false},
	} {
		if err := notEmptied(c.src, c.dst); (err == nil) != c.ok {
			t.Errorf("%s: %v", what, err)
		}
	}
}
