package kubelet

import (
	"errors"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// containerState is what is known of one container; guarded by its worker's lock.
type containerState struct {
	name, image string
	sidecar     bool
	state, last v1.ContainerState
	restarts    int32
	ready       bool
	id, ran     string                // of the last run, and its image
	addr        func(port int) string // where a port of it really answers; nil: nothing runs
	replaced    func()                // ends the run of now, for one of another image
	exited      chan struct{}         // closed at the end of the running process
}

// over is closed when the process that runs now has ended and its log is whole.
func (c *containerState) over() <-chan struct{} { return c.exited }

func newContainerState(c *v1.Container) *containerState {
	return &containerState{
		name: c.Name, image: c.Image,
		sidecar: c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways,
		state:   v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: "PodInitializing"}},
	}
}

// set changes a container's state and has it reported.
func (w *worker) set(name string, change func(*containerState)) {
	w.mu.Lock()
	change(w.containers[name])
	w.mu.Unlock()
	w.touch()
}

// status is the pod's status as of now.
func (w *worker) status(now time.Time) v1.PodStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	init, main := w.states(w.pod.Spec.InitContainers), w.states(w.pod.Spec.Containers)
	status := v1.PodStatus{
		Phase:  phase(init, main, w.over),
		HostIP: w.node.PrivateIP, HostIPs: []v1.HostIP{{IP: w.node.PrivateIP}},
		StartTime: &w.started, QOSClass: w.pod.Status.QOSClass, ObservedGeneration: w.pod.Generation,
	}
	if terminal(w.pod.Status.Phase) {
		// A finished pod never turns back, whatever a restarted lab thinks of it.
		return w.pod.Status
	}
	if errors.Is(w.ended, errDeadline) {
		status.Phase, status.Reason = v1.PodFailed, "DeadlineExceeded"
		status.Message = "Pod was active on the node longer than the specified deadline"
	}
	if errors.Is(w.ended, errNodeGone) {
		status.Phase, status.Reason = v1.PodFailed, "NodeShutdown"
	}
	if w.volumes != nil {
		status.PodIP, status.PodIPs = w.shown, []v1.PodIP{{IP: w.shown}}
	}
	for _, c := range init {
		status.InitContainerStatuses = append(status.InitContainerStatuses, c.report(true))
	}
	for _, c := range main {
		status.ContainerStatuses = append(status.ContainerStatuses, c.report(false))
	}
	status.Conditions = conditions(w.pod, status.Phase, w.volumes != nil, init, main, now)
	return status
}

func (w *worker) states(containers []v1.Container) []containerState {
	all := make([]containerState, len(containers))
	for i := range containers {
		all[i] = *w.containers[containers[i].Name]
	}
	return all
}

func (c *containerState) report(init bool) v1.ContainerStatus {
	started := c.state.Running != nil
	status := v1.ContainerStatus{
		Name: c.name, Image: c.image, ImageID: c.imageID(), ContainerID: c.id,
		State: c.state, LastTerminationState: c.last, RestartCount: c.restarts, Started: &started, Ready: c.ready,
	}
	if init && !c.sidecar {
		status.Ready = c.state.Terminated != nil && c.state.Terminated.ExitCode == 0
	}
	return status
}

func (c *containerState) imageID() string {
	if c.ran == "" {
		return ""
	}
	return "process://" + c.ran
}

func terminal(p v1.PodPhase) bool { return p == v1.PodSucceeded || p == v1.PodFailed }

// phase sums up the containers' states; over means that no container runs or will be started again. Only then is a pod
// done, however its containers ended: why its life ended, for one a deadline, is not known before.
func phase(init, main []containerState, over bool) v1.PodPhase {
	for _, c := range init {
		if c.sidecar {
			continue
		}
		if t := c.state.Terminated; t == nil || t.ExitCode != 0 {
			if over {
				return v1.PodFailed // it failed for good, or was ended while it waited
			}
			return v1.PodPending
		}
	}
	waiting, failed, ended := 0, 0, 0
	for _, c := range main {
		switch {
		case c.state.Terminated != nil:
			ended++
			if c.state.Terminated.ExitCode != 0 {
				failed++
			}
		case c.state.Waiting != nil && c.last.Terminated == nil:
			waiting++
		}
	}
	switch {
	case over && (failed > 0 || ended < len(main)):
		return v1.PodFailed
	case over:
		return v1.PodSucceeded
	case waiting > 0:
		return v1.PodPending
	}
	return v1.PodRunning
}

// conditions are the pod's, with the transition times of those that did not change.
func conditions(pod *v1.Pod, phase v1.PodPhase, mounted bool, init, main []containerState, now time.Time) []v1.PodCondition {
	initialized, ready := true, phase == v1.PodRunning
	for _, c := range init {
		done := c.state.Terminated != nil && c.state.Terminated.ExitCode == 0
		initialized = initialized && (done || c.sidecar && c.state.Running != nil)
	}
	for _, c := range main {
		ready = ready && c.ready
	}
	reason := ""
	if !ready {
		reason = "ContainersNotReady"
		if phase == v1.PodSucceeded {
			reason = "PodCompleted"
		}
	}
	want := []v1.PodCondition{
		{Type: v1.PodReadyToStartContainers, Status: truth(mounted && !terminal(phase))},
		{Type: v1.PodInitialized, Status: truth(initialized)},
		{Type: v1.PodReady, Status: truth(ready), Reason: reason},
		{Type: v1.ContainersReady, Status: truth(ready), Reason: reason},
		{Type: v1.PodScheduled, Status: v1.ConditionTrue},
	}
	for i := range want {
		want[i].LastTransitionTime = metav1.NewTime(now)
		want[i].ObservedGeneration = pod.Generation
		for _, had := range pod.Status.Conditions {
			if had.Type == want[i].Type && had.Status == want[i].Status {
				want[i].LastTransitionTime = had.LastTransitionTime
			}
		}
	}
	return want
}

func truth(b bool) v1.ConditionStatus {
	if b {
		return v1.ConditionTrue
	}
	return v1.ConditionFalse
}

// addrOf tells where a container port of the pod really answers.
func (w *worker) addrOf(port int) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.pod.Spec.Containers {
		state := w.containers[c.Name]
		if state.addr == nil {
			continue
		}
		if addr := state.addr(port); addr != "" {
			return addr
		}
	}
	return ""
}

// isRunning tells whether a process of the pod runs.
func (w *worker) isRunning() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.containers {
		if c.addr != nil && c.state.Running != nil {
			return true
		}
	}
	return false
}
