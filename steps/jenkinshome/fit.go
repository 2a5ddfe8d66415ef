package jenkinshome

import (
	"context"
	"fmt"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// asks is what a pod asks of its node: CPU in thousandths, memory in bytes.
type asks struct{ CPU, Memory int64 }

func (a asks) String() string {
	return fmt.Sprintf("%dm CPU and %s memory", a.CPU, mib(a.Memory))
}

func mib(bytes int64) string { return fmt.Sprintf("%d MiB", bytes>>20) }

// asksOf adds up containers as the scheduler does: those that run side by side count together, those that run before them only where one
// of them asks for more.
func asksOf(p corev1.PodSpec) asks {
	var sum, before asks
	for _, c := range p.InitContainers {
		r := asksIn(c.Resources.Requests)
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways { // a sidecar goes on beside the others
			sum = asks{sum.CPU + r.CPU, sum.Memory + r.Memory}
			r = asks{}
		}
		before = asks{max(before.CPU, sum.CPU+r.CPU), max(before.Memory, sum.Memory+r.Memory)}
	}
	for _, c := range p.Containers {
		r := asksIn(c.Resources.Requests)
		sum = asks{sum.CPU + r.CPU, sum.Memory + r.Memory}
	}
	o := asksIn(p.Overhead)
	return asks{max(sum.CPU, before.CPU) + o.CPU, max(sum.Memory, before.Memory) + o.Memory}
}

func asksIn(l corev1.ResourceList) asks { return asks{l.Cpu().MilliValue(), l.Memory().Value()} }

// place is a node that the new Jenkins could run on.
type place struct {
	Name     string
	Has      asks  // what it can allocate
	Taken    asks  // by pods that are there
	Pods     int64 // that it can run; 0: not known
	PodsThis int64 // that it runs
	Full     bool  // it takes no more volumes
}

// fit compares what Jenkins asks for with the nodes of the volume's zone. It refuses what no node could ever run, and tells what none can
// run as full as they are now: that may change, by an autoscaler or by hand.
func fit(a asks, zone string, places []place) (note string, err error) {
	if len(places) == 0 {
		return fmt.Sprintf("no node that can run Jenkins is in zone %s of the volume now: the new Jenkins waits until there is one", zone), nil
	}
	large := slices.DeleteFunc(slices.Clone(places), func(p place) bool { return p.Has.CPU < a.CPU || p.Has.Memory < a.Memory })
	if len(large) == 0 {
		best := slices.MaxFunc(places, func(x, y place) int { return int(min(1, max(-1, x.Has.Memory-y.Has.Memory))) })
		return "", &steps.Error{Code: "NoRoom", Category: steps.Precondition,
			Message: fmt.Sprintf("the old Jenkins asks for %s; no node of the new cluster in zone %s can give that: the largest, %s, has %s", a, zone, best.Name, best.Has),
			Hints:   []string{"use larger `instanceTypes` in the node group of that zone, or lower the requests of Jenkins' pod first"}}
	}
	large = slices.DeleteFunc(large, func(p place) bool { return p.Full })
	if len(large) == 0 {
		return fmt.Sprintf("no node of the new cluster in zone %s that is large enough for Jenkins has an attach slot free for the volume now: the new Jenkins waits until something goes or a node comes", zone), nil
	}
	if slices.ContainsFunc(large, func(p place) bool {
		return p.Has.CPU-p.Taken.CPU >= a.CPU && p.Has.Memory-p.Taken.Memory >= a.Memory && (p.Pods == 0 || p.PodsThis < p.Pods)
	}) {
		return "", nil
	}
	freest := slices.MaxFunc(large, func(x, y place) int {
		return int(min(1, max(-1, (x.Has.Memory-x.Taken.Memory)-(y.Has.Memory-y.Taken.Memory))))
	})
	return fmt.Sprintf("the old Jenkins asks for %s; no node of the new cluster in zone %s has that free now, %s has %s and runs %d of %d pods: the new Jenkins waits until something goes or a node comes",
		a, zone, freest.Name, asks{freest.Has.CPU - freest.Taken.CPU, freest.Has.Memory - freest.Taken.Memory}, freest.PodsThis, freest.Pods), nil
}

// roomy looks at the cluster that the new Jenkins will run in, before the old one stops. Where it does not answer that is told, no more.
func (m *mission) roomy(ctx context.Context) error {
	ref := m.migrate.Cluster
	if ref == nil || m.home == nil {
		return nil
	}
	k, err := m.open(ctx, kube.Relative(*ref, m.env.Dir))
	if err != nil {
		m.room = "whether the new cluster has room for Jenkins is not known: " + err.Error()
		return nil
	}
	places, err := placesOf(ctx, k, m.vol, m.home.Pod.Spec.Tolerations)
	if err != nil {
		m.room = "whether the new cluster has room for Jenkins is not known: " + err.Error()
		return nil
	}
	m.room, err = fit(asksOf(m.home.Pod.Spec), m.vol.Zone, places)
	return err
}

// placesOf are the nodes of the volume's zone that take new pods with these tolerations.
func placesOf(ctx context.Context, k *kube.Client, vol volume, tolerations []corev1.Toleration) ([]place, error) {
	nodes, err := k.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	pods, err := k.Typed.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("pods: %w", kube.Explain(err))
	}
	slots, err := k.AttachSlots(ctx, ebsDriver, vol.ID)
	if err != nil && !kube.HasCode(err, kube.CodeForbidden) {
		return nil, err
	}
	at := map[string]*place{}
	for _, n := range nodes {
		if !takes(n, vol.Zone, tolerations) {
			continue
		}
		p := &place{Name: n.Name, Has: asksIn(n.Status.Allocatable), Pods: n.Status.Allocatable.Pods().Value()}
		left, limited := slots[n.Name]
		p.Full = limited && left <= 0
		if p.Has == (asks{}) { // it does not tell, so it cannot be said to be too small
			p.Has = asks{math.MaxInt64 / 2, math.MaxInt64 / 2}
		}
		at[n.Name] = p
	}
	for _, pod := range pods.Items {
		p := at[pod.Spec.NodeName]
		if p == nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		a := asksOf(pod.Spec)
		p.Taken, p.PodsThis = asks{p.Taken.CPU + a.CPU, p.Taken.Memory + a.Memory}, p.PodsThis+1
	}
	var out []place
	for _, n := range nodes {
		if p := at[n.Name]; p != nil {
			out = append(out, *p)
		}
	}
	return out, nil
}

func takes(n corev1.Node, zone string, tolerations []corev1.Toleration) bool {
	if n.Spec.Unschedulable || zone != "" && n.Labels[corev1.LabelTopologyZone] != zone {
		return false
	}
	return !slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool {
		return t.Effect != corev1.TaintEffectPreferNoSchedule &&
			!slices.ContainsFunc(tolerations, func(x corev1.Toleration) bool { return x.ToleratesTaint(&t) })
	})
}
