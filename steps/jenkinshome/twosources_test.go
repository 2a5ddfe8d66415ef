package jenkinshome

import (
	"context"
	"testing"

	"pipectl.dev/kube"
	emu "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
)

const kubeSystem = "/api/v1/namespaces/kube-system"

// other is a second source cluster with a Jenkins of the same name, on an instance in the volume's zone.
type other struct {
	kube     *fakeKube
	instance string
	precopy  func(context.Context) error
	migrate  func(context.Context) error
}

func (s *stage) otherSource(t *testing.T) other {
	t.Helper()
	i, err := s.cloud.SeedInstance(emu.InstanceSeed{PrivateIP: "172.31.0.11", Zone: "ap-northeast-2a"})
	if err != nil {
		t.Fatal(err)
	}
	k := newFakeKube()
	k.put(kubeSystem, object(`{apiVersion: v1, kind: Namespace, metadata: {name: kube-system, uid: 0b0b-other}}`))
	k.put(oldNS, object(`{apiVersion: v1, kind: Namespace, metadata: {name: jenkins}}`))
	k.put("/api/v1/nodes/node-1", object(`{apiVersion: v1, kind: Node, metadata: {name: node-1}, status: {addresses: [{type: InternalIP, address: 172.31.0.11}]}}`))
	k.put(oldDeploy, s.old.get(oldDeploy))
	k.put(oldPod, s.old.get(oldPod))
	a, _ := s.openers()
	open := func(_ context.Context, ref steps.ClusterRef) (*kube.Client, error) { return s.connect(ref, k) }
	o := other{kube: k, instance: i.ID}
	o.precopy = func(ctx context.Context) error {
		_, err := precopyStep{base{a, open, Options{}}}.Apply(ctx, s.env("run-2"), s.precopySpec())
		return err
	}
	o.migrate = func(ctx context.Context) error {
		p := s.precopySpec()
		_, err := migrateStep{base{a, open, Options{}}}.Apply(ctx, s.env("run-2"), s.migrateSpec(p.move()))
		if k.get(oldPod) == nil || replicas(k.get(oldDeploy)) != 1 {
			t.Error("the Jenkins of the second cluster was stopped")
		}
		return err
	}
	return o
}

func TestTwoSourceClustersDoNotShareAVolume(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		o := s.otherSource(t)
		var during error
		s.on("device formatted", func() { during = o.precopy(t.Context()) })
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		after := o.migrate(t.Context()) // its own copy is taken for done, since a copy that is whole is known without a look at the source
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
			if at == o.instance {
				t.Error("the volume was attached to the node of the second")
			}
		}
	})
}

// TestAFinishedMoveIsNotTakenForThatOfAnotherJenkins asks for a copy of a second Jenkins of the same name once the move of the first is over.
func TestAFinishedMoveIsNotTakenForThatOfAnotherJenkins(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(s *stage, k *fakeKube)
		want string
	}{
		"it runs":                           {func(*stage, *fakeKube) {}, "OtherSource"},
		"nothing of that name runs there":   {func(_ *stage, k *fakeKube) { k.remove(oldPod); k.remove(oldDeploy) }, ""},
		"its cluster does not answer":       {func(_ *stage, k *fakeKube) { k.away = true }, ""},
		"it is the new one, on this volume": {func(s *stage, k *fakeKube) { onVolume(k, s.volume) }, ""},
		"it is on a volume of its own":      {func(_ *stage, k *fakeKube) { onVolume(k, "vol-2") }, "OtherSource"},
		"it is the first, that runs again":  {func(s *stage, k *fakeKube) { k.put(kubeSystem, s.old.get(kubeSystem)) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				o := s.otherSource(t)
				s.moved(t)
				c.set(s, o.kube)
				if err := o.precopy(t.Context()); code(err) != c.want || err != nil && steps.Classify(err).Category.ExitCode() != 12 {
					t.Errorf("moved: got %v", err)
				}
				if s.state() != Moved {
					t.Errorf("state %s", s.state())
				}
				if err := writeTags(t.Context(), s.aws, s.volume, map[string]string{tagState: string(Finalized)}); err != nil {
					t.Fatal(err)
				}
				if err := o.precopy(t.Context()); code(err) != c.want {
					t.Errorf("finalized: got %v", err)
				}
			})
		})
	}
}

// onVolume lets the Jenkins of a cluster have its home on an EBS volume.
func onVolume(k *fakeKube, volume string) {
	k.put(oldNS+"/persistentvolumeclaims/home", object(`{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: home, namespace: jenkins}, spec: {accessModes: [ReadWriteOnce], volumeName: pv-1}}`))
	k.put("/api/v1/persistentvolumes/pv-1", object(`{apiVersion: v1, kind: PersistentVolume, metadata: {name: pv-1}, spec: {csi: {driver: ebs.csi.aws.com, volumeHandle: `+volume+`}}}`))
	k.edit(oldPod, func(o map[string]any) {
		sub(o, "spec")["volumes"] = []any{map[string]any{"name": "home", "persistentVolumeClaim": map[string]any{"claimName": "home"}}}
	})
}

// TestASecondSourceThatLooksAtTheSameMomentLeavesTheFirstItsVolume lets both find a blank volume: the second writes its name on it just
// after the first, and is refused where only one can be, at the attachment.
func TestASecondSourceThatLooksAtTheSameMomentLeavesTheFirstItsVolume(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		o := s.otherSource(t)
		s.on("device formatted", func() {
			err := writeTags(t.Context(), s.aws, s.volume, map[string]string{tagSource: "0b0b-other jenkins/deployment/jenkins " + o.instance, tagNode: "node-1"})
			if err != nil {
				t.Error(err)
			}
			if err := o.precopy(t.Context()); code(err) != "VolumeInUse" {
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
		if err := o.migrate(t.Context()); code(err) != "OtherSource" {
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
