package jenkinshome

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pipectl.dev/steps"
	"pipectl.dev/treecopy"
)

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
		"one that admits none on another route either": {func(_ *testing.T, s *stage, p *PrecopySpec) {
			p.Route = routeSnapshot
			s.old.edit(oldNS, func(o map[string]any) {
				sub(sub(o, "metadata"), "labels")["pod-security.kubernetes.io/enforce"] = "baseline"
			})
		}, "PodSecurity"},
		"a home on an emptyDir, over a stream": {func(t *testing.T, s *stage, p *PrecopySpec) {
			s.outside(t)
			s.inPod()
			p.Volume, p.Route = s.volume, routeStream
		}, "HomeInPod"},
		"a home on no volume":           {func(_ *testing.T, s *stage, p *PrecopySpec) { p.From.Home = "/srv/jenkins" }, "HomeNotOnVolume"},
		"a second volume in the home":   {func(_ *testing.T, s *stage, _ *PrecopySpec) { s.editPod(nestedPod) }, "NestedMounts"},
		"a container that is not there": {func(_ *testing.T, _ *stage, p *PrecopySpec) { p.From.Container = "ci" }, "ContainerNotFound"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				p := s.precopySpec()
				c.set(t, s, &p)
				mark := s.cloud.Mark()
				step := precopyStep{s.base()}
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
				if err := (precopyStep{s.base()}).Preflight(t.Context(), s.env("run-1"), p); code(err) != c.code {
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
				step := migrateStep{s.base()}
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
