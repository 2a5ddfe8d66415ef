package jenkinshome

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// homePlace is where a home lies, by all ways on which a pod of any namespace may have it.
type homePlace struct {
	Volume string `json:"volume,omitempty"` // PersistentVolume of the claim, "" where it has none
	Dir    string `json:"dir,omitempty"`    // on the node's own file system, "" where it is not there
	Node   string `json:"node,omitempty"`
}

func (h *home) place() homePlace {
	p := homePlace{Volume: h.ClaimPV}
	if h.Dir != "" {
		p.Dir, p.Node = path.Join(h.Dir, h.SubPath), h.Pod.Spec.NodeName
	}
	return p
}

// handle names what a PersistentVolume stands for: two with the same handle are one disk. "" where no other volume can be the same, or the
// place is a directory of a node.
func handle(v corev1.PersistentVolume) string {
	switch s := v.Spec.PersistentVolumeSource; {
	case s.CSI != nil:
		return s.CSI.Driver + " " + s.CSI.VolumeHandle
	case s.AWSElasticBlockStore != nil: // the driver that serves it by now
		id := s.AWSElasticBlockStore.VolumeID
		return ebsDriver + " " + id[strings.LastIndex(id, "/")+1:]
	case s.NFS != nil:
		return "nfs " + s.NFS.Server + ":" + path.Clean(s.NFS.Path)
	}
	return ""
}

func directory(v corev1.PersistentVolume) string {
	switch s := v.Spec.PersistentVolumeSource; {
	case s.Local != nil:
		return s.Local.Path
	case s.HostPath != nil:
		return s.HostPath.Path
	}
	return ""
}

// claimsOf are the claims, as namespace/name, by which pods have the home: those on the same disk, and those on the home's directory or one
// below it, which is the same only on the home's node.
func claimsOf(all []corev1.PersistentVolume, at homePlace) (anywhere, onNode map[string]bool) {
	anywhere, onNode = map[string]bool{}, map[string]bool{}
	i := slices.IndexFunc(all, func(v corev1.PersistentVolume) bool { return v.Name == at.Volume })
	own := ""
	if i >= 0 {
		own = handle(all[i])
	}
	for _, v := range all {
		if v.Spec.ClaimRef == nil {
			continue
		}
		name := v.Spec.ClaimRef.Namespace + "/" + v.Spec.ClaimRef.Name
		switch dir := directory(v); {
		case v.Name == at.Volume, own != "" && handle(v) == own:
			anywhere[name] = true
		case at.Dir != "" && dir != "" && within(path.Clean(dir), at.Dir):
			onNode[name] = true
		}
	}
	return anywhere, onNode
}

// sharersAnywhere are pods of the whole cluster that may write to the home, as namespace/name.
func sharersAnywhere(pods []corev1.Pod, volumes []corev1.PersistentVolume, at homePlace) []string {
	anywhere, onNode := claimsOf(volumes, at)
	var out []string
	for _, p := range writers(pods, func(p *corev1.Pod, v *corev1.Volume) bool {
		here := p.Spec.NodeName == at.Node
		if c := v.PersistentVolumeClaim; c != nil {
			name := p.Namespace + "/" + c.ClaimName
			return !c.ReadOnly && (anywhere[name] || here && onNode[name])
		}
		return v.HostPath != nil && at.Dir != "" && here && within(path.Clean(v.HostPath.Path), at.Dir)
	}) {
		out = append(out, p.Namespace+"/"+p.Name)
	}
	return out
}

// aloneInCluster is the orchestrator's fence: the mover's own rights end with its namespace. Where ours do not reach further that is told,
// once, and no obstacle.
func (m *mission) aloneInCluster(ctx context.Context) error {
	at := m.rec.Cut.Home
	if at == (homePlace{}) {
		return nil
	}
	for began := time.Now(); ; {
		who, err := m.sharers(ctx, at)
		if kube.HasCode(err, kube.CodeForbidden) {
			m.env.Note("pods of other namespaces, or volumes, may not be listed: whether one of them writes to the home is not known")
			return nil
		}
		if err != nil || len(who) == 0 {
			return err
		}
		if time.Since(began) > lingerWithin {
			return homeShared(who)
		}
		m.say("waiting for pods that have the home too: " + strings.Join(who, ", "))
		if pause(ctx, 2*time.Second); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

func (m *mission) sharers(ctx context.Context, at homePlace) ([]string, error) {
	volumes, err := m.source.Typed.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("persistent volumes: %w", kube.Explain(err))
	}
	pods, err := m.source.Typed.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("pods: %w", kube.Explain(err))
	}
	return sharersAnywhere(pods.Items, volumes.Items, at), nil
}

// tellOfSharers names, before anything stands still, who may have to be stopped. Agents end with Jenkins: it is no error yet.
func (m *mission) tellOfSharers(ctx context.Context) {
	who, err := m.sharers(ctx, m.home.place())
	own := m.home.Pod.Namespace + "/" + m.home.Pod.Name
	if who = slices.DeleteFunc(who, func(s string) bool { return s == own }); err == nil && len(who) > 0 {
		m.env.Note("these pods may write to the home, and must end with Jenkins, or the cut-over turns back: " + strings.Join(who, ", "))
	}
}

func homeShared(who []string) *steps.Error {
	return &steps.Error{Code: "HomeShared", Category: steps.Conflict, Retryable: true,
		Message: "others have the home too, and may write to it: " + strings.Join(who, ", "), Hints: []string{"stop them, or let pods mount it read only, and run again"}}
}
