package rehearsal

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"pipectl.dev/rehearsal/cluster"
)

// The old cluster: made by kubeadm on two EC2 instances, without a cloud provider, so its nodes have no provider ID and are found by
// their private address. Jenkins keeps its home on the worker's own disk.
const (
	oldContext  = "kubernetes-admin@kubernetes"
	jenkinsHome = "/var/lib/jenkins"
	jenkinsPort = 8080
)

// machine is an EC2 instance of the old cluster.
type machine struct{ ID, Name, IP, Zone, Type string }

func oldMachines(region string) []machine {
	zone := region + "a"
	return []machine{
		{"i-0a11ce00000000001", "ip-172-31-0-10", "172.31.0.10", zone, "t3.medium"},
		{"i-0a11ce00000000002", "ip-172-31-0-20", "172.31.0.20", zone, "t3.medium"},
	}
}

// worker is the machine whose disk holds the Jenkins home.
func worker(ms []machine) machine { return ms[len(ms)-1] }

// startOld starts the old cluster, lets its machines join and puts Jenkins on the worker.
func startOld(ctx context.Context, lab cluster.Lab, region string, ms []machine) (*cluster.Cluster, error) {
	c, err := lab.Start(ctx, "kubeadm", cluster.Options{Issuer: "https://kubernetes.default.svc.cluster.local"})
	if err != nil {
		return nil, err
	}
	for _, m := range ms {
		n := cluster.Node{Name: m.Name, InstanceID: m.ID, PrivateIP: m.IP, Zone: m.Zone, Region: region, InstanceType: m.Type}
		if err := c.AddNode(ctx, n); err != nil {
			return c, err
		}
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return c, err
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return c, err
	}
	if err := putJenkins(ctx, client, worker(ms).Name); err != nil {
		return c, fmt.Errorf("old jenkins: %w", err)
	}
	return c, nil
}

func putJenkins(ctx context.Context, client kubernetes.Interface, node string) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "jenkins"}}
	if _, err := client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
		return err
	}
	_, err := client.AppsV1().Deployments("jenkins").Create(ctx, oldJenkins(node), metav1.CreateOptions{})
	return err
}

func oldJenkins(node string) *appsv1.Deployment {
	labels := map[string]string{"app": "jenkins"}
	one, directory := int32(1), corev1.HostPathDirectory
	probe := &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/login", Port: intstr.FromInt32(jenkinsPort)}}}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "jenkins", Namespace: "jenkins", Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: labels}, Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					NodeSelector: map[string]string{"kubernetes.io/hostname": node},
					Containers: []corev1.Container{{
						Name: "jenkins", Image: "jenkins/jenkins:2.528.1-lts-jdk21", ReadinessProbe: probe,
						Ports:        []corev1.ContainerPort{{Name: "http", ContainerPort: jenkinsPort}},
						VolumeMounts: []corev1.VolumeMount{{Name: "home", MountPath: "/var/jenkins_home"}},
					}},
					Volumes: []corev1.Volume{{Name: "home", VolumeSource: corev1.VolumeSource{
						HostPath: &corev1.HostPathVolumeSource{Path: jenkinsHome, Type: &directory},
					}}},
				},
			},
		},
	}
}

// writeKubeconfig gives the client under test a kubeconfig whose context has the name that kubeadm gives it.
func writeKubeconfig(old *cluster.Cluster, to string) error {
	cfg, err := clientcmd.LoadFromFile(old.Kubeconfig)
	if err != nil {
		return err
	}
	current := cfg.Contexts[cfg.CurrentContext]
	cfg.Contexts[oldContext] = current
	cfg.CurrentContext = oldContext
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	return clientcmd.WriteToFile(*cfg, to)
}
