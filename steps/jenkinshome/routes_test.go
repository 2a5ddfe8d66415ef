package jenkinshome

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"pipectl.dev/steps"
	"pipectl.dev/steps/jenkinshome/jenkins/jenkinstest"
)

func TestMoverPods(t *testing.T) {
	h := &home{Pod: &corev1.Pod{Spec: corev1.PodSpec{NodeName: "node-1"}}, SubPath: "home", Volume: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/var/lib/jenkins"}}}
	attached := moverPod(h, routeAttach, "", "image", []string{"mover", "copy"})
	if c := attached.Containers[0].SecurityContext; c.Privileged == nil || !*c.Privileged {
		t.Error("route attach mounts a device: it must be privileged")
	}
	same := moverPod(h, routeSameNode, "claim", "image", nil)
	if c := same.Containers[0].SecurityContext; c.Privileged != nil || !slices.Equal(c.Capabilities.Drop, []corev1.Capability{"ALL"}) ||
		!slices.Equal(c.Capabilities.Add, []corev1.Capability{"DAC_OVERRIDE", "DAC_READ_SEARCH", "CHOWN", "FOWNER", "FSETID"}) {
		t.Errorf("route sameNode has other rights than it needs: %+v", c)
	}
	for _, route := range []string{routeSnapshot, routeStream} {
		c := moverPod(h, route, "", "image", nil).Containers[0].SecurityContext
		if c.Privileged != nil || !slices.Equal(c.Capabilities.Drop, []corev1.Capability{"ALL"}) || !slices.Equal(c.Capabilities.Add, []corev1.Capability{"DAC_READ_SEARCH"}) {
			t.Errorf("route %s only reads the home: %+v", route, c)
		}
	}
	for name, p := range map[string]corev1.PodSpec{"attach": attached, "sameNode": same, "cut": cutPod(h, routeAttach, "", "image", "sa", nil)} {
		for _, m := range p.Containers[0].VolumeMounts {
			if (m.Name == "source" || m.Name == "host") && !m.ReadOnly {
				t.Errorf("%s: %s is writable", name, m.Name)
			}
		}
		if on := p.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchFields[0].Values; !slices.Equal(on, []string{"node-1"}) {
			t.Errorf("%s: on %v", name, on)
		}
		if token := p.AutomountServiceAccountToken; (name == "cut") != *token {
			t.Errorf("%s: service account token %v", name, *token)
		}
	}
}

func TestArgumentsSurviveTheCommandLine(t *testing.T) {
	a := moverDefaults
	a.Source, a.Volume, a.Exclude, a.Then, a.Port, a.Wait, a.FSGroup = "/pipectl/source", "vol-1", []string{"/war/", "*-atomic*tmp", "a,b"}, "abort", 9090, minutes(15).Duration, 0
	args := a.args("cut")
	if !slices.Equal(args[:2], []string{"mover", "cut"}) {
		t.Fatal(args)
	}
	back := moverDefaults
	if err := back.flags().Parse(args[2:]); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(a, back); d != "" {
		t.Error(d)
	}
}

// TestARollbackSurvivesTheDeathOfItsOrchestrator lets a comparison fail and the run that turns back die at every step.
func TestARollbackSurvivesTheDeathOfItsOrchestrator(t *testing.T) {
	total := 1
	for n := 0; n < total && !t.Failed(); n++ {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				move := s.moved(t)
				s.new.put(oldApp, object(`{apiVersion: argoproj.io/v1alpha1, kind: Application, metadata: {name: jenkins, namespace: argocd}, spec: {syncPolicy: {automated: {prune: true, selfHeal: true}}}}`))
				s.new.edit(newSet, func(o map[string]any) {
					sub(sub(o, "metadata"), "annotations")["argocd.argoproj.io/tracking-id"] = "jenkins:apps/Deployment:jenkins/jenkins"
				})
				s.fresh.Do(func(j *jenkinstest.Server) { delete(j.Jobs, "a") })
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				s.events, s.crashAt, s.crash = 0, n, cancel
				_, _ = s.verify(ctx, move) // dies, or tells that they differ
				total = max(total, s.events)
				s.crash = nil
				s.safe(t)
				if _, err := s.verify(t.Context(), move); err == nil || s.state() != Precopied || !s.oldRuns() || s.newRuns() || s.new.get(newClaimP) != nil {
					t.Errorf("%v, state %s, old runs: %v, new runs: %v, claim: %v", err, s.state(), s.oldRuns(), s.newRuns(), s.new.get(newClaimP))
				}
				if auto := sub(sub(sub(s.new.get(oldApp), "spec"), "syncPolicy"), "automated"); auto["selfHeal"] != true || auto["prune"] != true || auto["enabled"] != nil {
					t.Errorf("the new Application does not sync as before: %v", auto)
				}
			})
		})
	}
}

func TestAnUnfinishedRollbackIsNotRunOver(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		move := s.moved(t)
		if err := writeTags(t.Context(), s.aws, s.volume, map[string]string{tagState: string(RollingBack)}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.migrate(t.Context(), move, "run-1"); code(err) != "RollbackUnfinished" || steps.Classify(err).Category.ExitCode() != 12 {
			t.Errorf("got %v", err)
		}
		s.safe(t)
		if _, err := s.verify(t.Context(), move); code(err) != "RolledBack" || s.state() != Precopied || !s.oldRuns() {
			t.Errorf("got %v, state %s", err, s.state())
		}
		s.toTheEnd(t.Context(), t)
	})
}

func TestAClaimThatPipectlDidNotMakeIsLeft(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		move := s.moved(t)
		s.new.edit(newClaimP, func(o map[string]any) { sub(o, "metadata")["annotations"] = map[string]any{} })
		s.fresh.Loading = true
		if _, err := s.verify(t.Context(), move); code(err) != "JenkinsDiffers" {
			t.Errorf("got %v", err)
		}
		if s.new.get(newClaimP) == nil || s.new.get(newVolume) != nil {
			t.Errorf("claim: %v, volume: %v", s.new.get(newClaimP), s.new.get(newVolume))
		}
		if !strings.Contains(strings.Join(s.notes, "; "), "is left: pipectl did not make it") {
			t.Errorf("notes: %q", s.notes)
		}
	})
}

func TestTheTokenIsNowhereButInItsSecret(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen := ""
		s.on(string(doAwaitAck), func() {
			for _, p := range s.old.list("/") {
				if !strings.Contains(p, "/secrets/") {
					seen += jsonText(s.old.get(p))
				}
			}
		})
		out, err := s.migrate(t.Context(), pre.Move, "run-1")
		if err != nil {
			t.Fatal(err)
		}
		told, err := json.Marshal(out)
		if err != nil {
			t.Fatal(err)
		}
		key, err := os.ReadFile(filepath.Join(s.home(), "secrets", "master.key"))
		if err != nil || len(key) < 16 {
			t.Fatal(len(key), err)
		}
		for what, secret := range map[string]string{"token": "11aa", "home's master key": strings.TrimSpace(string(key))} {
			if seen == "" || strings.Contains(seen+s.log.String()+string(told)+strings.Join(s.notes, "\n"), secret) {
				t.Errorf("the %s is in an object, in the log, in the result or in a note", what)
			}
		}
	})
}
