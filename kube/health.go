package kube

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/argoproj/gitops-engine/pkg/health"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"

	"pipectl.dev/steps"
)

// Health is how an object is, in the words of Argo CD: Healthy, Progressing, Degraded, Suspended, Missing, Unknown.
type Health = health.HealthStatusCode

// HealthOf judges one object; message says why it is not Healthy. A kind without a rule is Healthy as soon as it exists.
func HealthOf(obj *unstructured.Unstructured) (Health, string) {
	if obj == nil {
		return health.HealthStatusMissing, "does not exist"
	}
	if obj.GetKind() == "CustomResourceDefinition" {
		return definitionHealth(obj)
	}
	h, err := health.GetResourceHealth(obj, nil)
	if err != nil {
		return health.HealthStatusUnknown, err.Error()
	}
	if h == nil {
		return health.HealthStatusHealthy, ""
	}
	return h.Status, h.Message
}

func definitionHealth(obj *unstructured.Unstructured) (Health, string) {
	conditions, _, _ := unstructured.NestedSlice(obj.Object, "status", "conditions")
	for _, c := range conditions {
		m, _ := c.(map[string]any)
		switch {
		case m["type"] == "NamesAccepted" && m["status"] == "False":
			return health.HealthStatusDegraded, fmt.Sprint(m["message"])
		case m["type"] == "Established" && m["status"] == "True":
			return health.HealthStatusHealthy, ""
		}
	}
	return health.HealthStatusProgressing, "not served yet"
}

// WaitOptions bounds WaitHealthy.
type WaitOptions struct {
	Timeout  time.Duration // zero: 10 min
	Degraded time.Duration // how long an object may be Degraded before that counts; zero: 30 s
	Report   func(detail string, elapsed time.Duration)
}

// WaitHealthy waits until all objects are Healthy. Its error names those that are not and why, down to what their pods say.
func (c *Client) WaitHealthy(ctx context.Context, refs []ObjectRef, o WaitOptions) error {
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Minute
	}
	if o.Degraded == 0 {
		o.Degraded = 30 * time.Second
	}
	w := &healthWait{c: c, o: o, began: time.Now(), waiting: map[ObjectRef]string{}, degraded: map[ObjectRef]time.Time{}}
	for _, r := range refs {
		w.waiting[r] = "not looked at yet"
	}
	err := Await(ctx, 2*time.Second, w.look, w.watchers(refs)...)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	return nil
}

type healthWait struct {
	c        *Client
	o        WaitOptions
	began    time.Time
	waiting  map[ObjectRef]string
	degraded map[ObjectRef]time.Time // since when
}

func (w *healthWait) look(ctx context.Context) (bool, error) {
	for r := range w.waiting {
		obj, err := w.c.Get(ctx, r)
		if err != nil {
			if HasCode(err, CodeClusterUnreachable) {
				w.waiting[r] = "API server does not answer"
				continue
			}
			return false, err
		}
		status, message := HealthOf(obj)
		if status == health.HealthStatusHealthy {
			delete(w.waiting, r)
			continue
		}
		w.waiting[r] = strings.TrimSpace(string(status) + " " + message)
		if status != health.HealthStatusDegraded {
			delete(w.degraded, r)
		} else if w.degraded[r].IsZero() {
			w.degraded[r] = time.Now()
		} else if time.Since(w.degraded[r]) >= w.o.Degraded {
			return false, w.unhealthy(ctx, "Degraded", r)
		}
	}
	if len(w.waiting) == 0 {
		return true, nil
	}
	elapsed := time.Since(w.began)
	if elapsed >= w.o.Timeout {
		return false, w.unhealthy(ctx, "NotHealthy", ObjectRef{})
	}
	if w.o.Report != nil {
		w.o.Report(w.summary(), elapsed)
	}
	return false, nil
}

func (w *healthWait) summary() string {
	var first ObjectRef
	for r := range w.waiting {
		if first.Name == "" || r.String() < first.String() {
			first = r
		}
	}
	s := first.String() + ": " + w.waiting[first]
	if n := len(w.waiting) - 1; n > 0 {
		s += fmt.Sprintf(" (and %d more)", n)
	}
	return s
}

func (w *healthWait) unhealthy(ctx context.Context, code string, only ObjectRef) error {
	var lines []string
	for r, why := range w.waiting {
		if only.Name != "" && r != only {
			continue
		}
		lines = append(lines, strings.Join(append([]string{r.String() + ": " + why}, w.c.troubles(ctx, r)...), "; "))
	}
	e := &steps.Error{Code: code, Category: steps.Unhealthy, Message: strings.Join(lines, " | ")}
	if only.Name == "" {
		e.Message = fmt.Sprintf("not healthy after %s: %s", w.o.Timeout, e.Message)
		e.Hints = []string{"raise `timeout`, or see what the pods say"}
	}
	return e
}

// troubles is what the pods of a workload say, best effort: it decorates an error that is there already.
func (c *Client) troubles(ctx context.Context, r ObjectRef) []string {
	obj, err := c.Get(ctx, r)
	if err != nil || obj == nil {
		return nil
	}
	found, err := c.Troubles(ctx, obj)
	if err != nil {
		return nil
	}
	var out []string
	for _, t := range found {
		out = append(out, t.String())
	}
	return out
}

// Troubles lists what keeps pods of a workload (anything with a spec.selector) from running. Other kinds have none.
func (c *Client) Troubles(ctx context.Context, workload *unstructured.Unstructured) ([]Trouble, error) {
	pods, err := c.podsOf(ctx, workload)
	if err != nil {
		return nil, err
	}
	var out []Trouble
	for i := range pods {
		if t, bad := PodTrouble(&pods[i]); bad && pods[i].DeletionTimestamp == nil {
			out = append(out, t)
		}
	}
	return out, nil
}

func (c *Client) podsOf(ctx context.Context, workload *unstructured.Unstructured) ([]corev1.Pod, error) {
	raw, found, err := unstructured.NestedMap(workload.Object, "spec", "selector")
	if err != nil || !found || workload.GetKind() == "Service" {
		return nil, nil //nolint:nilerr // a selector of another shape is not one of pods
	}
	selector, err := labelSelector(raw)
	if err != nil || selector == "" {
		return nil, err
	}
	list, err := c.Typed.CoreV1().Pods(workload.GetNamespace()).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("pods of %s: %w", RefOf(workload), Explain(err))
	}
	return list.Items, nil
}

// watchers open one watch per kind and namespace.
func (w *healthWait) watchers(refs []ObjectRef) []Watcher {
	seen := map[ObjectRef]bool{}
	var out []Watcher
	for _, r := range refs {
		all := ObjectRef{APIVersion: r.APIVersion, Kind: r.Kind, Namespace: r.Namespace}
		if seen[all] {
			continue
		}
		seen[all] = true
		out = append(out, func(ctx context.Context) (watch.Interface, error) {
			api, _, err := w.c.Resource(r)
			if err != nil {
				return nil, err
			}
			return api.Watch(ctx, metav1.ListOptions{})
		})
	}
	return out
}
