package jenkinshome

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// A home in an emptyDir goes with its pod, so that pod must stay for the last pass, and as the way back. Instead of scaling its workload to 0,
// the containers that write to the home are given pipectl's own image, which cannot do what they are told and ends: the kubelet stops
// Jenkins, and the pod, its node and its volumes stay as they are. Another patch gives the images back, and Jenkins starts on its home.

// parked is a pod that is held so.
type parked struct {
	Pod        string            `json:"pod"`
	UID        string            `json:"uid"`
	Image      string            `json:"image"` // that its containers are given
	Containers []parkedContainer `json:"containers"`
}

// parkedContainer is one of them as it was before.
type parkedContainer struct {
	Name    string `json:"name"`
	Init    bool   `json:"init,omitempty"` // a sidecar
	Image   string `json:"image"`
	ImageID string `json:"imageId,omitempty"` // as the kubelet told it
	ID      string `json:"id,omitempty"`      // of the run
}

// inPod makes a home of a pod's emptyDir: on the node it is a directory of the kubelet.
func (h *home) inPod(volume string, medium corev1.StorageMedium) {
	dir := fmt.Sprintf("/var/lib/kubelet/pods/%s/volumes/kubernetes.io~empty-dir/%s", h.Pod.UID, volume)
	h.Kind, h.InPod = "emptyDir", volume
	if medium == corev1.StorageMediumDefault {
		h.Dir = dir
	}
	h.Volume = corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}}
	h.Risk = fmt.Sprintf("the old home is an emptyDir of pod %s and goes with it: do not delete that, drain its node or change its workload's template until the new Jenkins is verified", h.Pod.Name)
}

// held is the pod that must stay, "" where the home outlives its pod.
func (h *home) held() string {
	if h == nil || h.InPod == "" {
		return ""
	}
	return h.Pod.Name
}

// parking says what is to be held of a pod: all that runs and may write to the volume.
func parking(pod *corev1.Pod, volume, image string) parked {
	p := parked{Pod: pod.Name, UID: string(pod.UID), Image: image}
	add := func(cs []corev1.Container, sts []corev1.ContainerStatus, init bool) {
		for _, c := range cs {
			if !mountsToWrite(c, volume) || init && (c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways) {
				continue
			}
			was := parkedContainer{Name: c.Name, Init: init, Image: c.Image}
			if st := statusOf(sts, c.Name); st != nil {
				was.ImageID, was.ID = st.ImageID, st.ContainerID
			}
			p.Containers = append(p.Containers, was)
		}
	}
	add(pod.Spec.InitContainers, pod.Status.InitContainerStatuses, true)
	add(pod.Spec.Containers, pod.Status.ContainerStatuses, false)
	return p
}

func mountsToWrite(c corev1.Container, volume string) bool {
	return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == volume && !m.ReadOnly })
}

func statusOf(sts []corev1.ContainerStatus, name string) *corev1.ContainerStatus {
	if i := slices.IndexFunc(sts, func(s corev1.ContainerStatus) bool { return s.Name == name }); i >= 0 {
		return &sts[i]
	}
	return nil
}

// told reports whether the pod's spec has the image in each container.
func (p *parked) told(pod *corev1.Pod) bool {
	return !slices.ContainsFunc(p.Containers, func(c parkedContainer) bool {
		all := pod.Spec.Containers
		if c.Init {
			all = pod.Spec.InitContainers
		}
		return slices.ContainsFunc(all, func(have corev1.Container) bool { return have.Name == c.Name && have.Image != p.Image })
	})
}

// neverStarts are reasons for which a kubelet that was told of an image runs no container of it.
var neverStarts = []string{"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "CreateContainerConfigError",
	"CreateContainerError", "RunContainerError"}

// running names the container that may still be the one before; "" where each is known to be gone. That a container does not run at a moment
// is no proof: a kubelet that has not heard of the patch yet would start it again. One of another image is.
func (p *parked) running(pod *corev1.Pod) string {
	for _, c := range p.Containers {
		sts := pod.Status.ContainerStatuses
		if c.Init {
			sts = pod.Status.InitContainerStatuses
		}
		st := statusOf(sts, c.Name)
		if st == nil {
			return c.Name
		}
		other := st.ContainerID != "" && st.ContainerID != c.ID && st.ImageID != c.ImageID
		w := st.State.Waiting
		if !other && (w == nil || !slices.Contains(neverStarts, w.Reason)) {
			return c.Name
		}
	}
	return ""
}

// images are those of the held pod: before, or while it is held.
func (p *parked) images(before bool) (out kube.PodImages) {
	for _, c := range p.Containers {
		i := kube.ContainerImage{Name: c.Name, Image: p.Image}
		if before {
			i.Image = c.Image
		}
		if c.Init {
			out.Init = append(out.Init, i)
		} else {
			out.Main = append(out.Main, i)
		}
	}
	return out
}

// homeGone says that the pod with the home is no more.
func homeGone(pod string) *steps.Error {
	return &steps.Error{Code: "HomeGone", Category: steps.Conflict, Message: "pod " + pod + ": is gone, and with it the old home, which was its emptyDir; the copy on the data volume is all there is",
		Hints: []string{"keep the volume; what the workload starts now is an empty Jenkins, which is never copied over it"}}
}

// heldPod is the pod that has the home, with its emptyDir whole: the kubelet removes nothing of a pod that is not being deleted.
func heldPod(ctx context.Context, k *kube.Client, namespace, name, uid string) (*corev1.Pod, error) {
	pod, err := k.Typed.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err), err == nil && (string(pod.UID) != uid || pod.DeletionTimestamp != nil || finished(pod)):
		return nil, homeGone(name)
	case err != nil:
		return nil, fmt.Errorf("pod %s/%s: %w", namespace, name, kube.Explain(err))
	}
	return pod, nil
}

func finished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// confirm is asked by a pass before it removes anything from the target; nil where the home is not in a pod.
func (a moverArgs) confirm(ctx context.Context, k *kube.Client) func() error {
	if a.HomePod == "" {
		return nil
	}
	return func() error {
		_, err := heldPod(ctx, k, a.Namespace, a.HomePod, a.HomeUID)
		return err
	}
}

// park stops what writes to the home. What was before is recorded first.
func (c *cut) park(ctx context.Context) error {
	if c.rec.Cut.Parked == nil {
		pod, err := heldPod(ctx, c.kube, c.args.Namespace, c.args.HomePod, c.args.HomeUID)
		if err != nil {
			return err
		}
		p := parking(pod, c.args.HomeVolume, c.args.ParkImage)
		c.rec.Cut.Parked, c.rec.Cut.StopAt = &p, timeTag(time.Now())
		if err := c.rec.write(ctx, c.rec.Phase, nil); err != nil {
			return err
		}
	}
	p := c.rec.Cut.Parked
	return c.kube.SetImages(ctx, c.args.Namespace, p.Pod, p.UID, p.images(false))
}

// awaitParked waits until nothing of before runs in the held pod.
func (c *cut) awaitParked(ctx context.Context, report func(string)) error {
	p := c.rec.Cut.Parked
	look := func(ctx context.Context) (bool, error) {
		pod, err := heldPod(ctx, c.kube, c.args.Namespace, p.Pod, p.UID)
		if err != nil {
			return false, err
		}
		who := p.running(pod)
		if who != "" {
			report("container " + who + " of pod " + p.Pod + " still runs")
		}
		return who == "", nil
	}
	return kube.Await(ctx, 2*time.Second, look, func(ctx context.Context) (watch.Interface, error) {
		return c.kube.Typed.CoreV1().Pods(c.args.Namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + p.Pod})
	})
}

// stillParked is stillDown for a pod that is held.
func (c *cut) stillParked(ctx context.Context) error {
	p := c.rec.Cut.Parked
	pod, err := heldPod(ctx, c.kube, c.args.Namespace, p.Pod, p.UID)
	if err != nil {
		return err
	}
	if p.told(pod) && p.running(pod) == "" {
		return nil
	}
	return &steps.Error{Code: "StartedAgain", Category: steps.Conflict, Message: "pod " + p.Pod + ": somebody gave it its own image back during the cut-over",
		Hints: []string{"find out who, and run again"}}
}

// unpark lets the held pod run its own images again; gone says that there is no such pod any more.
func unpark(ctx context.Context, k *kube.Client, namespace string, p *parked) (gone bool, err error) {
	err = k.SetImages(ctx, namespace, p.Pod, p.UID, p.images(true))
	if kube.HasCode(err, kube.CodeNotFound) || kube.IsNotFound(err) || kube.HasCode(err, kube.CodeConflict) {
		return true, nil
	}
	return false, err
}

// wasWhole says that a home in a pod is still there, so that a snapshot which was taken before has all of it.
func (m *mission) wasWhole(ctx context.Context) error {
	name, uid := m.home.held(), ""
	switch p := m.rec.Cut.Parked; {
	case name != "":
		uid = string(m.home.Pod.UID)
	case p == nil:
		return nil
	default:
		name, uid = p.Pod, p.UID
	}
	_, err := heldPod(ctx, m.source, m.move.Source.Namespace, name, uid)
	return err
}

// oldLife is whether the Jenkins runs whose home is moved. Where its home went with its pod, what its workload started since is not it once the
// copy is whole; before, it is what there is.
func (m *mission) oldLife(ctx context.Context) (Life, error) {
	p := m.rec.Cut.Parked
	m.gone = false
	if p == nil {
		return lifeOf(ctx, m.source, m.workload())
	}
	pod, err := heldPod(ctx, m.source, m.move.Source.Namespace, p.Pod, p.UID)
	switch {
	case kube.HasCode(err, "HomeGone"):
		if m.gone = true; m.copyWhole() {
			return Stops, nil
		}
		return lifeOf(ctx, m.source, m.workload())
	case err != nil:
		return Unknown, err
	case p.told(pod) && p.running(pod) == "":
		return Stops, nil
	}
	return Up, nil
}

// tellGone writes why a cut-over is turned back whose home is no more: a mover that is only stopped would not know.
func (m *mission) tellGone(ctx context.Context) error {
	if !m.gone || m.rec.Cut.Why != nil || !m.rec.Phase.working() && m.rec.Phase != Copied {
		return nil
	}
	m.rec.Cut.Why = info(homeGone(m.rec.Cut.Parked.Pod))
	return m.again(m.rec.write(ctx, BackingOut, nil))
}

// copyWhole says whether the volume has all of the home: with route snapshot the last pass comes after the mover's part.
func (m *mission) copyWhole() bool {
	return m.rec.Phase == Committed || m.rec.Phase == Copied && m.move.Route != routeSnapshot
}

// noWayBack refuses what would start a Jenkins whose home is lost, in place of the one that has its copy.
func (m *mission) noWayBack(a Action, v Verb) error {
	if !m.gone || v == Down {
		return nil
	}
	switch s := m.vol.state(); {
	case a == TurnBack, s == RollingBack && (a == StopNew || a == Restart), s == Cutting && (a == Abort || a == BackOut) && m.copyWhole():
		return whyHomeGone
	}
	return nil
}

var whyHomeGone = refusal("HomeGone", steps.Conflict, "the old home was an emptyDir and went with its pod: there is no way back",
	"keep the new Jenkins: `pipectl run` finishes a cut-over that was begun, and `onFailure: report` of verify-jenkins-home says what differs")
