package jenkinshome

import (
	"encoding/json"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// Directories in a mover's pod.
const (
	dirSource  = "/pipectl/source"
	dirTarget  = "/pipectl/target"
	dirHost    = "/pipectl/host"
	dirScratch = "/pipectl/scratch"
	dirJenkins = "/pipectl/jenkins"
	tokenKey   = "token"
)

// moverPod is the pod of a mover on the node that has the home. The home is mounted read-only. Route attach needs a privileged pod: block
// devices, mkfs in a chroot and mount ask for no less; route sameNode needs only to read and give away files.
func moverPod(h *home, route, claim, image string, args []string) corev1.PodSpec {
	privileged, root, no := true, int64(0), false
	grace := int64(120)
	source := corev1.VolumeMount{Name: "source", MountPath: dirSource, SubPath: h.SubPath, ReadOnly: true}
	c := corev1.Container{
		Name: "mover", Image: image, Command: []string{"pipectl"}, Args: args,
		VolumeMounts:             []corev1.VolumeMount{source, {Name: "target", MountPath: dirTarget}, {Name: "scratch", MountPath: dirScratch}},
		TerminationMessagePolicy: corev1.TerminationMessageReadFile,
	}
	home := h.Volume
	if home.HostPath != nil {
		dir := corev1.HostPathDirectory // never made: an empty one would look like a home without jobs
		home.HostPath = &corev1.HostPathVolumeSource{Path: home.HostPath.Path, Type: &dir}
	}
	volumes := []corev1.Volume{{Name: "source", VolumeSource: home}, emptyDir("scratch")}
	switch route {
	case routeAttach:
		c.SecurityContext = &corev1.SecurityContext{Privileged: &privileged, RunAsUser: &root}
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "host", MountPath: dirHost, ReadOnly: true})
		volumes = append(volumes, emptyDir("target"), corev1.Volume{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}})
	case routeSnapshot, routeStream: // the copy is made elsewhere: here the disk is flushed, or the home served, no more
		c.SecurityContext = &corev1.SecurityContext{RunAsUser: &root, AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{
			Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"DAC_READ_SEARCH"}}}
		volumes = append(volumes, emptyDir("target"))
	default:
		c.SecurityContext = &corev1.SecurityContext{RunAsUser: &root, AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{
			Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"DAC_OVERRIDE", "DAC_READ_SEARCH", "CHOWN", "FOWNER", "FSETID"}}}
		volumes = append(volumes, corev1.Volume{Name: "target", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}})
	}
	return corev1.PodSpec{
		Containers: []corev1.Container{c}, Volumes: volumes, RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: &grace,
		AutomountServiceAccountToken: &no, Affinity: onNode(h.Pod.Spec.NodeName),
		Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
	}
}

// snapshotPod is the pod of a mover that copies from one volume to another, both attached to the node.
func snapshotPod(node, image string, args []string) corev1.PodSpec {
	h := &home{Pod: &corev1.Pod{Spec: corev1.PodSpec{NodeName: node}}, Volume: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
	p := moverPod(h, routeAttach, "", image, args)
	p.Containers[0].VolumeMounts[0].ReadOnly = false // where the file system of the snapshot is mounted, read only
	return p
}

func emptyDir(name string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
}

// onNode asks the scheduler for one node; naming it in the pod would pass the scheduler by, and with it the binding of claims.
func onNode(name string) *corev1.Affinity {
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{name}}}}},
	}}}
}

// cutPod is moverPod with the service account and the token that the critical section needs.
func cutPod(h *home, route, claim, image, name string, args []string) corev1.PodSpec {
	p := moverPod(h, route, claim, image, args)
	yes, mode := true, int32(0o400)
	p.ServiceAccountName, p.AutomountServiceAccountToken = name, &yes
	p.Volumes = append(p.Volumes, corev1.Volume{Name: "jenkins", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name, DefaultMode: &mode}}})
	p.Containers[0].VolumeMounts = append(p.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "jenkins", MountPath: dirJenkins, ReadOnly: true})
	return p
}

// cutJobObject may start a few pods one after the other: a node that evicts its pod must not leave Jenkins down.
func cutJobObject(namespace, name, run string, owner steps.Identity, pod corev1.PodSpec) *batchv1.Job {
	tries := int32(6)
	labels, notes := kube.OwnerLabels(), kube.OwnerAnnotations(owner)
	labels[kube.RunLabel] = run
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels, Annotations: notes},
		Spec: batchv1.JobSpec{BackoffLimit: &tries, PodReplacementPolicy: new(batchv1.Failed),
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: notes}, Spec: pod}},
	}
}

// looks is what a mover may do that copies while Jenkins runs from an emptyDir: look at pods. It has the account of the cut-over, which comes
// later and may do more.
func looks(m Move, owner steps.Identity) kube.JobAccount {
	return kube.JobAccount{Namespace: m.Source.Namespace, Name: m.cutJob(), Owner: owner, Rules: []rbacv1.PolicyRule{lookAtPods}}
}

var lookAtPods = rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list", "watch"}}

// grants is what the mover may do in the namespace of Jenkins, and no more: its record, its workload, Jenkins' pods. The pod that is held, if
// there is one, it may change.
func grants(m Move, name string, owner steps.Identity, held string) kube.JobAccount {
	w := workloadOf(m.Source.Namespace, m.Source.Workload)
	resource := map[string]string{"Deployment": "deployments", "StatefulSet": "statefulsets"}[w.Kind]
	a := kube.JobAccount{Namespace: w.Namespace, Name: name, Owner: owner, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{m.recordName()}, Verbs: []string{"get", "patch"}},
		{APIGroups: []string{"apps"}, Resources: []string{resource}, ResourceNames: []string{w.Name}, Verbs: []string{"get", "patch"}},
		lookAtPods,
		{APIGroups: []string{""}, Resources: []string{"pods/portforward"}, Verbs: []string{"create"}},
	}}
	if held != "" {
		a.Rules = append(a.Rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods"}, ResourceNames: []string{held}, Verbs: []string{"patch"}})
	}
	return a
}

func ownerFlag(id steps.Identity) string {
	b, _ := json.Marshal(id) //nolint:errchkjson // strings only
	return string(b)
}
