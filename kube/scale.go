package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"pipectl.dev/steps"
)

// ReplicasAnnotation keeps, on a workload that we paused, the replicas it had.
const ReplicasAnnotation = "pipectl.dev/replicas-before"

// pausedLabel is on what has the annotation, so that it can be found without reading all workloads.
const pausedLabel = "pipectl.dev/paused"

// Workload names a Deployment or StatefulSet.
type Workload struct{ Kind, Namespace, Name string }

// Ref names the workload's object.
func (w Workload) Ref() ObjectRef {
	return ObjectRef{APIVersion: "apps/v1", Kind: w.Kind, Namespace: w.Namespace, Name: w.Name}
}

func (w Workload) String() string { return w.Ref().String() }

// WorkloadState is what a workload is told to be and is.
type WorkloadState struct {
	Replicas, Ready int32
	PausedFrom      *int32 // what it had before Pause; nil: not paused
	Object          *unstructured.Unstructured
}

// ReadWorkload reads a workload; found is false when it does not exist.
func (c *Client) ReadWorkload(ctx context.Context, w Workload) (st WorkloadState, found bool, err error) {
	obj, err := c.Get(ctx, w.Ref())
	if err != nil || obj == nil {
		return WorkloadState{}, false, err
	}
	return workloadState(obj), true, nil
}

func workloadState(obj *unstructured.Unstructured) WorkloadState {
	replicas, given, _ := unstructured.NestedInt64(obj.Object, "spec", "replicas")
	if !given {
		replicas = 1
	}
	ready, _, _ := unstructured.NestedInt64(obj.Object, "status", "readyReplicas")
	st := WorkloadState{Replicas: int32(replicas), Ready: int32(ready), Object: obj}
	if n, err := strconv.ParseInt(obj.GetAnnotations()[ReplicasAnnotation], 10, 32); err == nil {
		before := int32(n)
		st.PausedFrom = &before
	}
	return st
}

// Scale sets a workload's replicas, provided that they are from right now: if somebody else scaled it, that is CodeConflict. A workload
// that has the replicas already is left alone.
func (c *Client) Scale(ctx context.Context, w Workload, from, to int32) error {
	return c.scale(ctx, w, func(st WorkloadState) (int32, any, error) {
		if st.Replicas != from && st.Replicas != to {
			return 0, nil, &steps.Error{Code: CodeConflict, Category: steps.Conflict,
				Message: fmt.Sprintf("%s: scale: expected %d replicas, found %d", w, from, st.Replicas)}
		}
		return to, notePausedUnchanged, nil
	})
}

// Pause scales a workload to 0 and notes on it how many replicas it had. One that does not exist is success.
func (c *Client) Pause(ctx context.Context, w Workload) error {
	err := c.scale(ctx, w, func(st WorkloadState) (int32, any, error) {
		if st.Replicas == 0 {
			return 0, notePausedUnchanged, nil
		}
		return 0, strconv.Itoa(int(st.Replicas)), nil
	})
	if HasCode(err, CodeNotFound) {
		return nil
	}
	return err
}

// Resume gives a workload that Pause stopped its replicas back, unless somebody scaled it since, and removes the note.
func (c *Client) Resume(ctx context.Context, w Workload) error {
	err := c.scale(ctx, w, func(st WorkloadState) (int32, any, error) {
		switch {
		case st.PausedFrom == nil:
			return st.Replicas, notePausedUnchanged, nil
		case st.Replicas != 0:
			return st.Replicas, nil, nil
		default:
			return *st.PausedFrom, nil, nil
		}
	})
	if HasCode(err, CodeNotFound) {
		return nil
	}
	return err
}

// notePausedUnchanged leaves the note of Pause as it is; nil removes it, a string writes it.
const notePausedUnchanged = false

// scale reads, lets decide say the replicas and the note, and writes both with the version read as precondition.
func (c *Client) scale(ctx context.Context, w Workload, decide func(WorkloadState) (replicas int32, note any, err error)) error {
	for range 5 {
		st, found, err := c.ReadWorkload(ctx, w)
		if err != nil {
			return err
		}
		if !found {
			return &steps.Error{Code: CodeNotFound, Category: steps.Precondition, Message: w.String() + ": does not exist"}
		}
		replicas, note, err := decide(st)
		if err != nil {
			return err
		}
		if replicas == st.Replicas && note == notePausedUnchanged {
			return nil
		}
		metadata := map[string]any{"resourceVersion": st.Object.GetResourceVersion()}
		if note != notePausedUnchanged {
			metadata["annotations"] = map[string]any{ReplicasAnnotation: note}
			metadata["labels"] = map[string]any{pausedLabel: mark(note)}
		}
		patch, err := json.Marshal(map[string]any{"metadata": metadata, "spec": map[string]any{"replicas": replicas}})
		if err != nil {
			return fmt.Errorf("%s: scale: %w", w, err)
		}
		if _, err = c.MergePatch(ctx, w.Ref(), patch); !HasCode(err, CodeConflict) {
			return err
		}
	}
	return &steps.Error{Code: CodeConflict, Category: steps.Conflict, Retryable: true, Message: w.String() + ": scale: somebody keeps writing it"}
}

// mark is the label's value beside a note of Pause; nil removes it.
func mark(note any) any {
	if note == nil {
		return nil
	}
	return "true"
}

// Workloads finds the Deployments and StatefulSets of a namespace, "" for all, that have the labels of a selector.
func (c *Client) Workloads(ctx context.Context, namespace, selector string) (map[Workload]WorkloadState, error) {
	out := map[Workload]WorkloadState{}
	for _, kind := range []string{"Deployment", "StatefulSet"} {
		api, _, err := c.Resource(ObjectRef{APIVersion: "apps/v1", Kind: kind, Namespace: namespace})
		if err != nil {
			return nil, err
		}
		found, err := api.List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return nil, fmt.Errorf("%ss with %s: %w", kind, selector, Explain(err))
		}
		for i := range found.Items {
			o := &found.Items[i]
			out[Workload{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}] = workloadState(o)
		}
	}
	return out, nil
}

// Paused finds those of a namespace, "" for all, that Pause stopped and Resume has not started since.
func (c *Client) Paused(ctx context.Context, namespace string) (map[Workload]WorkloadState, error) {
	all, err := c.Workloads(ctx, namespace, pausedLabel)
	maps.DeleteFunc(all, func(_ Workload, st WorkloadState) bool { return st.PausedFrom == nil })
	return all, err
}

// PodsOf lists the pods that a workload's selector matches; none when it does not exist.
func (c *Client) PodsOf(ctx context.Context, w Workload) ([]corev1.Pod, error) {
	obj, err := c.Get(ctx, w.Ref())
	if err != nil || obj == nil {
		return nil, err
	}
	return c.podsOf(ctx, obj)
}

// WaitPodsGone waits until none of the workloads has a pod. report, if not nil, gets one line per look.
func (c *Client) WaitPodsGone(ctx context.Context, ws []Workload, report func(detail string)) error {
	detail := ""
	look := func(ctx context.Context) (bool, error) {
		detail = ""
		for _, w := range ws {
			pods, err := c.PodsOf(ctx, w)
			if err != nil {
				return false, err
			}
			if len(pods) > 0 {
				detail = fmt.Sprintf("%s has %d pods (%s)", w, len(pods), pods[0].Name)
			}
		}
		if detail != "" && report != nil {
			report(detail)
		}
		return detail == "", nil
	}
	var watchers []Watcher
	seen := map[string]bool{}
	for _, w := range ws {
		if !seen[w.Namespace] {
			seen[w.Namespace] = true
			watchers = append(watchers, func(ctx context.Context) (watch.Interface, error) {
				return c.Typed.CoreV1().Pods(w.Namespace).Watch(ctx, metav1.ListOptions{})
			})
		}
	}
	if err := Await(ctx, 2*time.Second, look, watchers...); err != nil {
		return fmt.Errorf("pods gone (last seen: %s): %w", detail, err)
	}
	return nil
}

// labelSelector is a workload's spec.selector as a query.
func labelSelector(raw map[string]any) (string, error) {
	var s metav1.LabelSelector
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &s); err != nil {
		return "", fmt.Errorf("selector: %w", err)
	}
	selector, err := metav1.LabelSelectorAsSelector(&s)
	if err != nil {
		return "", fmt.Errorf("selector: %w", err)
	}
	return selector.String(), nil
}
