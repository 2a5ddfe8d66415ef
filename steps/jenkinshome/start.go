package jenkinshome

import (
	"context"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/jenkinshome/jenkins"
)

// Reaching a pod's HTTP port; tests replace it, since a port-forward needs a real API server.
var podTransport = func(k *kube.Client, namespace, pod string, port int) http.RoundTripper {
	return k.PodTransport(namespace, pod, port)
}

func transport(k *kube.Client, pod *corev1.Pod, port int) http.RoundTripper {
	return podTransport(k, pod.Namespace, pod.Name, port)
}

func closeIdle(t http.RoundTripper) {
	if c, ok := t.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// startWithin is how long the old Jenkins is watched to come up after it was told to.
const startWithin = 3 * time.Minute

// startOld puts the old Jenkins back: replicas, Argo CD's healing, builds. It may find any of it done. That Jenkins then really comes up
// is waited for, but not demanded: there is nothing else that could be done about it.
func startOld(ctx context.Context, k *kube.Client, w kube.Workload, rec *record, controller func(context.Context) (*jenkins.Client, func(), error), say func(string, ...any)) error {
	stopped := rec.Cut.Replicas > 0 || rec.Cut.Parked != nil
	if p := rec.Cut.Parked; p != nil {
		gone, err := unpark(ctx, k, w.Namespace, p)
		if err != nil {
			return err
		}
		if gone {
			say(homeGone(p.Pod).Error())
		}
	}
	if err := k.Resume(ctx, w); err != nil {
		return err
	}
	st, found, err := k.ReadWorkload(ctx, w)
	if err != nil {
		return err
	}
	if found && st.Replicas == 0 && rec.Cut.Replicas > 0 { // the note on the workload was lost
		if err := k.Scale(ctx, w, 0, rec.Cut.Replicas); err != nil {
			return err
		}
	}
	if err := k.ResumeApplications(ctx, rec.Cut.Paused); err != nil {
		return err
	}
	if controller == nil {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	up := func(ctx context.Context) (bool, error) {
		j, done, err := controller(ctx)
		if err != nil {
			return false, nil
		}
		defer done()
		if _, ready, err := j.Version(ctx); err != nil || !ready {
			return false, nil
		}
		quiet, err := j.Quieting(ctx)
		if err != nil {
			return stopped, nil // a Jenkins that was started anew is not quiet, and we may have no access
		}
		return !quiet || j.CancelQuietDown(ctx) == nil, nil
	}
	if err := kube.Await(wait, 2*time.Second, up); err != nil {
		say("the old Jenkins was started, but does not answer yet")
	}
	return ctx.Err()
}

// livePod is the running pod of a workload.
func livePod(ctx context.Context, k *kube.Client, w kube.Workload) (*corev1.Pod, error) {
	pods, err := k.PodsOf(ctx, w)
	if err != nil {
		return nil, err
	}
	for i := range pods {
		if pods[i].DeletionTimestamp == nil && pods[i].Status.Phase == corev1.PodRunning {
			return &pods[i], nil
		}
	}
	return nil, &steps.Error{Code: "NoPod", Category: steps.Unhealthy, Retryable: true, Message: w.String() + ": has no running pod",
		Hints: []string{"see `kubectl describe " + strings.ToLower(w.Kind) + " " + w.Name + " -n " + w.Namespace + "`"}}
}
