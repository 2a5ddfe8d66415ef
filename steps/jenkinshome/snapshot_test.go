package jenkinshome

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/google/go-cmp/cmp"

	"pipectl.dev/cloud"
	"pipectl.dev/steps"
)

// apart puts the data volume into another zone than the old node's, where it cannot be attached to it.
func (s *stage) apart(t *testing.T) {
	t.Helper()
	id, err := s.cloud.SeedVolume("ap-northeast-2c", 20, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.volume = id
}

// ownedDisks are the volumes and snapshots that carry our owner tags.
func (s *stage) ownedDisks(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, r := range s.cloud.Resources() {
		if k := r.Tags[cloud.TagKind]; k == kindClone || k == kindSnapshot {
			out = append(out, k)
		}
	}
	return out
}

func TestRouteSnapshotMovesAHomeToAnotherZone(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		s.apart(t)
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if pre.Move.Route != routeSnapshot || pre.Move.Source.InstanceID != s.worker || s.state() != Precopied {
			t.Fatalf("after precopy: %s %+v", s.state(), pre.Move)
		}
		if err := os.WriteFile(filepath.Join(s.home(), "jobs", "late.xml"), []byte("written after the first snapshot"), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := s.migrate(t.Context(), pre.Move, "run-1")
		if err != nil {
			t.Fatal(err)
		}
		s.sameHome(t)
		if s.state() != Moved || s.oldRuns() || out.Move.Hash == "" || out.Downtime.Copy <= 0 || out.Downtime.Total <= out.Downtime.Copy {
			t.Errorf("after migrate: %s, old runs: %v, %+v", s.state(), s.oldRuns(), out)
		}
		if left := s.ownedDisks(t); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		for _, at := range s.attachedTo {
			if at == s.instance {
				t.Error("something was attached to the old node")
			}
		}
		s.startNew()
		if _, err := s.verify(t.Context(), pre.Move); err != nil || s.state() != Verified {
			t.Errorf("verify: %v %s", err, s.state())
		}
	})
}

// TestRouteSnapshotSurvivesTheDeathOfItsOrchestrator ends the orchestrator at every event of a whole move.
func TestRouteSnapshotSurvivesTheDeathOfItsOrchestrator(t *testing.T) {
	total := 2
	for n := 1; n < total && !t.Failed(); n += 3 * stride() {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				s.apart(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				s.crashAt, s.crash = n, cancel
				s.toTheEnd(ctx, t)
				total = max(total, min(s.events, 80))
				if left := s.ownedDisks(t); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			})
		})
	}
}

func TestRouteSnapshotTurnsBackWhenNobodyMakesTheLastPass(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		s.apart(t)
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		s.on(string(doAwaitAck), cancel) // the laptop is closed
		if _, err := s.migrate(ctx, pre.Move, "run-1"); err == nil {
			t.Fatal("a run that was ended succeeds")
		}
		time.Sleep(time.Hour)
		if !s.oldRuns() {
			t.Error("the old Jenkins stays down")
		}
		s.safe(t)
		s.toTheEnd(t.Context(), t)
	})
}

func TestAbortAndDownLeaveNothingOfTheRoute(t *testing.T) {
	for _, v := range []Verb{Rollback, Down} {
		t.Run(string(v), func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				s.apart(t)
				if _, err := s.precopy(t.Context()); err != nil {
					t.Fatal(err)
				}
				a, k := s.openers()
				p := s.precopySpec()
				var err error
				if v == Down {
					err = precopyStep{s.base()}.Release(t.Context(), s.env("run-2"), p)
				} else {
					_, err = NewManager(a, k, Options{}).Do(t.Context(), s.env("run-2"), Stages{Precopy: &p}, v)
				}
				if err != nil {
					t.Fatal(err)
				}
				if left := s.ownedDisks(t); len(left) > 0 || !s.oldRuns() {
					t.Errorf("left behind: %v, old runs: %v", left, s.oldRuns())
				}
				if at, _ := readVolume(t.Context(), s.aws, s.volume); at.Instance != "" {
					t.Errorf("the volume is still attached to %s", at.Instance)
				}
			})
		})
	}
}

func TestADiskThatIsNotEBSIsRefusedBeforeAnythingIsMade(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		s.apart(t)
		s.old.put("/api/v1/namespaces/jenkins/persistentvolumeclaims/home", object(`{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: home, namespace: jenkins}, spec: {volumeName: nfs}}`))
		s.old.put("/api/v1/persistentvolumes/nfs", object(`{apiVersion: v1, kind: PersistentVolume, metadata: {name: nfs}, spec: {nfs: {server: filer, path: /x}}}`))
		s.old.edit(oldPod, func(o map[string]any) {
			sub(o, "spec")["volumes"] = []any{map[string]any{"name": "home", "persistentVolumeClaim": map[string]any{"claimName": "home"}}}
		})
		step := precopyStep{s.base()}
		mark := s.cloud.Mark()
		p := s.precopySpec()
		if plan, err := step.Plan(t.Context(), s.env("run-1"), p); err != nil || !strings.HasPrefix(plan.Forecast.Notes[0], "route stream: ") {
			t.Errorf("where a node could receive it: %v, %q", err, plan.Forecast.Notes)
		}
		s.old.edit("/api/v1/nodes/node-2", func(o map[string]any) { sub(o, "spec")["unschedulable"] = true })
		if err := step.Preflight(t.Context(), s.env("run-1"), p); code(err) != "OtherZone" || !strings.Contains(strings.Join(steps.Classify(err).Hints, "; "), "is on no EBS volume") {
			t.Errorf("auto: %v, hints %q", err, steps.Classify(err).Hints)
		}
		p.Route = routeSnapshot
		if _, err := step.Apply(t.Context(), s.env("run-1"), p); code(err) != "NotEBS" {
			t.Errorf("asked for: %v", err)
		}
		for _, c := range s.cloud.Since(mark) {
			if c.Write {
				t.Errorf("%s was called", c.Action)
			}
		}
	})
}

func TestSnapshotOfAClaimsOwnVolume(t *testing.T) {
	for name, pv := range map[string]string{
		"a volume of the CSI driver": `{csi: {driver: ebs.csi.aws.com, volumeHandle: DISK}}`,
		"an in-tree volume":          `{awsElasticBlockStore: {volumeID: "aws://ap-northeast-2a/DISK"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				s.apart(t)
				disk, err := s.cloud.SeedVolume("ap-northeast-2a", 8, nil)
				if err != nil {
					t.Fatal(err)
				}
				s.old.put("/api/v1/namespaces/jenkins/persistentvolumeclaims/home", object(`{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: home, namespace: jenkins}, spec: {volumeName: pv}}`))
				s.old.put("/api/v1/persistentvolumes/pv", object(`{apiVersion: v1, kind: PersistentVolume, metadata: {name: pv}, spec: `+strings.ReplaceAll(pv, "DISK", disk)+`}`))
				s.old.edit(oldPod, func(o map[string]any) {
					sub(o, "spec")["volumes"] = []any{map[string]any{"name": "home", "persistentVolumeClaim": map[string]any{"claimName": "home"}}}
				})
				m, err := precopyStep{s.base()}.mission(t.Context(), s.env("run-1"), s.precopySpec())
				if err != nil {
					t.Fatal(err)
				}
				if _, _, err := m.observe(t.Context(), RunPrecopy); err != nil {
					t.Fatal(err)
				}
				if m.disk.Volume != disk || m.disk.Dir != "" || m.disk.Instance != s.worker {
					t.Errorf("got %+v, want disk %s", m.disk, disk)
				}
			})
		})
	}
}

func TestTheNodeThatHasTheVolumeCopies(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		s.apart(t)
		if _, err := s.precopy(t.Context()); err != nil {
			t.Fatal(err)
		}
		o, err := cloud.EC2(s.aws).DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{s.volume}})
		if err != nil {
			t.Fatal(err)
		}
		tags := cloud.EC2TagMap(o.Volumes[0].Tags)
		if diff := cmp.Diff([]string{routeSnapshot, "node-2"}, []string{tags[tagRoute], tags[tagNode]}); diff != "" {
			t.Error(diff)
		}
	})
}
