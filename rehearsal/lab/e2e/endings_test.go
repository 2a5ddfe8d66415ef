package e2e

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func graceful(t *testing.T, l *lab) {
	l.createPod(t, pod("polite", func(s *v1.PodSpec, c *v1.Container) {
		mounted(s, c, "/data", hostPath("/polite"))
	}, "linger", "/data/end"))
	l.lingers(t, "polite")
	if err := l.client.CoreV1().Pods("default").Delete(t.Context(), "polite", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	l.gone(t, "polite")
	if got, err := os.ReadFile(l.root("i-1", "polite/end")); err != nil || string(got) != "ended well" {
		t.Errorf("the process wrote %q, %v", got, err)
	}
}

// lingers waits until the process of a pod runs, and hears signals. Before the pod is there its node knows of no log.
func (l *lab) lingers(t *testing.T, pod string) {
	t.Helper()
	l.ready(t, pod)
	until(t, "process of "+pod+" runs", func(context.Context) (bool, error) {
		return strings.Contains(l.logs(t, pod, v1.PodLogOptions{}), "lingering"), nil
	})
}

func (l *lab) gone(t *testing.T, name string) {
	t.Helper()
	until(t, "pod "+name+" is gone", func(ctx context.Context) (bool, error) {
		_, err := l.client.CoreV1().Pods("default").Get(ctx, name, get())
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
}

func deadline(t *testing.T, l *lab) {
	status, ended := l.run(t, pod("slow", func(s *v1.PodSpec, c *v1.Container) {
		s.ActiveDeadlineSeconds = pointer(int64(1))
		mounted(s, c, "/data", v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}})
	}, "linger", "/data/end"))
	if status.Phase != v1.PodFailed || status.Reason != "DeadlineExceeded" || ended.ExitCode != 0 {
		t.Errorf("got %s, %s, code %d", status.Phase, status.Reason, ended.ExitCode)
	}
}

func restarts(t *testing.T, l *lab) {
	l.createPod(t, pod("again", func(s *v1.PodSpec, _ *v1.Container) { s.RestartPolicy = v1.RestartPolicyAlways }, "fail", "stay"))
	until(t, "second restart", func(ctx context.Context) (bool, error) {
		got, err := l.client.CoreV1().Pods("default").Get(ctx, "again", get())
		if err != nil || len(got.Status.ContainerStatuses) == 0 {
			return false, err
		}
		c := got.Status.ContainerStatuses[0]
		return c.RestartCount >= 1 && c.State.Waiting != nil && c.State.Waiting.Reason == "CrashLoopBackOff" &&
			c.LastTerminationState.Terminated != nil && c.LastTerminationState.Terminated.ExitCode == 7 && got.Status.Phase == v1.PodRunning, nil
	})
	if got := l.logs(t, "again", v1.PodLogOptions{Previous: true}); got != "cannot stay\n" {
		t.Errorf("previous log is %q", got)
	}
}

func waits(t *testing.T, l *lab) {
	l.createPod(t, pod("waits", func(s *v1.PodSpec, c *v1.Container) {
		mounted(s, c, "/late", v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: v1.LocalObjectReference{Name: "late"}}})
	}, "show", "/late/when"))
	until(t, "an event says why", func(ctx context.Context) (bool, error) {
		events, err := l.client.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=waits,reason=FailedMount"})
		return err == nil && len(events.Items) > 0, err
	})
	got, err := l.client.CoreV1().Pods("default").Get(t.Context(), "waits", get())
	if err != nil || got.Status.Phase != v1.PodPending {
		t.Errorf("the pod is %s, %v", got.Status.Phase, err)
	}
	if _, err := l.client.CoreV1().ConfigMaps("default").Create(t.Context(), &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "late"}, Data: map[string]string{"when": "now"}}, create()); err != nil {
		t.Fatal(err)
	}
	until(t, "the pod succeeds", func(ctx context.Context) (bool, error) {
		got, err := l.client.CoreV1().Pods("default").Get(ctx, "waits", get())
		return err == nil && got.Status.Phase == v1.PodSucceeded, err
	})
}

func initFails(t *testing.T, l *lab) {
	p := pod("unready", nil, "show")
	p.Spec.InitContainers = []v1.Container{{Name: "init", Image: image, Args: []string{"fail", "begin"}}}
	l.createPod(t, p)
	until(t, "the pod fails", func(ctx context.Context) (bool, error) {
		got, err := l.client.CoreV1().Pods("default").Get(ctx, "unready", get())
		if err != nil || got.Status.Phase != v1.PodFailed {
			return false, err
		}
		if s := got.Status.ContainerStatuses[0].State; s.Waiting == nil || s.Waiting.Reason != "PodInitializing" {
			t.Errorf("the container is %+v", s)
		}
		return true, nil
	})
}

func leavingNode(t *testing.T, l *lab) {
	l.addNode(t, "n2", "i-2")
	l.createPod(t, pod("doomed", func(s *v1.PodSpec, c *v1.Container) {
		s.NodeSelector = map[string]string{"kubernetes.io/hostname": "n2"}
		mounted(s, c, "/data", hostPath("/data"))
	}, "linger", "/data/end"))
	l.lingers(t, "doomed")
	if code, body := l.order(t, http.MethodDelete, "/nodes/n2", nil); code != http.StatusOK {
		t.Fatalf("DELETE /nodes/n2: %d %s", code, body)
	}
	l.gone(t, "doomed")
	if _, err := l.client.CoreV1().Nodes().Get(t.Context(), "n2", get()); !apierrors.IsNotFound(err) {
		t.Errorf("node n2: %v", err)
	}
	if _, err := os.Stat(l.root("i-2", "data/end")); err != nil {
		t.Errorf("the process was not asked to end: %v", err)
	}
}

func refusals(t *testing.T, l *lab) {
	for _, c := range []struct {
		method, path string
		body         any
		want         int
	}{
		{http.MethodPost, "/nodes", map[string]any{"name": "n9", "instanceID": "../x", "privateIP": "10.0.0.1"}, http.StatusBadRequest},
		{http.MethodPost, "/nodes", map[string]any{"name": "n1", "instanceID": "i-1", "privateIP": "10.0.0.1"}, http.StatusConflict},
		{http.MethodPost, "/nodes", map[string]any{"nodeName": "n9"}, http.StatusBadRequest},
		{http.MethodDelete, "/nodes/n9", nil, http.StatusNotFound},
		{http.MethodPut, "/addons/coredns", map[string]any{"active": true}, http.StatusNotFound},
	} {
		if code, body := l.order(t, c.method, c.path, c.body); code != c.want {
			t.Errorf("%s %s %v: %d %s, want %d", c.method, c.path, c.body, code, body, c.want)
		}
	}
	if code, body := l.order(t, http.MethodGet, "/nodes", nil); code != http.StatusOK || !strings.Contains(body, `"instanceID":"i-1"`) {
		t.Errorf("GET /nodes: %d %s", code, body)
	}
}
