package jenkinshome

import (
	"strings"
	"testing"
)

// TestAMoverThatWasStartedAheadAndFailsIsStartedAgain loses the one that is to make the last pass while Jenkins still runs: another catches
// up in its place, and Jenkins does not stand still for the start of a pod.
func TestAMoverThatWasStartedAheadAndFailsIsStartedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		s.outside(t)
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		movers := 0
		s.kill = func(line string) bool {
			if strings.Contains(line, "device found") {
				if movers++; movers == 2 { // the first makes one more pass before anything stops
					s.old.remove("/apis/batch/v1/namespaces/" + copyIn + "/jobs/" + pre.Move.copyJob())
				}
			}
			return false
		}
		before := s.log.Len()
		if _, err := s.migrate(t.Context(), pre.Move, "run-1"); err != nil {
			t.Fatal(err)
		}
		log := s.log.String()[before:]
		if caught := strings.Count(log, "the other mover has caught up"); movers != 3 || caught != 1 || strings.Contains(log, "no other mover for") {
			t.Errorf("%d movers, %d caught up in time:\n%s", movers, caught, log)
		}
		s.sameHome(t)
		if left := s.leftOfStream(); s.state() != Moved || s.oldRuns() || len(left) > 0 {
			t.Errorf("%s, old runs: %v, left: %v", s.state(), s.oldRuns(), left)
		}
	})
}
