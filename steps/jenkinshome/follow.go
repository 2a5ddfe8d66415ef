package jenkinshome

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// follow waits until the mover wants something from us, or has ended.
func (m *mission) follow(ctx context.Context) error {
	m.receiveAhead(ctx)
	ns, whole := m.move.Source.Namespace, ctx
	last, told, began := NoPhase, time.Now(), time.Now()
	silent := silence{}
	look := func(ctx context.Context) (bool, error) {
		if err := m.rec.reload(ctx); err != nil {
			return false, passOver(err)
		}
		job, err := m.jobState(ctx)
		if err != nil {
			return false, passOver(err)
		}
		if node, err := m.deafNode(ctx); err == nil && silent.tooLong(node) {
			m.lost = true
			m.env.Note(fmt.Sprintf("node %s does not answer for %s: its mover is given up, and the old Jenkins started from here", node, lostAfter))
			return true, nil
		}
		if job == Running && m.rec.Phase == Ready && time.Since(began) >= startsWithin {
			if gone, err := m.giveUpUnstarted(ctx); gone || err != nil {
				return gone, err
			}
		}
		m.receiveAhead(whole) // it works on when this look is over
		if m.rec.Phase != last || time.Since(told) > 10*time.Second {
			last, told = m.rec.Phase, time.Now()
			m.say("cut-over: " + string(last))
		}
		return job != Running || (m.rec.Phase == Copied && !m.rec.Abort) || m.rec.Phase == Committed, nil
	}
	watchRecord := func(ctx context.Context) (watch.Interface, error) {
		return m.source.Typed.CoreV1().ConfigMaps(ns).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + m.move.recordName()})
	}
	return kube.Await(ctx, 2*time.Second, look, watchRecord)
}

// passOver forgives a cluster that is away for a moment: the mover does not need us yet.
func passOver(err error) error {
	var e *steps.Error
	if errors.As(err, &e) && e.Category == steps.Transient {
		return nil
	}
	return err
}

// startsWithin is how long the mover of a cut-over may take to start: longer than it takes to find out that its node is lost, and longer than
// a volume that another node did not let go of cleanly.
const startsWithin = 8 * time.Minute

// giveUpUnstarted ends the wait for a mover that never came to work: Jenkins was not touched yet. The record says why.
func (m *mission) giveUpUnstarted(ctx context.Context) (bool, error) {
	pods, err := m.cutPods(ctx)
	if err != nil {
		return false, passOver(err)
	}
	why, started := unstarted(pods)
	if started {
		return false, nil
	}
	m.rec.Cut.Why = info(&steps.Error{Code: "MoverNotStarted", Category: steps.Unhealthy, Retryable: true,
		Message: fmt.Sprintf("job %s/%s: the mover did not start within %s: %s", m.move.Source.Namespace, m.move.cutJob(), startsWithin, why),
		Hints:   []string{"see `kubectl get events -n " + m.move.Source.Namespace + "`, then run again"}})
	if err := m.again(m.rec.write(ctx, m.rec.Phase, nil)); err != nil {
		return false, err
	}
	m.lost = true // nobody waits for its pod to end either
	return true, nil
}

// unstarted says what keeps the pods of a Job from starting, or that one has started.
func unstarted(pods []corev1.Pod) (why string, started bool) {
	why = "no pod was made: a quota or an admission webhook may forbid it"
	for i := range pods {
		if pods[i].Status.Phase != corev1.PodPending {
			return "", true
		}
		why = "pod " + pods[i].Name + " is pending: an image that is not pulled, or a volume that is not mounted"
		if t, bad := kube.PodTrouble(&pods[i]); bad {
			why = t.String()
		}
	}
	return why, false
}
