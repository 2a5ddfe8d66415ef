package datavolume_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/datavolume"
)

const elsewhere = "{name: jenkins-home, zone: ap-northeast-2c, relocate: true, size: 20Gi}"

func TestVolumeMovesToAnotherZoneBySnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 7})
		d := datavolume.New(w.Open)
		raw, err := w.Apply(t.Context(), d, cloudtest.Input(t, home))
		first := outputs(t, raw, err)
		raw, err = w.Apply(t.Context(), d, cloudtest.Input(t, elsewhere))
		second := outputs(t, raw, err)
		if second.Zone != "ap-northeast-2c" || second.VolumeID == first.VolumeID || second.State != "available" || second.SizeGiB != 20 {
			t.Errorf("got %+v", second)
		}
		want := []string{"ec2:Volume jenkins-home", "ec2:Volume jenkins-home/earlier/" + first.VolumeID}
		if d := cmp.Diff(want, slices.Sorted(slices.Values(w.Owned()))); d != "" {
			t.Error(d)
		}
		mark := w.Mark()
		raw, err = w.Apply(t.Context(), d, cloudtest.Input(t, elsewhere))
		if again := outputs(t, raw, err); again != second {
			t.Errorf("second run: %+v, want %+v", again, second)
		}
		if _, writes := w.Count(mark); writes != 0 {
			t.Errorf("second run: %d writes", writes)
		}
		raw, err = w.Apply(t.Context(), d, cloudtest.Input(t, "{name: jenkins-home, zone: ap-northeast-2a, relocate: true, size: 25Gi}"))
		if back := outputs(t, raw, err); back.Zone != "ap-northeast-2a" || back.SizeGiB != 25 || back.VolumeID == first.VolumeID {
			t.Errorf("back and grown: %+v", back)
		}
		if err := w.Down(t.Context(), d, cloudtest.Input(t, elsewhere), true); err != nil {
			t.Fatal(err)
		}
		if got := w.Owned(); len(got) != 1 || got[0] != "ec2:Snapshot jenkins-home" {
			t.Errorf("after destroy with data: %v, want a last snapshot", got)
		}
	})
}

func TestVolumeThatMustStayWhereItIsIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ state, code string }{
		"a move that is not finished":    {"precopied", "MoveUnfinished"},
		"a home that was not compared":   {"moved", "MoveUnfinished"},
		"a finished move may be carried": {"verified", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 8})
				tags := cloud.Tags(w.Env().Identity.String(), "ec2:Volume", "jenkins-home")
				tags["pipectl.dev/move-state"], tags["pipectl.dev/move-source"], tags["pipectl.dev/move-time"] = c.state, "uid jenkins/deployment/jenkins", "2026-11-20T10:00:00Z"
				if _, err := w.SeedVolume("ap-northeast-2a", 20, tags); err != nil {
					t.Fatal(err)
				}
				raw, err := w.Apply(t.Context(), datavolume.New(w.Open), cloudtest.Input(t, "{name: jenkins-home, zone: ap-northeast-2c, relocate: true, size: 20Gi}"))
				if c.code == "" {
					if out := outputs(t, raw, err); out.Imported == nil || out.Zone != "ap-northeast-2c" {
						t.Errorf("got %+v, want the move's tags on the copy", out)
					}
					return
				}
				var e *steps.Error
				if !errors.As(err, &e) || e.Code != c.code {
					t.Errorf("got %v, want %s", err, c.code)
				}
				if got := w.Owned(); len(got) != 1 {
					t.Errorf("something was made: %v", got)
				}
			})
		})
	}
}
