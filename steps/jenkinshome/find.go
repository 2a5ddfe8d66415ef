package jenkinshome

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// home is where a running Jenkins keeps its data, and how a mover on the same node can read it.
type home struct {
	Pod        *corev1.Pod
	Node       *corev1.Node
	Instance   string // EC2 instance of the node, "" with NoInstance
	NoInstance error
	Container  corev1.Container
	Path       string              // in the container
	Kind       string              // hostPath, emptyDir, local, claim
	Volume     corev1.VolumeSource // for the mover's pod
	SubPath    string              // below the volume
	Remade     []string            // mounts inside the home that are made again with every pod
	Port       int
	App        string // Application that owns the workload, "" if none
	ClaimPV    string
	Disk       string // EBS volume of the claim, "" where it is not one
	Dir        string // the home as seen from the root of its file system, where that is the claim's or the node's own
	Risk       string // what could lose the old data later
	InPod      string // the pod's volume that is the home, where that is an emptyDir: it goes with the pod
}

const defaultHome = "/var/jenkins_home"

// workloadOf splits deployment/NAME.
func workloadOf(namespace, ref string) kube.Workload {
	kind, name, _ := strings.Cut(ref, "/")
	w := kube.Workload{Kind: "Deployment", Namespace: namespace, Name: name}
	if kind == "statefulset" {
		w.Kind = "StatefulSet"
	}
	return w
}

// findHome looks at the running Jenkins. Everything that stands against a move is reported at once.
func findHome(ctx context.Context, k *kube.Client, s MoveSource) (*home, error) {
	w := workloadOf(s.Namespace, s.Workload)
	st, found, err := k.ReadWorkload(ctx, w)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, &steps.Error{Code: "WorkloadNotFound", Category: steps.Precondition, Message: w.String() + ": does not exist in " + s.Cluster.String(),
			Hints: []string{"correct `from.workload` (deployment/NAME or statefulset/NAME) or `from.namespace`"}}
	}
	if st.Replicas > 1 {
		return nil, &steps.Error{Code: "ManyReplicas", Category: steps.Precondition, Message: fmt.Sprintf("%s: has %d replicas; a Jenkins home has one controller", w, st.Replicas)}
	}
	pod, err := livePod(ctx, k, w)
	if err != nil {
		return nil, err
	}
	h := &home{Pod: pod, App: applicationOf(st.Object)}
	if h.Container, err = containerOf(pod, s.Container); err != nil {
		return nil, err
	}
	h.Path, h.Port = homePath(h.Container, s.Home), portOf(h.Container)
	if err := h.locate(ctx, k); err != nil {
		return nil, err
	}
	if h.Node, err = k.Typed.CoreV1().Nodes().Get(ctx, pod.Spec.NodeName, metav1.GetOptions{}); err != nil {
		return nil, fmt.Errorf("node %s: %w", pod.Spec.NodeName, kube.Explain(err))
	}
	return h, nil
}

// applicationOf is the Argo CD Application that owns an object: by its tracking annotation, else by the label that older versions of Argo CD
// write. Helm writes a label of that name too, with its release, and marks what it installs; a chart that Argo CD renders has no such mark.
func applicationOf(o metav1.Object) string {
	if id, _, ok := strings.Cut(o.GetAnnotations()["argocd.argoproj.io/tracking-id"], ":"); ok {
		if _, name, other := strings.Cut(id, "_"); other { // outside of Argo CD's own namespace: namespace_name
			return name
		}
		return id
	}
	if o.GetAnnotations()["meta.helm.sh/release-name"] != "" {
		return ""
	}
	return o.GetLabels()["app.kubernetes.io/instance"]
}

func containerOf(pod *corev1.Pod, name string) (corev1.Container, error) {
	want := name
	if want == "" {
		want = "jenkins"
	}
	i := slices.IndexFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == want })
	switch {
	case i >= 0:
		return pod.Spec.Containers[i], nil
	case name == "":
		return pod.Spec.Containers[0], nil
	}
	return corev1.Container{}, &steps.Error{Code: "ContainerNotFound", Category: steps.Precondition, Message: "pod " + pod.Name + ": has no container " + name,
		Hints: []string{"correct `from.container`"}}
}

func homePath(c corev1.Container, given string) string {
	if given != "" {
		return path.Clean(given)
	}
	for _, e := range c.Env {
		if e.Name == "JENKINS_HOME" && e.Value != "" {
			return path.Clean(e.Value)
		}
	}
	return defaultHome
}

func portOf(c corev1.Container) int {
	for _, p := range c.Ports {
		if p.Name == "http" {
			return int(p.ContainerPort)
		}
	}
	return 8080
}

// locate finds the volume below the home and checks what is mounted inside.
func (h *home) locate(ctx context.Context, k *kube.Client) error {
	var mount *corev1.VolumeMount
	for i, m := range h.Container.VolumeMounts {
		if within(h.Path, m.MountPath) && (mount == nil || len(m.MountPath) > len(mount.MountPath)) {
			mount = &h.Container.VolumeMounts[i]
		}
	}
	if mount == nil {
		return &steps.Error{Code: "HomeNotOnVolume", Category: steps.Precondition,
			Message: fmt.Sprintf("pod %s: %s is on no volume; it would be lost with the pod", h.Pod.Name, h.Path), Hints: []string{"correct `from.home`"}}
	}
	rest := strings.Trim(strings.TrimPrefix(h.Path, path.Clean(mount.MountPath)), "/")
	h.SubPath = path.Join(mount.SubPath, rest)
	if h.SubPath == "." {
		h.SubPath = ""
	}
	if mount.SubPathExpr != "" {
		return &steps.Error{Code: "SubPathExpr", Category: steps.Precondition, Message: "pod " + h.Pod.Name + ": the home's mount has a subPathExpr, which is not followed"}
	}
	if err := h.volume(ctx, k, mount.Name); err != nil {
		return err
	}
	return h.nested(mount.Name)
}

func within(p, mount string) bool {
	mount = path.Clean(mount)
	return p == mount || strings.HasPrefix(p, strings.TrimSuffix(mount, "/")+"/")
}

func (h *home) volume(ctx context.Context, k *kube.Client, name string) error {
	i := slices.IndexFunc(h.Pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == name })
	if i < 0 {
		return fmt.Errorf("pod %s: volume %s: not declared", h.Pod.Name, name)
	}
	v := h.Pod.Spec.Volumes[i].VolumeSource
	switch {
	case v.HostPath != nil:
		h.Kind, h.Dir = "hostPath", v.HostPath.Path
		h.Volume = corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: v.HostPath.Path}}
	case v.PersistentVolumeClaim != nil:
		return h.claim(ctx, k, v.PersistentVolumeClaim.ClaimName)
	case v.EmptyDir != nil:
		h.inPod(name, v.EmptyDir.Medium)
	default:
		return &steps.Error{Code: "HomeVolumeUnsupported", Category: steps.Precondition,
			Message: fmt.Sprintf("pod %s: volume %s: only hostPath and claims can be read", h.Pod.Name, name)}
	}
	return nil
}

// claim mounts the same claim in the mover: on one node two pods can share it, unless its mode says one pod only.
func (h *home) claim(ctx context.Context, k *kube.Client, name string) error {
	path := "claim " + h.Pod.Namespace + "/" + name
	c, err := k.Typed.CoreV1().PersistentVolumeClaims(h.Pod.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("%s: %w", path, kube.Explain(err))
	}
	if slices.Contains(c.Spec.AccessModes, corev1.ReadWriteOncePod) {
		return &steps.Error{Code: "OnePodOnly", Category: steps.Precondition, Message: path + ": is ReadWriteOncePod: no mover can read it beside Jenkins",
			Hints: []string{"change the volume's access mode to ReadWriteOnce"}}
	}
	h.Kind, h.ClaimPV = "claim", c.Spec.VolumeName
	h.Volume = corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name, ReadOnly: false}}
	pv, err := k.Typed.CoreV1().PersistentVolumes().Get(ctx, c.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return nil // whoever may read claims may not always read volumes; it is asked for a warning only
	}
	if pv.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete {
		h.Risk = fmt.Sprintf("%s: its volume %s would be deleted with it, and with it the way back: the cut-over sets the reclaim policy to Retain", path, pv.Name)
	}
	switch {
	case pv.Spec.Local != nil:
		h.Kind, h.Dir = "local", pv.Spec.Local.Path
	case pv.Spec.HostPath != nil:
		h.Dir = pv.Spec.HostPath.Path
	case pv.Spec.CSI != nil && pv.Spec.CSI.Driver == ebsDriver:
		h.Disk = pv.Spec.CSI.VolumeHandle
	case pv.Spec.AWSElasticBlockStore != nil: // "aws://zone/vol-1", or the id alone
		id := pv.Spec.AWSElasticBlockStore.VolumeID
		h.Disk = id[strings.LastIndex(id, "/")+1:]
	}
	return nil
}

// nested refuses mounts inside the home that hold data of their own: they would be missing in the copy.
func (h *home) nested(home string) error {
	var bad []string
	for _, m := range h.Container.VolumeMounts {
		if m.Name == home && m.SubPath == "" || !within(m.MountPath, h.Path) || path.Clean(m.MountPath) == h.Path {
			continue
		}
		i := slices.IndexFunc(h.Pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		v := h.Pod.Spec.Volumes[max(i, 0)].VolumeSource
		if v.ConfigMap != nil || v.Secret != nil || v.Projected != nil || v.DownwardAPI != nil || v.EmptyDir != nil {
			h.Remade = append(h.Remade, m.MountPath)
			continue
		}
		bad = append(bad, m.MountPath)
	}
	if len(bad) == 0 {
		return nil
	}
	return &steps.Error{Code: "NestedMounts", Category: steps.Precondition, Message: fmt.Sprintf("pod %s: other volumes are mounted inside the home: %s", h.Pod.Name, strings.Join(bad, ", ")),
		Hints: []string{"move what they hold into the home's volume first, or leave them out there and mount them in the new Jenkins"}}
}
