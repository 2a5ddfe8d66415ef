package jenkinshome

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	oldClaim = oldNS + "/persistentvolumeclaims/old-home"
	oldPV    = "/api/v1/persistentvolumes/pv-1"
)

// onClaim lets the old home lie on a claim of the official chart, whose volume goes with it.
func (s *stage) onClaim(notes string) {
	s.old.put(oldClaim, object(`{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: old-home, namespace: jenkins, annotations: `+notes+`}, spec: {accessModes: [ReadWriteOnce], volumeName: pv-1}}`))
	s.old.put(oldPV, object(`{apiVersion: v1, kind: PersistentVolume, metadata: {name: pv-1}, spec: {persistentVolumeReclaimPolicy: Delete, csi: {driver: ebs.csi.aws.com, volumeHandle: vol-1}}}`))
	s.editPod(`{volumes: [{name: home, persistentVolumeClaim: {claimName: old-home}}]}`)
}

// kept is what of the old claim, and of its volume, protection is about.
func (s *stage) kept() map[string]any {
	out := map[string]any{"reclaim": sub(s.old.get(oldPV), "spec")["persistentVolumeReclaimPolicy"]}
	for k, v := range sub(sub(s.old.get(oldClaim), "metadata"), "annotations") {
		out[k] = v
	}
	return out
}

func TestTheOldClaimOutlivesItsChartUntilTheMoveIsTurnedBack(t *testing.T) {
	for name, c := range map[string]struct {
		notes  string
		during map[string]any
	}{
		"a claim of Helm": {`{}`, map[string]any{"reclaim": "Retain", helmKeep: "keep", argoKeep: "Prune=false,Delete=false"}},
		"one with options of its own": {`{argocd.argoproj.io/sync-options: "Prune=false,ServerSideApply=true", mine: x}`,
			map[string]any{"reclaim": "Retain", helmKeep: "keep", argoKeep: "Prune=false,ServerSideApply=true,Delete=false", "mine": "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				s.onClaim(c.notes)
				before := s.kept()
				move := s.moved(t)
				if d := cmp.Diff(c.during, s.kept()); d != "" {
					t.Errorf("after the cut-over: %s", d)
				}
				s.fresh.Loading = true
				if _, err := s.verify(t.Context(), move); code(err) != "JenkinsDiffers" {
					t.Errorf("got %v", err)
				}
				if d := cmp.Diff(before, s.kept()); d != "" {
					t.Errorf("after turning back: %s", d)
				}
			})
		})
	}
}

func TestACutOverThatIsTurnedBackLeavesTheOldClaimAsItWas(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		s.onClaim(`{}`)
		before := s.kept()
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.jenkins.IgnoreQuiet = true
		if _, err := s.migrate(t.Context(), pre.Move, "run-1"); code(err) != "NotQuiet" {
			t.Errorf("got %v", err)
		}
		if d := cmp.Diff(before, s.kept()); d != "" {
			t.Error(d)
		}
		s.safe(t)
	})
}
