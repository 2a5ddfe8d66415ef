package jenkinshome

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"pipectl.dev/kube"
)

// What keeps a claim when the chart or the Application that made it stops naming it: setting existingClaim in a chart's values does that.
const (
	helmKeep  = "helm.sh/resource-policy"
	argoKeep  = "argocd.argoproj.io/sync-options"
	keepValue = "keep"
)

// argoKeeps are the options without which Argo CD removes a claim: on a sync that prunes, and with its Application.
var argoKeeps = []string{"Prune=false", "Delete=false"}

// keptClaim is how the claim of the old home, and its volume, were before they were protected. nil stands for "was not there".
type keptClaim struct {
	Namespace   string             `json:"namespace"`
	Name        string             `json:"name"`
	Annotations map[string]*string `json:"annotations"`
	Set         map[string]string  `json:"set"`
	Volume      string             `json:"volume,omitempty"` // whose reclaim policy was Delete
}

func (k keptClaim) claim() kube.ObjectRef {
	return kube.ObjectRef{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: k.Namespace, Name: k.Name}
}

func (k keptClaim) volume() kube.ObjectRef {
	return kube.ObjectRef{APIVersion: "v1", Kind: "PersistentVolume", Name: k.Volume}
}

// keepNotes are the annotations that a claim with these needs besides; what was there of Argo CD's options stays.
func keepNotes(have map[string]string) map[string]string {
	options := have[argoKeep]
	for _, o := range argoKeeps {
		if !strings.Contains(","+options+",", ","+o+",") {
			options = strings.TrimPrefix(options+","+o, ",")
		}
	}
	set := map[string]string{}
	for k, v := range map[string]string{helmKeep: keepValue, argoKeep: options} {
		if have[k] != v {
			set[k] = v
		}
	}
	return set
}

// protect makes sure that the claim of the old home outlives the chart that made it: without it there is no way back. What was there before
// is recorded first.
func (m *mission) protect(ctx context.Context) error {
	if m.home == nil || m.home.Volume.PersistentVolumeClaim == nil {
		return nil
	}
	k := keptClaim{Namespace: m.move.Source.Namespace, Name: m.home.Volume.PersistentVolumeClaim.ClaimName, Annotations: map[string]*string{}}
	claim, err := m.source.Get(ctx, k.claim())
	if err != nil || claim == nil {
		return err
	}
	k.Set = keepNotes(claim.GetAnnotations())
	for key := range k.Set {
		if v, ok := claim.GetAnnotations()[key]; ok {
			k.Annotations[key] = &v
		} else {
			k.Annotations[key] = nil
		}
	}
	if m.home.Risk != "" {
		k.Volume = m.home.ClaimPV
	}
	if len(k.Set) == 0 && k.Volume == "" {
		return nil
	}
	m.rec.Cut.Kept = &k
	if err := m.again(m.rec.write(ctx, m.rec.Phase, nil)); err != nil {
		return err
	}
	set := map[string]*string{}
	for key, v := range k.Set {
		set[key] = &v
	}
	if err := m.annotate(ctx, k.claim(), set); err != nil {
		return err
	}
	if k.Volume == "" {
		return nil
	}
	err = m.reclaim(ctx, k.volume(), corev1.PersistentVolumeReclaimRetain)
	if kube.HasCode(err, kube.CodeForbidden) { // who may not is told what to do; the claim itself is kept
		m.env.Note(k.volume().String() + " may not be changed by us: set its reclaim policy to Retain by hand, else removing the old release destroys the way back")
		return nil
	}
	return err
}

// unprotect puts back what protect changed, as far as it is still as protect left it.
func (m *mission) unprotect(ctx context.Context) error {
	k := m.rec.Cut.Kept
	if k == nil {
		return nil
	}
	claim, err := m.source.Get(ctx, k.claim())
	if err != nil {
		return err
	}
	if claim != nil {
		back := map[string]*string{}
		for key, v := range k.Set {
			if claim.GetAnnotations()[key] == v {
				back[key] = k.Annotations[key]
			}
		}
		if err := m.annotate(ctx, k.claim(), back); err != nil {
			return err
		}
	}
	if k.Volume == "" {
		return nil
	}
	err = m.reclaim(ctx, k.volume(), corev1.PersistentVolumeReclaimDelete)
	if kube.HasCode(err, kube.CodeForbidden) || kube.IsNotFound(err) {
		return nil
	}
	return err
}

func (m *mission) annotate(ctx context.Context, r kube.ObjectRef, notes map[string]*string) error {
	if len(notes) == 0 {
		return nil
	}
	return m.patch(ctx, r, map[string]any{"metadata": map[string]any{"annotations": notes}})
}

func (m *mission) reclaim(ctx context.Context, r kube.ObjectRef, to corev1.PersistentVolumeReclaimPolicy) error {
	return m.patch(ctx, r, map[string]any{"spec": map[string]any{"persistentVolumeReclaimPolicy": to}})
}

func (m *mission) patch(ctx context.Context, r kube.ObjectRef, change map[string]any) error {
	raw, err := json.Marshal(change)
	if err != nil {
		return fmt.Errorf("%s: %w", r, err)
	}
	_, err = m.source.MergePatch(ctx, r, raw)
	return err
}
