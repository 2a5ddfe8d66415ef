package e2e

import (
	"context"
	"os"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// otherImage: the only thing of a running pod that can be changed. Its kubelet ends what runs and runs the other in the same pod.
func otherImage(t *testing.T, l *lab) {
	pods := l.client.CoreV1().Pods("default")
	l.createPod(t, pod("reimaged", func(s *v1.PodSpec, c *v1.Container) {
		s.RestartPolicy = v1.RestartPolicyAlways
		mounted(s, c, "/home", v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}})
	}, "linger", "/home/ended"))
	l.lingers(t, "reimaged")
	before, err := pods.Get(t.Context(), "reimaged", get())
	if err != nil {
		t.Fatal(err)
	}
	home := l.root("i-1", "var/lib/kubelet/pods", string(before.UID), "volumes/kubernetes.io~empty-dir/v-home")
	give := func(image string, want func(v1.ContainerStatus) bool) v1.ContainerStatus {
		t.Helper()
		patch := `{"spec":{"containers":[{"name":"main","image":"` + image + `"}]}}`
		if _, err := pods.Patch(t.Context(), "reimaged", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		var st v1.ContainerStatus
		until(t, "the kubelet runs "+image, func(ctx context.Context) (bool, error) {
			now, err := pods.Get(ctx, "reimaged", get())
			if err != nil || len(now.Status.ContainerStatuses) == 0 {
				return false, err
			}
			st = now.Status.ContainerStatuses[0]
			return now.UID == before.UID && want(st), nil
		})
		return st
	}
	was := before.Status.ContainerStatuses[0]
	give("none.invalid/none:1", func(st v1.ContainerStatus) bool {
		return st.State.Waiting != nil && st.State.Waiting.Reason == "ImagePullBackOff" && st.ContainerID == was.ContainerID
	})
	if text, err := os.ReadFile(home + "/ended"); err != nil || string(text) != "ended well" {
		t.Errorf("what ran before ended with %q, %v", text, err)
	}
	give("busybox:1", func(st v1.ContainerStatus) bool {
		return st.State.Running != nil && strings.Contains(st.ImageID, "busybox") && st.ContainerID != was.ContainerID
	})
	if now := give(was.Image, func(st v1.ContainerStatus) bool { return st.State.Running != nil && st.ImageID == was.ImageID }); now.RestartCount != 3 {
		t.Errorf("%d restarts, want 3", now.RestartCount)
	}
	if err := pods.Delete(t.Context(), "reimaged", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	l.gone(t, "reimaged")
	if _, err := os.Lstat(home); !os.IsNotExist(err) {
		t.Errorf("the emptyDir is left: %v", err)
	}
}
