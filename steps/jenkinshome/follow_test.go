package jenkinshome

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/steps/jenkinshome/jenkins/jenkinstest"
)

// TestAMoverThatNeverStartsTurnsTheCutOverBack: the copy before worked, but the pod of the cut-over is not made, such as by a quota.
func TestAMoverThatNeverStartsTurnsTheCutOverBack(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.on("pass done", func() { s.noMover = true })
		if _, err := s.migrate(t.Context(), pre.Move, "run-1"); code(err) != "MoverNotStarted" {
			t.Errorf("got %v", err)
		}
		s.safe(t)
		s.jenkins.Do(func(j *jenkinstest.Server) {
			if s.state() != Precopied || j.Quiet {
				t.Errorf("state %s, quiet: %v", s.state(), j.Quiet)
			}
		})
		s.noMover = false
		if _, err := s.migrate(t.Context(), pre.Move, "run-2"); err != nil {
			t.Errorf("then: %v", err)
		}
		s.sameHome(t)
	})
}

func TestWhatKeepsAMoverFromStarting(t *testing.T) {
	pod := func(phase corev1.PodPhase) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Status: corev1.PodStatus{Phase: phase}}
	}
	if why, started := unstarted(nil); started || why == "" {
		t.Error("no pod:", why, started)
	}
	if why, started := unstarted([]corev1.Pod{pod(corev1.PodPending)}); started || why == "" {
		t.Error("pending:", why, started)
	}
	if _, started := unstarted([]corev1.Pod{pod(corev1.PodPending), pod(corev1.PodRunning)}); !started {
		t.Error("one runs")
	}
}
