package kube

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"pipectl.dev/steps"
)

// JobSpec is a Job of one pod that runs once.
type JobSpec struct {
	Namespace, Name string         // the name is deterministic, so that a later run finds the Job of an earlier one
	Owner           steps.Identity // stamped on the Job; a Job of another owner is never touched
	Run             string         // run id, as label pipectl.dev/run
	Labels          map[string]string
	Annotations     map[string]string
	Pod             corev1.PodSpec // restartPolicy is always Never
	Deadline        time.Duration  // Kubernetes stops the pod after it; zero: never
	StartWithin     time.Duration  // how long the pod may take to run; zero: 3 min
	Lines           func(line string)
	Progress        func(detail string) // state of the pod, when it changes
}

// JobResult is how a Job ended.
type JobResult struct {
	Pod, Node string
	ExitCode  int32  // -1: the container left none (evicted, deadline, deleted)
	Reason    string // such as Completed, Error, OOMKilled, DeadlineExceeded
	Message   string // termination message
	Adopted   bool   // the Job was there already
}

// Succeeded reports whether the container ended with exit code 0.
func (r JobResult) Succeeded() bool { return r.ExitCode == 0 }

// RunJob starts the Job, or adopts the one that is there, and follows it to its end. A Job that ran and failed is a result, not an
// error; an error says that nobody can tell, or that the pod could not start. When ctx ends the Job goes on running.
//
// A running Job of the same owner is adopted whatever run started it; a finished one only if it is of the same run, otherwise it is
// replaced.
func (c *Client) RunJob(ctx context.Context, s JobSpec) (JobResult, error) {
	adopted, err := c.StartJob(ctx, s)
	if err != nil {
		return JobResult{}, err
	}
	r, err := c.FollowJob(ctx, s)
	r.Adopted = adopted
	return r, err
}

// StartJob is the first half of RunJob. FollowJob is the second.
func (c *Client) StartJob(ctx context.Context, s JobSpec) (adopted bool, err error) {
	path := fmt.Sprintf("job %s/%s", s.Namespace, s.Name)
	api := c.Typed.BatchV1().Jobs(s.Namespace)
	for {
		old, err := api.Get(ctx, s.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			_, err = api.Create(ctx, s.job(), metav1.CreateOptions{FieldManager: FieldManager})
			if apierrors.IsAlreadyExists(err) {
				continue
			}
			if err != nil {
				return false, fmt.Errorf("%s: create: %w", path, Explain(err))
			}
			return false, nil
		case err != nil:
			return false, fmt.Errorf("%s: %w", path, Explain(err))
		case !Owned(old, s.Owner):
			return false, &steps.Error{Code: "NotOurs", Category: steps.Conflict, Message: path + ": is not ours",
				Hints: []string{fmt.Sprintf("it belongs to %q; remove it, or use another name", old.Annotations[IdentityAnnotation])}}
		case old.DeletionTimestamp == nil && old.Labels[RunLabel] == s.Run:
			return true, nil
		}
		over, err := c.jobOver(ctx, old)
		if err != nil {
			return false, fmt.Errorf("%s: %w", path, err)
		}
		if !over && old.DeletionTimestamp == nil {
			return true, nil
		}
		if err := c.DeleteJob(ctx, s.Namespace, s.Name); err != nil {
			return false, err
		}
	}
}

func (s JobSpec) job() *batchv1.Job {
	labels, notes := OwnerLabels(), OwnerAnnotations(s.Owner)
	labels[RunLabel] = s.Run
	for k, v := range s.Labels {
		labels[k] = v
	}
	for k, v := range s.Annotations {
		notes[k] = v
	}
	once := int32(0)
	pod := *s.Pod.DeepCopy()
	pod.RestartPolicy = corev1.RestartPolicyNever
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: s.Name, Namespace: s.Namespace, Labels: labels, Annotations: notes},
		Spec: batchv1.JobSpec{
			BackoffLimit: &once,
			Template:     corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: notes}, Spec: pod},
		},
	}
	if s.Deadline > 0 {
		seconds := int64(s.Deadline / time.Second)
		job.Spec.ActiveDeadlineSeconds = &seconds
	}
	return job
}

// jobOver reports whether a Job has done what it does, although Kubernetes may not have said so yet.
func (c *Client) jobOver(ctx context.Context, j *batchv1.Job) (bool, error) {
	if _, ended := jobEnd(j); ended {
		return true, nil
	}
	pods, err := c.jobPods(ctx, j.Namespace, j.Name)
	if err != nil {
		return false, Explain(err)
	}
	pod := newest(pods)
	return pod != nil && terminated(pod) != nil, nil
}

func jobEnd(j *batchv1.Job) (batchv1.JobCondition, bool) {
	for _, c := range j.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return c, true
		}
	}
	return batchv1.JobCondition{}, false
}

// DeleteJob removes a Job and waits until its pods are gone too; one that is gone is success.
func (c *Client) DeleteJob(ctx context.Context, namespace, name string) error {
	path := fmt.Sprintf("job %s/%s: delete", namespace, name)
	foreground := metav1.DeletePropagationForeground
	err := c.Typed.BatchV1().Jobs(namespace).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &foreground})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("%s: %w", path, Explain(err))
	}
	gone := func(ctx context.Context) (bool, error) {
		_, err := c.Typed.BatchV1().Jobs(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return false, Explain(err)
		}
		jobGone := err != nil
		pods, err := c.jobPods(ctx, namespace, name)
		return jobGone && len(pods) == 0, Explain(err)
	}
	if err := Await(ctx, time.Second, gone, c.watchJobPods(namespace, name)); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func (c *Client) jobPods(ctx context.Context, namespace, job string) ([]corev1.Pod, error) {
	list, err := c.Typed.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + job})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

func (c *Client) watchJobPods(namespace, job string) Watcher {
	return func(ctx context.Context) (watch.Interface, error) {
		return c.Typed.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + job})
	}
}

func (c *Client) watchJob(namespace, job string) Watcher {
	return func(ctx context.Context) (watch.Interface, error) {
		return c.Typed.BatchV1().Jobs(namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + job})
	}
}
