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
	"gopkg.in/yaml.v3"
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

func state(t *testing.T, id string) string {
	t.Helper()
	out, err := cloud.EC2(session).DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{id}})
	if err != nil {
		t.Fatal(err)
	}
	return string(out.Volumes[0].State)
}
