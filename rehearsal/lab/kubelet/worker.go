package kubelet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Why a pod's life ends.
var (
	errDeleted  = errors.New("deleted")
	errRemoved  = errors.New("object removed")
	errNodeGone = errors.New("node removed")
	errDeadline = errors.New("active deadline exceeded")
)

// retryDelay is the pause before a mount, a missing reference or a status write is tried again.
const retryDelay = 500 * time.Millisecond

// worker plays one pod from its arrival on the node to its end.
type worker struct {
	k               *Kubelet
	node            NodeSpec
	namespace, name string
	uid             types.UID
	daemon          bool
	dir             string // of the pod
	address, shown  string // its real address, and the one in its status

	life    context.Context // ends when the pod must
	end     context.CancelCauseFunc
	done    chan struct{}
	deleted chan struct{} // closed when the object is marked for deletion
	changed chan struct{} // a state changed; holds at most one
	renewal sync.Once

	vanishing sync.Once
	vanished  chan struct{} // closed by vanish

	mu         sync.Mutex
	pod        *v1.Pod
	containers map[string]*containerState
	volumes    map[string]string
	started    metav1.Time
	expiry     time.Time
	ended      error // why life ended, once all processes are gone
	over       bool  // no container runs or will run
}

func newWorker(k *Kubelet, node NodeSpec, pod *v1.Pod) *worker {
	w := &worker{
		k: k, node: node, namespace: pod.Namespace, name: pod.Name, uid: pod.UID, pod: pod,
		dir:  filepath.Join(k.opts.PodsDir, pod.Namespace+"_"+pod.Name+"_"+string(pod.UID)[:8]),
		done: make(chan struct{}), deleted: make(chan struct{}), vanished: make(chan struct{}), changed: make(chan struct{}, 1),
		containers: map[string]*containerState{}, started: metav1.Now(),
	}
	for _, owner := range pod.OwnerReferences {
		w.daemon = w.daemon || owner.Kind == "DaemonSet"
	}
	w.address, w.shown = k.net.nextPod()
	if pod.Spec.HostNetwork {
		w.shown = node.PrivateIP
	}
	// Life does not descend from Run's context alone: it ends for several reasons, and the reason counts.
	w.life, w.end = context.WithCancelCause(context.Background())
	for i := range pod.Spec.InitContainers {
		w.containers[pod.Spec.InitContainers[i].Name] = newContainerState(&pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		w.containers[pod.Spec.Containers[i].Name] = newContainerState(&pod.Spec.Containers[i])
	}
	if pod.DeletionTimestamp != nil {
		close(w.deleted)
		w.end(errDeleted)
	}
	return w
}

// update takes a newer version of the pod.
func (w *worker) update(pod *v1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if pod.DeletionTimestamp != nil && w.pod.DeletionTimestamp == nil {
		close(w.deleted)
		w.end(errDeleted)
	}
	for name, s := range w.containers {
		if c := containerIn(pod, name); c != nil && c.Image != s.image && s.replaced != nil {
			s.replaced()
		}
	}
	w.pod = pod
}

func (w *worker) current() *v1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pod
}

// wait returns when the pod's processes are gone or ctx ends.
func (w *worker) wait(ctx context.Context) {
	select {
	case <-w.done:
	case <-ctx.Done():
	}
}

// run plays the pod. ctx ends with the whole kubelet: then processes are killed and nothing more is reported.
func (w *worker) run(ctx context.Context) {
	defer w.end(nil)
	stop := context.AfterFunc(ctx, func() { w.end(context.Canceled) })
	defer stop()
	var reporting sync.WaitGroup
	report, reported := context.WithCancel(ctx)
	reporting.Go(func() { w.report(report) })
	if pod := w.current(); pod.Status.Phase != v1.PodSucceeded && pod.Status.Phase != v1.PodFailed {
		w.play()
	}
	w.mu.Lock()
	if w.life.Err() != nil {
		w.ended = context.Cause(w.life)
	}
	w.over = true
	w.mu.Unlock()
	close(w.done)
	w.touch()
	// A finished pod stays until somebody deletes it.
	select {
	case <-ctx.Done():
	case <-w.deleted:
		w.finish(ctx)
	case <-w.vanished:
	}
	reported()
	reporting.Wait()
	if err := errors.Join(os.RemoveAll(filepath.Join(w.dir, "volumes")), os.RemoveAll(filepath.Join(w.inRoot(podsDir), string(w.uid)))); err != nil {
		w.k.opts.Log.Warn("remove volumes", "pod", w.name, "error", err)
	}
}

// vanish ends a pod that has no object or no node any more: nothing is reported of it.
func (w *worker) vanish(cause error) {
	w.vanishing.Do(func() { close(w.vanished) })
	w.end(cause)
}

// play runs init containers, then containers, and returns when none is left.
func (w *worker) play() {
	pod := w.current()
	if seconds := pod.Spec.ActiveDeadlineSeconds; seconds != nil {
		timer := time.AfterFunc(time.Duration(*seconds)*time.Second, func() { w.end(errDeadline) })
		defer timer.Stop()
	}
	w.touch()
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		w.event(v1.EventTypeWarning, "FailedCreatePodSandBox", err.Error())
		return
	}
	if !w.mount() {
		return
	}
	// Sidecars live as long as the containers do, so they have a life of their own within the pod's.
	sidecars, end := context.WithCancel(w.life)
	defer end()
	var side sync.WaitGroup
	defer side.Wait()
	defer end()
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways {
			side.Go(func() { w.runContainer(sidecars, c.Name, v1.RestartPolicyAlways, true) })
			continue
		}
		policy := pod.Spec.RestartPolicy
		if policy == v1.RestartPolicyAlways {
			policy = v1.RestartPolicyOnFailure // an init container that is done stays done
		}
		if code := w.runContainer(w.life, c.Name, policy, true); code != 0 || w.life.Err() != nil {
			return
		}
	}
	var all sync.WaitGroup
	for i := range pod.Spec.Containers {
		name := pod.Spec.Containers[i].Name
		all.Go(func() { w.runContainer(w.life, name, pod.Spec.RestartPolicy, false) })
	}
	all.Wait()
}

// mount materialises the volumes, again and again until it works; false means that the pod ended before.
func (w *worker) mount() bool {
	var last string
	for {
		volumes, err := w.materialise(w.life)
		if err == nil {
			w.mu.Lock()
			w.volumes = volumes
			w.mu.Unlock()
			return true
		}
		if w.life.Err() != nil {
			return false
		}
		if err.Error() != last {
			last = err.Error()
			w.event(v1.EventTypeWarning, "FailedMount", "MountVolume failed: "+last)
		}
		if !pause(w.life, retryDelay) {
			return false
		}
	}
}

// finish reports the end of a deleted pod and lets its object go.
func (w *worker) finish(ctx context.Context) {
	now := int64(0)
	for {
		if err := w.writeStatus(ctx); err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			err := w.k.client.CoreV1().Pods(w.namespace).Delete(ctx, w.name, metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(w.uid))})
			if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
				return
			}
		}
		if !pause(ctx, retryDelay) {
			return
		}
	}
}

// touch says that the status may have changed.
func (w *worker) touch() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// report writes the status whenever it changed, until ctx ends.
func (w *worker) report(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.changed:
		}
		if err := w.writeStatus(ctx); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			if ctx.Err() != nil {
				return
			}
			w.k.opts.Log.Warn("status", "pod", w.namespace+"/"+w.name, "error", err)
			if !pause(ctx, retryDelay) {
				return
			}
			w.touch()
		}
	}
}

func (w *worker) writeStatus(ctx context.Context) error {
	status := w.status(time.Now())
	type condition struct {
		v1.PodCondition
		Reason *string `json:"reason"` // null clears the last one; an omitted one would stay
	}
	conditions := make([]condition, len(status.Conditions))
	for i, c := range status.Conditions {
		conditions[i].PodCondition = c
		if c.Reason != "" {
			conditions[i].Reason = &c.Reason
		}
	}
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": w.uid}, "status": struct {
		v1.PodStatus
		Conditions []condition `json:"conditions"`
	}{status, conditions}})
	if err != nil {
		return err
	}
	_, err = w.k.client.CoreV1().Pods(w.namespace).Patch(ctx, w.name, types.StrategicMergePatchType, data, metav1.PatchOptions{}, "status")
	return err
}

func (w *worker) event(kind, reason, message string) {
	w.k.events.Event(w.current(), kind, reason, message)
	w.k.opts.Log.Info("event", "pod", w.namespace+"/"+w.name, "reason", reason, "message", message)
}

// grace is how long the pod's processes may take to end.
func (w *worker) grace() time.Duration {
	pod := w.current()
	switch {
	case errors.Is(context.Cause(w.life), context.Canceled):
		return 100 * time.Millisecond // the whole lab ends
	case errors.Is(context.Cause(w.life), errRemoved), errors.Is(context.Cause(w.life), errNodeGone):
		return 0
	case pod.DeletionGracePeriodSeconds != nil:
		return time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second
	case pod.Spec.TerminationGracePeriodSeconds != nil:
		return time.Duration(*pod.Spec.TerminationGracePeriodSeconds) * time.Second
	}
	return 30 * time.Second
}

// pause waits for d; false means that ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// containerID looks like a runtime's; it names the run, not a process.
func containerID(uid types.UID, name string, run int32) string {
	return fmt.Sprintf("process://%s/%s/%d", uid, name, run)
}
