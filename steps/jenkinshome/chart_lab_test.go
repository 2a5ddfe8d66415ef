package jenkinshome

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"text/template"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pipectl.dev/cloud"
	"pipectl.dev/kube"
	"pipectl.dev/kube/labtest"
	"pipectl.dev/steps"
	"pipectl.dev/steps/attachvolume"
)

//go:embed testdata/chart.yaml
var chartText string

// release is what the chart's values make of it.
type release struct {
	Namespace, Node, Claim, Security string
	Own                              bool
}

func (r release) apply(t *testing.T, k *kube.Client) kube.Workload {
	t.Helper()
	var text bytes.Buffer
	if err := template.Must(template.New("chart").Parse(chartText)).Execute(&text, r); err != nil {
		t.Fatal(err)
	}
	applyText(t, k, text.String())
	return kube.Workload{Kind: "StatefulSet", Namespace: r.Namespace, Name: "ci-jenkins"}
}

// upgraded is the release whose values a stage has put out, as the chart reads them.
func (r release) upgraded(t *testing.T, values string) release {
	t.Helper()
	var v struct {
		Persistence struct {
			Enabled       bool   `yaml:"enabled"`
			ExistingClaim string `yaml:"existingClaim"`
		} `yaml:"persistence"`
		Controller struct {
			Override map[string]any `yaml:"podSecurityContextOverride"`
		} `yaml:"controller"`
	}
	if err := yaml.Unmarshal([]byte(values), &v); err != nil || !v.Persistence.Enabled {
		t.Fatalf("values %q: %v", values, err)
	}
	security, err := json.Marshal(v.Controller.Override)
	if err != nil {
		t.Fatal(err)
	}
	r.Own, r.Claim, r.Security = v.Persistence.ExistingClaim == "", v.Persistence.ExistingClaim, string(security)
	return r
}

// csiCloud is the account in which the lab's EBS CSI driver attaches volumes.
var csiCloud atomic.Pointer[cloud.Session]

// driveEBS does what that driver's controller does.
func driveEBS(w http.ResponseWriter, r *http.Request) {
	var order struct{ Action, VolumeID, NodeID string }
	err := json.NewDecoder(r.Body).Decode(&order)
	var vol volume
	s := csiCloud.Load()
	if err == nil {
		vol, err = readVolume(r.Context(), s, order.VolumeID)
	}
	switch {
	case err != nil:
	case order.Action == "attach" && vol.Instance != order.NodeID: // an order may be given twice
		_, err = cloud.EC2(s).AttachVolume(r.Context(), &ec2.AttachVolumeInput{VolumeId: &order.VolumeID, InstanceId: &order.NodeID, Device: aws.String("/dev/sdf")})
	case order.Action == "detach" && vol.Instance == order.NodeID:
		_, err = cloud.EC2(s).DetachVolume(r.Context(), &ec2.DetachVolumeInput{VolumeId: &order.VolumeID, InstanceId: &order.NodeID})
	}
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
		return
	}
	_, _ = w.Write([]byte("{}"))
}

// withDriver installs the driver in the lab.
func withDriver(t *testing.T, lab *labtest.Lab, k *kube.Client, s *cloud.Session) {
	t.Helper()
	csiCloud.Store(s)
	lab.Do(t, http.MethodPut, "/addons/aws-ebs-csi-driver", map[string]bool{"active": true})
	role := []byte(`{"metadata":{"annotations":{"eks.amazonaws.com/role-arn":"arn:aws:iam::123456789012:role/csi"}}}`)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := kube.Await(ctx, 100*time.Millisecond, func(ctx context.Context) (bool, error) {
		_, err := k.Typed.CoreV1().ServiceAccounts("kube-system").Patch(ctx, "ebs-csi-controller-sa", types.MergePatchType, role, metav1.PatchOptions{})
		return err == nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

const chartVolume = `
apiVersion: v1
kind: PersistentVolume
metadata: {name: chart-home}
spec:
  capacity: {storage: 8Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Delete
  storageClassName: ""
  local: {path: /var/lib/chart}
  claimRef: {apiVersion: v1, kind: PersistentVolumeClaim, namespace: ci, name: ci-jenkins}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [chart-old]}]}]}}
`

// secretsOf are mode, owner and size of all below secrets/ of a home.
func secretsOf(t *testing.T, home string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(filepath.Join(home, "secrets"), func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			uid, gid := owner(info)
			out[strings.TrimPrefix(path, home)] = fmt.Sprintf("%v %d:%d", info.Mode(), uid, gid)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// chown gives a home to the user that the chart runs Jenkins as, where the test may.
func chown(t *testing.T, home string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	err := filepath.WalkDir(home, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, 1000, 1000)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestLabAReleaseOfTheOfficialChartMovesToItsNewClaim moves a home whose chart has the kubelet share every file with the group at each start
// to one whose values are those that attach-volume puts out: there the kubelet lets the files be.
func TestLabAReleaseOfTheOfficialChartMovesToItsNewClaim(t *testing.T) {
	l := newLabMove(t, "chart-old", "172.31.0.11", "var/lib/chart")
	chown(t, l.home)
	withDriver(t, l.lab, l.kube, l.session)
	fresh := l.addNode(t, "chart-new", "172.31.0.21", true)
	applyText(t, l.kube, chartVolume)
	r := release{Namespace: "ci", Node: "chart-old", Claim: "ci-jenkins", Own: true, Security: "{runAsUser: 1000, fsGroup: 1000, runAsNonRoot: true}"}
	awaitReady(t, l.kube, r.apply(t, l.kube))
	late := filepath.Join(l.home, "secrets", "late.key") // the kubelet has opened those that were there before
	if err := os.WriteFile(late, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	chown(t, late)
	want := secretsOf(t, l.home)

	spec := l.stage.precopySpec()
	spec.From = From{Cluster: l.ref, Namespace: "ci", Workload: "statefulset/ci-jenkins"}
	pre, err := precopyStep{l.base}.Apply(t.Context(), l.stage.env("chart-1"), spec)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(strings.Join(l.stage.notes, "\n"), "fsGroup is 1000 and fsGroupChangePolicy is not OnRootMismatch") {
		t.Errorf("nothing is said of the old pod's policy: %q", l.stage.notes)
	}
	m := l.stage.migrateSpec(pre.Move)
	m.Jenkins.Token = steps.NewSecret(labToken)
	if _, err := (migrateStep{l.base}).Apply(t.Context(), l.stage.env("chart-1"), m); err != nil {
		t.Fatal(err)
	}
	l.oldClaimIsKept(t)

	values := l.attachVolume(t, "ci-new/home")
	r.Namespace, r.Node = "ci-new", fresh.Name
	awaitReady(t, l.kube, r.upgraded(t, values).apply(t, l.kube))
	disk := filepath.Join(l.lab.Dir, "volumes", l.stage.volume, "fs")
	if d := cmp.Diff(want, secretsOf(t, disk)); d != "" || want["/secrets/late.key"][:10] != "-rw-------" {
		t.Errorf("secrets after the start of the new pod: %s", d)
	}
	info, err := os.Stat(disk)
	if err != nil || info.Mode()&os.ModeSetgid == 0 || info.Mode().Perm()&0o770 != 0o770 {
		t.Errorf("root: %v %v", info.Mode(), err)
	}
	if _, gid := owner(info); gid != 1000 && os.Geteuid() == 0 {
		t.Errorf("the root's group is %d", gid)
	}
	l.stage.notes = nil
	v := l.stage.verifySpec(pre.Move)
	v.Cluster, v.Namespace, v.Workload, v.Jenkins.Token = l.ref, "ci-new", "statefulset/ci-jenkins", steps.NewSecret(labToken)
	if _, err := (verifyStep{l.base}).Apply(t.Context(), l.stage.env("chart-1"), v); err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(l.stage.notes, "\n"); strings.Contains(text, "fsGroup") {
		t.Errorf("notes: %s", text)
	}
}

// oldClaimIsKept wants the claim that the chart made to outlive it.
func (l *labMove) oldClaimIsKept(t *testing.T) {
	t.Helper()
	claim, err := l.kube.Typed.CoreV1().PersistentVolumeClaims("ci").Get(t.Context(), "ci-jenkins", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n := claim.Annotations; n[helmKeep] != "keep" || n[argoKeep] != "Prune=false,Delete=false" {
		t.Errorf("the old claim has %v", n)
	}
	pv, err := l.kube.Typed.CoreV1().PersistentVolumes().Get(t.Context(), "chart-home", metav1.GetOptions{})
	if err != nil || pv.Spec.PersistentVolumeReclaimPolicy != "Retain" {
		t.Errorf("the old volume: %v %v", pv.Spec.PersistentVolumeReclaimPolicy, err)
	}
}

// attachVolume gives the volume to the lab's cluster and returns the values for the chart.
func (l *labMove) attachVolume(t *testing.T, claim string) string {
	t.Helper()
	def := attachvolume.New(l.base.aws, l.base.open)
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte("{cluster: {kubeconfig: "+l.ref.Kubeconfig+"}, volume: "+l.stage.volume+", claim: "+claim+"}"), &doc); err != nil {
		t.Fatal(err)
	}
	in := steps.Input{File: "test.yaml", With: &doc}
	raw, err := def.Apply(t.Context(), l.stage.env("chart-1"), in)
	if err != nil {
		t.Fatal(err)
	}
	seen, found, err := def.Observe(t.Context(), l.stage.env("chart-2"), in)
	if err != nil || !found || string(seen) != string(raw) {
		t.Errorf("observed %s, %v, made %s", seen, err, raw)
	}
	var out attachvolume.Outputs
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(claim, "/")
	made, err := l.kube.Typed.CoreV1().PersistentVolumeClaims(name).Get(t.Context(), strings.TrimPrefix(claim, name+"/"), metav1.GetOptions{})
	if err != nil || made.Annotations[helmKeep] != "keep" || made.Annotations[argoKeep] != "Prune=false,Delete=false" {
		t.Errorf("the new claim has %v, %v", made.Annotations, err)
	}
	return out.Values
}
