package jenkinshome

import (
	"context"
	"testing"

	"pipectl.dev/kube"
	emu "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
)

// otherSource is a second source cluster with a Jenkins of the same name, on an instance in the volume's zone.
func (s *stage) otherSource(t *testing.T) (precopy, migrate func(context.Context) error, instance string) {
	t.Helper()
	i, err := s.cloud.SeedInstance(emu.InstanceSeed{PrivateIP: "172.31.0.11", Zone: "ap-northeast-2a"})
	if err != nil {
		t.Fatal(err)
	}
	k := newFakeKube()
	k.put("/api/v1/namespaces/kube-system", object(`{apiVersion: v1, kind: Namespace, metadata: {name: kube-system, uid: 0b0b-other}}`))
	k.put(oldNS, object(`{apiVersion: v1, kind: Namespace, metadata: {name: jenkins}}`))
	k.put("/api/v1/nodes/node-1", object(`{apiVersion: v1, kind: Node, metadata: {name: node-1}, status: {addresses: [{type: InternalIP, address: 172.31.0.11}]}}`))
	k.put(oldDeploy, s.old.get(oldDeploy))
	k.put(oldPod, s.old.get(oldPod))
	a, _ := s.openers()
	open := func(_ context.Context, ref steps.ClusterRef) (*kube.Client, error) { return s.connect(ref, k) }
	precopy = func(ctx context.Context) error {
		_, err := precopyStep{base{a, open, Options{}}}.Apply(ctx, s.env("run-2"), s.precopySpec())
		return err
	}
	migrate = func(ctx context.Context) error {
		p := s.precopySpec()
		_, err := migrateStep{base{a, open, Options{}}}.Apply(ctx, s.env("run-2"), s.migrateSpec(p.move()))
		if k.get(oldPod) == nil || replicas(k.get(oldDeploy)) != 1 {
			t.Error("the Jenkins of the second cluster was stopped")
		}
		return err
	}
	return precopy, migrate, i.ID
}

func TestTwoSourceClustersDoNotShareAVolume(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		other, cutOver, instance := s.otherSource(t)
		var during error
		s.on("device formatted", func() { during = other(t.Context()) })
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		after := cutOver(t.Context()) // its own copy is taken for done, since a copy that is whole is known without a look at the source
		for when, err := range map[string]error{"during the copy": during, "after the copy": after} {
			if code(err) != "OtherSource" || steps.Classify(err).Category.ExitCode() != 12 {
				t.Errorf("%s: got %v", when, err)
			}
		}
		s.sameHome(t)
		if _, err := s.migrate(t.Context(), pre.Move, "run-1"); err != nil {
			t.Errorf("the first cannot go on: %v", err)
		}
		for _, at := range s.attachedTo {
			if at == instance {
				t.Error("the volume was attached to the node of the second")
			}
		}
	})
}

// TestASecondSourceThatLooksAtTheSameMomentLeavesTheFirstItsVolume lets both find a blank volume: the second writes its name on it just
// after the first, and is refused where only one can be, at the attachment.
func TestASecondSourceThatLooksAtTheSameMomentLeavesTheFirstItsVolume(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		other, cutOver, instance := s.otherSource(t)
		s.on("device formatted", func() {
			err := writeTags(t.Context(), s.aws, s.volume, map[string]string{tagSource: "0b0b-other jenkins/deployment/jenkins " + instance, tagNode: "node-1"})
			if err != nil {
				t.Error(err)
			}
			if err := other(t.Context()); code(err) != "VolumeInUse" {
				t.Errorf("the second: %v", err)
			}
		})
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if uid, _, at := parseSource(s.tagged(tagSource)); uid != "0a0a-source" || at != s.instance {
			t.Errorf("the volume tells of %q", s.tagged(tagSource))
		}
		s.sameHome(t)
		if err := cutOver(t.Context()); code(err) != "OtherSource" {
			t.Errorf("the second, later: %v", err)
		}
		if _, err := s.migrate(t.Context(), pre.Move, "run-1"); err != nil {
			t.Errorf("the first cannot go on: %v", err)
		}
	})
}

// TestTheMarkerOnTheVolumeRefusesASecondSourceWhereTagsAreLost is the last fence: nothing but what is on the disk tells whose home it is.
func TestTheMarkerOnTheVolumeRefusesASecondSourceWhereTagsAreLost(t *testing.T) {
	a, b := Move{VolumeID: "vol-1", Source: MoveSource{UID: "0a0a-source", Namespace: "jenkins", Workload: "deployment/jenkins"}}, Move{VolumeID: "vol-1", Source: MoveSource{UID: "0b0b-other", Namespace: "jenkins", Workload: "deployment/jenkins"}}
	if a.copyIdentity() == b.copyIdentity() { // what TestAMoverRefusesWhatItMustNotWriteTo compares
		t.Errorf("both are %q", a.copyIdentity())
	}
}
