package kubelet

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func TestANodeThatWasGivenUpSaysThatItIsThere(t *testing.T) {
	t.Parallel()
	lost := nodeObject(NodeSpec{Name: "n", InstanceID: "i-1", PrivateIP: "10.0.0.1"}, "127.0.0.1", time.Unix(0, 0))
	for i := range lost.Status.Conditions {
		lost.Status.Conditions[i].Status = v1.ConditionUnknown
	}
	client := fake.NewClientset(lost)
	k := &Kubelet{client: client}
	for range 2 { // the second finds nothing to say
		if err := k.report(t.Context(), "n"); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.report(t.Context(), "gone"); err != nil {
		t.Error(err)
	}
	got, err := client.CoreV1().Nodes().Get(t.Context(), "n", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[v1.NodeConditionType]v1.ConditionStatus{"MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False", "Ready": "True"}
	is := map[v1.NodeConditionType]v1.ConditionStatus{}
	for _, c := range got.Status.Conditions {
		is[c.Type] = c.Status
	}
	if d := cmp.Diff(want, is); d != "" {
		t.Errorf("conditions (-want +got):\n%s", d)
	}
	writes := 0
	for _, a := range client.Actions() {
		if a.GetVerb() == "update" {
			writes++
		}
	}
	if writes != 1 {
		t.Errorf("%d writes, want 1", writes)
	}
}
