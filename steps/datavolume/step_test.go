package datavolume_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps/datavolume"
)

const home = "{name: jenkins-home, zone: ap-northeast-2a, size: 20Gi}"

func outputs(t *testing.T, raw []byte, err error) datavolume.Outputs {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var out datavolume.Outputs
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestVolumeIsMadeOnceAndKeptByDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 2})
		d, in := datavolume.New(w.Open), cloudtest.Input(t, home)
		raw, err := w.Apply(t.Context(), d, in)
		first := outputs(t, raw, err)
		if first.Zone != "ap-northeast-2a" || first.SizeGiB != 20 || first.State != "available" || first.Imported != nil {
			t.Errorf("got %+v", first)
		}
		mark := w.Mark()
		raw, err = w.Apply(t.Context(), d, in)
		if again := outputs(t, raw, err); again != first {
			t.Errorf("second run: got %+v, want %+v", again, first)
		}
		if reads, writes := w.Count(mark); writes != 0 || reads > 2 {
			t.Errorf("second run: %d reads, %d writes", reads, writes)
		}
		if err := w.Down(t.Context(), d, in, false); err != nil {
			t.Fatal(err)
		}
		if got := w.Owned(); len(got) != 1 {
			t.Errorf("after down: %v, want the volume", got)
		}
		if err := w.Down(t.Context(), d, in, true); err != nil {
			t.Fatal(err)
		}
		if got := w.Owned(); len(got) != 1 || got[0] != "ec2:Snapshot jenkins-home" {
			t.Errorf("after destroy with data: %v, want a last snapshot", got)
		}
		bare := cloudtest.Input(t, "{name: scratch, zone: ap-northeast-2a, size: 1Gi, finalSnapshot: false}")
		raw, err = w.Apply(t.Context(), d, bare)
		outputs(t, raw, err)
		if err := w.Down(t.Context(), d, bare, true); err != nil {
			t.Fatal(err)
		}
		if got := w.Owned(); len(got) != 1 {
			t.Errorf("after destroy without a last snapshot: %v", got)
		}
	})
}

func TestVolumeIsFoundInAnotherZoneWithItsMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 3})
		tags := cloud.Tags(w.Env().Identity.String(), "ec2:Volume", "jenkins-home")
		tags["ebs.csi.aws.com/cluster"] = "true"
		tags["pipectl.dev/move-state"], tags["pipectl.dev/move-source"], tags["pipectl.dev/move-time"] = "verified", "uid jenkins/deployment/jenkins", "2026-11-20T10:00:00Z"
		id, err := w.SeedVolume("ap-northeast-2c", 30, tags)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := w.Apply(t.Context(), datavolume.New(w.Open), cloudtest.Input(t, "{name: jenkins-home, zone: ap-northeast-2a, size: 30Gi}"))
		out := outputs(t, raw, err)
		if out.VolumeID != id || out.Zone != "ap-northeast-2c" || out.SizeGiB != 30 || out.Imported == nil || out.Imported.Time != "2026-11-20T10:00:00Z" {
			t.Errorf("got %+v, want the volume that is there", out)
		}
	})
}

func TestDriftIsMendedOrRefusedWithTheFieldNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 4})
		d := datavolume.New(w.Open)
		raw, err := w.Apply(t.Context(), d, cloudtest.Input(t, home))
		outputs(t, raw, err)
		raw, err = w.Apply(t.Context(), d, cloudtest.Input(t, "{name: jenkins-home, zone: ap-northeast-2a, size: 25Gi, throughput: 250}"))
		if out := outputs(t, raw, err); out.SizeGiB != 25 {
			t.Errorf("grown volume has %d GiB, want 25", out.SizeGiB)
		}
		_, err = w.Apply(t.Context(), d, cloudtest.Input(t, "{name: jenkins-home, zone: ap-northeast-2a, size: 25Gi, encrypted: false}"))
		if err == nil || !strings.Contains(err.Error(), "encrypted: have true, want false") {
			t.Errorf("got %v, want a refusal that names encrypted", err)
		}
	})
}

func TestLostResponseMakesNoSecondVolume(t *testing.T) {
	for _, kind := range []string{"lost-response", "500", "throttle", "reset"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 5, Faults: []emulator.Fault{{Service: "ec2", Action: "CreateVolume", Kind: kind, Times: 2}}})
				raw, err := w.Apply(t.Context(), datavolume.New(w.Open), cloudtest.Input(t, home))
				outputs(t, raw, err)
				w.NoDuplicates(t)
				if got := w.Owned(); len(got) != 1 {
					t.Errorf("got %v, want one volume", got)
				}
			})
		})
	}
}

func TestDestroyKeepsALastSnapshotWhereAskedTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 6, Faults: []emulator.Fault{{Service: "ec2", Action: "CreateSnapshot", Kind: "lost-response"}}})
		d, in := datavolume.New(w.Open), cloudtest.Input(t, "{name: jenkins-home, zone: ap-northeast-2a, size: 20Gi}")
		for range 2 {
			raw, err := w.Apply(t.Context(), d, in)
			outputs(t, raw, err)
			if err := w.Down(t.Context(), d, in, true); err != nil {
				t.Fatal(err)
			}
		}
		if got := w.Owned(); len(got) != 1 || got[0] != "ec2:Snapshot jenkins-home" {
			t.Errorf("got %v, want one snapshot", got)
		}
	})
}

// TestALastSnapshotIsOfTheLastState: a removal is cut off after its snapshot, the volume is used again, and removed much later.
func TestALastSnapshotIsOfTheLastState(t *testing.T) {
	for name, with := range map[string]string{
		"no snapshots but the last one": "{name: jenkins-home, zone: ap-northeast-2a, size: 20Gi}",
		"one is kept":                   "{name: jenkins-home, zone: ap-northeast-2a, size: 20Gi, snapshots: 1}",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 8})
				d, in := datavolume.New(w.Open), cloudtest.Input(t, with)
				raw, err := w.Apply(t.Context(), d, in)
				outputs(t, raw, err)
				w.AddFault(emulator.Fault{Service: "ec2", Action: "DeleteVolume", Kind: "access-denied"})
				if err := w.Down(t.Context(), d, in, true); err == nil {
					t.Fatal("the volume was removed")
				}
				_, before := ofUses(w)
				time.Sleep(30 * 24 * time.Hour)
				if err := w.Down(t.Context(), d, in, true); err != nil {
					t.Fatal(err)
				}
				_, after := ofUses(w)
				if len(before) != 1 || len(after) != 1 || before[0] == after[0] {
					t.Errorf("snapshots %v, and %v when the volume was gone: want one of its last state", before, after)
				}
			})
		})
	}
}
