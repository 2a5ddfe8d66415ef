package jenkinshome

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// sidecarPod has the home in Jenkins, in a sidecar of either kind, in an init container that is over, and read only in another.
func sidecarPod() *corev1.Pod {
	always := corev1.ContainerRestartPolicyAlways
	home, only := []corev1.VolumeMount{{Name: "home"}}, []corev1.VolumeMount{{Name: "home", ReadOnly: true}}
	status := func(name string) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: name, ImageID: "sha256:" + name, ContainerID: "c://" + name, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	}
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "j", UID: "u"}, Spec: corev1.PodSpec{
		InitContainers: []corev1.Container{{Name: "init", Image: "i", VolumeMounts: home}, {Name: "side", Image: "s", RestartPolicy: &always, VolumeMounts: home}},
		Containers:     []corev1.Container{{Name: "jenkins", Image: "j", VolumeMounts: home}, {Name: "backup", Image: "b", VolumeMounts: only}},
	}, Status: corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{status("init"), status("side")}, ContainerStatuses: []corev1.ContainerStatus{status("jenkins"), status("backup")}}}
}

func TestWhatOfAPodIsHeld(t *testing.T) {
	pod := sidecarPod()
	p := parking(pod, "home", "pipectl")
	if len(p.Containers) != 2 || p.Containers[0].Name != "side" || !p.Containers[0].Init || p.Containers[1].Name != "jenkins" || p.Containers[1].ImageID != "sha256:jenkins" {
		t.Fatalf("%+v", p)
	}
	if p.told(pod) {
		t.Error("told before it was")
	}
	pod.Spec.InitContainers[1].Image, pod.Spec.Containers[0].Image = "pipectl", "pipectl"
	if !p.told(pod) {
		t.Error("not told")
	}
	if i := p.images(true); len(i.Init) != 1 || i.Init[0].Image != "s" || len(i.Main) != 1 || i.Main[0].Image != "j" {
		t.Errorf("%+v", i)
	}
}

func TestWhenAContainerOfBeforeIsKnownToBeGone(t *testing.T) {
	for name, c := range map[string]struct {
		status corev1.ContainerStatus
		gone   bool
	}{
		"as it was": {corev1.ContainerStatus{ImageID: "sha256:jenkins", ContainerID: "c://jenkins", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}, false},
		"it crashed, and may be started again": {corev1.ContainerStatus{ImageID: "sha256:jenkins", ContainerID: "c://jenkins",
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}, false},
		"it was started again": {corev1.ContainerStatus{ImageID: "sha256:jenkins", ContainerID: "c://jenkins2", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}, false},
		"the other image ran":  {corev1.ContainerStatus{ImageID: "sha256:pipectl", ContainerID: "c://2", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}, true},
		"the other image runs": {corev1.ContainerStatus{ImageID: "sha256:pipectl", ContainerID: "c://2", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}, true},
		"the other image cannot be pulled": {corev1.ContainerStatus{ImageID: "sha256:jenkins", ContainerID: "c://jenkins",
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"}}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			pod := sidecarPod()
			p := parking(pod, "home", "pipectl")
			pod.Status.InitContainerStatuses[1].ImageID, pod.Status.InitContainerStatuses[1].ContainerID = "sha256:pipectl", "c://1"
			c.status.Name = "jenkins"
			pod.Status.ContainerStatuses[0] = c.status
			if got := p.running(pod); (got == "") != c.gone {
				t.Errorf("still running: %q", got)
			}
		})
	}
}
