package attachvolume

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"pipectl.dev/kube"
)

// places says why no node could have the volume attached now; "" where one can. It is told and not refused: nodes come and go.
func places(nodes []corev1.Node, slots map[string]int, zone string) string {
	var full []string
	for _, n := range nodes {
		if n.Labels[zoneLabel] != zone || n.Spec.Unschedulable {
			continue
		}
		if left, limited := slots[n.Name]; !limited || left > 0 {
			return ""
		}
		full = append(full, n.Name)
	}
	if len(full) == 0 {
		return fmt.Sprintf("no node that takes pods is in zone %s of the volume: a pod that uses the claim waits until there is one", zone)
	}
	return fmt.Sprintf("no attach slot is free on the nodes in zone %s of the volume (%s): a pod that uses the claim waits until a volume is detached from one, or another node comes",
		zone, strings.Join(full, ", "))
}

// room is what places says of the cluster.
func (w world) room(ctx context.Context) (string, error) {
	slots, err := w.client.AttachSlots(ctx, driver, w.volume.ID)
	if kube.HasCode(err, kube.CodeForbidden) {
		return "whether a node has an attach slot free is not known: " + err.Error(), nil
	}
	return places(w.list, slots, w.volume.Zone), err
}
