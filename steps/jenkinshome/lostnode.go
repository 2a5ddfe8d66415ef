package jenkinshome

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/kube"
)

// lostAfter is how long the node of a mover may be silent before nobody waits for it any more. By then Kubernetes itself evicts pods from
// it. A mover that lives on there all the same finds in its record that it was turned back.
const lostAfter = 6 * time.Minute

// silence measures by our own clock for how long one node has been silent, without a word between.
type silence struct {
	node  string
	since time.Time
}

func (s *silence) tooLong(node string) bool {
	if node == "" || node != s.node {
		*s = silence{node, time.Now()}
	}
	return node != "" && time.Since(s.since) >= lostAfter
}

// deafNode is the node of the cut-over's only pod where that node is gone or not ready; "" where somebody can still be heard.
func (m *mission) deafNode(ctx context.Context) (string, error) {
	pods, err := m.cutPods(ctx)
	if err != nil {
		return "", err
	}
	silent := ""
	for _, p := range pods {
		if finished(&p) {
			continue
		}
		name := nodeOf(p)
		if name == "" {
			return "", nil
		}
		n, err := m.source.Typed.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return "", kube.Explain(err)
		case !deaf(n):
			return "", nil
		}
		silent = name
	}
	return silent, nil
}

// nodeOf is the node that a mover runs on, or the one it waits for: it is held to the node that has the home.
func nodeOf(p corev1.Pod) string {
	a := p.Spec.Affinity
	if p.Spec.NodeName != "" || a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return p.Spec.NodeName
	}
	for _, t := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, f := range t.MatchFields {
			if f.Key == "metadata.name" && len(f.Values) == 1 {
				return f.Values[0]
			}
		}
	}
	return ""
}

func deaf(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status != corev1.ConditionTrue
		}
	}
	return false
}

func (m *mission) cutPods(ctx context.Context) ([]corev1.Pod, error) {
	l, err := m.source.Typed.CoreV1().Pods(m.move.Source.Namespace).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + m.move.cutJob()})
	if err != nil {
		return nil, fmt.Errorf("pods of job %s: %w", m.move.cutJob(), kube.Explain(err))
	}
	return l.Items, nil
}

// dropLost turns the record round, which stops a mover that lives on unheard, and removes its pods without waiting for their node, which
// would never say that they have ended.
func (m *mission) dropLost(ctx context.Context) error {
	if p := m.rec.Phase; p.working() || p == Copied {
		if err := m.again(m.rec.write(ctx, BackingOut, nil)); err != nil {
			return err
		}
	}
	background, now := metav1.DeletePropagationBackground, int64(0)
	err := m.source.Typed.BatchV1().Jobs(m.move.Source.Namespace).Delete(ctx, m.move.cutJob(), metav1.DeleteOptions{PropagationPolicy: &background})
	if err != nil && !apierrors.IsNotFound(err) { // first the Job, or it would start another
		return kube.Explain(err)
	}
	pods, err := m.cutPods(ctx)
	if err != nil {
		return err
	}
	for _, p := range pods {
		err := m.source.Typed.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
		if err != nil && !apierrors.IsNotFound(err) {
			return kube.Explain(err)
		}
	}
	return nil
}
