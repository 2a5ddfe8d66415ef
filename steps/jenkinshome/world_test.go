package jenkinshome

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"pipectl.dev/cloud"
	"pipectl.dev/kube"
	emu "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/jenkinshome/device"
	"pipectl.dev/steps/jenkinshome/jenkins/jenkinstest"
	"pipectl.dev/treecopy/treetest"
)

// connect opens a cluster by one way or another over a transport; nothing is dialled.
func (s *stage) connect(ref steps.ClusterRef, over http.RoundTripper) (*kube.Client, error) {
	k, err := kube.Open(context.Background(), steps.ClusterRef{Kubeconfig: filepath.Join(s.dir, "kubeconfig")}, kube.Options{Transport: over, Patience: time.Second})
	if k != nil {
		k.Ref.EKS = ref.EKS
	}
	return k, err
}

// stage plays all that surrounds a move, in process: two clusters, the kubelet of the old node that runs movers as goroutines, both
// Jenkins, the cloud, and the disks as directories.
type stage struct {
	t        *testing.T
	dir      string
	old, new *fakeKube
	cloud    *emu.Cloud
	aws      *cloud.Session
	instance string // of the old node
	worker   string // of another node, in another zone
	volume   string
	jenkins  *jenkinstest.Server // the old one
	fresh    *jenkinstest.Server // the new one
	log      bytes.Buffer
	logMu    sync.Mutex

	mu        sync.Mutex
	kill      func(moverLog string) bool // whether a mover dies with this line of its log
	running   sync.WaitGroup
	cancels   map[string]context.CancelFunc // of running mover pods
	podStays  bool                          // of the old Jenkins, when it is scaled to 0
	unmounted bool                          // a claim's directory is the node's own
	noMover   bool                          // pods stay pending
	events    int                           // of all orchestrators
	crashAt   int                           // which of them ends its orchestrator by crash
	crash     func()
	notes     []string

	attachedTo []string       // instances, in order
	onCall     func(emu.Call) // sees every call to AWS
	net        *network
	failOnce   bool // the new Jenkins lacks a job when it is compared first
}

const (
	oldNS     = "/api/v1/namespaces/jenkins"
	oldDeploy = "/apis/apps/v1/namespaces/jenkins/deployments/jenkins"
	oldPod    = oldNS + "/pods/jenkins-1"
	oldJobs   = "/apis/batch/v1/namespaces/jenkins/jobs/"
	copyJobs  = "/apis/batch/v1/namespaces/" + copyIn + "/jobs/"
	oldRecord = oldNS + "/configmaps/pipectl-move-jenkins"
	newSet    = "/apis/apps/v1/namespaces/jenkins/statefulsets/jenkins"
	newPod    = oldNS + "/pods/jenkins-0"
	newClaimP = oldNS + "/persistentvolumeclaims/jenkins-home"
	newVolume = "/api/v1/persistentvolumes/pipectl-home"
	newAttach = "/apis/storage.k8s.io/v1/volumeattachments/csi-1"
	oldLeases = "/apis/coordination.k8s.io/v1/namespaces/jenkins/leases"
	ours      = `annotations: {pipectl.dev/identity: "` + emu.FixtureAccount + "/" + emu.FixtureRegion + `/blog"}`
)

const kubeconfig = `{apiVersion: v1, kind: Config, current-context: x, clusters: [{name: x, cluster: {server: "https://x.invalid"}}],
users: [{name: x, user: {token: t}}], contexts: [{name: x, context: {cluster: x, user: x}}]}`

func newStage(t *testing.T) *stage {
	s := &stage{t: t, dir: t.TempDir(), old: newFakeKube(), new: newFakeKube(), jenkins: jenkinstest.New(), fresh: jenkinstest.New(), cancels: map[string]context.CancelFunc{}}
	s.cloud = emu.New(emu.Options{NoLag: true, World: s, Ledger: func(c emu.Call) {
		if s.onCall != nil {
			s.onCall(c)
		}
	}})
	t.Cleanup(s.cloud.Close)
	i, err := s.cloud.SeedInstance(emu.InstanceSeed{PrivateIP: "172.31.0.10", Zone: "ap-northeast-2a"})
	if err != nil {
		t.Fatal(err)
	}
	s.instance = i.ID
	other, err := s.cloud.SeedInstance(emu.InstanceSeed{PrivateIP: "172.31.32.20", Zone: "ap-northeast-2c"})
	if err != nil {
		t.Fatal(err)
	}
	s.worker = other.ID
	if s.volume, err = s.cloud.SeedVolume("ap-northeast-2a", 20, nil); err != nil {
		t.Fatal(err)
	}
	cfg := aws.Config{Region: emu.FixtureRegion, HTTPClient: &http.Client{Transport: s.cloud.RoundTripper()},
		Credentials: credentials.NewStaticCredentialsProvider(emu.FixtureAccessKey, emu.FixtureSecretKey, "")}
	if s.aws, err = cloud.Open(t.Context(), cloud.Options{Region: emu.FixtureRegion, Config: &cfg, Speed: 1}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "kubeconfig"), []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"devices", "volume"} {
		if err := os.MkdirAll(filepath.Join(s.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv(device.RehearsalEnv, filepath.Join(s.dir, "devices"))
	if err := treetest.JenkinsHome(s.home(), treetest.Options{Files: 50, Jobs: 3, Seed: 7, Plugins: []treetest.Plugin{{Name: "git", Version: "5.7.0"}}}); err != nil {
		t.Fatal(err)
	}
	s.clusters()
	s.network()
	podTransport = func(k *kube.Client, _, pod string, _ int) http.RoundTripper { return s.route(k, pod) }
	t.Cleanup(func() {
		podTransport = func(k *kube.Client, namespace, pod string, port int) http.RoundTripper {
			return k.PodTransport(namespace, pod, port)
		}
	})
	return s
}

func (s *stage) home() string { return filepath.Join(s.dir, "home") }

func (s *stage) disk() string { return filepath.Join(s.dir, "volume", "fs") }

// route reaches the Jenkins that runs in a pod, if it does.
func (s *stage) route(k *kube.Client, pod string) http.RoundTripper {
	server, world, path := s.jenkins, s.old, oldPod
	if k.Ref.EKS != nil {
		server, world, path = s.fresh, s.new, newPod
	}
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		if now := world.get(path); now == nil || held(now) || !strings.HasSuffix(path, pod) {
			return nil, errors.New("pod is gone")
		}
		return server.RoundTrip(r)
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func object(text string) map[string]any { return decodeObject([]byte(text)) }

// clusters makes the objects of both, and what their controllers do.
func (s *stage) clusters() {
	s.old.put(oldNS, object(`{apiVersion: v1, kind: Namespace, metadata: {name: jenkins}}`))
	s.old.put("/api/v1/nodes/node-1", object(`{apiVersion: v1, kind: Node, metadata: {name: node-1}, status: {addresses: [{type: InternalIP, address: 172.31.0.10}]}}`))
	s.old.put("/api/v1/nodes/node-2", object(`{apiVersion: v1, kind: Node, metadata: {name: node-2}, status: {addresses: [{type: InternalIP, address: 172.31.32.20}], conditions: [{type: Ready, status: "True"}]}}`))
	s.old.after = s.oldController
	s.new.after = s.newController
	s.old.put(oldDeploy, object(`{apiVersion: apps/v1, kind: Deployment, metadata: {name: jenkins, namespace: jenkins}, spec: {replicas: 1, selector: {matchLabels: {app: jenkins}}}}`))
	s.new.put(newSet, object(`{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: jenkins, namespace: jenkins}, spec: {replicas: 1, selector: {matchLabels: {app: jenkins}}}}`))
	s.await("the old Jenkins", s.oldRuns)
}

func (s *stage) await(what string, ok func() bool) {
	s.t.Helper()
	for range 3000 {
		if ok() {
			return
		}
		time.Sleep(100 * time.Millisecond) // virtual: the tests run in bubbles
	}
	s.t.Fatalf("waited in vain for %s", what)
}

func (s *stage) oldRuns() bool { return s.old.get(oldPod) != nil && !held(s.old.get(oldPod)) }

func (s *stage) newRuns() bool { return s.new.get(newPod) != nil }

func replicas(o map[string]any) int {
	n, _ := sub(o, "spec")["replicas"].(float64)
	if i, ok := sub(o, "spec")["replicas"].(int64); ok {
		return int(i)
	}
	return int(n)
}

// oldController plays deployment controller, Job controller and kubelet of the old cluster.
func (s *stage) oldController(path string, old, now map[string]any) {
	switch {
	case path == oldDeploy && now != nil:
		if replicas(now) > 0 && s.old.get(oldPod) == nil {
			s.jenkins.Do(func(j *jenkinstest.Server) { j.Quiet = false })
			s.old.put(oldPod, object(`{apiVersion: v1, kind: Pod, metadata: {name: jenkins-1, namespace: jenkins, labels: {app: jenkins}},
spec: {nodeName: node-1, containers: [{name: jenkins, ports: [{name: http, containerPort: 8080}], volumeMounts: [{name: home, mountPath: /var/jenkins_home}]}],
volumes: [{name: home, hostPath: {path: /var/lib/jenkins}}]}, status: {phase: Running}}`))
		}
		if replicas(now) == 0 && s.old.get(oldPod) != nil {
			time.Sleep(3 * time.Second)
			if now := s.old.get(oldDeploy); now != nil && replicas(now) == 0 && !s.podStays {
				s.old.remove(oldPod)
			}
		}
	case path == oldPod && now != nil:
		s.reimage()
	case isJob(path) && old == nil:
		s.runJob(path)
	case isJob(path) && now == nil:
		name := filepath.Base(path)
		s.mu.Lock()
		if cancel := s.cancels[name]; cancel != nil {
			cancel()
		}
		s.mu.Unlock()
	}
}

// newController plays the new cluster: its Jenkins starts only once the volume is free or there already, by attaching it.
func (s *stage) newController(path string, _, now map[string]any) {
	if path != newSet || now == nil {
		return
	}
	if replicas(now) == 0 && s.new.get(newPod) != nil {
		time.Sleep(2 * time.Second)
		s.new.remove(newPod)
		time.Sleep(3 * time.Second) // the attach-detach controller
		s.new.remove(newAttach)
	}
}

// startNew is what attach-volume and sync-argocd do.
func (s *stage) startNew() {
	s.new.put(newVolume, object(`{apiVersion: v1, kind: PersistentVolume, metadata: {name: pipectl-home, `+ours+`},
spec: {csi: {driver: ebs.csi.aws.com, volumeHandle: `+s.volume+`}, claimRef: {namespace: jenkins, name: jenkins-home}}}`))
	s.new.put(newClaimP, object(`{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: jenkins-home, namespace: jenkins, `+ours+`}, spec: {volumeName: pipectl-home}}`))
	s.new.put(newAttach, object(`{apiVersion: storage.k8s.io/v1, kind: VolumeAttachment, metadata: {name: csi-1}, spec: {attacher: ebs.csi.aws.com, nodeName: eks-1, source: {persistentVolumeName: pipectl-home}}}`))
	s.new.edit(newSet, func(o map[string]any) { sub(o, "spec")["replicas"] = 1 })
	s.new.put(newPod, object(`{apiVersion: v1, kind: Pod, metadata: {name: jenkins-0, namespace: jenkins, labels: {app: jenkins}},
spec: {nodeName: eks-1, containers: [{name: jenkins, ports: [{name: http, containerPort: 8080}]}], volumes: [{name: home, persistentVolumeClaim: {claimName: jenkins-home}}]}, status: {phase: Running}}`))
}

// env is one run of the orchestrator.
func (s *stage) env(run string) steps.Env {
	return steps.Env{Identity: steps.Identity{Account: emu.FixtureAccount, Region: emu.FixtureRegion, Pipeline: "blog"}, Stage: "s", RunID: run,
		Dir: s.dir, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Record: func(e steps.Event) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if e.Type == steps.Diagnostic {
				s.notes = append(s.notes, e.Message)
			}
			if s.events++; s.crash != nil && s.events == s.crashAt {
				s.crash()
			}
		}}
}

func (s *stage) openers() (cloud.Opener, kube.Opener) {
	return func(context.Context, string) (*cloud.Session, error) { return s.aws, nil },
		func(_ context.Context, ref steps.ClusterRef) (*kube.Client, error) {
			if ref.EKS != nil {
				return s.connect(ref, s.new)
			}
			return s.connect(ref, s.old)
		}
}

// base is what the three steps have in common.
func (s *stage) base() base {
	a, k := s.openers()
	return base{a, k, Options{}}
}

func encode64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func decode64(text string) []byte {
	b, _ := base64.StdEncoding.DecodeString(text)
	return b
}

// close ends what still runs; a bubble does not end before its goroutines.
func (s *stage) close() {
	for _, p := range append(s.old.list(oldJobs), s.old.list(copyJobs)...) {
		s.old.remove(p)
	}
	s.running.Wait()
	time.Sleep(10 * time.Second)
}

func (s *stage) state() State { return State(s.ebs().Tags[tagState]) }

func jsonText(o map[string]any) string {
	b, _ := json.Marshal(o)
	return string(b)
}
