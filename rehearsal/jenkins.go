package rehearsal

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"pipectl.dev/kube"
)

// The Jenkins that is to be moved keeps its home on its node's own disk: a Deployment by a hostPath, a StatefulSet by a claim on a local
// volume.
const (
	jenkinsHome = "/var/lib/jenkins"
	jenkinsPort = 8080
)

func putNamespace(ctx context.Context, client kube.Typed, name string) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	_, err := client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func putAccount(ctx context.Context, client kube.Typed, namespace, name string) error {
	if err := putNamespace(ctx, client, namespace); err != nil {
		return err
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}}
	_, err := client.CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func putJenkins(ctx context.Context, client kube.Typed, j workload, node string) error {
	if err := putNamespace(ctx, client, j.Namespace); err != nil {
		return err
	}
	labels := map[string]string{"app": j.Name}
	meta := metav1.ObjectMeta{Name: j.Name, Namespace: j.Namespace, Labels: labels}
	one, selector := int32(1), &metav1.LabelSelector{MatchLabels: labels}
	if j.Kind != "statefulset" {
		directory := corev1.HostPathDirectory
		home := corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: jenkinsHome, Type: &directory}}
		_, err := client.AppsV1().Deployments(j.Namespace).Create(ctx, &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{
			Replicas: &one, Selector: selector, Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType},
			Template: jenkinsPod(labels, home, node),
		}}, metav1.CreateOptions{})
		return err
	}
	if err := putLocalClaim(ctx, client, j, node); err != nil {
		return err
	}
	home := corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: j.Name + "-home"}}
	_, err := client.AppsV1().StatefulSets(j.Namespace).Create(ctx, &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{
		Replicas: &one, Selector: selector, ServiceName: j.Name, Template: jenkinsPod(labels, home, node),
	}}, metav1.CreateOptions{})
	return err
}

func jenkinsPod(labels map[string]string, home corev1.VolumeSource, node string) corev1.PodTemplateSpec {
	probe := &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/login", Port: intstr.FromInt32(jenkinsPort)}}}
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec: corev1.PodSpec{
			NodeSelector: map[string]string{corev1.LabelHostname: node},
			Containers: []corev1.Container{{
				Name: "jenkins", Image: "jenkins/jenkins:2.528.1-lts-jdk21", ReadinessProbe: probe,
				Ports:        []corev1.ContainerPort{{Name: "http", ContainerPort: jenkinsPort}},
				VolumeMounts: []corev1.VolumeMount{{Name: "home", MountPath: "/var/jenkins_home"}},
			}},
			Volumes: []corev1.Volume{{Name: "home", VolumeSource: home}},
		},
	}
}

// putLocalClaim makes a local volume on the node and the claim that is bound to it.
func putLocalClaim(ctx context.Context, client kube.Typed, j workload, node string) error {
	name, none := j.Name+"-home", ""
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("20Gi")}
	here := corev1.NodeSelectorRequirement{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: j.Namespace + "-" + name}, Spec: corev1.PersistentVolumeSpec{
		Capacity: size, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
		PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: jenkinsHome}},
		ClaimRef:                      &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: j.Namespace, Name: name},
		NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{here}}},
		}},
	}}
	if _, err := client.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{}); err != nil {
		return err
	}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: j.Namespace}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: volume.Spec.AccessModes, StorageClassName: &none, VolumeName: volume.Name,
		Resources: corev1.VolumeResourceRequirements{Requests: size},
	}}
	_, err := client.CoreV1().PersistentVolumeClaims(j.Namespace).Create(ctx, claim, metav1.CreateOptions{})
	return err
}
