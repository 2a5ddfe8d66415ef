package jenkinshome

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// letGoWithin is how long the target cluster may take to let the volume go once its Jenkins is stopped.
const letGoWithin = 10 * time.Minute

// newClaim is a PersistentVolume of the data volume in the target cluster and the claim bound to it.
type newClaim struct{ volume, claim kube.ObjectRef }

// newClaims are what the target cluster has of the data volume and pipectl made. A claim that somebody else made is left to him.
func (m *mission) newClaims(ctx context.Context) ([]newClaim, error) {
	pvs, err := m.target.VolumesOf(ctx, m.move.VolumeID)
	if err != nil {
		return nil, err
	}
	var out []newClaim
	for i := range pvs {
		if kube.Owned(&pvs[i], m.env.Identity) {
			out = append(out, newClaimOf(&pvs[i]))
		}
	}
	return out, nil
}

func newClaimOf(pv *corev1.PersistentVolume) newClaim {
	n := newClaim{volume: kube.ObjectRef{APIVersion: "v1", Kind: "PersistentVolume", Name: pv.Name}}
	if ref := pv.Spec.ClaimRef; ref != nil {
		n.claim = kube.ObjectRef{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: ref.Namespace, Name: ref.Name}
	}
	return n
}

// dropClaim removes claim and PersistentVolume from the target, so that nothing there can start on the volume while the home is copied
// anew. The data are not touched: the reclaim policy is Retain, and EC2 knows nothing of either object.
func (m *mission) dropClaim(ctx context.Context) error {
	if m.target == nil {
		return whyTarget
	}
	claims, err := m.newClaims(ctx)
	if err != nil {
		return err
	}
	for _, n := range claims {
		if err := m.dropOne(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (m *mission) dropOne(ctx context.Context, n newClaim) error {
	wait, cancel := context.WithTimeout(ctx, letGoWithin)
	defer cancel()
	detail := ""
	err := kube.Await(wait, 2*time.Second, func(ctx context.Context) (bool, error) {
		now, err := m.target.ClaimHolder(ctx, n.claim.Namespace, n.claim.Name, n.volume.Name)
		if err != nil {
			return false, err
		}
		if detail = now; detail != "" {
			m.say(detail)
		}
		return detail == "", nil
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return &steps.Error{Code: "VolumeHeld", Category: steps.Partial, Retryable: true,
			Message: fmt.Sprintf("%s: after %s %s", n.volume, letGoWithin, detail), Hints: []string{"stop what uses it, then run `pipectl move resume`"}}
	}
	if err != nil {
		return fmt.Errorf("%s: let go: %w", n.volume, err)
	}
	for _, r := range []kube.ObjectRef{n.claim, n.volume} {
		if r.Name == "" {
			continue
		}
		if err := m.target.DeleteOwned(wait, r, m.env.Identity); err != nil {
			return err
		}
		left, err := m.target.Get(wait, r)
		if err != nil {
			return err
		}
		if left != nil && !kube.Owned(left, m.env.Identity) {
			m.env.Note(r.String() + " is left: pipectl did not make it")
			continue
		}
		if err := m.target.WaitDeleted(wait, []kube.ObjectRef{r}, nil); err != nil {
			return err
		}
	}
	return nil
}
