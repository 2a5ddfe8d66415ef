package rehearsal

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/steps"
)

// oneCluster moves a home from a node's disk to a claim of the same cluster, where another Jenkins takes it up. Nothing names a route.
const oneCluster = `apiVersion: pipectl.dev/v1
kind: Pipeline
metadata: {name: one-cluster}
spec:
  region: ap-northeast-2
  params:
    jenkinsToken: {type: secret, from: {env: JENKINS_TOKEN}}
  stages:
    - name: home
      step: data-volume
      with: {name: jenkins-home, zone: ap-northeast-2a, size: 20Gi, snapshots: 3}
    - name: cluster
      step: provision-eks
      with: {name: ci, existing: true}
    - name: claim
      step: attach-volume
      with: {cluster: "${{ stages.cluster.outputs.cluster }}", volume: "${{ stages.home.outputs.volumeId }}", claim: jenkins/jenkins-ebs}
    - name: precopy
      step: precopy-jenkins-home
      needs: [claim]
      with:
        from: {cluster: "${{ stages.cluster.outputs.cluster }}", namespace: jenkins, workload: deployment/jenkins}
        volume: ${{ stages.home.outputs.volumeId }}
    - name: cutover
      step: migrate-jenkins-home
      confirm: ask
      with:
        move: ${{ stages.precopy.outputs.move }}
        jenkins: {user: admin, token: "${{ params.jenkinsToken }}", builds: {wait: 15m, then: fail}}
    - name: new
      step: apply-manifests
      needs: [cutover]
      with: {cluster: "${{ stages.cluster.outputs.cluster }}", paths: [new.yaml]}
    - name: verify
      step: verify-jenkins-home
      needs: [new]
      with:
        move: ${{ stages.precopy.outputs.move }}
        cluster: ${{ stages.cluster.outputs.cluster }}
        namespace: jenkins
        workload: deployment/jenkins-new
        jenkins: {user: admin, token: "${{ params.jenkinsToken }}"}
`

// newJenkins is the one on the claim; SUBPATH is where on it the home is said to be.
const newJenkins = `apiVersion: apps/v1
kind: Deployment
metadata: {name: jenkins-new, namespace: jenkins}
spec:
  replicas: 1
  strategy: {type: Recreate}
  selector: {matchLabels: {app: jenkins-new}}
  template:
    metadata: {labels: {app: jenkins-new}}
    spec:
      containers:
        - name: jenkins
          image: jenkins/jenkins:2.528.1-lts-jdk21
          ports: [{name: http, containerPort: 8080}]
          env: [{name: JENKINS_ADMIN_PASSWORD, value: "LET-IN"}]
          readinessProbe: {periodSeconds: 1, httpGet: {path: /login, port: 8080}}
          volumeMounts: [{name: home, mountPath: /var/jenkins_home, subPath: "SUBPATH"}]
      volumes: [{name: home, persistentVolumeClaim: {claimName: jenkins-ebs}}]
`

// TestAHomeTravelsBetweenTwoClaimsOfOneCluster has source and target in one cluster, where the preflight finds the claim and takes route
// sameNode by itself. A first new Jenkins looks for its home in the wrong place, so the move is rolled back; the second one takes it up.
func TestAHomeTravelsBetweenTwoClaimsOfOneCluster(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := write("pipectl.yaml", oneCluster)
	o, err := readOutline(file)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, o, file)
	s := w.source()
	// An empty home has no users: the password lets the comparison in, so that it finds that no jobs are there.
	write("new.yaml", strings.NewReplacer("SUBPATH", "nowhere", "LET-IN", w.secrets["JENKINS_TOKEN"]).Replace(newJenkins))
	before, err := digest(w.oldHome(), changesWhileRunning)
	if err != nil {
		t.Fatal(err)
	}
	p := &play{world: w}

	turned, err := p.act(t.Context(), "run that is rolled back", "run")
	if err != nil || turned.Exit != steps.Verification.ExitCode() {
		t.Fatalf("exit %d, %v", turned.Exit, err)
	}
	w.movedBy(t, "sameNode", "precopied")
	if n, err := w.replicas(t.Context()); err != nil || n != 1 {
		t.Errorf("rolled back, the old Jenkins has %d replicas, %v", n, err)
	}
	if d, err := s.client.AppsV1().Deployments("jenkins").Get(t.Context(), "jenkins-new", metav1.GetOptions{}); err != nil || *d.Spec.Replicas != 0 {
		t.Errorf("rolled back, the new Jenkins is %v, %v", d.Spec.Replicas, err)
	}
	if _, err := s.client.CoreV1().PersistentVolumeClaims("jenkins").Get(t.Context(), "jenkins-ebs", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("rolled back, a new Jenkins could start on the claim: %v", err)
	}

	write("new.yaml", strings.NewReplacer("SUBPATH", "", "LET-IN", w.secrets["JENKINS_TOKEN"]).Replace(newJenkins))
	p.acts = nil
	got, err := p.act(t.Context(), "run", "run")
	if err != nil || got.Exit != 0 {
		t.Fatalf("exit %d, %v", got.Exit, err)
	}
	w.movedBy(t, "sameNode", "verified")
	if after, err := digest(w.oldHome(), changesWhileRunning); err != nil || after != before {
		t.Errorf("the old home is not as it was: %v", err)
	}
	if err := p.sameJobs("run", "same jobs"); err != nil || !p.checks[0].OK {
		t.Errorf("jobs: %+v, %v", p.checks, err)
	}
	if d := p.downtime(); d == nil || d.Total <= 0 || d.Detach > d.Total {
		t.Errorf("downtime: %+v", d)
	} else {
		t.Log(d.text())
	}
	if n, err := w.replicas(t.Context()); err != nil || n != 0 {
		t.Errorf("the old Jenkins has %d replicas, %v", n, err)
	}
	d, err := s.client.AppsV1().Deployments("jenkins").Get(t.Context(), "jenkins-new", metav1.GetOptions{})
	if err != nil || d.Status.ReadyReplicas != 1 {
		t.Errorf("the new Jenkins does not run on the claim: %+v, %v", d.Status, err)
	}
	again, err := p.act(t.Context(), "run again", "run")
	if err != nil || again.Exit != 0 || again.Tally.Writes != 0 {
		t.Errorf("again: exit %d, %d writes: %v, %v", again.Exit, again.Tally.Writes, again.Tally.Wrote, err)
	}
	for _, r := range again.Run.Stages {
		if r.Changed || r.Status != steps.Skipped {
			t.Errorf("again: %s is %s", r.Stage, r.Status)
		}
	}
	mark := w.ledger.mark()
	resume := exec.CommandContext(t.Context(), w.opts.Self, "move", "resume", file)
	resume.Env = w.env()
	if out, err := resume.CombinedOutput(); err != nil || w.ledger.since(mark).Writes != 0 {
		t.Errorf("move resume: %v, %d writes\n%s", err, w.ledger.since(mark).Writes, out)
	}
}

// movedBy wants the volume to say by which route a move went and how far it is.
func (w *world) movedBy(t *testing.T, route, state string) {
	t.Helper()
	for _, r := range w.cloud.Resources() {
		if r.Kind == "volume" && r.Tags["pipectl.dev/identity"] != "" {
			if r.Tags["pipectl.dev/move-route"] != route || r.Tags["pipectl.dev/move-state"] != state {
				t.Errorf("the volume says %v, want route %s and state %s", r.Tags, route, state)
			}
			return
		}
	}
	t.Error("no volume of ours")
}
