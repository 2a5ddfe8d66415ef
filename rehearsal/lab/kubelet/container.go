package kubelet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/rehearsal/lab/spawn"
)

// Restarts wait longer each time, as a kubelet's do, but a rehearsal has no ten seconds for the first.
const (
	firstBackoff = time.Second
	maxBackoff   = 30 * time.Second
	calmAfter    = time.Minute // a run this long forgives earlier failures
)

// messageLimit is how much of a termination message Kubernetes keeps; with FallbackToLogsOnError it is half.
const messageLimit = 4096

// runContainer runs a container as often as policy says, until life ends, and returns the last exit code. Where the pod is given another
// image for it, what runs is ended and the other is run, whatever the policy.
func (w *worker) runContainer(life context.Context, name string, policy v1.RestartPolicy, init bool) int {
	backoff := firstBackoff
	for run := int32(0); ; run++ {
		c, this, forget := w.take(life, name)
		code, again, calm := w.runOnce(life, this, c, policy, init, run, backoff)
		forget()
		if !again {
			return code
		}
		if calm {
			backoff = firstBackoff
		} else {
			backoff = min(2*backoff, maxBackoff)
		}
		w.set(name, func(s *containerState) { s.restarts++ })
	}
}

// take is the container as the pod has it now, and a life for one run of it, which ends when that has another image.
func (w *worker) take(life context.Context, name string) (c *v1.Container, this context.Context, forget func()) {
	this, end := context.WithCancel(life)
	w.mu.Lock()
	defer w.mu.Unlock()
	c = containerIn(w.pod, name)
	w.containers[name].image, w.containers[name].replaced = c.Image, end
	return c, this, end
}

func containerIn(pod *v1.Pod, name string) *v1.Container {
	for _, all := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range all {
			if all[i].Name == name {
				return &all[i]
			}
		}
	}
	return nil
}

// runOnce is one run and the pause after it. again says that another run follows, calm that it need not wait longer than the first did.
func (w *worker) runOnce(life, this context.Context, c *v1.Container, policy v1.RestartPolicy, init bool, run int32, backoff time.Duration) (code int, again, calm bool) {
	replaced := func() bool { return life.Err() == nil && this.Err() != nil }
	p, ok := w.prepare(this, c, init)
	if !ok {
		return 1, replaced(), true
	}
	began := time.Now()
	ended := w.once(this, c, p, policy, run)
	code = int(ended.ExitCode)
	switch {
	case replaced():
		w.set(c.Name, func(s *containerState) {
			s.last, s.ready = v1.ContainerState{Terminated: ended}, false
			s.state = v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: "ContainerCreating"}}
		})
		return code, true, true
	case life.Err() != nil || policy == v1.RestartPolicyNever || policy == v1.RestartPolicyOnFailure && code == 0:
		w.set(c.Name, func(s *containerState) { s.state, s.ready = v1.ContainerState{Terminated: ended}, false })
		return code, false, false
	}
	calm = time.Since(began) > calmAfter
	if calm {
		backoff = firstBackoff
	}
	w.set(c.Name, func(s *containerState) {
		s.last, s.ready = v1.ContainerState{Terminated: ended}, false
		s.state = v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: "CrashLoopBackOff",
			Message: fmt.Sprintf("back-off %s restarting failed container=%s", backoff, c.Name)}}
	})
	w.event(v1.EventTypeWarning, "BackOff", "Back-off restarting failed container "+c.Name)
	if !pause(this, backoff) && !replaced() {
		w.set(c.Name, func(s *containerState) { s.state, s.last = v1.ContainerState{Terminated: ended}, v1.ContainerState{} })
		return code, false, false
	}
	return code, true, calm || replaced()
}

// prepare decides what the container runs; it waits while something it refers to is missing. ok is false when life
// ended before.
func (w *worker) prepare(life context.Context, c *v1.Container, init bool) (*play, bool) {
	w.set(c.Name, func(s *containerState) {
		if s.last.Terminated == nil {
			s.state = v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: "ContainerCreating"}}
		}
	})
	if unpullable(c.Image) {
		w.set(c.Name, func(s *containerState) {
			s.state = v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: "ImagePullBackOff",
				Message: fmt.Sprintf("Back-off pulling image %q: its registry does not exist", c.Image)}}
		})
		w.event(v1.EventTypeWarning, "Failed", "Error: ImagePullBackOff")
		<-life.Done()
		return nil, false
	}
	last := ""
	for {
		p, err := w.choose(life, c, init)
		if err == nil {
			return p, true
		}
		if life.Err() != nil {
			return nil, false
		}
		if err.Error() != last {
			last = err.Error()
			w.set(c.Name, func(s *containerState) {
				s.state = v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: "CreateContainerConfigError", Message: last}}
			})
			w.event(v1.EventTypeWarning, "Failed", "Error: "+last)
		}
		if !pause(life, retryDelay) {
			return nil, false
		}
	}
}

// once runs the container one time and tells how it ended.
func (w *worker) once(life context.Context, c *v1.Container, p *play, policy v1.RestartPolicy, run int32) *v1.ContainerStateTerminated {
	ended := &v1.ContainerStateTerminated{Reason: "Completed", StartedAt: metav1.Now(), ContainerID: containerID(w.uid, c.Name, run)}
	if p == nil {
		if policy == v1.RestartPolicyAlways {
			w.set(c.Name, func(s *containerState) {
				s.id, s.ran, s.ready, s.state = ended.ContainerID, c.Image, true, v1.ContainerState{Running: &v1.ContainerStateRunning{StartedAt: ended.StartedAt}}
			})
			<-life.Done()
		}
		ended.FinishedAt = metav1.Now()
		return ended
	}
	code, err := w.process(life, c, p, ended, run)
	ended.FinishedAt, ended.ExitCode = metav1.Now(), int32(code)
	if code != 0 {
		ended.Reason = "Error"
	}
	if err != nil {
		ended.Reason, ended.Message = "StartError", err.Error()
		w.event(v1.EventTypeWarning, "Failed", "Error: "+err.Error())
		return ended
	}
	ended.Message = w.terminationMessage(c, p, code, run)
	return ended
}

// process starts the container's process and waits for its end.
func (w *worker) process(life context.Context, c *v1.Container, p *play, ended *v1.ContainerStateTerminated, run int32) (int, error) {
	if life.Err() != nil {
		return 137, nil
	}
	if err := os.WriteFile(p.message, nil, 0o666); err != nil {
		return 128, err
	}
	output, err := startLog(w.logPath(c.Name, run))
	if err != nil {
		return 128, err
	}
	cmd := exec.Command(p.path, p.args...)
	cmd.Args[0], cmd.Dir, cmd.Env = p.argv0, p.dir, p.env
	cmd.Stdout, cmd.Stderr = output.writer, output.writer
	process, err := spawn.Start(cmd)
	output.started()
	defer output.close()
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return 127, err
		}
		return 126, err
	}
	ready, exited := !hasProbe(c), make(chan struct{})
	defer func() {
		output.close()
		close(exited)
	}()
	w.set(c.Name, func(s *containerState) {
		s.id, s.ran, s.addr, s.ready, s.exited = ended.ContainerID, c.Image, p.addr, ready, exited
		s.state = v1.ContainerState{Running: &v1.ContainerStateRunning{StartedAt: ended.StartedAt}}
	})
	var probing sync.WaitGroup
	probes, stop := context.WithCancel(life)
	probing.Go(func() { w.probe(probes, c) })
	select {
	case <-process.Done():
	case <-life.Done():
		w.set(c.Name, func(s *containerState) { s.ready = false })
		process.Stop(w.grace())
	}
	stop()
	probing.Wait()
	w.set(c.Name, func(s *containerState) { s.addr, s.ready = nil, false })
	return process.ExitCode(), nil
}

// terminationMessage is what the process left for the pod's status.
func (w *worker) terminationMessage(c *v1.Container, p *play, code int, run int32) string {
	data, err := os.ReadFile(p.message)
	if err != nil {
		return err.Error()
	}
	if len(data) == 0 && code != 0 && c.TerminationMessagePolicy == v1.TerminationMessageFallbackToLogsOnError {
		var tail bytes.Buffer
		lines, limit := int64(80), int64(messageLimit/2)
		if err := copyLog(context.Background(), &tail, w.logPath(c.Name, run), logOptions{tail: &lines}, nil); err != nil {
			return err.Error()
		}
		data = tail.Bytes()
		data = data[max(0, len(data)-int(limit)):]
	}
	return string(data[:min(len(data), messageLimit)])
}

func (w *worker) logPath(container string, run int32) string {
	return filepath.Join(w.dir, "containers", container, fmt.Sprintf("%d.log", run))
}
