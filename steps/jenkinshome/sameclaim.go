package jenkinshome

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// Route sameNode: the data volume is a claim of the source cluster. Its own CSI driver attaches and mounts it, so that all there is to know
// of it is known before: that the claim is the volume's, that Jenkins' node can have it, and that nobody else writes to it.

// claimedBy are the names of the claims of Jenkins' namespace that the source cluster has of the data volume.
func (m *mission) claimedBy(ctx context.Context) ([]string, error) {
	if m.move.VolumeID == "" {
		return nil, nil
	}
	pvs, err := m.source.VolumesOf(ctx, m.move.VolumeID)
	if kube.HasCode(err, kube.CodeForbidden) {
		return nil, nil // a claim that is named is looked at all the same
	}
	if err != nil {
		return nil, err
	}
	var out []string
	for i := range pvs {
		if n := newClaimOf(&pvs[i]); n.claim.Namespace == m.move.Source.Namespace && pvs[i].DeletionTimestamp == nil {
			out = append(out, n.claim.Name)
		}
	}
	return out, nil
}

// ownClaim finds the claim of route sameNode: the one that was named, else what the cluster has of the volume; "" where there is none. err is
// for what no route may pass over.
func (m *mission) ownClaim(ctx context.Context) (name string, why, err error) {
	all, err := m.unusedClaims(ctx)
	if err != nil || len(all) == 0 {
		return "", nil, err
	}
	name = cmp.Or(m.move.Claim, all[0])
	why, err = m.claimServes(ctx, name)
	return name, why, err
}

// unused says who else has a claim of the data volume by now: what was copied to it is not what was proved any more.
func (m *mission) unused(ctx context.Context) error {
	if m.move.Route != routeSameNode {
		return nil
	}
	_, err := m.unusedClaims(ctx)
	return err
}

// unusedClaims are the names of the volume's claims, with the one that was named, none of which a pod may have other than ours.
func (m *mission) unusedClaims(ctx context.Context) ([]string, error) {
	all, err := m.claimedBy(ctx)
	if err != nil {
		return nil, err
	}
	if named := m.move.Claim; named != "" && !slices.Contains(all, named) {
		all = append(all, named)
	}
	if len(all) == 0 {
		return nil, nil
	}
	pods, err := m.source.Typed.CoreV1().Pods(m.move.Source.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("pods of namespace %s: %w", m.move.Source.Namespace, kube.Explain(err))
	}
	for _, claim := range all {
		var who []string
		for i := range pods.Items {
			if p := &pods.Items[i]; p.Labels[kube.RunLabel] == "" && kube.UsesClaim(p, claim) {
				who = append(who, p.Name)
			}
		}
		if len(who) > 0 {
			return nil, &steps.Error{Code: "ClaimInUse", Category: steps.Conflict, Retryable: true,
				Message: fmt.Sprintf("claim %s of the data volume is used already, by %s: what it writes and what is copied would be mixed", claim, strings.Join(who, ", ")),
				Hints:   []string{"scale it to 0 until the home is moved"}}
		}
	}
	return all, nil
}

// claimServes says by why that no mover on Jenkins' node can write to the data volume by this claim. Before a stage that makes the claim has
// run, a claim that does not exist is no obstacle.
func (m *mission) claimServes(ctx context.Context, name string) (why, err error) {
	path := "claim " + m.move.Source.Namespace + "/" + name
	c, err := m.source.Typed.CoreV1().PersistentVolumeClaims(m.move.Source.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		if m.early {
			return nil, nil
		}
		return &steps.Error{Code: "ClaimNotFound", Category: steps.Precondition, Message: path + ": does not exist in " + m.move.Source.Cluster.String(),
			Hints: []string{"attach-volume makes it, before this stage; or correct `claim`"}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, kube.Explain(err))
	}
	if c.Spec.VolumeName == "" || c.Status.Phase != corev1.ClaimBound || c.DeletionTimestamp != nil {
		return &steps.Error{Code: "ClaimUnbound", Category: steps.Precondition, Retryable: true, Message: path + ": is not bound", Hints: []string{"see `kubectl describe` of it"}}, nil
	}
	pv, err := m.source.Typed.CoreV1().PersistentVolumes().Get(ctx, c.Spec.VolumeName, metav1.GetOptions{})
	if err != nil { // without it nobody knows which disk would be written to
		return nil, fmt.Errorf("%s: persistentvolume %s: %w", path, c.Spec.VolumeName, kube.Explain(err))
	}
	node, err := m.source.Typed.StorageV1().CSINodes().Get(ctx, m.home.Node.Name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
		return nil, fmt.Errorf("csinode %s: %w", m.home.Node.Name, kube.Explain(err))
	}
	if apierrors.IsForbidden(err) {
		node = nil
	}
	return servesWith(path, m.move.VolumeID, pv, m.home.Node, node), nil
}

// servesWith says why a pod on the node cannot write to the volume by a claim that is bound to pv. It is pure; a nil driver is not known.
func servesWith(path, volume string, pv *corev1.PersistentVolume, node *corev1.Node, driver *storagev1.CSINode) error {
	refuse := func(code, message, hint string) error {
		return &steps.Error{Code: code, Category: steps.Precondition, Message: path + ": " + message, Hints: []string{hint}}
	}
	switch {
	case volume != "" && handle(*pv) != ebsDriver+" "+volume:
		return refuse("OtherVolume", "is bound to "+pv.Name+", which is not the data volume "+volume, "name the claim of the data volume by `claim`, or leave it out: it is found")
	case pv.Spec.VolumeMode != nil && *pv.Spec.VolumeMode == corev1.PersistentVolumeBlock:
		return refuse("BlockClaim", "is a block device without a file system", "make it with volumeMode Filesystem")
	case !reaches(pv, node):
		return refuse("OtherZone", fmt.Sprintf("its volume %s cannot be had on node %s, which has the home", pv.Name, node.Name),
			"make the volume in the node's zone (`zone` of data-volume): it can be moved by snapshot later")
	case driver != nil && !slices.ContainsFunc(driver.Spec.Drivers, func(d storagev1.CSINodeDriver) bool { return d.Name == ebsDriver }):
		return refuse("NoDriver", "the EBS CSI driver does not run on node "+node.Name+", which has the home", "install it there (install-addon), or use route attach")
	}
	return nil
}

// reaches says whether a node is where a volume can be had: one term must hold, with all that it asks for.
func reaches(pv *corev1.PersistentVolume, node *corev1.Node) bool {
	if pv.Spec.NodeAffinity == nil || pv.Spec.NodeAffinity.Required == nil {
		return true
	}
	return slices.ContainsFunc(pv.Spec.NodeAffinity.Required.NodeSelectorTerms, func(t corev1.NodeSelectorTerm) bool {
		return !slices.ContainsFunc(t.MatchExpressions, func(r corev1.NodeSelectorRequirement) bool {
			return r.Operator == corev1.NodeSelectorOpIn && !slices.Contains(r.Values, node.Labels[r.Key])
		})
	})
}
