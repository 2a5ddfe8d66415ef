package datavolume_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps/datavolume"
)

const kept = "{name: jenkins-home, zone: ap-northeast-2a, size: 20Gi, snapshots: 2}"

// ofUses are the uses that our snapshots were taken after, and the ids of all snapshots there are.
func ofUses(w *cloudtest.World) (uses, ids []string) {
	for _, r := range w.Resources() {
		if r.Kind == "snapshot" {
			ids = append(ids, r.ID)
			uses = append(uses, r.Tags["pipectl.dev/last-use"])
		}
	}
	slices.Sort(uses)
	return uses, ids
}

func TestDownKeepsSnapshotsByCountAndNobodyElsesGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 12, Faults: []emulator.Fault{{Service: "ec2", Action: "CreateSnapshot", Kind: "lost-response", Times: 1}}})
		d, in := datavolume.New(w.Open), cloudtest.Input(t, kept)
		raw, err := w.Apply(t.Context(), d, in)
		id := outputs(t, raw, err).VolumeID
		session, err := w.Open(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		client := cloud.EC2(session)
		down := func() {
			t.Helper()
			if err := w.Down(t.Context(), d, in, false); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Minute)
			if err := w.Down(t.Context(), d, in, false); err != nil { // again: nothing new, and what was being made counts now
				t.Fatal(err)
			}
		}
		var foreign []string
		for _, tags := range []map[string]string{nil, cloud.Tags("999999999999/ap-northeast-2/other", "ec2:Snapshot", "jenkins-home"), cloud.Tags(w.Env().Identity.String(), "ec2:Snapshot", "other"),
			cloud.Tags(w.Env().Identity.String(), "jenkins:Snapshot", "jenkins-home")} {
			in := &ec2.CreateSnapshotInput{VolumeId: aws.String(id)}
			if tags != nil {
				in.TagSpecifications = cloud.TagAtCreate("snapshot", tags)
			}
			x, err := client.CreateSnapshot(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			foreign = append(foreign, aws.ToString(x.SnapshotId))
		}
		before, _ := ofUses(w)
		if down(); len(before) < 4 {
			t.Fatalf("%d snapshots", len(before))
		}
		if now, _ := ofUses(w); len(now) != len(before) {
			t.Errorf("a volume that no cluster has used: %v", now)
		}
		for _, use := range []string{"a", "b", "c", "d"} {
			if _, err := client.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{id}, Tags: cloud.EC2Tags(map[string]string{"pipectl.dev/last-use": use})}); err != nil {
				t.Fatal(err)
			}
			down()
		}
		uses, ids := ofUses(w)
		if got := strings.Join(uses, ""); got != "cd" {
			t.Errorf("snapshots of the uses %v, want those of the last two", uses)
		}
		for _, f := range foreign {
			if !slices.Contains(ids, f) {
				t.Errorf("%s is gone, and was not ours", f)
			}
		}
	})
}

func TestNoSnapshotOfAVolumeThatIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 13})
		d, in := datavolume.New(w.Open), cloudtest.Input(t, kept)
		tags := cloud.Tags(w.Env().Identity.String(), "ec2:Volume", "jenkins-home")
		tags["pipectl.dev/last-use"] = "a"
		id, err := w.SeedVolume("ap-northeast-2a", 20, tags)
		if err != nil {
			t.Fatal(err)
		}
		node, err := w.SeedInstance(emulator.InstanceSeed{Zone: "ap-northeast-2a"})
		if err != nil {
			t.Fatal(err)
		}
		session, err := w.Open(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cloud.EC2(session).AttachVolume(t.Context(), &ec2.AttachVolumeInput{VolumeId: &id, InstanceId: &node.ID, Device: aws.String("/dev/xvdf")}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if err := w.Down(t.Context(), d, in, false); err != nil {
			t.Fatal(err)
		}
		if uses, _ := ofUses(w); len(uses) > 0 {
			t.Errorf("snapshots of the uses %v", uses)
		}
		if !slices.ContainsFunc(w.Notes(), func(n string) bool { return strings.Contains(n, "jenkins-home is in-use") }) {
			t.Errorf("told: %v", w.Notes())
		}
	})
}

// TestTheSnapshotOfTheLastUseIsTheLastOne: a removal in the same run needs no other one.
func TestTheSnapshotOfTheLastUseIsTheLastOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 14})
		d, in := datavolume.New(w.Open), cloudtest.Input(t, kept)
		tags := cloud.Tags(w.Env().Identity.String(), "ec2:Volume", "jenkins-home")
		tags["pipectl.dev/last-use"] = "a"
		if _, err := w.SeedVolume("ap-northeast-2a", 20, tags); err != nil {
			t.Fatal(err)
		}
		if err := w.Down(t.Context(), d, in, true); err != nil {
			t.Fatal(err)
		}
		if uses, _ := ofUses(w); !slices.Equal(uses, []string{"a"}) {
			t.Errorf("snapshots of the uses %q, want one", uses)
		}
	})
}
