package attachvolume

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

func TestValuesForTheOfficialChart(t *testing.T) {
	for owner, want := range map[string]map[string]any{
		"":                  nil,
		"edited: by\nhand:": nil,
		"1000:1000":         {"runAsUser": 1000, "fsGroup": 1000, "fsGroupChangePolicy": "OnRootMismatch", "runAsNonRoot": true},
		"0:1000":            {"runAsUser": 0, "fsGroup": 1000, "fsGroupChangePolicy": "OnRootMismatch"},
	} {
		var got map[string]map[string]any
		if err := yaml.Unmarshal([]byte(Spec{Claim: "jenkins/home"}.values(owner)), &got); err != nil {
			t.Fatalf("%q: %v", owner, err)
		}
		all := map[string]map[string]any{"persistence": {"enabled": true, "existingClaim": "home"}}
		if want != nil {
			all["controller"] = map[string]any{"podSecurityContextOverride": want}
		}
		if d := cmp.Diff(all, got); d != "" {
			t.Errorf("%q: %s", owner, d)
		}
	}
}
