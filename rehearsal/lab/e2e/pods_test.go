package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

const image = "example.org/pipectl:v1"

// pod is a pod of one container that runs the stand-in.
func pod(name string, change func(*v1.PodSpec, *v1.Container), args ...string) *v1.Pod {
	p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1.PodSpec{
		RestartPolicy: v1.RestartPolicyNever,
		Containers:    []v1.Container{{Name: "main", Image: image, Command: []string{"/usr/local/bin/pipectl"}, Args: args}},
	}}
	if change != nil {
		change(&p.Spec, &p.Spec.Containers[0])
	}
	return p
}

func mounted(s *v1.PodSpec, c *v1.Container, path string, source v1.VolumeSource) {
	name := "v" + strings.NewReplacer("/", "-", "_", "-").Replace(path)
	s.Volumes = append(s.Volumes, v1.Volume{Name: name, VolumeSource: source})
	c.VolumeMounts = append(c.VolumeMounts, v1.VolumeMount{Name: name, MountPath: path})
}

func hostPath(path string) v1.VolumeSource {
	return v1.VolumeSource{HostPath: &v1.HostPathVolumeSource{Path: path}}
}

// run creates a pod and waits for its end; it returns the state of its container.
func (l *lab) run(t *testing.T, p *v1.Pod) (v1.PodStatus, v1.ContainerStateTerminated) {
	t.Helper()
	l.createPod(t, p)
	var status v1.PodStatus
	until(t, "pod "+p.Name+" ends", func(ctx context.Context) (bool, error) {
		got, err := l.client.CoreV1().Pods("default").Get(ctx, p.Name, get())
		if err != nil {
			return false, err
		}
		status = got.Status
		return status.Phase == v1.PodSucceeded || status.Phase == v1.PodFailed, nil
	})
	ended := status.ContainerStatuses[0].State.Terminated
	if ended == nil {
		t.Fatalf("pod %s is %s, its container %+v", p.Name, status.Phase, status.ContainerStatuses[0].State)
	}
	return status, *ended
}

func (l *lab) createPod(t *testing.T, p *v1.Pod) {
	t.Helper()
	if _, err := l.client.CoreV1().Pods("default").Create(t.Context(), p, create()); err != nil {
		t.Fatal(err)
	}
}

func (l *lab) ready(t *testing.T, name string) {
	t.Helper()
	until(t, "pod "+name+" is ready", func(ctx context.Context) (bool, error) {
		got, err := l.client.CoreV1().Pods("default").Get(ctx, name, get())
		if err != nil {
			return false, err
		}
		for _, c := range got.Status.Conditions {
			if c.Type == v1.PodReady {
				return c.Status == v1.ConditionTrue, nil
			}
		}
		return false, nil
	})
}

func (l *lab) logs(t *testing.T, pod string, o v1.PodLogOptions) string {
	t.Helper()
	stream, err := l.client.CoreV1().Pods("default").GetLogs(pod, &o).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	data, err := io.ReadAll(stream)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestPods runs everything that needs no more than one node in one cluster: a cluster takes seconds to start.
func TestPods(t *testing.T) {
	reviewer := httptest.NewServer(http.HandlerFunc(review))
	defer reviewer.Close()
	l := start(t, "--token-webhook", reviewer.URL+"/tokenreview?cluster=c")
	l.write(t, l.root("i-1", "var/lib/jenkins/config.xml"), "<hudson/>")
	for name, test := range map[string]func(*testing.T, *lab){
		"a job copies from the host and its message comes back": jobCopies,
		"a failed container's log becomes its message":          logBecomesMessage,
		"files, variables and tokens arrive":                    everythingArrives,
		"a port-forward reaches a pod's process":                portForward,
		"logs are followed to the end of the process":           followedLogs,
		"a deleted pod gets time to end well":                   graceful,
		"a pod whose time is over fails":                        deadline,
		"a container that fails is restarted with a pause":      restarts,
		"another image runs in the same pod":                    otherImage,
		"images that are not played turn ready or succeed":      unplayed,
		"a pod waits for what it mounts":                        waits,
		"an init container that fails stops the pod":            initFails,
		"a node that leaves takes its pods with it":             leavingNode,
		"an order that makes no sense is refused":               refusals,
		"a jenkins serves the home of its node":                 jenkinsServes,
		"a bearer token is reviewed by the webhook":             reviewedToken,
		"the issuer publishes its keys":                         issuer,
	} {
		t.Run(name, func(t *testing.T) { test(t, l) })
	}
}

func jobCopies(t *testing.T, l *lab) {
	spec := pod("", func(s *v1.PodSpec, c *v1.Container) {
		mounted(s, c, "/source", hostPath("/var/lib/jenkins"))
		mounted(s, c, "/target", v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}})
		s.InitContainers = []v1.Container{{Name: "before", Image: "busybox", Command: []string{"sh"}}}
	}, "copy", "/source", "/target/home").Spec
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "copy"}, Spec: batchv1.JobSpec{Template: v1.PodTemplateSpec{Spec: spec}}}
	if _, err := l.client.BatchV1().Jobs("default").Create(t.Context(), job, create()); err != nil {
		t.Fatal(err)
	}
	until(t, "job is complete", func(ctx context.Context) (bool, error) {
		got, err := l.client.BatchV1().Jobs("default").Get(ctx, "copy", get())
		return err == nil && got.Status.Succeeded == 1, err
	})
	pods, err := l.client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "job-name=copy"})
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"copied":%q}`, l.root("i-1", "var/lib/jenkins"))
	if got := pods.Items[0].Status.ContainerStatuses[0].State.Terminated.Message; got != want {
		t.Errorf("termination message is %s, want %s", got, want)
	}
}

func logBecomesMessage(t *testing.T, l *lab) {
	_, ended := l.run(t, pod("fails", func(_ *v1.PodSpec, c *v1.Container) {
		c.TerminationMessagePolicy = v1.TerminationMessageFallbackToLogsOnError
	}, "fail", "fly"))
	if ended.ExitCode != 7 || ended.Reason != "Error" || ended.Message != "cannot fly\n" {
		t.Errorf("got code %d, reason %s, message %q", ended.ExitCode, ended.Reason, ended.Message)
	}
}

func everythingArrives(t *testing.T, l *lab) {
	core := l.client.CoreV1()
	if _, err := core.ConfigMaps("default").Create(t.Context(), &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"color": "red"}}, create()); err != nil {
		t.Fatal(err)
	}
	if _, err := core.Secrets("default").Create(t.Context(), &v1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "db"}, StringData: map[string]string{"DB_USER": "jo", "pw": "geheim"}}, create()); err != nil {
		t.Fatal(err)
	}
	_, ended := l.run(t, pod("arrives", func(s *v1.PodSpec, c *v1.Container) {
		mounted(s, c, "/etc/settings", v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: v1.LocalObjectReference{Name: "settings"}}})
		mounted(s, c, "/etc/db", v1.VolumeSource{Secret: &v1.SecretVolumeSource{SecretName: "db", Items: []v1.KeyToPath{{Key: "pw", Path: "sub/password"}}}})
		mounted(s, c, "/tokens", v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{Sources: []v1.VolumeProjection{
			{ServiceAccountToken: &v1.ServiceAccountTokenProjection{Audience: "sts.amazonaws.com", Path: "aws"}},
			{DownwardAPI: &v1.DownwardAPIProjection{Items: []v1.DownwardAPIVolumeFile{{Path: "name", FieldRef: &v1.ObjectFieldSelector{FieldPath: "metadata.name"}}}}},
		}}})
		c.EnvFrom = []v1.EnvFromSource{{SecretRef: &v1.SecretEnvSource{LocalObjectReference: v1.LocalObjectReference{Name: "db"}}}}
		c.Env = []v1.EnvVar{
			{Name: "NODE", ValueFrom: &v1.EnvVarSource{FieldRef: &v1.ObjectFieldSelector{FieldPath: "spec.nodeName"}}},
			{Name: "DIR", Value: "/etc/settings"},
		}
	}, "show", "$(DIR)/color", "/etc/db/sub/password", "/tokens/name", "/var/run/secrets/kubernetes.io/serviceaccount/namespace"))
	want := fmt.Sprintf(`{"devices":%q,"files":{"color":"red","name":"arrives","namespace":"default","password":"geheim"},"node":"n1","user":"jo"}`,
		filepath.Join(l.dir, "nodes", "i-1", "devices"))
	if ended.Message != want {
		t.Errorf("the process saw %s, want %s", ended.Message, want)
	}
}

func portForward(t *testing.T, l *lab) {
	l.createPod(t, pod("web", func(s *v1.PodSpec, c *v1.Container) {
		mounted(s, c, "/data", hostPath("/var/lib/jenkins"))
		c.Env = []v1.EnvVar{{Name: "POD_IP", ValueFrom: &v1.EnvVarSource{FieldRef: &v1.ObjectFieldSelector{FieldPath: "status.podIP"}}}}
		c.Ports = []v1.ContainerPort{{Name: "http", ContainerPort: 8000}}
		c.ReadinessProbe = &v1.Probe{ProbeHandler: v1.ProbeHandler{HTTPGet: &v1.HTTPGetAction{Path: "/config.xml", Port: intstr.FromString("http")}}}
	}, "serve", "/data"))
	l.ready(t, "web")
	url := l.client.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name("web").SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(l.config)
	if err != nil {
		t.Fatal(err)
	}
	websocket, err := portforward.NewSPDYOverWebsocketDialer(url, l.config)
	if err != nil {
		t.Fatal(err)
	}
	for kind, dialer := range map[string]httpstream.Dialer{
		"spdy": spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url), "websocket": websocket,
	} {
		t.Run(kind, func(t *testing.T) {
			stop, up := make(chan struct{}), make(chan struct{})
			defer close(stop)
			forwarder, err := portforward.New(dialer, []string{"0:8000"}, stop, up, io.Discard, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			failed := make(chan error, 1)
			go func() { failed <- forwarder.ForwardPorts() }()
			select {
			case <-up:
			case err := <-failed:
				t.Fatal(err)
			}
			ports, err := forwarder.GetPorts()
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/config.xml", ports[0].Local))
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || string(body) != "<hudson/>" {
					t.Errorf("got %q, %v", body, err)
				}
			}
		})
	}
}

func followedLogs(t *testing.T, l *lab) {
	l.createPod(t, pod("talks", func(s *v1.PodSpec, c *v1.Container) {
		mounted(s, c, "/data", v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}})
	}, "linger", "/data/end"))
	l.ready(t, "talks")
	stream, err := l.client.CoreV1().Pods("default").GetLogs("talks", &v1.PodLogOptions{Follow: true}).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	first := make([]byte, len("lingering\n"))
	if _, err := io.ReadFull(stream, first); err != nil {
		t.Fatal(err)
	}
	if err := l.client.CoreV1().Pods("default").Delete(t.Context(), "talks", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(stream)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("lingering\n", string(first)+string(rest)); diff != "" {
		t.Errorf("followed log (-want +got):\n%s", diff)
	}
}

func unplayed(t *testing.T, l *lab) {
	template := func(policy v1.RestartPolicy) v1.PodTemplateSpec {
		return v1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
			Spec: v1.PodSpec{RestartPolicy: policy, Containers: []v1.Container{{Name: "c", Image: "nginx:1"}}}}
	}
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	meta := metav1.ObjectMeta{Name: "unplayed"}
	apps := l.client.AppsV1()
	_, err := apps.Deployments("default").Create(t.Context(), &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: pointer(int32(2)), Selector: selector, Template: template(v1.RestartPolicyAlways)}}, create())
	if err != nil {
		t.Fatal(err)
	}
	_, err = apps.StatefulSets("default").Create(t.Context(), &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Replicas: pointer(int32(2)), Selector: selector, Template: template(v1.RestartPolicyAlways)}}, create())
	if err != nil {
		t.Fatal(err)
	}
	_, err = apps.DaemonSets("default").Create(t.Context(), &appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: template(v1.RestartPolicyAlways)}}, create())
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.client.BatchV1().Jobs("default").Create(t.Context(), &batchv1.Job{ObjectMeta: meta, Spec: batchv1.JobSpec{Template: template(v1.RestartPolicyNever)}}, create())
	if err != nil {
		t.Fatal(err)
	}
	until(t, "all of them are content", func(ctx context.Context) (bool, error) {
		deployment, err := apps.Deployments("default").Get(ctx, "unplayed", get())
		if err != nil || deployment.Status.AvailableReplicas != 2 {
			return false, err
		}
		set, err := apps.StatefulSets("default").Get(ctx, "unplayed", get())
		if err != nil || set.Status.ReadyReplicas != 2 {
			return false, err
		}
		daemons, err := apps.DaemonSets("default").Get(ctx, "unplayed", get())
		if err != nil || daemons.Status.NumberReady != 1 {
			return false, err
		}
		job, err := l.client.BatchV1().Jobs("default").Get(ctx, "unplayed", get())
		return err == nil && job.Status.Succeeded == 1, err
	})
}

func jenkinsServes(t *testing.T, l *lab) {
	l.write(t, l.root("i-1", "srv/jenkins/config.xml"), "<hudson><version>2.479.1</version></hudson>")
	l.write(t, l.root("i-1", "srv/jenkins/jobs/blog/config.xml"), "<project/>")
	l.createPod(t, pod("jenkins", func(s *v1.PodSpec, c *v1.Container) {
		s.RestartPolicy = v1.RestartPolicyAlways
		c.Name, c.Image, c.Command = "jenkins", "docker.io/jenkins/jenkins:2.479.1-lts-jdk17", nil
		mounted(s, c, "/var/jenkins_home", hostPath("/srv/jenkins"))
		c.Env = []v1.EnvVar{{Name: "JENKINS_ADMIN_PASSWORD", Value: "pw"}}
		c.Ports = []v1.ContainerPort{{Name: "agent", ContainerPort: 50000}, {Name: "http", ContainerPort: 8080}}
		c.ReadinessProbe = &v1.Probe{ProbeHandler: v1.ProbeHandler{HTTPGet: &v1.HTTPGetAction{Path: "/login", Port: intstr.FromString("http")}}}
	}))
	l.ready(t, "jenkins")
	until(t, "the running build is in the home", func(context.Context) (bool, error) {
		data, err := os.ReadFile(l.root("i-1", "srv/jenkins/jobs/blog/builds/1/log"))
		return strings.HasPrefix(string(data), "Started"), err
	})
	if err := l.client.CoreV1().Pods("default").Delete(t.Context(), "jenkins", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	l.gone(t, "jenkins")
	if data, err := os.ReadFile(l.root("i-1", "srv/jenkins/jobs/blog/builds/1/build.xml")); err != nil || !strings.Contains(string(data), "ABORTED") {
		t.Errorf("the aborted build's record: %s, %v", data, err)
	}
}
