package jenkinshome

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	emu "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/jenkinshome/jenkins/jenkinstest"
	"pipectl.dev/treecopy"
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

// spoil changes a byte of a file on the volume behind everybody's back: size and time stay.
func (s *stage) spoil(name string) {
	path := filepath.Join(s.disk(), name)
	fi, err := os.Stat(path)
	if err != nil {
		s.t.Error(err)
		return
	}
	b, _ := os.ReadFile(path)
	b[0] ^= 1
	_ = os.WriteFile(path, b, fi.Mode())
	_ = os.Chtimes(path, fi.ModTime(), fi.ModTime())
}

// What a pass wrote and nobody read back is in no delta of a later pass: that one must read everything.
func TestASpoiledFileIsFoundByEveryLaterRun(t *testing.T) {
	for name, dies := range map[string]bool{"the first run tells it": false, "the first mover dies before it can tell": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				pre, err := s.precopy(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				killed := !dies
				s.kill = func(line string) bool {
					kill := !killed && strings.Contains(line, "last pass done")
					killed = killed || kill
					return kill
				}
				s.on("caught up", func() { _ = os.WriteFile(filepath.Join(s.home(), "queue.xml"), []byte("changed"), 0o600) })
				s.on("last pass done", func() { s.spoil("queue.xml") })
				for run := range 3 {
					if _, err := s.migrate(t.Context(), pre.Move, fmt.Sprint("run-", run)); code(err) != "CopyDiffers" && (run > 0 || !dies) {
						t.Errorf("run %d: got %v", run, err)
					}
					s.await("the old Jenkins", s.oldRuns)
					if s.state() != Precopied {
						t.Errorf("run %d: state %q", run, s.state())
					}
				}
			})
		})
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
				a, k := s.openers()
				_, err = migrateStep{base{a, k, Options{}}}.Apply(t.Context(), s.env("run-1"), m)
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
				a, k := s.openers()
				if _, err := (migrateStep{base{a, k, Options{}}}).Apply(t.Context(), s.env("run-1"), m); err != nil {
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
				a, k := s.openers()
				b := base{a, k, Options{}}
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
		"the build numbers are gone": {func(s *stage) { s.fresh.Jobs["f/b"] = []int{0, 1} }, "job f/b: last build is 0, was 3"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				pre, err := s.precopy(t.Context())
				if err == nil {
					_, err = s.migrate(t.Context(), pre.Move, "run-1")
				}
				if err != nil {
					t.Fatal(err)
				}
				s.startNew()
				c.set(s)
				_, err = s.verify(t.Context(), pre.Move)
				if code(err) != "JenkinsDiffers" || !strings.Contains(err.Error(), c.says) || steps.Classify(err).Category.ExitCode() != 18 {
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
		pre, err := s.precopy(t.Context())
		if err == nil {
			_, err = s.migrate(t.Context(), pre.Move, "run-1")
		}
		if err != nil {
			t.Fatal(err)
		}
		s.startNew()
		s.fresh.Token = "other"
		if _, err = s.verify(t.Context(), pre.Move); code(err) != "JenkinsUnauthorized" {
			t.Errorf("got %v", err)
		}
		if s.state() != Moved || !s.newRuns() {
			t.Errorf("state %s, new runs: %v", s.state(), s.newRuns())
		}
	})
}

func TestRefusedBeforeAnythingIsTouched(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(t *testing.T, s *stage, p *PrecopySpec)
		code string
	}{
		"no mover image":           {func(t *testing.T, _ *stage, _ *PrecopySpec) { t.Setenv(MoverImageEnv, "") }, "NoMoverImage"},
		"no such workload":         {func(_ *testing.T, _ *stage, p *PrecopySpec) { p.From.Workload = "deployment/jenkinz" }, "SourceNotRunning"},
		"a source that is away":    {func(_ *testing.T, s *stage, _ *PrecopySpec) { s.old.away = true }, "SourceUnreachable"},
		"a node EC2 does not know": {func(_ *testing.T, s *stage, _ *PrecopySpec) { s.editNode("172.31.0.99", "") }, "InstanceUnknown"},
		"a volume in another zone": {func(t *testing.T, s *stage, p *PrecopySpec) { p.Volume = s.seed(t, "ap-northeast-2b", nil) }, "OtherZone"},
		"a volume of another move": {func(t *testing.T, s *stage, p *PrecopySpec) {
			p.Volume = s.seed(t, "ap-northeast-2a", map[string]string{tagState: "precopied", tagSource: "uid other/deployment/j i-1"})
		}, "OtherSource"},
		"a volume that is no more": {func(_ *testing.T, _ *stage, p *PrecopySpec) { p.Volume = "vol-00000000000000000" }, "VolumeMissing"},
		"a state of a later pipectl": {func(t *testing.T, s *stage, p *PrecopySpec) {
			p.Volume = s.seed(t, "ap-northeast-2a", map[string]string{tagState: "teleported"})
		}, "UnknownState"},
		"a namespace that admits no privileged pod": {func(_ *testing.T, s *stage, _ *PrecopySpec) {
			s.old.edit(oldNS, func(o map[string]any) {
				sub(sub(o, "metadata"), "labels")["pod-security.kubernetes.io/enforce"] = "restricted"
			})
		}, "PodSecurity"},
		"a home on an emptyDir":         {func(_ *testing.T, s *stage, _ *PrecopySpec) { s.editPod(`{volumes: [{name: home, emptyDir: {}}]}`) }, "HomeIsEmptyDir"},
		"a home on no volume":           {func(_ *testing.T, s *stage, p *PrecopySpec) { p.From.Home = "/srv/jenkins" }, "HomeNotOnVolume"},
		"a second volume in the home":   {func(_ *testing.T, s *stage, _ *PrecopySpec) { s.editPod(nestedPod) }, "NestedMounts"},
		"a container that is not there": {func(_ *testing.T, _ *stage, p *PrecopySpec) { p.From.Container = "ci" }, "ContainerNotFound"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				p := s.precopySpec()
				c.set(t, s, &p)
				mark := s.cloud.Mark()
				a, k := s.openers()
				step := precopyStep{base{a, k, Options{}}}
				if err := step.Preflight(t.Context(), s.env("run-1"), p); code(err) != c.code {
					t.Errorf("preflight: got %v, want %s", err, c.code)
				}
				if _, err := step.Apply(t.Context(), s.env("run-1"), p); code(err) != c.code && c.code != "NoMoverImage" {
					t.Errorf("apply: got %v, want %s", err, c.code)
				}
				for _, call := range s.cloud.Since(mark) {
					if call.Write && c.code != "NoMoverImage" {
						t.Errorf("writes %s", call.Action)
					}
				}
				s.safe(t)
			})
		})
	}
}

// fill puts something onto the formatted volume that is no copy of ours.
func (s *stage) fill(name string) {
	path := filepath.Join(s.disk(), name)
	_ = os.MkdirAll(filepath.Dir(path), 0o755)
	_ = os.WriteFile(path, []byte("precious"), 0o600)
	_ = os.WriteFile(filepath.Join(s.dir, "volume", "fstype"), []byte("ext4"), 0o600)
}

func TestAMoverRefusesWhatItMustNotWriteTo(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(s *stage)
		code string
	}{
		"a source that is no home: swapped with the target, perhaps": {func(s *stage) { _ = os.RemoveAll(filepath.Join(s.home(), "secrets")) }, "NotAHome"},
		"a volume that holds something else":                         {func(s *stage) { s.fill("photos/1.jpg") }, "CopyRefused"},
		"the home of another Jenkins": {func(s *stage) {
			s.fill(".keep")
			_ = os.Remove(filepath.Join(s.disk(), ".keep"))
			if _, err := treecopy.Copy(s.t.Context(), s.home(), s.disk(), treecopy.Options{Source: "jenkins uid other/deployment/ci to vol-1", RunID: "r", KeepRoot: true}); err != nil {
				s.t.Fatal(err)
			}
		}, "CopyRefused"},
		"content that is on no file system that is known": {func(s *stage) {
			s.fill("x")
			_ = os.Remove(filepath.Join(s.dir, "volume", "fstype"))
		}, "CopyRefused"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				c.set(s)
				o := treecopy.Options{}
				before, _ := treecopy.Digest(t.Context(), s.disk(), o) // none yet: both are empty
				if _, err := s.precopy(t.Context()); code(err) != c.code || steps.Classify(err).Category.ExitCode() != 10 {
					t.Errorf("got %v (exit %d)", err, steps.Classify(err).Category.ExitCode())
				}
				if after, _ := treecopy.Digest(t.Context(), s.disk(), o); c.code != "NotAHome" && (after.ManifestHash != before.ManifestHash || after.Seen.Files == 0) {
					t.Errorf("the volume was written to: %d files, were %d", after.Seen.Files, before.Seen.Files)
				}
				s.safe(t)
			})
		})
	}
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

func TestTheNodesInstance(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(s *stage, p *PrecopySpec)
		code string
	}{
		"by its private address": {func(*stage, *PrecopySpec) {}, ""},
		"by its providerID":      {func(s *stage, _ *PrecopySpec) { s.editNode("10.9.9.9", "aws:///ap-northeast-2a/"+s.instance) }, ""},
		"as the spec says":       {func(s *stage, p *PrecopySpec) { s.editNode("10.9.9.9", ""); p.From.InstanceID = s.instance }, ""},
		"as the spec says, but it does not exist": {func(s *stage, p *PrecopySpec) {
			s.editNode("10.9.9.9", "")
			p.From.InstanceID = "i-00000000000000000"
		}, "InstanceNotFound"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				p := s.precopySpec()
				c.set(s, &p)
				a, k := s.openers()
				if err := (precopyStep{base{a, k, Options{}}}).Preflight(t.Context(), s.env("run-1"), p); code(err) != c.code {
					t.Errorf("got %v, want %q", err, c.code)
				}
			})
		})
	}
}

func TestMigrateRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(t *testing.T, s *stage, m *MigrateSpec)
		code string
	}{
		"no token":      {func(_ *testing.T, _ *stage, m *MigrateSpec) { m.Jenkins.Token = steps.Secret{} }, "NoToken"},
		"a wrong token": {func(_ *testing.T, s *stage, _ *MigrateSpec) { s.jenkins.Token = "other" }, "JenkinsUnauthorized"},
		"an agent of the Jenkins that is moved may": {func(t *testing.T, s *stage, _ *MigrateSpec) {
			t.Setenv("BUILD_URL", "https://ci.example.com/job/a/8/")
			s.jenkins.Light = []string{"http://internal:8080/job/a/8/"}
		}, ""},
		"from within its own pod": {func(t *testing.T, _ *stage, _ *MigrateSpec) {
			t.Setenv("JENKINS_URL", "https://ci.example.com/")
			t.Setenv("HOSTNAME", "jenkins-1")
		}, "SelfMove"},
		"an older Jenkins at the new place":           {func(_ *testing.T, _ *stage, m *MigrateSpec) { m.NewVersion = "2.516.3-lts" }, "OlderJenkins"},
		"a newer one":                                 {func(_ *testing.T, _ *stage, m *MigrateSpec) { m.NewVersion = "2.568.2-lts-jdk21" }, ""},
		"an ApplicationSet that would undo the pause": {func(_ *testing.T, s *stage, _ *MigrateSpec) { s.underSet(`{}`) }, "ManagedByApplicationSet"},
		"one that lets it be": {func(_ *testing.T, s *stage, _ *MigrateSpec) {
			s.underSet(`{ignoreApplicationDifferences: [{jsonPointers: [/spec/syncPolicy]}]}`)
		}, ""},
		"one that only creates": {func(_ *testing.T, s *stage, _ *MigrateSpec) {
			s.underSet(`{syncPolicy: {applicationsSync: create-only}}`)
		}, ""},
		"one that lets others be": {func(_ *testing.T, s *stage, _ *MigrateSpec) {
			s.underSet(`{ignoreApplicationDifferences: [{name: other, jsonPointers: [/spec/syncPolicy]}]}`)
		}, "ManagedByApplicationSet"},
		"another Jenkins that runs this pipeline may": {func(t *testing.T, _ *stage, _ *MigrateSpec) {
			t.Setenv("BUILD_URL", "https://other.example.com/job/z/1/")
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				pre, err := s.precopy(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				m := s.migrateSpec(pre.Move)
				c.set(t, s, &m)
				a, k := s.openers()
				step := migrateStep{base{a, k, Options{}}}
				if err := step.Preflight(t.Context(), s.env("run-1"), m); code(err) != c.code {
					t.Errorf("preflight: got %v, want %q", err, c.code)
				}
				p, err := step.Plan(t.Context(), s.env("run-1"), m)
				if code(err) != c.code || c.code == "" && !strings.Contains(p.Forecast.Confirm, "down for about") {
					t.Errorf("plan: got %v, want %q; %q", err, c.code, p.Forecast.Confirm)
				}
				if s.state() != Precopied || !s.oldRuns() {
					t.Error("touched")
				}
			})
		})
	}
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
