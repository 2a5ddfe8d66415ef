package jenkinshome

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// image1000 is the user that the official image runs as.
const image1000 = 1000

// sweeps says why a kubelet goes through every file of the home before it starts this pod, gives each the pod's fsGroup and opens it to that,
// secrets included: minutes for a large home, at every start. It is "" where the root of the volume, as we leave it, stops the kubelet.
func sweeps(p *corev1.PodSpec, group int64) string {
	s := p.SecurityContext
	switch {
	case s == nil || s.FSGroup == nil:
		return ""
	case s.FSGroupChangePolicy == nil || *s.FSGroupChangePolicy != corev1.FSGroupChangeOnRootMismatch:
		return fmt.Sprintf("fsGroup is %d and fsGroupChangePolicy is not OnRootMismatch", *s.FSGroup)
	case *s.FSGroup != group:
		return fmt.Sprintf("fsGroup is %d, and the home's group %d", *s.FSGroup, group)
	}
	return ""
}

const swept = ": at each start the kubelet goes through all files of the home, which takes minutes where there are many, and opens secrets to the group; "

// user is who Jenkins runs as.
func (h *home) user() int64 {
	if s := h.Container.SecurityContext; s != nil && s.RunAsUser != nil {
		return *s.RunAsUser
	}
	if s := h.Pod.Spec.SecurityContext; s != nil && s.RunAsUser != nil {
		return *s.RunAsUser
	}
	return image1000
}

// ownerTag is who the new pod must run as, and the group that the home's root has: attach-volume makes values for the official chart of it.
func (m *mission) ownerTag() string {
	return fmt.Sprintf("%d:%d", m.home.user(), m.move.FSGroup)
}

// tellOfSweep says when a new pod like the old one would have the kubelet change the copy.
func (m *mission) tellOfSweep() {
	if why := sweeps(&m.home.Pod.Spec, m.move.FSGroup); why != "" {
		m.env.Note("the old pod's " + why + swept + "output `values` of attach-volume has what the official chart needs against that in the new one")
	}
}

// tellOfNewSweep says when the kubelet does change what was moved.
func (m *mission) tellOfNewSweep(ctx context.Context) error {
	pod, err := livePod(ctx, m.target, m.newWorkload())
	if err != nil { // it is gone again: whatever made it go is found out elsewhere
		return passing(err)
	}
	if why := sweeps(&pod.Spec, m.move.FSGroup); why != "" {
		m.env.Note("the new pod's " + why + swept + "commit output `values` of attach-volume, or set both as it says")
	}
	return nil
}
