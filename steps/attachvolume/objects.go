package attachvolume

import (
	"cmp"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pipectl.dev/kube"
)

const (
	driver       = "ebs.csi.aws.com"
	zoneLabel    = corev1.LabelTopologyZone
	clusterTag   = "ebs.csi.aws.com/cluster"      // without it the driver's recommended policy lets it neither attach nor detach
	clusterByTag = "ebs.csi.aws.com/cluster-name" // what the policy that is scoped to one cluster looks at
)

// kept lets the claim outlive a chart or an Application that would take it for its own.
var kept = map[string]string{"helm.sh/resource-policy": "keep", "argocd.argoproj.io/sync-options": "Prune=false,Delete=false"}

func (s Spec) volumeRef() kube.ObjectRef {
	return kube.ObjectRef{APIVersion: "v1", Kind: "PersistentVolume", Name: volumeName(s.Volume)}
}

func (s Spec) claimRef() kube.ObjectRef {
	return kube.ObjectRef{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: s.namespace(), Name: s.claim()}
}

// objects are the PersistentVolume and the claim. Each names the other, so that no other claim can take the volume, and no volume is
// made for the claim. Retain keeps the data when the claim goes. A claim that exists keeps the size it asked for: Kubernetes lets
// claims of static volumes ask for no more, and the volume may have grown.
func (s Spec) objects(v volume, claim *unstructured.Unstructured) []*unstructured.Unstructured {
	size := fmt.Sprintf("%dGi", v.SizeGiB)
	request := cmp.Or(text(claim, "spec", "resources", "requests", "storage"), size)
	pv := map[string]any{
		"capacity":                      map[string]any{"storage": size},
		"accessModes":                   []any{s.AccessMode},
		"persistentVolumeReclaimPolicy": string(corev1.PersistentVolumeReclaimRetain),
		"storageClassName":              s.StorageClass,
		"volumeMode":                    string(corev1.PersistentVolumeFilesystem),
		"csi":                           map[string]any{"driver": driver, "volumeHandle": v.ID, "fsType": s.fsType(v)},
		"claimRef":                      map[string]any{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": s.namespace(), "name": s.claim()},
		"nodeAffinity": map[string]any{"required": map[string]any{"nodeSelectorTerms": []any{
			map[string]any{"matchExpressions": []any{map[string]any{"key": zoneLabel, "operator": "In", "values": []any{v.Zone}}}},
		}}},
	}
	pvc := map[string]any{
		"accessModes":      []any{s.AccessMode},
		"storageClassName": s.StorageClass,
		"volumeMode":       string(corev1.PersistentVolumeFilesystem),
		"volumeName":       volumeName(s.Volume),
		"resources":        map[string]any{"requests": map[string]any{"storage": request}},
	}
	made := object(s.claimRef(), pvc)
	made.SetAnnotations(kept)
	volume := object(s.volumeRef(), pv)
	if owner := v.Tags[ownerTag]; owner != "" {
		volume.SetAnnotations(map[string]string{ownerTag: owner})
	}
	return []*unstructured.Unstructured{volume, made}
}

func object(r kube.ObjectRef, spec map[string]any) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": r.APIVersion, "kind": r.Kind, "spec": spec}}
	o.SetNamespace(r.Namespace)
	o.SetName(r.Name)
	return o
}

// zoneOf is the zone that a PersistentVolume of ours is held to.
func zoneOf(pv *unstructured.Unstructured) string {
	terms, _, _ := unstructured.NestedSlice(pv.Object, "spec", "nodeAffinity", "required", "nodeSelectorTerms")
	for _, t := range terms {
		m, _ := t.(map[string]any)
		exprs, _, _ := unstructured.NestedSlice(m, "matchExpressions")
		for _, e := range exprs {
			expr, _ := e.(map[string]any)
			values, _, _ := unstructured.NestedStringSlice(expr, "values")
			if expr["key"] == zoneLabel && len(values) > 0 {
				return values[0]
			}
		}
	}
	return ""
}

func text(o *unstructured.Unstructured, path ...string) string {
	if o == nil {
		return ""
	}
	s, _, _ := unstructured.NestedString(o.Object, path...)
	return s
}
