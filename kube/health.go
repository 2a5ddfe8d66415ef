package kube

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/argoproj/gitops-engine/pkg/health"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"

	"pipectl.dev/steps"
)

// Health is how an object is, in the words of Argo CD: Healthy, Progressing, Degraded, Suspended, Missing, Unknown.
type Health = health.HealthStatusCode

// HealthOf judges one object; message says why it is not Healthy. A kind without a rule, as custom resources are, is judged by the
// conditions that most controllers write (https://github.com/kubernetes-sigs/cli-utils, kstatus); without those it is Healthy as soon as
// it exists.
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
		return conditionHealth(obj)
	}
	return h.Status, h.Message
}

// conditionHealth is by the conditions Stalled, Reconciling and Ready, and by the generation that the controller has seen.
func conditionHealth(obj *unstructured.Unstructured) (Health, string) {
	seen, told, _ := unstructured.NestedInt64(obj.Object, "status", "observedGeneration")
	if told && seen < obj.GetGeneration() {
		return health.HealthStatusProgressing, "its controller has not seen the change yet"
	}
	conditions, _, _ := unstructured.NestedSlice(obj.Object, "status", "conditions")
	state, says := map[any]any{}, map[any]string{}
	for _, c := range conditions {
		m, _ := c.(map[string]any)
		reason, _ := m["reason"].(string)
		message, _ := m["message"].(string)
		state[m["type"]], says[m["type"]] = m["status"], cmp.Or(message, reason)
	}
	switch {
	case state["Stalled"] == "True":
		return health.HealthStatusDegraded, says["Stalled"]
	case state["Reconciling"] == "True":
		return health.HealthStatusProgressing, says["Reconciling"]
	case state["Ready"] == "False", state["Ready"] == "Unknown":
		return health.HealthStatusProgressing, "not Ready: " + says["Ready"]
	}
	return health.HealthStatusHealthy, ""
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
	// NoStatus is how long a controller may take to write the first status of an object whose kind has one; without it such an object is
	// judged as it is. Zero: it is.
	NoStatus time.Duration
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
		if status == health.HealthStatusHealthy && time.Since(w.began) < w.o.NoStatus && w.c.awaitsStatus(obj) {
			status, message = health.HealthStatusProgressing, "its controller has written no status yet"
		}
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

// awaitsStatus reports an object without the status that its kind serves.
func (c *Client) awaitsStatus(obj *unstructured.Unstructured) bool {
	if _, there := obj.Object["status"]; there {
		return false
	}
	gvk := obj.GroupVersionKind()
	served, err := c.Typed.Discovery().ServerResourcesForGroupVersion(gvk.GroupVersion().String())
	return err == nil && slices.ContainsFunc(served.APIResources, func(r metav1.APIResource) bool {
		return r.Kind == gvk.Kind && strings.HasSuffix(r.Name, "/status")
	})
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
	return troublesOf(pods), err
}

// CurrentTroubles is Troubles without the pods that a rollout is about to replace: what they suffer from may be what it mends.
func (c *Client) CurrentTroubles(ctx context.Context, workload *unstructured.Unstructured) ([]Trouble, error) {
	pods, err := c.podsOf(ctx, workload)
	if err != nil || len(pods) == 0 {
		return nil, err
	}
	label, value := "", ""
	switch workload.GetKind() {
	case "Deployment":
		label = appsv1.DefaultDeploymentUniqueLabelKey
		value, err = c.newestHash(ctx, workload)
	case "StatefulSet":
		label = appsv1.ControllerRevisionHashLabelKey
		value, _, err = unstructured.NestedString(workload.Object, "status", "updateRevision")
	}
	if err != nil {
		return nil, err
	}
	if value != "" {
		pods = slices.DeleteFunc(pods, func(p corev1.Pod) bool { return p.Labels[label] != value })
	}
	return troublesOf(pods), nil
}

// newestHash is the label value of the pods that a Deployment wants now; "" where that cannot be told.
func (c *Client) newestHash(ctx context.Context, deployment *unstructured.Unstructured) (string, error) {
	const revision = "deployment.kubernetes.io/revision"
	list, err := c.Typed.AppsV1().ReplicaSets(deployment.GetNamespace()).List(ctx, metav1.ListOptions{})
	if apierrors.IsForbidden(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("replicasets of %s: %w", RefOf(deployment), Explain(err))
	}
	for _, rs := range list.Items {
		if metav1.IsControlledBy(&rs, deployment) && rs.Annotations[revision] == deployment.GetAnnotations()[revision] {
			return rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey], nil
		}
	}
	return "", nil
}

func troublesOf(pods []corev1.Pod) []Trouble {
	var out []Trouble
	for i := range pods {
		if t, bad := PodTrouble(&pods[i]); bad && pods[i].DeletionTimestamp == nil {
			out = append(out, t)
		}
	}
	return out
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
