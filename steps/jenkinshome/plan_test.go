package jenkinshome

import "testing"

// TestACutOverThatHasNotBegunIsPlannedAsNew: what a plan calls an update is told to people as being there.
func TestACutOverThatHasNotBegunIsPlannedAsNew(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p, err := migrateStep{s.base()}.Plan(t.Context(), s.env("run-1"), s.migrateSpec(pre.Move))
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Changes) != 1 || p.Changes[0].Action != "create" {
			t.Errorf("got %+v, want one change, to create", p.Changes)
		}
	})
}
