package jenkinshome

import (
	"context"
	"strings"
	"testing"
	"time"

	"pipectl.dev/steps"
)

func (s *stage) manager() (Manager, Stages) {
	a, k := s.openers()
	p := s.precopySpec()
	m, v := s.migrateSpec(p.move()), s.verifySpec(p.move())
	return NewManager(a, k, Options{}), Stages{&p, &m, &v}
}

func (s *stage) do(ctx context.Context, v Verb) (MoveReport, error) {
	m, st := s.manager()
	return m.Do(ctx, s.env("by-hand"), st, v)
}

// cutDead begins a cut-over whose orchestrator dies at a line of the mover's log.
func (s *stage) cutDead(t *testing.T, line string) Move {
	pre, err := s.precopy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.on(line, cancel)
	if _, err := s.migrate(ctx, pre.Move, "run-1"); err == nil {
		t.Fatal("a cancelled run succeeds")
	}
	return pre.Move
}

// moved carries a move to where the new Jenkins runs and was not compared.
func (s *stage) moved(t *testing.T) Move {
	move := s.cutOver(t)
	s.startNew()
	return move
}

// cutOver carries a move to where no Jenkins runs.
func (s *stage) cutOver(t *testing.T) Move {
	t.Helper()
	pre, err := s.precopy(t.Context())
	if err == nil {
		_, err = s.migrate(t.Context(), pre.Move, "run-1")
	}
	if err != nil {
		t.Fatal(err)
	}
	return pre.Move
}

func TestMoveVerbs(t *testing.T) {
	for name, c := range map[string]struct {
		to    func(t *testing.T, s *stage)
		verb  Verb
		state State
		old   bool // which Jenkins runs afterwards
		new   bool
		code  string
		exit  int
	}{
		"abort of nothing": {func(*testing.T, *stage) {}, Rollback, None, true, false, "", 0},
		"abort of a copy lets the old node go": {func(t *testing.T, s *stage) {
			if _, err := s.precopy(t.Context()); err != nil {
				t.Fatal(err)
			}
		}, Rollback, Precopied, true, false, "", 0},
		"abort of a cut-over":                          {func(t *testing.T, s *stage) { s.cutDead(t, string(doQuiet)) }, Rollback, Precopied, true, false, "", 0},
		"abort of a cut-over with Jenkins stopped":     {func(t *testing.T, s *stage) { s.cutDead(t, string(doLastPass)) }, Rollback, Precopied, true, false, "", 0},
		"resume of a cut-over":                         {func(t *testing.T, s *stage) { s.cutDead(t, string(doQuiet)) }, Resume, Moved, false, false, "", 0},
		"resume begins no cut-over":                    {func(t *testing.T, s *stage) { _, _ = s.precopy(t.Context()) }, Resume, Precopied, true, false, "", 0},
		"abort of a move takes the volume back":        {func(t *testing.T, s *stage) { s.moved(t) }, Rollback, Precopied, true, false, "", 0},
		"resume leaves a move to the stages":           {func(t *testing.T, s *stage) { s.moved(t) }, Resume, Moved, false, true, "", 0},
		"a move that was not compared is not finished": {func(t *testing.T, s *stage) { s.moved(t) }, Finalize, Moved, false, true, "NotVerified", 10},
		"resume of a rollback": {func(t *testing.T, s *stage) {
			s.moved(t)
			_ = writeTags(t.Context(), s.aws, s.volume, map[string]string{tagState: string(RollingBack)})
		}, Resume, Precopied, true, false, "", 0},
		"no rollback while the target is silent": {func(t *testing.T, s *stage) { s.moved(t); s.new.away = true }, Rollback, Moved, false, true, "TargetUnreachable", 14},
		"no rollback while the source is silent": {func(t *testing.T, s *stage) { s.moved(t); s.old.away = true }, Rollback, Moved, false, true, "SourceUnreachable", 14},
		"finalize":                               {func(t *testing.T, s *stage) { s.verified(t) }, Finalize, Finalized, false, true, "", 0},
		"finalize without the source":            {func(t *testing.T, s *stage) { s.verified(t); s.old.away = true }, Finalize, Finalized, false, true, "", 0},
		"abort of a finished move":               {func(t *testing.T, s *stage) { s.verified(t) }, Rollback, Verified, false, true, "MoveFinished", 10},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				c.to(t, s)
				for range 2 { // each verb is safe to repeat
					_, err := s.do(t.Context(), c.verb)
					if code(err) != c.code || c.code != "" && steps.Classify(err).Category.ExitCode() != c.exit {
						t.Fatalf("got %v, want %s", err, c.code)
					}
					if s.state() != c.state || s.oldRuns() != c.old || s.newRuns() != c.new {
						t.Fatalf("state %q, old runs: %v, new runs: %v", s.state(), s.oldRuns(), s.newRuns())
					}
				}
				if v, _ := readVolume(t.Context(), s.aws, s.volume); c.verb == Rollback && c.code == "" && v.Instance != "" {
					t.Errorf("the volume is still attached to %s", v.Instance)
				}
				if s.old.away || s.new.away {
					return
				}
				if l := s.heldLeases(); len(l) > 0 {
					t.Errorf("left behind: %v", l)
				}
				if c.state == Finalized && s.old.get(oldRecord) != nil {
					t.Error("the record is left")
				}
				if c.old {
					s.toTheEnd(t.Context(), t) // the next run moves all the same
				}
			})
		})
	}
}

func (s *stage) verified(t *testing.T) {
	m := s.moved(t)
	if _, err := s.verify(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

func TestMoveStatusWritesNothingAndSaysWhatCanBeDone(t *testing.T) {
	for name, c := range map[string]struct {
		to    func(t *testing.T, s *stage)
		state State
		says  []string
		can   string
	}{
		"not begun": {func(*testing.T, *stage) {}, None, []string{"not begun", "nothing is copied", "old Jenkins runs"}, ""},
		"cutting":   {func(t *testing.T, s *stage) { s.cutDead(t, string(doQuiet)) }, Cutting, []string{"cut-over", "asks the Job of the cut-over to turn back"}, "resume abort"},
		"backed out, not settled": {func(t *testing.T, s *stage) {
			s.cutDead(t, string(doAwaitAck))
			time.Sleep(20 * time.Minute)
		}, Cutting, []string{"backedout", "turned back", "nobody detached the volume within 10m0s", "old Jenkins runs"}, "resume abort"},
		"moved":       {func(t *testing.T, s *stage) { s.moved(t) }, Moved, []string{"downtime", "builds made since are lost", "new Jenkins runs"}, "abort"},
		"verified":    {func(t *testing.T, s *stage) { s.verified(t) }, Verified, []string{"checked", "3 jobs", "refuses: the move is finished"}, "finalize"},
		"source gone": {func(t *testing.T, s *stage) { s.verified(t); s.old.away = true }, Verified, []string{"the source cluster does not answer"}, "finalize"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				c.to(t, s)
				mark, before := s.cloud.Mark(), len(s.old.calls)
				m, st := s.manager()
				r, err := m.Status(t.Context(), s.env("look"), st)
				if err != nil {
					t.Fatal(err)
				}
				text := strings.Join(strings.Fields(r.Text()), " ")
				for _, want := range c.says {
					if !strings.Contains(text, want) {
						t.Errorf("does not say %q:\n%s", want, r.Text())
					}
				}
				var can []string
				for _, v := range r.Verbs {
					if v.Can {
						can = append(can, v.Verb)
					}
				}
				if got := strings.Join(can, " "); got != c.can || r.State != c.state {
					t.Errorf("%q can %q, want %q", r.State, got, c.can)
				}
				for _, call := range s.cloud.Since(mark) {
					if call.Write {
						t.Errorf("writes %s", call.Action)
					}
				}
				for _, call := range s.old.calls[before:] {
					if !strings.HasPrefix(call, "GET ") && !strings.Contains(call, "pipectl-move") && s.state() != Cutting {
						t.Errorf("calls %s", call)
					}
				}
			})
		})
	}
}

func TestAStatusOfAMoveThatHasNoVolumeSaysWhatBeginsIt(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		m, st := s.manager()
		st.Precopy.Volume, st.Migrate.Move.VolumeID, st.Verify.Move.VolumeID = "", "", ""
		if _, err := m.Status(t.Context(), s.env("look"), st); code(err) != "NoMove" {
			t.Errorf("got %v", err)
		}
	})
}
