package jenkinshome

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pipectl.dev/cloud"
	"pipectl.dev/kube"
	"pipectl.dev/kube/labtest"
	emu "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/treecopy"
	"pipectl.dev/treecopy/treetest"
)

// TestMain also plays the pipectl binary: the lab's kubelet starts this very file for containers of pipectl's image.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "mover" {
		ctx, stop := signalContext()
		code := Mover(ctx, os.Args[2:], os.Stderr)
		stop()
		os.Exit(code)
	}
	if os.Getenv("PIPECTL_TERMINATION_LOG") != "" { // a container that was given our image, and is told to do what that cannot
		os.Exit(2)
	}
	driver := httptest.NewServer(http.HandlerFunc(driveEBS))
	labtest.Args = []string{"--csi-endpoint", driver.URL}
	labtest.Main(m)
}

// disks makes the links that an attached volume is, as the rehearsal does.
type disks struct {
	emu.World
	lab *labtest.Lab
}

func (d disks) VolumeAttached(instance, volume, _ string) {
	dir := filepath.Join(d.lab.Dir, "nodes", instance, "devices")
	_ = os.MkdirAll(dir, 0o755)
	_ = os.MkdirAll(filepath.Join(d.lab.Dir, "volumes", volume), 0o755)
	_ = os.Symlink(filepath.Join(d.lab.Dir, "volumes", volume), filepath.Join(dir, volume))
}

func (d disks) VolumeDetached(instance, volume string) {
	_ = os.Remove(filepath.Join(d.lab.Dir, "nodes", instance, "devices", volume))
}

// labJenkins is a Jenkins in a namespace of its own, on a node, with its home in a volume.
func labJenkins(namespace, node, home string) string {
	return strings.NewReplacer("NAMESPACE", namespace, "NODE", node, "HOME", home).Replace(`
apiVersion: v1
kind: Namespace
metadata: {name: NAMESPACE}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: jenkins, namespace: NAMESPACE}
spec:
  replicas: 1
  strategy: {type: Recreate}
  selector: {matchLabels: {app: jenkins}}
  template:
    metadata: {labels: {app: jenkins}}
    spec:
      terminationGracePeriodSeconds: 5
      nodeSelector: {kubernetes.io/hostname: NODE}
      containers:
        - name: jenkins
          image: docker.io/jenkins/jenkins:2.528.1
          ports: [{name: http, containerPort: 8080}]
          readinessProbe: {httpGet: {path: /login, port: http}, periodSeconds: 1}
          volumeMounts: [{name: home, mountPath: /var/jenkins_home}]
      volumes: [{name: home, HOME}]
`)
}

const freshJenkins = `---
apiVersion: v1
kind: Namespace
metadata: {name: fresh}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: jenkins, namespace: fresh}
spec:
  replicas: 0
  selector: {matchLabels: {app: jenkins}}
  serviceName: jenkins
  template:
    metadata: {labels: {app: jenkins}}
    spec:
      nodeSelector: {kubernetes.io/hostname: old-1}
      containers:
        - name: jenkins
          image: docker.io/jenkins/jenkins:2.528.1
          ports: [{name: http, containerPort: 8080}]
          volumeMounts: [{name: home, mountPath: /var/jenkins_home}]
      volumes: [{name: home, hostPath: {path: /fresh}}]
`

// labToken is the API token of the homes.
const labToken = "11aa22bb"

// labMove is a move in the lab, in an account of its own: its cluster plays the old and the new one.
type labMove struct {
	lab     *labtest.Lab
	kube    *kube.Client
	ref     steps.ClusterRef
	account *emu.Cloud
	session *cloud.Session
	base    base
	stage   *stage
	root    string // of the old node
	home    string
}

var labMoves int64

// newLabMove makes an old node with a home on its disk, and a blank volume. With an address of the account the node is an instance in the
// volume's zone, else it is outside of EC2.
func newLabMove(t *testing.T, node, address, home string) *labMove {
	t.Helper()
	l := &labMove{lab: labtest.Cluster(t)}
	l.ref = steps.ClusterRef{Kubeconfig: l.lab.Kubeconfig}
	labMoves++ // volumes and instances of two accounts must not have the same ids, since they share a directory
	l.account = emu.New(emu.Options{NoLag: true, Speed: 20, World: disks{lab: l.lab}, Seed: labMoves})
	t.Cleanup(l.account.Close)
	machine := l.addNode(t, node, address, false)
	l.root = filepath.Join(l.lab.Dir, "nodes", machine.InstanceID, "root")
	l.home = filepath.Join(l.root, home)
	sum := sha256.Sum256([]byte(labToken))
	if err := os.MkdirAll(filepath.Dir(l.home), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := treetest.JenkinsHome(l.home, treetest.Options{Files: 2000, Seed: 5, TokenSHA256: []string{hex.EncodeToString(sum[:])}}); err != nil {
		t.Fatal(err)
	}
	var err error
	if l.kube, err = kube.Open(t.Context(), l.ref, kube.Options{}); err != nil {
		t.Fatal(err)
	}
	id, err := l.account.SeedVolume("ap-northeast-2a", 20, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg := aws.Config{Region: emu.FixtureRegion, HTTPClient: &http.Client{Transport: l.account.RoundTripper()},
		Credentials: credentials.NewStaticCredentialsProvider(emu.FixtureAccessKey, emu.FixtureSecretKey, "")}
	if l.session, err = cloud.Open(t.Context(), cloud.Options{Region: emu.FixtureRegion, Config: &cfg, Speed: 20}); err != nil {
		t.Fatal(err)
	}
	l.base = base{func(context.Context, string) (*cloud.Session, error) { return l.session, nil },
		func(context.Context, steps.ClusterRef) (*kube.Client, error) { return l.kube, nil }, Options{Image: "pipectl:test"}}
	l.stage = &stage{t: t, volume: id, dir: t.TempDir()}
	return l
}

// addNode makes a node, with an address of the account one of its instances. One that was made by hand does not say so itself.
func (l *labMove) addNode(t *testing.T, name, address string, says bool) labtest.Node {
	t.Helper()
	n := labtest.Node{Name: name, InstanceID: name, PrivateIP: address, Zone: "ap-northeast-2a", Region: emu.FixtureRegion, Labels: map[string]string{"kubernetes.io/hostname": name}}
	if strings.HasPrefix(address, "172.31.") {
		machine, err := l.account.SeedInstance(emu.InstanceSeed{PrivateIP: address, Zone: n.Zone})
		if err != nil {
			t.Fatal(err)
		}
		n.InstanceID = machine.ID
	}
	if says {
		n.ProviderID = "aws:///" + n.Zone + "/" + n.InstanceID
	}
	if err := os.MkdirAll(filepath.Join(l.lab.Dir, "nodes", n.InstanceID, "devices"), 0o755); err != nil {
		t.Fatal(err)
	}
	l.lab.AddNode(t, n)
	return n
}

// precopied starts the old Jenkins and copies its home while it runs.
func (l *labMove) precopied(t *testing.T, run, objects string, w kube.Workload) PrecopyOutputs {
	t.Helper()
	applyText(t, l.kube, objects)
	awaitReady(t, l.kube, w)
	spec := l.stage.precopySpec()
	spec.From = From{Cluster: l.ref, Namespace: w.Namespace, Workload: strings.ToLower(w.Kind) + "/" + w.Name}
	pre, err := precopyStep{l.base}.Apply(t.Context(), l.stage.env(run), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("precopy: %+v", pre.Figures)
	return pre
}

// migrateSpec is of the cut-over after that.
func (l *labMove) migrateSpec(m Move) MigrateSpec {
	s := l.stage.migrateSpec(m)
	s.Jenkins.Token = steps.NewSecret(labToken)
	return s
}

// sameHome wants the volume to hold the old home, and the move to say so.
func (l *labMove) sameHome(t *testing.T, m Move) {
	t.Helper()
	o := treecopy.Options{Excludes: defaultExcludes}
	old, err := treecopy.Digest(t.Context(), l.home, o)
	if err != nil {
		t.Fatal(err)
	}
	now, err := treecopy.Digest(t.Context(), l.fs(), o)
	if err != nil || now.ManifestHash != old.ManifestHash || m.Hash != old.ManifestHash {
		t.Fatalf("the copy differs: %v, %s, %s, %s", err, old.ManifestHash, now.ManifestHash, m.Hash)
	}
}

// fs is the file system on the volume.
func (l *labMove) fs() string { return filepath.Join(l.lab.Dir, "volumes", l.stage.volume, "fs") }

func TestLabTheWholeMoveOnARealControlPlane(t *testing.T) {
	l := newLabMove(t, "old-1", "172.31.0.10", "var/lib/jenkins")
	k, b, s := l.kube, l.base, l.stage
	pre := l.precopied(t, "lab-1", labJenkins("jenkins", "old-1", "hostPath: {path: /var/lib/jenkins}")+freshJenkins, kube.Workload{Kind: "Deployment", Namespace: "jenkins", Name: "jenkins"})
	m := l.migrateSpec(pre.Move)
	plan, err := migrateStep{b}.Plan(t.Context(), s.env("lab-1"), m)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(plan.Forecast.Confirm)
	out, err := migrateStep{b}.Apply(t.Context(), s.env("lab-1"), m)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("migrate: %+v", out.Downtime)
	v := s.verifySpec(pre.Move)
	v.Cluster, v.Namespace, v.Jenkins.Token = l.ref, "fresh", steps.NewSecret(labToken)
	turnedBack(t, k, b, s, v, l.fs(), filepath.Join(l.root, "fresh"))
	if out, err = (migrateStep{b}).Apply(t.Context(), s.env("lab-2"), m); err != nil {
		t.Fatal(err)
	}
	l.sameHome(t, out.Move)
	if err := os.Symlink(l.fs(), filepath.Join(l.root, "fresh")); err != nil {
		t.Fatal(err)
	}
	fresh := kube.Workload{Kind: "StatefulSet", Namespace: "fresh", Name: "jenkins"}
	if err := k.Scale(t.Context(), fresh, 0, 1); err != nil {
		t.Fatal(err)
	}
	check, err := verifyStep{b}.Apply(t.Context(), s.env("lab-1"), v)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("verify: %+v", check)
}

const labClaim = `
apiVersion: v1
kind: PersistentVolume
metadata: {name: pipectl-home, annotations: {pipectl.dev/identity: IDENTITY}}
spec:
  capacity: {storage: 20Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: ""
  csi: {driver: ebs.csi.aws.com, volumeHandle: VOLUME, fsType: ext4}
  claimRef: {apiVersion: v1, kind: PersistentVolumeClaim, namespace: fresh, name: jenkins-home}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: jenkins-home, namespace: fresh, annotations: {pipectl.dev/identity: IDENTITY}}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: ""
  volumeName: pipectl-home
  resources: {requests: {storage: 20Gi}}
`

// turnedBack starts a new Jenkins that lacks a job, at the place that mounted stands for, and wants the old one back.
func turnedBack(t *testing.T, k *kube.Client, b base, s *stage, v VerifySpec, fs, mounted string) {
	t.Helper()
	poor := filepath.Join(t.TempDir(), "home")
	if _, err := treecopy.Copy(t.Context(), fs, poor, treecopy.Options{}); err != nil {
		t.Fatal(err)
	}
	jobs, err := os.ReadDir(filepath.Join(poor, "jobs"))
	if err != nil || len(jobs) == 0 {
		t.Fatal(err, len(jobs))
	}
	if err := errors.Join(os.RemoveAll(filepath.Join(poor, "jobs", jobs[0].Name())), os.Symlink(poor, mounted)); err != nil {
		t.Fatal(err)
	}
	env := s.env("lab-1")
	applyText(t, k, strings.NewReplacer("IDENTITY", env.Identity.String(), "VOLUME", s.volume).Replace(labClaim))
	fresh := kube.Workload{Kind: "StatefulSet", Namespace: "fresh", Name: "jenkins"}
	if err := k.Scale(t.Context(), fresh, 0, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := (verifyStep{b}).Apply(t.Context(), env, v); code(err) != "JenkinsDiffers" {
		t.Fatalf("got %v", err)
	}
	for _, r := range []kube.ObjectRef{{APIVersion: "v1", Kind: "PersistentVolume", Name: "pipectl-home"}, {APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: "fresh", Name: "jenkins-home"}} {
		if o, err := k.Get(t.Context(), r); o != nil || err != nil {
			t.Errorf("%s is left (%v)", r, err)
		}
	}
	if st, _, err := k.ReadWorkload(t.Context(), fresh); st.Replicas != 0 || err != nil {
		t.Errorf("the new Jenkins has %d replicas, %v", st.Replicas, err)
	}
	aws, err := b.aws(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if vol, err := readVolume(t.Context(), aws, s.volume); vol.state() != Precopied || err != nil {
		t.Errorf("state %q, %v", vol.state(), err)
	}
	awaitReady(t, k, kube.Workload{Kind: "Deployment", Namespace: "jenkins", Name: "jenkins"})
	if err := os.Remove(mounted); err != nil {
		t.Fatal(err)
	}
}

func applyText(t *testing.T, k *kube.Client, text string) {
	t.Helper()
	var objs []*unstructured.Unstructured
	for _, doc := range bytes.Split([]byte(text), []byte("\n---\n")) {
		objs = append(objs, &unstructured.Unstructured{Object: decodeObject(doc)})
	}
	if _, err := k.Apply(t.Context(), objs, kube.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
}

func awaitReady(t *testing.T, k *kube.Client, w kube.Workload) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := kube.Await(ctx, 200*time.Millisecond, func(ctx context.Context) (bool, error) {
		st, _, err := k.ReadWorkload(ctx, w)
		return st.Ready > 0, err
	})
	if err != nil {
		t.Fatalf("%s: %v", w, err)
	}
}
