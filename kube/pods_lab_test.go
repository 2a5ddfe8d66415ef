package kube_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/kube"
)

func job(ns, name, run, script string) kube.JobSpec {
	return kube.JobSpec{Namespace: ns, Name: name, Owner: me, Run: run, StartWithin: 20 * time.Second,
		Pod: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "pipectl/test", Command: []string{"/bin/sh", "-c", script}}}}}
}

func TestJobLeavesExitCodeMessageAndLog(t *testing.T) {
	c := open(t)
	withNode(t)
	ns := namespace(t, c, "jobs")
	s := job(ns, "ends", "run-1", `echo one; echo two; echo -n '{"moved":3}' > "$PIPECTL_TERMINATION_LOG"; exit 7`)
	var mu sync.Mutex
	var lines []string
	s.Lines = func(l string) { mu.Lock(); defer mu.Unlock(); lines = append(lines, l) }
	r, err := c.RunJob(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if r.ExitCode != 7 || r.Message != `{"moved":3}` || r.Adopted || r.Node != "ip-10-0-1-10" {
		t.Errorf("result: %+v", r)
	}
	if diff := cmp.Diff([]string{"one", "two"}, lines); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	again, err := c.RunJob(t.Context(), s)
	if err != nil || !again.Adopted || again.ExitCode != 7 {
		t.Errorf("the same run again: %+v, %v", again, err)
	}
	s = job(ns, "ends", "run-2", "exit 0")
	if next, err := c.RunJob(t.Context(), s); err != nil || next.Adopted || !next.Succeeded() {
		t.Errorf("another run: %+v, %v", next, err)
	}
	s.Owner.Pipeline = "another"
	if _, err := c.RunJob(t.Context(), s); !kube.HasCode(err, "NotOurs") {
		t.Errorf("a job of another owner: %v", err)
	}
	if err := c.DeleteJob(t.Context(), ns, "ends"); err != nil {
		t.Error(err)
	}
}

func TestAJobWhosePodCannotMountSaysWhy(t *testing.T) {
	c := open(t)
	withNode(t)
	ns := namespace(t, c, "jobs-mount")
	s := job(ns, "waits", "run-1", "exit 0")
	s.StartWithin = 3 * time.Second
	s.Pod.Volumes = append(s.Pod.Volumes, corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "nowhere"}}})
	if _, err := c.RunJob(t.Context(), s); !kube.HasCode(err, "PodNotStarted") || !strings.Contains(err.Error(), "FailedMount: ") || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("got %v", err)
	}
}

func TestPortForwardCarriesHTTPAndSaysWhenNobodyListens(t *testing.T) {
	c := open(t)
	withNode(t)
	ns := namespace(t, c, "forward")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "jenkins", Namespace: ns}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: "jenkins", Image: "jenkins/jenkins:lts", Ports: []corev1.ContainerPort{{ContainerPort: 8080}},
		ReadinessProbe: &corev1.Probe{PeriodSeconds: 1},
	}}}}
	pod.Spec.Containers[0].ReadinessProbe.HTTPGet = &corev1.HTTPGetAction{Path: "/login"}
	pod.Spec.Containers[0].ReadinessProbe.HTTPGet.Port.IntVal = 8080
	if _, err := c.Typed.CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitHealthy(t.Context(), []kube.ObjectRef{{APIVersion: "v1", Kind: "Pod", Namespace: ns, Name: "jenkins"}}, kube.WaitOptions{Timeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	transport := c.PodTransport(ns, "jenkins", 8080)
	defer transport.CloseIdleConnections()
	for range 2 {
		resp, err := (&http.Client{Transport: transport}).Get("http://jenkins/login")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.Header.Get("X-Jenkins") == "" {
			t.Errorf("no Jenkins at the other end: %s", resp.Status)
		}
	}
	conn, err := c.PortForward(t.Context(), ns, "jenkins", 9)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Read(make([]byte, 1)); !kube.HasCode(err, "PortForwardRefused") {
		t.Errorf("port nobody listens on: %v", err)
	}
}

func TestHealthErrorSaysWhatPodsSay(t *testing.T) {
	c := open(t)
	ns := namespace(t, c, "sick")
	objs := objects(t, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, namespace: `+ns+`}
spec:
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec:
      nodeSelector: {no-such: node}
      containers: [{name: c, image: nginx}]`)
	if _, err := c.Apply(t.Context(), objs, kube.ApplyOptions{Owner: &me}); err != nil {
		t.Fatal(err)
	}
	err := c.WaitHealthy(t.Context(), []kube.ObjectRef{kube.RefOf(objs[0])}, kube.WaitOptions{Timeout: 3 * time.Second})
	if !kube.HasCode(err, "NotHealthy") || !strings.Contains(err.Error(), "Unschedulable") {
		t.Errorf("got %v", err)
	}
}
