package jenkinshome

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	emu "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/jenkinshome/jenkins/jenkinstest"
)

const oldApp = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/jenkins"

// on calls f once, when a line of a mover's log contains text.
func (s *stage) on(text string, f func()) {
	done, before := false, s.kill
	s.kill = func(line string) bool {
		if !done && strings.Contains(line, text) {
			done = true
			f()
		}
		return before != nil && before(line)
	}
}

func TestWhatGoesWrongTurnsACutOverBack(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(s *stage, m *MigrateSpec)
		code string
		exit int
	}{
		"builds that do not end": {func(s *stage, _ *MigrateSpec) { s.jenkins.Heavy = []string{"http://x/job/a/8/"} }, "BuildsRunning", 15},
		"a pipeline that never comes to rest": {func(s *stage, _ *MigrateSpec) {
			s.jenkins.Light, s.jenkins.NotReady = []string{"http://x/job/a/8/"}, true
		}, "BuildsRunning", 15},
		"a user who may not administer": {func(s *stage, _ *MigrateSpec) { s.jenkins.ReadOnly = true }, "JenkinsForbidden", 11},
		"a Jenkins that does not quiet": {func(s *stage, _ *MigrateSpec) { s.jenkins.IgnoreQuiet = true }, "NotQuiet", 17},
		"a pod that does not end":       {func(s *stage, _ *MigrateSpec) { s.podStays = true }, "PodStays", 15},
		"a Jenkins that is started again while it is copied": {func(s *stage, _ *MigrateSpec) {
			s.on("last pass done", func() { s.old.edit(oldDeploy, func(o map[string]any) { sub(o, "spec")["replicas"] = 1 }) })
		}, "StartedAgain", 12},
		"a source that somebody still writes to": {func(s *stage, _ *MigrateSpec) {
			s.on("last pass done", func() { _ = os.WriteFile(filepath.Join(s.home(), "jobs", "new.xml"), []byte("x"), 0o600) })
		}, "SourceChanged", 17},
		"another pod that has the home": {func(s *stage, _ *MigrateSpec) { s.backupPod("{name: home, mountPath: /home}") }, "HomeShared", 12},
		"a sync policy that somebody puts back": {func(s *stage, _ *MigrateSpec) {
			s.on(string(doPause), func() {
				go func() {
					for sub(sub(sub(s.old.get(oldApp), "spec"), "syncPolicy"), "automated")["selfHeal"] != nil {
						time.Sleep(time.Second)
					}
					time.Sleep(4 * time.Second)
					s.old.edit(oldApp, func(o map[string]any) {
						sub(sub(o, "spec"), "syncPolicy")["automated"] = map[string]any{"prune": true, "selfHeal": true}
					})
				}()
			})
		}, "PauseUndone", 12},
		"a volume that is gone from the node": {func(s *stage, _ *MigrateSpec) {
			s.on(string(doQuiet), func() { _ = os.Remove(filepath.Join(s.dir, "devices", s.volume)) })
		}, "DeviceNotFound", 10},
		"a copy that differs before Jenkins stops": {func(s *stage, _ *MigrateSpec) {
			s.on(string(doQuiet), func() { _ = os.WriteFile(filepath.Join(s.home(), "queue.xml"), []byte("changed"), 0o600) })
			s.on("caught up", func() { s.spoil("queue.xml") })
		}, "CopyDiffers", 18},
		"a copy that differs when it is read back": {func(s *stage, _ *MigrateSpec) {
			s.on("caught up", func() { _ = os.WriteFile(filepath.Join(s.home(), "queue.xml"), []byte("changed"), 0o600) })
			s.on("last pass done", func() { s.spoil("queue.xml") })
		}, "CopyDiffers", 18},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				s.old.put(oldApp, object(`{apiVersion: argoproj.io/v1alpha1, kind: Application, metadata: {name: jenkins, namespace: argocd}, spec: {syncPolicy: {automated: {prune: true, selfHeal: true}}}}`))
				s.old.edit(oldDeploy, func(o map[string]any) {
					sub(sub(o, "metadata"), "annotations")["argocd.argoproj.io/tracking-id"] = "jenkins:apps/Deployment:jenkins/jenkins"
				})
				pre, err := s.precopy(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				m := s.migrateSpec(pre.Move)
				c.set(s, &m)
				_, err = migrateStep{s.base()}.Apply(t.Context(), s.env("run-1"), m)
				if code(err) != c.code || steps.Classify(err).Category.ExitCode() != c.exit {
					t.Errorf("got %s (exit %d): %v", code(err), steps.Classify(err).Category.ExitCode(), err)
				}
				s.podStays = false
				s.await("the old Jenkins", s.oldRuns)
				s.safe(t)
				if s.state() != Precopied {
					t.Errorf("state %q", s.state())
				}
				s.jenkins.Do(func(j *jenkinstest.Server) {
					if j.Quiet && !j.ReadOnly {
						t.Error("the old Jenkins is still quiet")
					}
				})
				auto := sub(sub(sub(s.old.get(oldApp), "spec"), "syncPolicy"), "automated")
				if auto["selfHeal"] != true || auto["prune"] != true || auto["enabled"] != nil {
					t.Errorf("self-heal was not put back: %v", auto)
				}
			})
		})
	}
}

func TestBuildsByPolicy(t *testing.T) {
	for then, want := range map[string]string{"abort": "", "proceed": "stopped while builds ran: job/a/8/"} {
		t.Run(then, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				pre, err := s.precopy(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				s.jenkins.Heavy = []string{"http://x/job/a/8/"}
				m := s.migrateSpec(pre.Move)
				m.Jenkins.Builds.Then = then
				if _, err := (migrateStep{s.base()}).Apply(t.Context(), s.env("run-1"), m); err != nil {
					t.Fatal(err)
				}
				if s.state() != Moved || !strings.Contains(strings.Join(s.notes, "\n"), want) {
					t.Errorf("%s, %q", s.state(), s.notes)
				}
			})
		})
	}
}

func TestNobodyTakesTheVolume(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		s.on("wait for the orchestrator", cancel) // the laptop is closed
		if _, err := s.migrate(ctx, pre.Move, "run-1"); err == nil {
			t.Fatal("a cancelled run succeeds")
		}
		time.Sleep(20 * time.Minute)
		if !s.oldRuns() || s.state() != Cutting {
			t.Fatalf("the old Jenkins runs: %v, %s", s.oldRuns(), s.state())
		}
		if _, err := s.migrate(t.Context(), pre.Move, "run-2"); err != nil || s.state() != Moved {
			t.Fatalf("the next run: %v, %s", err, s.state())
		}
		s.sameHome(t)
	})
}

func TestDownDuringACutOverLeavesJenkinsRunning(t *testing.T) {
	for _, line := range []string{string(doQuiet), string(doStop), string(doLastPass), string(doAwaitAck)} {
		t.Run(line, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				pre, err := s.precopy(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				s.on(line, cancel)
				_, _ = s.migrate(ctx, pre.Move, "run-1")
				b := s.base()
				if err := (migrateStep{b}).Release(t.Context(), s.env("run-2"), s.migrateSpec(pre.Move)); err != nil {
					t.Fatal(err)
				}
				if err := (precopyStep{b}).Release(t.Context(), s.env("run-2"), s.precopySpec()); err != nil {
					t.Fatal(err)
				}
				v, err := readVolume(t.Context(), s.aws, s.volume)
				if !s.oldRuns() || v.state() != Precopied || v.Instance != "" || err != nil {
					t.Errorf("old runs: %v, %s, attached to %q, %v", s.oldRuns(), v.state(), v.Instance, err)
				}
			})
		})
	}
}

func TestANewJenkinsThatDiffersIsTurnedBack(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(*stage)
		says string
	}{
		"a job is missing":           {func(s *stage) { delete(s.fresh.Jobs, "a") }, "job a is missing"},
		"a plugin failed":            {func(s *stage) { s.fresh.Broken = []string{"git"} }, "plugin git failed to load"},
		"it never comes up":          {func(s *stage) { s.fresh.Loading = true }, "did not answer within 5m0s (loading)"},
		"its pod is not started":     {func(s *stage) { s.new.remove(newPod); s.new.remove(newAttach) }, "has no running pod"},
		"the build numbers are gone": {func(s *stage) { s.fresh.Jobs["f/b"] = []int{0, 1} }, "job f/b: last build is 0, was 3"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				move := s.moved(t)
				c.set(s)
				_, err := s.verify(t.Context(), move)
				if code(err) != "JenkinsDiffers" || !strings.Contains(err.Error(), c.says) || steps.Classify(err).Category.ExitCode() != 18 ||
					!strings.Contains(err.Error(), "builds that the new one made are lost") {
					t.Errorf("got %v", err)
				}
				if s.state() != Precopied || !s.oldRuns() || s.newRuns() {
					t.Errorf("state %s, old runs: %v, new runs: %v", s.state(), s.oldRuns(), s.newRuns())
				}
				for _, left := range []string{newClaimP, newVolume} {
					if s.new.get(left) != nil {
						t.Errorf("%s is left: something could start on the volume", left)
					}
				}
				s.fresh = jenkinstest.New()
				s.toTheEnd(t.Context(), t)
			})
		})
	}
}

func TestWrongCredentialsForTheNewJenkinsTurnNothingBack(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		move := s.moved(t)
		s.fresh.Token = "other"
		if _, err := s.verify(t.Context(), move); code(err) != "JenkinsUnauthorized" {
			t.Errorf("got %v", err)
		}
		if s.state() != Moved || !s.newRuns() {
			t.Errorf("state %s, new runs: %v", s.state(), s.newRuns())
		}
	})
}

// fill puts something onto the formatted volume that is no copy of ours.
func (s *stage) fill(name string) {
	path := filepath.Join(s.disk(), name)
	_ = os.MkdirAll(filepath.Dir(path), 0o755)
	_ = os.WriteFile(path, []byte("precious"), 0o600)
	_ = os.WriteFile(filepath.Join(s.dir, "volume", "fstype"), []byte("ext4"), 0o600)
}

const nestedPod = `{containers: [{name: jenkins, volumeMounts: [{name: home, mountPath: /var/jenkins_home}, {name: jobs, mountPath: /var/jenkins_home/jobs}]}],
volumes: [{name: home, hostPath: {path: /var/lib/jenkins}}, {name: jobs, hostPath: {path: /data/jobs}}]}`

func (s *stage) seed(t *testing.T, zone string, tags map[string]string) string {
	id, err := s.cloud.SeedVolume(zone, 8, tags)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (s *stage) editPod(spec string) {
	s.old.edit(oldPod, func(o map[string]any) { merge(sub(o, "spec"), object(spec)) })
}

func (s *stage) editNode(ip, providerID string) {
	s.old.edit("/api/v1/nodes/node-1", func(o map[string]any) {
		sub(o, "status")["addresses"] = []any{map[string]any{"type": "InternalIP", "address": ip}}
		sub(o, "spec")["providerID"] = providerID
	})
}

// underSet lets an Application own Jenkins, and an ApplicationSet the Application.
func (s *stage) underSet(spec string) {
	s.old.put(oldApp, object(`{apiVersion: argoproj.io/v1alpha1, kind: Application, metadata: {name: jenkins, namespace: argocd,
ownerReferences: [{apiVersion: argoproj.io/v1alpha1, kind: ApplicationSet, name: all, uid: u}]}, spec: {syncPolicy: {automated: {selfHeal: true}}}}`))
	s.old.put("/apis/argoproj.io/v1alpha1/namespaces/argocd/applicationsets/all", object(`{apiVersion: argoproj.io/v1alpha1, kind: ApplicationSet, metadata: {name: all, namespace: argocd}, spec: `+spec+`}`))
	s.old.edit(oldDeploy, func(o map[string]any) {
		sub(sub(o, "metadata"), "annotations")["argocd.argoproj.io/tracking-id"] = "jenkins:apps/Deployment:jenkins/jenkins"
	})
}

func TestTheCloudMisbehaves(t *testing.T) {
	for _, action := range []string{"AttachVolume", "DetachVolume", "CreateTags", "DescribeVolumes"} {
		for _, kind := range []string{"lost-response", "500", "throttle", "reset"} {
			t.Run(action+" "+kind, func(t *testing.T) {
				bubble(t, func(t *testing.T, s *stage) {
					s.cloud.AddFault(emu.Fault{Service: "ec2", Action: action, Kind: kind, Times: 2})
					s.toTheEnd(t.Context(), t)
				})
			})
		}
	}
}
