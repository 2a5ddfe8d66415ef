package jenkinshome

import (
	"context"
	"strings"
	"testing"
	"time"

	"pipectl.dev/steps/jenkinshome/jenkins/jenkinstest"
)

// onAgent makes this run a build of the old Jenkins, which runs on an executor of an agent for as long as that Jenkins runs.
func (s *stage) onAgent(t *testing.T) {
	t.Helper()
	t.Setenv("BUILD_URL", "https://ci.example.com/job/a/8/")
	s.jenkins.Do(func(j *jenkinstest.Server) { j.Heavy = []string{"http://internal:8080/job/a/8/"} })
}

func TestABuildMovesTheJenkinsThatItBelongsTo(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.onAgent(t)
		p, err := migrateStep{s.base()}.Plan(t.Context(), s.env("run-1"), s.migrateSpec(pre.Move))
		if err != nil || !strings.Contains(p.Forecast.Confirm, itself) {
			t.Errorf("plan: %v, %q", err, p.Forecast.Confirm)
		}
		out, err := s.migrate(t.Context(), pre.Move, "run-1")
		if err != nil {
			t.Fatal(err)
		}
		if s.state() != Moved || s.oldRuns() || out.Downtime.Quiet > 60 {
			t.Errorf("state %s, old runs: %v, %+v", s.state(), s.oldRuns(), out.Downtime)
		}
		s.sameHome(t)
		if !strings.Contains(strings.Join(s.notes, "\n"), "this build belongs to the Jenkins that is moved") {
			t.Errorf("notes: %q", s.notes)
		}
	})
}

// agentEnds is a move by a build whose agent ends with its controller, at a phase of the Job.
func (s *stage) agentEnds(t *testing.T, at moverOp) PrecopyOutputs {
	t.Helper()
	pre, err := s.precopy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.onAgent(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.on(string(at), cancel)
	if _, err := s.migrate(ctx, pre.Move, "run-1"); err == nil {
		t.Fatal("a run whose agent ended succeeds")
	}
	return pre
}

// TestTheStageIsTakenUpAgainAfterItsAgentEnded lets the agent end with its controller, at each phase from there on: the Job goes on, and
// another run, which is no build of that Jenkins, finishes what was begun.
func TestTheStageIsTakenUpAgainAfterItsAgentEnded(t *testing.T) {
	for _, at := range []moverOp{doStop, doAwaitEnd, doLastPass, doAwaitAck} {
		t.Run(string(at), func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				pre := s.agentEnds(t, at)
				time.Sleep(3 * time.Minute) // the Job goes on; nobody has started the old Jenkins again yet
				if s.state() != Cutting || s.oldRuns() {
					t.Fatalf("state %s, old runs: %v", s.state(), s.oldRuns())
				}
				t.Setenv("BUILD_URL", "")
				if _, err := s.migrate(t.Context(), pre.Move, "run-2"); err != nil {
					t.Fatal(err)
				}
				s.sameHome(t)
				s.startNew()
				if _, err := s.verify(t.Context(), pre.Move); err != nil || s.state() != Verified || s.oldRuns() {
					t.Errorf("verify: %v, state %s, old runs: %v", err, s.state(), s.oldRuns())
				}
			})
		})
	}
}

func TestNobodyTakesItUpAndTheOldJenkinsRunsAgain(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		s.agentEnds(t, doLastPass)
		time.Sleep(20 * time.Minute)
		if !s.oldRuns() {
			t.Error("the old Jenkins stays down")
		}
		s.toTheEnd(t.Context(), t)
	})
}
