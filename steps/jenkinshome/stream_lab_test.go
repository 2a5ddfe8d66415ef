package jenkinshome

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/treecopy"
)

const outsideObjects = `
apiVersion: v1
kind: Namespace
metadata: {name: outside}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: jenkins, namespace: outside}
spec:
  replicas: 1
  strategy: {type: Recreate}
  selector: {matchLabels: {app: jenkins}}
  template:
    metadata: {labels: {app: jenkins}}
    spec:
      terminationGracePeriodSeconds: 5
      nodeSelector: {kubernetes.io/hostname: outside-1}
      containers:
        - name: jenkins
          image: docker.io/jenkins/jenkins:2.528.1
          ports: [{name: http, containerPort: 8080}]
          readinessProbe: {httpGet: {path: /login, port: http}, periodSeconds: 1}
          volumeMounts: [{name: home, mountPath: /var/jenkins_home}]
      volumes: [{name: home, hostPath: {path: /srv/jenkins}}]
`

// TestLabRouteStreamOnARealControlPlane carries a home from a node outside of EC2 by two real port-forwards between two real pods.
func TestLabRouteStreamOnARealControlPlane(t *testing.T) {
	l := newLabMove(t, "outside-1", "192.168.7.5", "srv/jenkins")
	to := l.addNode(t, "inside-1", "172.31.0.31", true)
	applyText(t, l.kube, outsideObjects)
	awaitReady(t, l.kube, kube.Workload{Kind: "Deployment", Namespace: "outside", Name: "jenkins"})
	spec := l.stage.precopySpec()
	spec.From = From{Cluster: l.ref, Namespace: "outside", Workload: "deployment/jenkins"}
	pre, err := precopyStep{l.base}.Apply(t.Context(), l.stage.env("stream-1"), spec)
	if err != nil {
		t.Fatal(err)
	}
	if pre.Move.Route != routeStream || pre.Move.Source.InstanceID != to.InstanceID || pre.Figures.Files == 0 {
		t.Errorf("%+v %+v", pre.Move, pre.Figures)
	}
	l.nothingOfTheStream(t)
	if err := os.WriteFile(filepath.Join(l.home, "jobs", "late.xml"), []byte("after the copy"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := l.stage.migrateSpec(pre.Move)
	m.Jenkins.Token = steps.NewSecret(labToken)
	out, err := migrateStep{l.base}.Apply(t.Context(), l.stage.env("stream-1"), m)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("migrate: %+v", out.Downtime)
	l.nothingOfTheStream(t)
	old, err := treecopy.Digest(t.Context(), l.home, treecopy.Options{Excludes: defaultExcludes})
	if err != nil {
		t.Fatal(err)
	}
	now, err := treecopy.Digest(t.Context(), filepath.Join(l.lab.Dir, "volumes", l.stage.volume, "fs"), treecopy.Options{Excludes: defaultExcludes})
	if err != nil || now.ManifestHash != old.ManifestHash || out.Move.Hash != old.ManifestHash {
		t.Errorf("the copy differs: %v, %s, %s, %s", err, old.ManifestHash, now.ManifestHash, out.Move.Hash)
	}
	if v, err := readVolume(t.Context(), l.session, l.stage.volume); v.state() != Moved || v.Instance != "" || err != nil {
		t.Errorf("%s, attached to %q, %v", v.state(), v.Instance, err)
	}
}

// nothingOfTheStream wants Jobs and keys gone with their pass.
func (l *labMove) nothingOfTheStream(t *testing.T) {
	t.Helper()
	for _, ns := range []string{"outside", copyIn} {
		jobs, err := l.kube.Typed.BatchV1().Jobs(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		secrets, err := l.kube.Typed.CoreV1().Secrets(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range jobs.Items {
			t.Errorf("job %s/%s is left", ns, j.Name)
		}
		for _, s := range secrets.Items {
			if strings.HasPrefix(s.Name, "pipectl-") {
				t.Errorf("secret %s/%s is left", ns, s.Name)
			}
		}
	}
}
