package attachvolume_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/cloud/cloudtest"
	emu "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
)

const ebs = "ebs.csi.aws.com"

// csiNode tells how many volumes a node takes, by driver; a driver of -1 names no limit.
func csiNode(name string, takes map[string]int32) *storagev1.CSINode {
	n := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for driver, count := range takes {
		d := storagev1.CSINodeDriver{Name: driver, NodeID: "i-" + name}
		if count >= 0 {
			d.Allocatable = &storagev1.VolumeNodeResources{Count: &count}
		}
		n.Spec.Drivers = append(n.Spec.Drivers, d)
	}
	return n
}

func TestSlotsAreThoseThatTheDriverTellsLessWhatIsAttached(t *testing.T) {
	t.Parallel()
	attached := func(node, pv, driver string) *storagev1.VolumeAttachment {
		return &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: node + pv}, Spec: storagev1.VolumeAttachmentSpec{Attacher: driver, NodeName: node,
			Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &pv}}}
	}
	own := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "own"}, Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{
		CSI: &corev1.CSIPersistentVolumeSource{Driver: ebs, VolumeHandle: "vol-1"}}}}
	w := cloudtest.New(t, emu.Options{Seed: 7})
	k, err := w.Kube("blog", own, csiNode("n1", map[string]int32{ebs: 3, "nfs.csi.k8s.io": 9}), csiNode("n2", map[string]int32{ebs: 1}), csiNode("n3", map[string]int32{ebs: -1}),
		csiNode("n4", map[string]int32{"nfs.csi.k8s.io": 9}), attached("n1", "a", ebs), attached("n1", "b", "nfs.csi.k8s.io"), attached("n1", "own", ebs), attached("n2", "c", ebs), attached("n3", "d", ebs),
		attached("gone", "e", ebs)).Open(t.Context(), steps.ClusterRef{EKS: &steps.EKSCluster{Name: "blog"}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := k.AttachSlots(t.Context(), ebs, "vol-1")
	if diff := cmp.Diff(map[string]int{"n1": 2, "n2": 0}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// TestAZoneWithoutAFreeAttachSlotIsTold: the only node of a zone takes no volume by what its driver says.
func TestAZoneWithoutAFreeAttachSlotIsTold(t *testing.T) {
	u, kubeconfig := cluster(t)
	zone := emu.FixtureRegion + "c"
	id, err := account.SeedVolume(zone, 20, nil)
	if err != nil {
		t.Fatal(err)
	}
	in := input(t, "{cluster: {kubeconfig: "+kubeconfig+"}, volume: "+id+", claim: slots/home}")
	told := func(want string) {
		t.Helper()
		p, err := u.def.Plan(t.Context(), u.env, in)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(p.Forecast.Notes, func(n string) bool { return strings.Contains(n, want) }) {
			t.Errorf("told %q, want %q", p.Forecast.Notes, want)
		}
	}
	told("no node that takes pods is in zone " + zone)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "crowded", Labels: map[string]string{corev1.LabelTopologyZone: zone}}}
	if _, err := u.client.Typed.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := u.client.Typed.StorageV1().CSINodes().Create(t.Context(), csiNode("crowded", map[string]int32{ebs: 0}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	const full = "no attach slot is free on the nodes in zone " + emu.FixtureRegion + "c of the volume (crowded)"
	told(full)
	if _, err := u.def.Apply(t.Context(), u.env, in); err != nil {
		t.Errorf("nodes come and go: %v", err)
	}
	if !u.said(full) {
		t.Error("apply does not tell")
	}
	for _, remove := range []error{
		u.client.Typed.StorageV1().CSINodes().Delete(t.Context(), "crowded", metav1.DeleteOptions{}), u.client.Typed.CoreV1().Nodes().Delete(t.Context(), "crowded", metav1.DeleteOptions{}),
		u.def.Release(t.Context(), u.env, in),
	} {
		if remove != nil {
			t.Error(remove)
		}
	}
}
