package attachvolume_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pipectl.dev/cloud"
	"pipectl.dev/kube"
	"pipectl.dev/kube/labtest"
	emu "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/attachvolume"
)

// The emulated account outlives single tests, as the lab's cluster does: the cluster's CSI driver works on it.
var (
	account *emu.Cloud
	session *cloud.Session
	openAWS cloud.Opener
)

func TestMain(m *testing.M) {
	account = emu.New(emu.Options{Speed: 20, NoLag: true})
	defer account.Close()
	key := aws.Credentials{AccessKeyID: emu.FixtureAccessKey, SecretAccessKey: emu.FixtureSecretKey}
	cfg := aws.Config{Region: emu.FixtureRegion, Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return key, nil }),
		HTTPClient: &http.Client{Transport: account.RoundTripper()}}
	openAWS = cloud.NewOpener(cloud.Options{Config: &cfg, Speed: 20})
	var err error
	if session, err = openAWS(context.Background(), emu.FixtureRegion); err != nil {
		panic(err)
	}
	driver := httptest.NewServer(http.HandlerFunc(driver))
	labtest.Args = []string{"--csi-endpoint", driver.URL}
	labtest.Main(m)
}

// driver does what the EBS CSI driver's controller does in EC2.
func driver(w http.ResponseWriter, r *http.Request) {
	var order struct{ Action, VolumeID, NodeID string }
	err := json.NewDecoder(r.Body).Decode(&order)
	if err == nil && order.Action == "attach" {
		_, err = cloud.EC2(session).AttachVolume(r.Context(), &ec2.AttachVolumeInput{VolumeId: &order.VolumeID, InstanceId: &order.NodeID, Device: aws.String("/dev/sdf")})
		if err != nil && holder(r.Context(), order.VolumeID) == order.NodeID {
			err = nil // an order whose answer was lost is given again
		}
	} else if err == nil {
		_, err = cloud.EC2(session).DetachVolume(r.Context(), &ec2.DetachVolumeInput{VolumeId: &order.VolumeID, InstanceId: &order.NodeID})
	}
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
		return
	}
	_, _ = w.Write([]byte("{}"))
}

// holder is the instance that has the volume.
func holder(ctx context.Context, id string) string {
	out, err := cloud.EC2(session).DescribeVolumes(ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{id}})
	if err != nil || len(out.Volumes[0].Attachments) == 0 {
		return ""
	}
	return aws.ToString(out.Volumes[0].Attachments[0].InstanceId)
}

type use struct {
	t      *testing.T
	def    steps.Definition
	env    steps.Env
	client *kube.Client

	mu     sync.Mutex
	events []steps.Event
}

func stage(t *testing.T, opener kube.Opener) *use {
	t.Helper()
	u := &use{t: t, def: attachvolume.New(openAWS, opener)}
	u.env = steps.Env{Identity: steps.Identity{Account: "123456789012", Region: "r", Pipeline: "blog"}, Stage: "claim", RunID: "run", Record: func(e steps.Event) {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.events = append(u.events, e)
	}}
	return u
}

func (u *use) said(text string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.ContainsFunc(u.events, func(e steps.Event) bool { return strings.Contains(e.Message, text) })
}

func input(t *testing.T, text string) steps.Input {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	return steps.Input{File: "test.yaml", With: &doc}
}

var nodeOnce sync.Once
var node emu.Instance

// cluster is the lab with one node that is an instance of the account, and the CSI driver.
func cluster(t *testing.T) (*use, string) {
	t.Helper()
	lab := labtest.Cluster(t)
	opener := kube.NewOpener(kube.Options{})
	u := stage(t, opener)
	var err error
	if u.client, err = opener(t.Context(), steps.ClusterRef{Kubeconfig: lab.Kubeconfig}); err != nil {
		t.Fatal(err)
	}
	nodeOnce.Do(func() {
		if node, err = account.SeedInstance(emu.InstanceSeed{Zone: emu.FixtureRegion + "a"}); err != nil {
			t.Fatal(err)
		}
		lab.AddNode(t, labtest.Node{Name: node.Name, InstanceID: node.ID, ProviderID: "aws:///" + node.Zone + "/" + node.ID, PrivateIP: "10.0.1.10",
			Zone: node.Zone, Region: emu.FixtureRegion, InstanceType: node.Type})
		if err := os.MkdirAll(lab.Dir+"/nodes/"+node.ID+"/devices", 0o700); err != nil {
			t.Fatal(err)
		}
		lab.Do(t, http.MethodPut, "/addons/aws-ebs-csi-driver", map[string]bool{"active": true})
	})
	patch := []byte(`{"metadata":{"annotations":{"eks.amazonaws.com/role-arn":"arn:aws:iam::123456789012:role/csi"}}}`)
	err = kube.Await(t.Context(), 100*time.Millisecond, func(ctx context.Context) (bool, error) {
		_, err := u.client.Typed.CoreV1().ServiceAccounts("kube-system").Patch(ctx, "ebs-csi-controller-sa", types.MergePatchType, patch, metav1.PatchOptions{})
		return err == nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return u, lab.Kubeconfig
}

func seedVolume(t *testing.T) string {
	t.Helper()
	id, err := account.SeedVolume(emu.FixtureRegion+"a", 20, map[string]string{"Name": "jenkins-home"})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func lastUse(t *testing.T, id string) string {
	t.Helper()
	i := slices.IndexFunc(account.Resources(), func(r emu.Resource) bool { return r.ID == id })
	return account.Resources()[i].Tags["pipectl.dev/last-use"]
}

func state(t *testing.T, id string) string {
	t.Helper()
	out, err := cloud.EC2(session).DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{id}})
	if err != nil {
		t.Fatal(err)
	}
	return string(out.Volumes[0].State)
}

func changes(cs []steps.Change) []string {
	var out []string
	for _, c := range cs {
		out = append(out, string(c.Action)+" "+c.Kind+"/"+c.Name)
	}
	return out
}

func TestVolumeIsGivenUsedTakenBackAndGivenAgain(t *testing.T) {
	u, kubeconfig := cluster(t)
	id := seedVolume(t)
	in := input(t, "{cluster: {kubeconfig: "+kubeconfig+"}, volume: "+id+", claim: jenkins/jenkins-home}")
	p, err := u.def.Plan(t.Context(), u.env, in)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"update ec2:VolumeTags/" + id, "create k8s:PersistentVolume/pipectl-" + id, "create k8s:PersistentVolumeClaim/jenkins/jenkins-home", "create k8s:Namespace/jenkins"}
	if diff := cmp.Diff(want, changes(p.Changes)); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	before := ""
	for round := range 2 {
		raw, err := u.def.Apply(t.Context(), u.env, in)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if want := `{"volumeId":"` + id + `","persistentVolume":"pipectl-` + id + `","claim":"jenkins/jenkins-home","values":"persistence:\n  enabled: true\n  existingClaim: jenkins-home\n","zone":"` + emu.FixtureRegion + `a"}`; string(raw) != want {
			t.Errorf("round %d: outputs %s, want %s", round, raw, want)
		}
		if p, err = u.def.Plan(t.Context(), u.env, in); err != nil || string(p.Outputs) != string(raw) {
			t.Errorf("round %d: second plan %v %s, %v", round, changes(p.Changes), p.Outputs, err)
		}
		seen, found, err := u.def.Observe(t.Context(), u.env, in)
		if err != nil || !found || string(seen) != string(raw) {
			t.Errorf("round %d: observe %s %v %v", round, seen, found, err)
		}
		runPod(t, u, id)
		released := make(chan error, 1)
		go func() { released <- u.def.Release(t.Context(), u.env, in) }()
		if err := kube.Await(t.Context(), 50*time.Millisecond, func(context.Context) (bool, error) { return u.said("pod jenkins-0 uses claim"), nil }); err != nil {
			t.Fatal(err)
		}
		if state(t, id) != "in-use" {
			t.Errorf("round %d: the volume was taken from a running pod", round)
		}
		if err := u.client.Typed.CoreV1().Pods("jenkins").Delete(t.Context(), "jenkins-0", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := <-released; err != nil {
			t.Fatalf("round %d: release: %v", round, err)
		}
		if s := state(t, id); s != "available" {
			t.Errorf("round %d: volume is %s after release", round, s)
		}
		use := lastUse(t, id)
		if use == "" || use == before {
			t.Errorf("round %d: the last use is %q, before it was %q", round, use, before)
		}
		before = use
		if err := u.def.Release(t.Context(), u.env, in); err != nil {
			t.Errorf("round %d: second release: %v", round, err)
		}
		if use := lastUse(t, id); use != before {
			t.Errorf("round %d: nothing was let go of, and the last use is %q now", round, use)
		}
		if _, found, err := u.def.Observe(t.Context(), u.env, in); err != nil || found {
			t.Errorf("round %d: observe after release: %v, %v", round, found, err)
		}
		u.mu.Lock()
		u.events = nil
		u.mu.Unlock()
	}
}

// runPod starts a pod that uses the claim and waits until the volume is attached for it.
func runPod(t *testing.T, u *use, volume string) {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "jenkins-0", Namespace: "jenkins"}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "c", Image: "nginx", VolumeMounts: []corev1.VolumeMount{{Name: "home", MountPath: "/home"}}}},
		Volumes: []corev1.Volume{{Name: "home", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{
			ClaimName: "jenkins-home"}}}},
	}}
	if _, err := u.client.Typed.CoreV1().Pods("jenkins").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var last *storagev1.VolumeAttachmentList
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := kube.Await(ctx, 100*time.Millisecond, func(ctx context.Context) (bool, error) {
		list, err := u.client.Typed.StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{})
		last = list
		attached := err == nil && slices.ContainsFunc(list.Items, func(a storagev1.VolumeAttachment) bool { return a.Status.Attached })
		return attached && state(t, volume) == "in-use", err
	})
	if err != nil {
		now, _ := u.client.Typed.CoreV1().Pods("jenkins").Get(t.Context(), "jenkins-0", metav1.GetOptions{})
		t.Fatalf("volume is %s, attachments %+v, pod %+v: %v", state(t, volume), last.Items, now.Status, err)
	}
}

func TestFileSystemIsTheOneOnTheVolume(t *testing.T) {
	u, kubeconfig := cluster(t)
	id, err := account.SeedVolume(emu.FixtureRegion+"a", 20, map[string]string{"pipectl.dev/fs-type": "xfs"})
	if err != nil {
		t.Fatal(err)
	}
	with := "{cluster: {kubeconfig: " + kubeconfig + "}, volume: " + id + ", claim: formatted/home"
	if _, err := u.def.Plan(t.Context(), u.env, input(t, with+", fsType: ext4}")); !kube.HasCode(err, "OtherFileSystem") {
		t.Errorf("another one: %v", err)
	}
	if _, err := u.def.Apply(t.Context(), u.env, input(t, with+"}")); err != nil {
		t.Fatal(err)
	}
	pv, err := u.client.Typed.CoreV1().PersistentVolumes().Get(t.Context(), "pipectl-"+id, metav1.GetOptions{})
	if err != nil || pv.Spec.CSI.FSType != "xfs" {
		t.Errorf("got %+v, %v", pv, err)
	}
}

// TestEveryAWSCallMayGoWrong lets each call of a life of the step go wrong in every way, on a real control plane: run again, it comes to
// the same end, and the volume is neither lost nor taken from anybody.
func TestEveryAWSCallMayGoWrong(t *testing.T) {
	u, kubeconfig := cluster(t)
	for _, call := range []string{"DescribeVolumes", "CreateTags"} {
		for _, kind := range []string{"lost-response", "throttle", "500", "reset", "access-denied", "expired-token"} {
			t.Run(call+" "+kind, func(t *testing.T) {
				id := seedVolume(t)
				in := input(t, "{cluster: {kubeconfig: "+kubeconfig+"}, volume: "+id+", claim: wrong/"+strings.ToLower(call)+"-"+kind+"}")
				again := func(what string, do func() error) {
					mark := account.Mark()
					account.AddFault(emu.Fault{Service: "ec2", Action: call, Kind: kind})
					err := do()
					hit := slices.ContainsFunc(account.Since(mark), func(c emu.Call) bool { return c.Action == call })
					for try := 0; err != nil; try++ {
						if e := steps.Classify(err); e.Category == steps.Internal || try == 2 {
							t.Fatalf("%s: %v", what, err)
						}
						err = do()
					}
					if !hit && what == "apply" {
						t.Errorf("%s: made no call of %s", what, call)
					}
				}
				again("apply", func() error { _, err := u.def.Apply(t.Context(), u.env, in); return err })
				if p, err := u.def.Plan(t.Context(), u.env, in); err != nil || p.Outputs == nil {
					t.Errorf("after it: %v, %v", changes(p.Changes), err)
				}
				again("release", func() error { return u.def.Release(t.Context(), u.env, in) })
				if _, found, err := u.def.Observe(t.Context(), u.env, in); err != nil || found || state(t, id) != "available" {
					t.Errorf("after release: found %v, volume %s, %v", found, state(t, id), err)
				}
			})
		}
	}
}

func TestVolumeOfAStrangerIsRefused(t *testing.T) {
	u, kubeconfig := cluster(t)
	id := seedVolume(t)
	stranger, err := account.SeedInstance(emu.InstanceSeed{Zone: emu.FixtureRegion + "a"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.EC2(session).AttachVolume(t.Context(), &ec2.AttachVolumeInput{VolumeId: &id, InstanceId: &stranger.ID, Device: aws.String("/dev/sdf")}); err != nil {
		t.Fatal(err)
	}
	in := input(t, "{cluster: {kubeconfig: "+kubeconfig+"}, volume: "+id+", claim: other/home}")
	p, err := u.def.Plan(t.Context(), u.env, in)
	if err != nil || p.Outputs != nil || len(p.Forecast.Notes) != 1 {
		t.Errorf("plan: %+v, %v", p, err)
	}
	_, err = u.def.Apply(t.Context(), u.env, in)
	if !kube.HasCode(err, "VolumeInUse") || !strings.Contains(err.Error(), stranger.ID) {
		t.Errorf("apply: %v", err)
	}
	if err := u.def.Release(t.Context(), u.env, in); err != nil {
		t.Errorf("release waits for an attachment that is not ours: %v", err)
	}
	if s := state(t, id); s != "in-use" {
		t.Errorf("volume of a stranger is %s", s)
	}
	_, err = u.def.Plan(t.Context(), u.env, input(t, "{cluster: {kubeconfig: "+kubeconfig+"}, volume: vol-00000000000000000, claim: other/home}"))
	if !kube.HasCode(err, "VolumeNotFound") {
		t.Errorf("plan of a volume that is not there: %v", err)
	}
}

func TestReleaseOfAClusterThatIsGoneWaitsForItsNodes(t *testing.T) {
	gone := func(context.Context, steps.ClusterRef) (*kube.Client, error) {
		return nil, &steps.Error{Code: kube.CodeClusterNotFound, Category: steps.Precondition}
	}
	u := stage(t, gone)
	id := seedVolume(t)
	in := input(t, "{cluster: {eks: {name: blog, region: "+emu.FixtureRegion+"}}, volume: "+id+", claim: other/home, timeout: 10s}")
	if err := u.def.Release(t.Context(), u.env, in); err != nil {
		t.Errorf("free volume: %v", err)
	}
	worker, err := account.SeedInstance(emu.InstanceSeed{Zone: emu.FixtureRegion + "a", Tags: map[string]string{"eks:cluster-name": "blog"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.EC2(session).AttachVolume(t.Context(), &ec2.AttachVolumeInput{VolumeId: &id, InstanceId: &worker.ID, Device: aws.String("/dev/sdf")}); err != nil {
		t.Fatal(err)
	}
	err = u.def.Release(t.Context(), u.env, in)
	if e := steps.Classify(err); e.Category != steps.Timeout || !strings.Contains(e.Message, worker.ID) {
		t.Errorf("volume that a node keeps: %v", err)
	}
	released := make(chan error, 1)
	in = input(t, "{cluster: {eks: {name: blog, region: "+emu.FixtureRegion+"}}, volume: "+id+", claim: other/home}")
	go func() { released <- u.def.Release(t.Context(), u.env, in) }()
	if _, err := cloud.EC2(session).TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{worker.ID}}); err != nil {
		t.Fatal(err)
	}
	if err := <-released; err != nil {
		t.Errorf("node that goes: %v", err)
	}
	if s := state(t, id); s != "available" {
		t.Errorf("volume is %s", s)
	}
}
