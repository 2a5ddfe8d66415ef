package kubelet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/component-base/version"
)

// drainGrace bounds how long the pods of a leaving node get to end by themselves.
const drainGrace = 5 * time.Second

// NodeSpec is a node as the control API takes it.
type NodeSpec struct {
	Name         string            `json:"name"`
	InstanceID   string            `json:"instanceID"`
	ProviderID   string            `json:"providerID"` // may be empty, as on a hand-made cluster
	PrivateIP    string            `json:"privateIP"`
	Zone         string            `json:"zone"`
	Region       string            `json:"region"`
	InstanceType string            `json:"instanceType"`
	Labels       map[string]string `json:"labels"`
	Taints       []v1.Taint        `json:"taints"`
}

type node struct{ spec NodeSpec }

// Add registers a node; it is Ready when Add returns.
func (k *Kubelet) Add(ctx context.Context, spec NodeSpec) error {
	if err := check(spec); err != nil {
		return err
	}
	k.mu.Lock()
	_, exists := k.nodes[spec.Name]
	if !exists {
		k.nodes[spec.Name] = &node{spec: spec}
	}
	k.mu.Unlock()
	if exists {
		return fmt.Errorf("node %s: %w", spec.Name, ErrNodeExists)
	}
	if err := k.register(ctx, spec); err != nil {
		k.mu.Lock()
		delete(k.nodes, spec.Name)
		k.mu.Unlock()
		return fmt.Errorf("node %s: %w", spec.Name, err)
	}
	k.opts.Log.Info("node added", "node", spec.Name, "instance", spec.InstanceID)
	return nil
}

func (k *Kubelet) register(ctx context.Context, spec NodeSpec) error {
	for _, dir := range []string{"root", "devices"} {
		if err := os.MkdirAll(filepath.Join(k.opts.NodesDir, spec.InstanceID, dir), 0o755); err != nil {
			return err
		}
	}
	want := nodeObject(spec, k.net.kubelet(), time.Now())
	nodes := k.client.CoreV1().Nodes()
	got, err := nodes.Create(ctx, want, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		if got, err = nodes.Get(ctx, spec.Name, metav1.GetOptions{}); err == nil {
			got.Status = want.Status
			got, err = nodes.UpdateStatus(ctx, got, metav1.UpdateOptions{})
		}
	}
	if err != nil {
		return err
	}
	if err := k.renew(ctx, spec.Name, got); err != nil {
		return err
	}
	bound, err := k.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", spec.Name).String()})
	if err != nil {
		return err
	}
	if k.started() {
		k.adopt(bound.Items)
	}
	return nil
}

func (k *Kubelet) started() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ctx != nil
}

// Remove drains a node, kills what is left on it, and deletes it and its pods.
func (k *Kubelet) Remove(ctx context.Context, name string) error {
	if !k.has(name) {
		return fmt.Errorf("node %s: %w", name, ErrNoNode)
	}
	nodes, pods := k.client.CoreV1().Nodes(), k.client.CoreV1()
	cordon := []byte(`{"spec":{"unschedulable":true}}`)
	if _, err := nodes.Patch(ctx, name, "application/merge-patch+json", cordon, metav1.PatchOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("node %s: %w", name, err)
	}
	workers := k.on(name)
	grace := int64(drainGrace / time.Second)
	for _, w := range workers {
		if w.daemon {
			continue
		}
		err := pods.Pods(w.namespace).Delete(ctx, w.name, metav1.DeleteOptions{GracePeriodSeconds: &grace, Preconditions: metav1.NewUIDPreconditions(string(w.uid))})
		if err != nil && !apierrors.IsNotFound(err) {
			k.opts.Log.Warn("drain", "pod", w.name, "error", err)
		}
	}
	deadline, cancel := context.WithTimeout(ctx, drainGrace+time.Second)
	defer cancel()
	for _, w := range workers {
		if !w.daemon {
			w.wait(deadline)
		}
	}
	if err := nodes.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("node %s: %w", name, err)
	}
	k.mu.Lock()
	delete(k.nodes, name)
	k.mu.Unlock()
	// Without its node an object of a pod would linger until the garbage collector's next round.
	now := int64(0)
	for _, w := range k.on(name) {
		w.vanish(errNodeGone)
		w.wait(ctx)
		_ = pods.Pods(w.namespace).Delete(ctx, w.name, metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(w.uid))})
	}
	_ = k.client.CoordinationV1().Leases(v1.NamespaceNodeLease).Delete(ctx, name, metav1.DeleteOptions{})
	k.opts.Log.Info("node removed", "node", name)
	return nil
}

// Nodes lists the nodes by name.
func (k *Kubelet) Nodes() []NodeSpec {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := []NodeSpec{}
	for _, name := range slices.Sorted(maps.Keys(k.nodes)) {
		all = append(all, k.nodes[name].spec)
	}
	return all
}

func (k *Kubelet) has(name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.nodes[name] != nil
}

func (k *Kubelet) on(name string) []*worker {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []*worker
	for _, w := range k.pods {
		if w.node.Name == name {
			all = append(all, w)
		}
	}
	return all
}

// InstanceOf tells the EC2 instance behind a node, and whether the node is played here.
func (k *Kubelet) InstanceOf(name string) (string, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.nodes[name]
	if n == nil {
		return "", false
	}
	return n.spec.InstanceID, true
}

// check refuses a node that could not be registered or whose directories could be anywhere.
func check(spec NodeSpec) error {
	var bad []error
	if spec.Name == "" {
		bad = append(bad, errors.New("name is empty"))
	}
	if spec.InstanceID == "" || strings.ContainsAny(spec.InstanceID, "/\x00") || strings.HasPrefix(spec.InstanceID, ".") {
		bad = append(bad, fmt.Errorf("instanceID %q is no directory name", spec.InstanceID))
	}
	if net.ParseIP(spec.PrivateIP) == nil {
		bad = append(bad, fmt.Errorf("privateIP %q is no IP address", spec.PrivateIP))
	}
	if len(bad) > 0 {
		return fmt.Errorf("node: %w: %w", ErrInvalid, errors.Join(bad...))
	}
	return nil
}

// size is what an instance type offers to pods, as the EKS images compute it (pods: by network interfaces).
type size struct{ cpu, memory, pods string }

var sizes = map[string]size{
	"t3.small":   {"2", "1930Mi", "11"},
	"t3.medium":  {"2", "3840Mi", "17"},
	"t3.large":   {"2", "7680Mi", "35"},
	"t3.xlarge":  {"4", "15700Mi", "58"},
	"m5.large":   {"2", "7680Mi", "29"},
	"m5.xlarge":  {"4", "15200Mi", "58"},
	"t4g.small":  {"2", "1880Mi", "11"},
	"t4g.medium": {"2", "3840Mi", "17"},
}

// nodeObject is the node as it registers itself: Ready, with address its place on loopback as Hostname.
func nodeObject(spec NodeSpec, address string, now time.Time) *v1.Node {
	s, known := sizes[spec.InstanceType]
	if !known {
		s = size{"4", "16Gi", "110"}
	}
	arch := "amd64"
	if family, _, _ := strings.Cut(spec.InstanceType, "."); strings.HasSuffix(family, "g") {
		arch = "arm64"
	}
	labels := map[string]string{v1.LabelHostname: spec.Name, v1.LabelOSStable: "linux", v1.LabelArchStable: arch}
	for label, value := range map[string]string{v1.LabelTopologyZone: spec.Zone, v1.LabelTopologyRegion: spec.Region, v1.LabelInstanceTypeStable: spec.InstanceType} {
		if value != "" {
			labels[label] = value
		}
	}
	maps.Copy(labels, spec.Labels)
	offers := v1.ResourceList{
		v1.ResourceCPU: resource.MustParse(s.cpu), v1.ResourceMemory: resource.MustParse(s.memory),
		v1.ResourcePods: resource.MustParse(s.pods), v1.ResourceEphemeralStorage: resource.MustParse("18Gi"),
	}
	return &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: spec.Name, Labels: labels, Annotations: map[string]string{
			// The attach-detach controller handles only nodes that leave it to it.
			"volumes.kubernetes.io/controller-managed-attach-detach": "true",
		}},
		Spec: v1.NodeSpec{ProviderID: spec.ProviderID, Taints: spec.Taints},
		Status: v1.NodeStatus{
			Capacity: offers, Allocatable: offers,
			Addresses:       []v1.NodeAddress{{Type: v1.NodeInternalIP, Address: spec.PrivateIP}, {Type: v1.NodeHostName, Address: address}},
			Conditions:      wellness(now),
			DaemonEndpoints: v1.NodeDaemonEndpoints{KubeletEndpoint: v1.DaemonEndpoint{Port: kubeletPort}},
			NodeInfo: v1.NodeSystemInfo{
				KubeletVersion: version.Get().GitVersion, OperatingSystem: "linux", Architecture: arch,
				OSImage: "pipectl rehearsal", ContainerRuntimeVersion: "process://1",
				MachineID: spec.InstanceID, SystemUUID: spec.InstanceID, BootID: spec.InstanceID,
			},
		},
	}
}
