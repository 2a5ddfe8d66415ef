package kube

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Trouble is why a pod does not get on.
type Trouble struct {
	Pod, Container  string
	Reason, Message string // as Kubernetes says, such as ImagePullBackOff
}

func (t Trouble) String() string {
	s := "pod " + t.Pod
	if t.Container != "" {
		s += " container " + t.Container
	}
	s += ": " + t.Reason
	if t.Message != "" {
		s += ": " + t.Message
	}
	return s
}

// Lasting reports a trouble that seldom passes by itself: no image, a crash loop, a container that cannot be made.
func (t Trouble) Lasting() bool { return slices.Contains(stuckReasons, t.Reason) }

// Reasons of waiting containers that seldom pass by themselves.
var stuckReasons = []string{"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "CrashLoopBackOff",
	"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}

// PodTrouble says what keeps a pod from running, if anything does: a container that cannot start, one that ended badly, or a pod that
// fits on no node.
func PodTrouble(pod *corev1.Pod) (Trouble, bool) {
	for _, cs := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		t := Trouble{Pod: pod.Name, Container: cs.Name}
		if w := cs.State.Waiting; w != nil && slices.Contains(stuckReasons, w.Reason) {
			t.Reason, t.Message = w.Reason, w.Message
			if last := cs.LastTerminationState.Terminated; last != nil {
				t.Message = exitText(last)
			}
			return t, true
		}
		if term := cs.State.Terminated; term != nil && term.ExitCode != 0 {
			t.Reason, t.Message = "exited", exitText(term)
			return t, true
		}
	}
	if pod.Status.Phase == corev1.PodFailed {
		return Trouble{Pod: pod.Name, Reason: pod.Status.Reason, Message: pod.Status.Message}, true
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return Trouble{Pod: pod.Name, Reason: c.Reason, Message: c.Message}, true
		}
	}
	return Trouble{}, false
}

func exitText(t *corev1.ContainerStateTerminated) string {
	s := fmt.Sprintf("exit code %d", t.ExitCode)
	if t.Reason != "" && t.Reason != "Error" {
		s += " (" + t.Reason + ")"
	}
	if t.Message != "" {
		s += ": " + t.Message
	}
	return s
}
