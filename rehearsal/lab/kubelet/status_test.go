package kubelet

import (
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func waiting() containerState {
	return containerState{state: v1.ContainerState{Waiting: &v1.ContainerStateWaiting{}}}
}

func runs() containerState {
	return containerState{ready: true, state: v1.ContainerState{Running: &v1.ContainerStateRunning{}}}
}

func ended(code int32) containerState {
	return containerState{state: v1.ContainerState{Terminated: &v1.ContainerStateTerminated{ExitCode: code}}}
}

// crashed waits for its next start.
func crashed() containerState {
	c := waiting()
	c.last = ended(1).state
	return c
}

func sidecar(c containerState) containerState {
	c.sidecar = true
	return c
}

func TestPhase(t *testing.T) {
	type states = []containerState
	for name, c := range map[string]struct {
		init, main states
		over       bool
		want       v1.PodPhase
	}{
		"nothing has started":                              {nil, states{waiting()}, false, v1.PodPending},
		"one of two has started":                           {nil, states{runs(), waiting()}, false, v1.PodPending},
		"all run":                                          {nil, states{runs(), runs()}, false, v1.PodRunning},
		"an init container runs":                           {states{runs()}, states{waiting()}, false, v1.PodPending},
		"an init container failed for good":                {states{ended(1)}, states{waiting()}, true, v1.PodFailed},
		"an init container failed and is tried again":      {states{crashed()}, states{waiting()}, false, v1.PodPending},
		"init is done":                                     {states{ended(0)}, states{runs()}, false, v1.PodRunning},
		"a sidecar runs on":                                {states{sidecar(runs())}, states{ended(0)}, true, v1.PodSucceeded},
		"all ended well":                                   {nil, states{ended(0), ended(0)}, true, v1.PodSucceeded},
		"one failed":                                       {nil, states{ended(0), ended(3)}, true, v1.PodFailed},
		"all ended well, why is not told yet":              {nil, states{ended(0)}, false, v1.PodRunning},
		"all failed, why is not told yet":                  {nil, states{ended(3)}, false, v1.PodRunning},
		"one failed, one runs":                             {nil, states{runs(), ended(3)}, false, v1.PodRunning},
		"a crash that will be tried again":                 {nil, states{crashed()}, false, v1.PodRunning},
		"a failure that will be tried again":               {nil, states{ended(1)}, false, v1.PodRunning},
		"it was ended while it waited":                     {nil, states{waiting()}, true, v1.PodFailed},
		"it was ended while init waited":                   {states{waiting()}, states{waiting()}, true, v1.PodFailed},
		"a server that was told to end and did so cleanly": {nil, states{ended(0)}, true, v1.PodSucceeded},
	} {
		if got := phase(c.init, c.main, c.over); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestConditionsKeepTheirTimes(t *testing.T) {
	before, now := metav1.NewTime(time.Unix(1000, 0)), time.Unix(2000, 0)
	pod := &v1.Pod{Status: v1.PodStatus{Conditions: []v1.PodCondition{
		{Type: v1.PodInitialized, Status: v1.ConditionTrue, LastTransitionTime: before},
		{Type: v1.PodReady, Status: v1.ConditionFalse, LastTransitionTime: before},
	}}}
	got := map[v1.PodConditionType]v1.PodCondition{}
	for _, c := range conditions(pod, v1.PodRunning, true, nil, []containerState{runs()}, now) {
		got[c.Type] = c
	}
	if c := got[v1.PodInitialized]; !c.LastTransitionTime.Equal(&before) {
		t.Errorf("an unchanged condition is as of %s", c.LastTransitionTime)
	}
	if c := got[v1.PodReady]; c.Status != v1.ConditionTrue || !c.LastTransitionTime.Time.Equal(now) {
		t.Errorf("ready is %s as of %s", c.Status, c.LastTransitionTime)
	}
}

func TestPartOf(t *testing.T) {
	for name, c := range map[string]struct {
		image, container, namespace string
		init                        bool
		want                        part
	}{
		"pipectl by tag":                 {"ghcr.io/me/pipectl:v1", "c", "default", false, pipectl},
		"pipectl by digest":              {"localhost:5000/pipectl@sha256:abc", "c", "default", false, pipectl},
		"pipectl as init container":      {"pipectl", "c", "default", true, pipectl},
		"a tag named pipectl is nothing": {"nginx:pipectl", "c", "default", false, nothing},
		"argo cd":                        {"quay.io/argoproj/argocd:v3.2.6", "c", "argocd", false, argocd},
		"redis of argo cd":               {"public.ecr.aws/docker/library/redis:8.2.2-alpine", "redis", "argocd", false, redis},
		"another redis":                  {"redis:8", "redis", "shop", false, nothing},
		"jenkins by image":               {"docker.io/jenkins/jenkins:2.516.3-jdk21", "controller", "jenkins", false, jenkins},
		"jenkins by container name":      {"example.org/own:1", "jenkins", "jenkins", false, jenkins},
		"jenkins' init container":        {"docker.io/jenkins/jenkins:2.516.3-jdk21", "init", "jenkins", true, nothing},
		"an agent":                       {"jenkins/inbound-agent:1", "jnlp", "jenkins", false, nothing},
		"anything else":                  {"nginx", "c", "default", false, nothing},
	} {
		pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace}}
		if got := partOf(pod, &v1.Container{Image: c.image, Name: c.container}, c.init); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestNodeObject(t *testing.T) {
	node := nodeObject(NodeSpec{Name: "n", InstanceID: "i-1", PrivateIP: "10.0.0.1", InstanceType: "t4g.small", Zone: "z", Labels: map[string]string{"group": "a"}}, "127.20.0.1", time.Unix(0, 0))
	want := map[string]string{"kubernetes.io/hostname": "n", "kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64",
		"topology.kubernetes.io/zone": "z", "node.kubernetes.io/instance-type": "t4g.small", "group": "a"}
	for label, value := range want {
		if node.Labels[label] != value {
			t.Errorf("label %s is %q, want %q", label, node.Labels[label], value)
		}
	}
	if _, set := node.Labels["topology.kubernetes.io/region"]; set {
		t.Error("an unknown region became a label")
	}
	if pods := node.Status.Allocatable.Pods().Value(); pods != 11 {
		t.Errorf("a t4g.small takes %d pods", pods)
	}
}
