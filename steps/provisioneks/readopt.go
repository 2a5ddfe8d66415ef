package provisioneks

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	corev1 "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/cloud"
	"pipectl.dev/kube"
	"pipectl.dev/steps/reconcile"
)

const (
	kindReadopted = "k8s:PersistentVolume"
	// tagClaim keeps what a claim must ask for to get its volume back, as "class=gp3 fs=ext4 modes=ReadWriteOnce". The claim itself goes with
	// its cluster.
	tagClaim  = "pipectl.dev/claim"
	csiDriver = "ebs.csi.aws.com"
)

// claimFacts is what tagClaim says.
type claimFacts struct {
	class, fs string
	modes     []corev1.PersistentVolumeAccessMode
	block     bool
}

func (f claimFacts) String() string {
	var modes []string
	for _, m := range f.modes {
		modes = append(modes, string(m))
	}
	text := fmt.Sprintf("class=%s fs=%s modes=%s", f.class, f.fs, strings.Join(modes, ","))
	if f.block {
		text += " block=true"
	}
	return text
}

func readFacts(text string) claimFacts {
	var f claimFacts
	for word := range strings.FieldsSeq(text) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "class":
			f.class = value
		case "fs":
			f.fs = value
		case "block":
			f.block = value == "true"
		case "modes":
			for m := range strings.SplitSeq(value, ",") {
				if m != "" {
					f.modes = append(f.modes, corev1.PersistentVolumeAccessMode(m))
				}
			}
		}
	}
	if len(f.modes) == 0 {
		f.modes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	}
	return f
}

// factsOf are those of every EBS volume that a cluster knows, by volume; none where it does not answer.
func (s *state) factsOf(ctx context.Context, open kube.Opener) map[string]claimFacts {
	c, _ := s.look.cluster.Peek()
	if open == nil || c == nil || c.Status != "ACTIVE" {
		return nil
	}
	out := map[string]claimFacts{}
	k, err := open(ctx, s.ref(c))
	if err == nil {
		var list *corev1.PersistentVolumeList
		if list, err = k.Typed.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{}); err == nil {
			for _, pv := range list.Items {
				if d := pv.Spec.CSI; d != nil && d.Driver == csiDriver {
					out[d.VolumeHandle] = claimFacts{class: pv.Spec.StorageClassName, fs: d.FSType, modes: pv.Spec.AccessModes,
						block: pv.Spec.VolumeMode != nil && *pv.Spec.VolumeMode == corev1.PersistentVolumeBlock}
				}
			}
		}
	}
	if err != nil {
		s.env.Note("what the claims of volumes asked for cannot be read, so they may not get them back by themselves: " + kube.Explain(err).Error())
	}
	return out
}

// findClaimed looks for volumes of claims of an earlier cluster: the new one gives them back. Of several of one claim the youngest is the
// one that was used last.
func (s *state) findClaimed(ctx context.Context) error {
	list, err := s.kept(ctx)
	if cloud.IsDenied(err) {
		s.env.Note("volumes that an earlier cluster kept for claims cannot be looked for: " + cloud.Explain(err).Error())
		return nil
	}
	if err != nil {
		return cloud.Explain(err)
	}
	sort.Slice(list, func(i, j int) bool { return aws.ToTime(list[i].CreateTime).After(aws.ToTime(list[j].CreateTime)) })
	for _, v := range list {
		if slices.ContainsFunc(s.claimed, func(x ec2types.Volume) bool { return claimOf(x) == claimOf(v) }) {
			s.env.Note(fmt.Sprintf("volume %s was of claim %s before: a younger one is given back, this one stays", aws.ToString(v.VolumeId), claimOf(v)))
			continue
		}
		s.claimed = append(s.claimed, v)
	}
	return nil
}

// readopted is a PersistentVolume for a volume that an earlier cluster kept, reserved for its claim. It is made as soon as the API server
// answers, long before nodes are there to run what asks: whoever asks first without it gets an empty volume.
func readopted(sp Spec, v ec2types.Volume) resource {
	claim := claimOf(v)
	return resource{
		Kind: kindReadopted, Name: claim, Needs: []string{reconcile.ID(kindCluster, sp.Name)},
		Observe: func(ctx context.Context, s *state) (status, error) { return s.seeReadopted(ctx, v) },
		Create: func(ctx context.Context, s *state) error {
			k, err := s.open(ctx, s.ref(s.cluster))
			if err != nil {
				return err
			}
			return s.aws.Retry(ctx, 2*time.Minute, unreachable, func(ctx context.Context) error {
				_, err := k.Typed.CoreV1().PersistentVolumes().Create(ctx, readoptedVolume(v), metav1.CreateOptions{FieldManager: "pipectl"})
				return kube.Explain(err)
			})
		},
	}
}

// unreachable reports an API server that does not answer yet: it is ACTIVE before its name resolves everywhere.
func unreachable(err error) bool { return kube.HasCode(err, kube.CodeClusterUnreachable) }

// seeReadopted looks for the volume under whatever name: in a cluster that never went, its first PersistentVolume is there.
func (s *state) seeReadopted(ctx context.Context, v ec2types.Volume) (status, error) {
	if s.cluster == nil || s.cluster.Status != "ACTIVE" && s.cluster.Status != "UPDATING" {
		return absent, nil
	}
	k, err := s.open(ctx, s.ref(s.cluster))
	if err != nil {
		return absent, err
	}
	var all *corev1.PersistentVolumeList
	err = s.aws.Retry(ctx, 2*time.Minute, unreachable, func(ctx context.Context) (err error) {
		all, err = k.Typed.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
		return kube.Explain(err)
	})
	if err != nil {
		return absent, err
	}
	for _, pv := range all.Items {
		if d := pv.Spec.CSI; d != nil && d.VolumeHandle == aws.ToString(v.VolumeId) {
			return status{Exists: true, Ready: true, ID: pv.Name, Detail: string(pv.Status.Phase)}, nil
		}
	}
	namespace, name, _ := strings.Cut(claimOf(v), "/")
	pvc, err := k.Typed.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil && !kube.IsNotFound(err) {
		return absent, kube.Explain(err)
	}
	if err == nil && pvc.Spec.VolumeName != "" {
		s.env.Note(fmt.Sprintf("claim %s has another volume by now; %s, which it had before, stays as it is", claimOf(v), aws.ToString(v.VolumeId)))
		return status{Exists: true, Ready: true, ID: aws.ToString(v.VolumeId), Detail: "not asked for"}, nil
	}
	return absent, nil
}

// readoptedVolume holds the volume for its claim alone. Retain keeps the data when the claim goes.
func readoptedVolume(v ec2types.Volume) *corev1.PersistentVolume {
	namespace, name, _ := strings.Cut(claimOf(v), "/")
	f := readFacts(cloud.EC2TagMap(v.Tags)[tagClaim])
	mode := corev1.PersistentVolumeFilesystem
	if f.block {
		mode = corev1.PersistentVolumeBlock
	}
	zone := corev1.NodeSelectorRequirement{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{aws.ToString(v.AvailabilityZone)}}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "claim-" + aws.ToString(v.VolumeId)},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:    corev1.ResourceList{corev1.ResourceStorage: quantity.MustParse(fmt.Sprintf("%dGi", aws.ToInt32(v.Size)))},
			AccessModes: f.modes, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain, StorageClassName: f.class, VolumeMode: &mode,
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: csiDriver, VolumeHandle: aws.ToString(v.VolumeId), FSType: f.fs}},
			ClaimRef:               &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: namespace, Name: name},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{
				{MatchExpressions: []corev1.NodeSelectorRequirement{zone}}}}},
		},
	}
}

// giveBack are the resources for volumes of claims; none on the way down, where they go with the cluster.
func (s *state) giveBack() []resource {
	var out []resource
	if s.open == nil || s.down {
		return nil
	}
	for _, v := range s.claimed {
		out = append(out, readopted(s.spec, v))
	}
	return out
}
