package jenkinshome

import (
	"strconv"
	"strings"
	"testing"

	emu "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
)

func TestALostSourceLeavesTheLastGoodCopy(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.old.away = true
		mark := s.cloud.Mark()
		if _, err := s.migrate(t.Context(), pre.Move, "run-1"); code(err) != "SourceUnreachable" || steps.Classify(err).Category.ExitCode() != 14 {
			t.Errorf("got %v", err)
		}
		if s.newRuns() || s.state() != Precopied {
			t.Errorf("state %s, new runs: %v: a copy of a running Jenkins must not be started", s.state(), s.newRuns())
		}
		for _, c := range s.cloud.Since(mark) {
			if c.Action == "CreateTags" || c.Action == "DeleteTags" || c.Action == "DetachVolume" {
				t.Errorf("%s: nothing was to change", c.Action)
			}
		}
		s.sameHome(t)
		m, st := s.manager()
		r, err := m.Status(t.Context(), s.env("by-hand"), st)
		if err != nil || r.Reached || r.CopiedAt == "" || !strings.Contains(r.Text(), "ended "+r.CopiedAt) {
			t.Errorf("%v: the age of the copy is not told:\n%s", err, r.Text())
		}
	})
}

func TestAnOldJenkinsStartedAfterTheMoveIsTold(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		m := s.moved(t)
		s.old.edit(oldDeploy, func(o map[string]any) { sub(o, "spec")["replicas"] = 1 })
		s.await("the old Jenkins", s.oldRuns)
		if _, err := s.verify(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(strings.Join(s.notes, "; "), "runs too: somebody started it after the move") {
			t.Errorf("notes: %q", s.notes)
		}
		if !s.newRuns() || !s.oldRuns() {
			t.Error("pipectl stopped one of them: that is the owner's to say")
		}
	})
}

// TestTheCloudRefusesInTheMiddle takes the credentials, or the permission, at each of the first calls of a kind, and gives them back.
func TestTheCloudRefusesInTheMiddle(t *testing.T) {
	for action, calls := range map[string][]int{"AttachVolume": {1}, "DetachVolume": {1}, "CreateTags": {1, 3, 5}, "DescribeVolumes": {2, 9}, "DescribeInstances": {1, 3}} {
		for _, kind := range []string{"expired-token", "access-denied"} {
			for _, at := range calls {
				t.Run(action+" "+kind+" "+strconv.Itoa(at), func(t *testing.T) {
					bubble(t, func(t *testing.T, s *stage) {
						s.cloud.AddFault(emu.Fault{Service: "ec2", Action: action, Kind: kind, At: at})
						mark := s.cloud.Mark()
						s.toTheEnd(t.Context(), t)
						made := 0
						for _, c := range s.cloud.Since(mark) {
							if c.Action == action {
								made++
							}
						}
						if made < at {
							t.Errorf("only %d calls: nothing was refused", made)
						}
					})
				})
			}
		}
	}
}
