package e2e

import (
	"net/http"
	"syscall"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
)

// TestNothingIsLeft ends a cluster in every way it may end, with a process in a pod that would go on for ever.
func TestNothingIsLeft(t *testing.T) {
	for name, end := range map[string]func(*lab) error{
		"its stdin ends":    func(l *lab) error { return l.stdin.Close() },
		"it gets SIGTERM":   func(l *lab) error { return l.cmd.Process.Signal(syscall.SIGTERM) },
		"it gets SIGINT":    func(l *lab) error { return l.cmd.Process.Signal(syscall.SIGINT) },
		"it is killed":      func(l *lab) error { return l.cmd.Process.Kill() },
		"a child is killed": killChild,
	} {
		t.Run(name, func(t *testing.T) {
			l := start(t)
			l.createPod(t, pod("serves", func(s *v1.PodSpec, c *v1.Container) {
				mounted(s, c, "/data", hostPath("/data"))
				c.Env = []v1.EnvVar{{Name: "POD_IP", ValueFrom: &v1.EnvVarSource{FieldRef: &v1.ObjectFieldSelector{FieldPath: "status.podIP"}}}}
			}, "serve", "/data"))
			l.ready(t, "serves")
			if len(l.processes(t)) < 6 {
				t.Fatalf("only these run: %q", l.processes(t))
			}
			if err := end(l); err != nil {
				t.Fatal(err)
			}
			// The kernel takes a moment to carry out the death of a parent.
			deadline := time.Now().Add(patience)
			for <-l.ended; len(l.processes(t)) > 0; time.Sleep(20 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("left behind: %q", l.processes(t))
				}
			}
		})
	}
}

func killChild(l *lab) error {
	resp, err := l.control.Get("http://lab/healthz")
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return http.ErrServerClosed
	}
	pid, err := l.childPid("kube-scheduler")
	if err != nil {
		return err
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}
