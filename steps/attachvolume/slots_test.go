package attachvolume

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPlacesForAVolume(t *testing.T) {
	node := func(name, zone string, closed bool) corev1.Node {
		return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{zoneLabel: zone}}, Spec: corev1.NodeSpec{Unschedulable: closed}}
	}
	for name, c := range map[string]struct {
		nodes []corev1.Node
		slots map[string]int
		want  string
	}{
		"one is free":                    {[]corev1.Node{node("n1", "a", false), node("n2", "a", false)}, map[string]int{"n1": 0, "n2": 1}, ""},
		"one whose limit is not known":   {[]corev1.Node{node("n1", "a", false), node("n2", "a", false)}, map[string]int{"n1": 0}, ""},
		"all are full":                   {[]corev1.Node{node("n1", "a", false), node("n2", "a", false)}, map[string]int{"n1": 0, "n2": -1}, "zone a of the volume (n1, n2)"},
		"the free one is in another":     {[]corev1.Node{node("n1", "a", false), node("n2", "c", false)}, map[string]int{"n1": 0, "n2": 5}, "zone a of the volume (n1)"},
		"the free one takes no pods":     {[]corev1.Node{node("n1", "a", false), node("n2", "a", true)}, map[string]int{"n1": 0, "n2": 5}, "zone a of the volume (n1)"},
		"no node is there":               {nil, nil, "no node that takes pods is in zone a"},
		"no node of the zone takes pods": {[]corev1.Node{node("n1", "a", true), node("n2", "c", false)}, nil, "no node that takes pods is in zone a"},
	} {
		if got := places(c.nodes, c.slots, "a"); !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
