package jenkinshome

import (
	"testing"

	"pipectl.dev/steps"
)

// TestAHomeThatChangesItsZoneNeedsNoOldJenkins has volumes that are not known yet when the stages are looked at before the run: what
// data-volume is about to make may be a copy of one that holds a home already.
func TestAHomeThatChangesItsZoneNeedsNoOldJenkins(t *testing.T) {
	const source = "uid jenkins/deployment/jenkins i-1"
	for name, c := range map[string]struct {
		tags             map[string]string
		precopy, migrate string // codes of the refusals
	}{
		"the move was finished":                 {map[string]string{tagState: "finalized", tagSource: source}, "", ""},
		"it was compared":                       {map[string]string{tagState: "verified", tagSource: source}, "", ""},
		"it was not compared":                   {map[string]string{tagState: "moved", tagSource: source}, "SourceUnreachable", "NoToken"},
		"another Jenkins was moved":             {map[string]string{tagState: "verified", tagSource: "uid other/deployment/j i-1"}, "SourceUnreachable", ""},
		"none was moved":                        {nil, "SourceUnreachable", "NoToken"},
		"somebody else's pipeline moved a home": {map[string]string{tagState: "verified", tagSource: source, "pipectl.dev/identity": "1/x/other"}, "SourceUnreachable", "NoToken"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				tags := map[string]string{"pipectl.dev/identity": s.env("run-1").Identity.String()}
				for k, v := range c.tags {
					tags[k] = v
				}
				if c.tags != nil {
					s.seed(t, "ap-northeast-2a", tags)
				}
				s.old.away = true
				p := s.precopySpec()
				p.Volume = ""
				if err := (precopyStep{s.base()}).Preflight(t.Context(), s.env("run-1"), p); code(err) != c.precopy {
					t.Errorf("precopy: got %v, want %q", err, c.precopy)
				}
				m := s.migrateSpec(Move{})
				m.Jenkins.Token = steps.Secret{}
				if err := (migrateStep{s.base()}).Preflight(t.Context(), s.env("run-1"), m); code(err) != c.migrate {
					t.Errorf("migrate: got %v, want %q", err, c.migrate)
				}
			})
		})
	}
}
