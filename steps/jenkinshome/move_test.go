package jenkinshome

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipectl.dev/steps"
	"pipectl.dev/steps/jenkinshome/jenkins/jenkinstest"
	"pipectl.dev/treecopy"
)

// bubble runs a test on a stage in virtual time.
func bubble(t *testing.T, f func(t *testing.T, s *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Setenv(MoverImageEnv, "registry.invalid/pipectl@sha256:00")
		for _, k := range []string{"BUILD_URL", "JENKINS_URL"} {
			t.Setenv(k, "")
		}
		s := newStage(t)
		defer func() {
			s.close()
			if t.Failed() {
				t.Log(s.log.String())
			}
		}()
		f(t, s)
	})
}

func code(err error) string {
	if err == nil {
		return ""
	}
	var e *steps.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return err.Error()
}

func (s *stage) precopy(ctx context.Context) (PrecopyOutputs, error) {
	return precopyStep{s.base()}.Apply(ctx, s.env("run-1"), s.precopySpec())
}

func (s *stage) migrate(ctx context.Context, m Move, run string) (MigrateOutputs, error) {
	return migrateStep{s.base()}.Apply(ctx, s.env(run), s.migrateSpec(m))
}

func (s *stage) verify(ctx context.Context, m Move) (VerifyOutputs, error) {
	return verifyStep{s.base()}.Apply(ctx, s.env("run-1"), s.verifySpec(m))
}

// sameHome compares what is on the volume with the old home.
func (s *stage) sameHome(t *testing.T) {
	t.Helper()
	o := treecopy.Options{Excludes: defaultExcludes}
	a, err := treecopy.Digest(t.Context(), s.home(), o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := treecopy.Digest(t.Context(), s.disk(), o)
	if err != nil {
		t.Fatal(err)
	}
	if a.ManifestHash != b.ManifestHash || a.Seen.Files == 0 {
		t.Errorf("home and volume differ: %d and %d files", a.Seen.Files, b.Seen.Files)
	}
}

func TestTheWholeMove(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s.state() != Precopied || pre.Figures.Files == 0 || pre.Move.Source.InstanceID != s.instance || pre.Move.Source.UID != "0a0a-source" {
			t.Fatalf("after precopy: %s %+v", s.state(), pre)
		}
		out, err := s.migrate(t.Context(), pre.Move, "run-1")
		if err != nil {
			t.Fatal(err)
		}
		s.sameHome(t)
		if s.state() != Moved || s.oldRuns() || out.Move.Hash == "" || out.Downtime.Total <= 0 {
			t.Fatalf("after migrate: %s, old runs: %v, %+v", s.state(), s.oldRuns(), out)
		}
		if v, _ := readVolume(t.Context(), s.aws, s.volume); v.Instance != "" {
			t.Errorf("the volume is still attached to %s", v.Instance)
		}
		if fi, err := os.Stat(s.disk()); err != nil || fi.Mode()&os.ModeSetgid == 0 || fi.Mode().Perm()&0o770 != 0o770 {
			t.Errorf("root of the volume: %v %v", fi.Mode(), err)
		}
		for _, left := range []string{oldJobs, oldNS + "/secrets/", oldNS + "/serviceaccounts/"} {
			if l := s.old.list(left); len(l) > 0 {
				t.Errorf("left behind: %v", l)
			}
		}
		s.startNew()
		check, err := s.verify(t.Context(), pre.Move)
		if err != nil || s.state() != Verified || check.Jobs != 3 || check.Plugins != 2 || check.Version != "2.528.1" {
			t.Fatalf("verify: %v %s %+v", err, s.state(), check)
		}
		if strings.Contains(s.log.String(), "11aa") {
			t.Error("the token is in the mover's log")
		}
	})
}

// toTheEnd runs the stages as often as it takes, as a user would, and checks after each run that no Jenkins was lost.
func (s *stage) toTheEnd(ctx context.Context, t *testing.T) {
	t.Helper()
	for run := 1; ; run++ {
		err := s.allStages(ctx, "run-"+strings.Repeat("x", run))
		s.mu.Lock()
		s.crash = nil
		s.mu.Unlock()
		s.safe(t)
		if err == nil {
			break
		}
		if run == 6 {
			t.Fatalf("does not converge: %v (state %s)", err, s.state())
		}
		if code(err) == "RollbackUnfinished" { // what its hint says
			if err := s.resume(t.Context()); err != nil {
				t.Logf("resume: %v", err)
			}
		}
		time.Sleep(time.Minute) // the mover goes on, the user comes back
		s.safe(t)
		ctx = t.Context()
	}
	if s.state() != Verified || s.oldRuns() || !s.newRuns() {
		t.Errorf("ends as %q, old runs: %v, new runs: %v", s.state(), s.oldRuns(), s.newRuns())
	}
	s.sameHome(t)
}

// resume is `pipectl move resume`.
func (s *stage) resume(ctx context.Context) error {
	a, k := s.openers()
	p := s.precopySpec()
	v := s.verifySpec(p.move())
	_, err := NewManager(a, k, Options{}).Do(ctx, s.env("run-r"), Stages{Precopy: &p, Verify: &v}, Resume)
	return err
}

func (s *stage) allStages(ctx context.Context, run string) error {
	pre, err := s.precopy(ctx)
	if err != nil {
		return err
	}
	if _, err := s.migrate(ctx, pre.Move, run); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.startNew()
	if s.failOnce {
		s.failOnce = false
		var job []int
		s.fresh.Do(func(j *jenkinstest.Server) { job = j.Jobs["a"]; delete(j.Jobs, "a") })
		defer s.fresh.Do(func(j *jenkinstest.Server) { j.Jobs["a"] = job })
	}
	_, err = s.verify(ctx, pre.Move)
	return err
}

// safe is what must hold whenever nobody acts.
func (s *stage) safe(t *testing.T) {
	t.Helper()
	state := s.state()
	if s.oldRuns() && s.newRuns() {
		t.Errorf("%q: two Jenkins run", state)
	}
	if (state == None || state == Precopying || state == Precopied) && !s.oldRuns() {
		t.Errorf("%q: the old Jenkins is down", state)
	}
	if (state == Moved || state == Verified) && s.oldRuns() {
		t.Errorf("%q: the old Jenkins runs", state)
	}
}

// stride takes every crash point, or with -short every fifth.
func stride() int {
	if testing.Short() {
		return 5
	}
	return 1
}

func TestAMoveSurvivesTheDeathOfItsOrchestrator(t *testing.T) {
	total := 0
	bubble(t, func(t *testing.T, s *stage) {
		s.toTheEnd(t.Context(), t)
		total = s.events
	})
	for n := 1; n < total && !t.Failed(); n += stride() {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				s.crashAt, s.crash = n, cancel
				s.toTheEnd(ctx, t)
			})
		})
	}
}

func TestAMoveSurvivesTheDeathOfItsMover(t *testing.T) {
	lines := 0
	bubble(t, func(t *testing.T, s *stage) {
		s.toTheEnd(t.Context(), t)
		lines = strings.Count(s.log.String(), "\n")
	})
	for n := 1; n <= lines && !t.Failed(); n += stride() {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				seen := 0
				s.kill = func(string) bool { seen++; return seen == n }
				s.toTheEnd(t.Context(), t)
			})
		})
	}
}

func TestAFinishedMoveAsksNobody(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.migrate(t.Context(), pre.Move, "run-1"); err != nil {
			t.Fatal(err)
		}
		s.startNew()
		first, err := s.verify(t.Context(), pre.Move)
		if err != nil {
			t.Fatal(err)
		}
		s.old.away = true
		before := len(s.old.calls)
		mark := s.cloud.Mark()
		b := s.base()
		p, err := precopyStep{b}.Plan(t.Context(), s.env("run-2"), s.precopySpec())
		if err != nil || p.Outputs == nil {
			t.Fatalf("precopy: %v", err)
		}
		m, err := migrateStep{b}.Plan(t.Context(), s.env("run-2"), s.migrateSpec(p.Outputs.Move))
		if err != nil || m.Outputs == nil || m.Outputs.Move.Hash == "" {
			t.Fatalf("migrate: %v", err)
		}
		v, err := verifyStep{b}.Plan(t.Context(), s.env("run-2"), s.verifySpec(p.Outputs.Move))
		if err != nil || v.Outputs == nil || *v.Outputs != first {
			t.Fatalf("verify: %v %+v %+v", err, v.Outputs, first)
		}
		for name, release := range map[string]func() error{
			"precopy": func() error { return precopyStep{b}.Release(t.Context(), s.env("run-2"), s.precopySpec()) },
			"migrate": func() error {
				return migrateStep{b}.Release(t.Context(), s.env("run-2"), s.migrateSpec(p.Outputs.Move))
			},
		} {
			if err := release(); err != nil {
				t.Errorf("release of %s: %v", name, err)
			}
		}
		if n := len(s.old.calls) - before; n > 0 {
			t.Errorf("the source was asked %d times", n)
		}
		for _, c := range s.cloud.Since(mark) {
			if c.Write {
				t.Errorf("writes %s", c.Action)
			}
		}
	})
}
