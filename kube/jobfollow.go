package kube

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/steps"
)

// FollowJob waits for a Job that was started and returns how it ended. Lines of its log are passed on while it runs, without
// promise that the last of a pod that vanished arrive.
func (c *Client) FollowJob(ctx context.Context, s JobSpec) (JobResult, error) {
	f := &follower{c: c, s: s, began: time.Now()}
	inner, cancel := context.WithCancel(ctx)
	defer f.stopLogs(cancel)
	err := Await(ctx, 5*time.Second, func(ctx context.Context) (bool, error) { return f.look(ctx, inner) },
		c.watchJob(s.Namespace, s.Name), c.watchJobPods(s.Namespace, s.Name))
	if err != nil {
		return f.result, fmt.Errorf("job %s/%s: %w", s.Namespace, s.Name, err)
	}
	return f.result, nil
}

type follower struct {
	c      *Client
	s      JobSpec
	began  time.Time
	detail string
	logs   chan struct{} // closed when the log is read to its end; nil: not reading
	result JobResult
}

func (f *follower) look(ctx, logCtx context.Context) (bool, error) {
	job, err := f.c.Typed.BatchV1().Jobs(f.s.Namespace).Get(ctx, f.s.Name, metav1.GetOptions{})
	if passing(err) {
		return false, nil
	}
	if err != nil {
		return false, Explain(err)
	}
	pods, err := f.c.jobPods(ctx, f.s.Namespace, f.s.Name)
	if passing(err) {
		return false, nil
	}
	if err != nil {
		return false, Explain(err)
	}
	pod := newest(pods)
	if pod != nil {
		f.result.Pod, f.result.Node = pod.Name, pod.Spec.NodeName
		f.tell(pod)
		if pod.Status.Phase != corev1.PodPending && f.logs == nil && f.s.Lines != nil {
			f.logs = make(chan struct{})
			go f.readLog(logCtx, pod.Name)
		}
		if term := terminated(pod); term != nil {
			f.result.ExitCode, f.result.Reason, f.result.Message = term.ExitCode, term.Reason, term.Message
			return true, nil
		}
	}
	if end, ended := jobEnd(job); ended {
		f.ended(end)
		return true, nil
	}
	return false, f.stuck(ctx, pod)
}

func (f *follower) ended(end batchv1.JobCondition) {
	f.result.ExitCode, f.result.Reason, f.result.Message = -1, end.Reason, end.Message
	if end.Type == batchv1.JobComplete {
		f.result.ExitCode = 0
	}
}

// stuck is the error of a pod that did not start in time. A pod that has not been made yet counts too: a quota or an admission
// webhook may forbid it.
func (f *follower) stuck(ctx context.Context, pod *corev1.Pod) error {
	patience := f.s.StartWithin
	if patience == 0 {
		patience = 3 * time.Minute
	}
	if time.Since(f.began) < patience || (pod != nil && pod.Status.Phase != corev1.PodPending) {
		return nil
	}
	e := &steps.Error{Code: "PodNotStarted", Category: steps.Unhealthy, Retryable: true,
		Message: "no pod was made within " + patience.String(), Hints: []string{"see `kubectl describe job`: a quota or an admission webhook may forbid the pod"}}
	if pod != nil {
		e.Message = fmt.Sprintf("pod %s did not start within %s", pod.Name, patience)
		e.Hints = []string{"see `kubectl describe pod " + pod.Name + " -n " + pod.Namespace + "`"}
		if t, bad := PodTrouble(pod); bad {
			e.Message = fmt.Sprintf("did not start within %s: %s", patience, t)
		} else if why := f.warned(ctx, pod); why != "" { // a volume that is not attached or mounted is told by events alone
			e.Message += ": " + why
		}
	}
	return e
}

// warned is the latest warning about a pod, "" where none can be read.
func (f *follower) warned(ctx context.Context, pod *corev1.Pod) string {
	list, err := f.c.Typed.CoreV1().Events(pod.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "type=" + corev1.EventTypeWarning + ",involvedObject.uid=" + string(pod.UID)})
	if err != nil {
		return ""
	}
	var last *corev1.Event
	for i := range list.Items {
		if e := &list.Items[i]; last == nil || !e.LastTimestamp.Before(&last.LastTimestamp) {
			last = e
		}
	}
	if last == nil {
		return ""
	}
	return last.Reason + ": " + last.Message
}

func (f *follower) tell(pod *corev1.Pod) {
	detail := strings.ToLower(string(pod.Status.Phase))
	if t, bad := PodTrouble(pod); bad {
		detail += ": " + t.Reason
	}
	if detail != f.detail && f.s.Progress != nil {
		f.s.Progress(detail)
	}
	f.detail = detail
}

func newest(pods []corev1.Pod) *corev1.Pod {
	var best *corev1.Pod
	for i := range pods {
		if best == nil || best.CreationTimestamp.Before(&pods[i].CreationTimestamp) {
			best = &pods[i]
		}
	}
	return best
}

// terminated is how the pod's first container ended, once it has.
func terminated(pod *corev1.Pod) *corev1.ContainerStateTerminated {
	for _, cs := range pod.Status.ContainerStatuses {
		if cs.Name == pod.Spec.Containers[0].Name {
			return cs.State.Terminated
		}
	}
	return nil
}

// readLog passes on the log until the container ends. A stream that breaks is opened again after the last line seen.
func (f *follower) readLog(ctx context.Context, pod string) {
	defer close(f.logs)
	var last time.Time
	for ctx.Err() == nil {
		o := &corev1.PodLogOptions{Follow: true, Timestamps: true}
		if !last.IsZero() {
			o.SinceTime = &metav1.Time{Time: last}
		}
		stream, err := f.c.Typed.CoreV1().Pods(f.s.Namespace).GetLogs(pod, o).Stream(ctx)
		if err == nil {
			last, err = f.pass(stream, last)
			_ = stream.Close()
			if err == nil || last.IsZero() {
				return
			}
		}
		if apierrors.IsNotFound(err) {
			return
		}
		timer := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// pass hands on lines newer than after, and returns the time of the last one. Lines without a time are handed on as they are.
func (f *follower) pass(stream io.Reader, after time.Time) (time.Time, error) {
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, 1<<20)
	last := after
	for lines.Scan() {
		stamp, text, _ := strings.Cut(lines.Text(), " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil {
			f.s.Lines(lines.Text())
			continue
		}
		if at.After(after) {
			last = at
			f.s.Lines(text)
		}
	}
	return last, lines.Err()
}

// stopLogs lets the log end by itself for a moment once the container has ended, then cuts it off.
func (f *follower) stopLogs(cancel context.CancelFunc) {
	if f.logs != nil && f.result.Reason != "" {
		timer := time.NewTimer(2 * time.Second)
		select {
		case <-f.logs:
		case <-timer.C:
		}
		timer.Stop()
	}
	cancel()
	if f.logs != nil {
		<-f.logs
	}
}
