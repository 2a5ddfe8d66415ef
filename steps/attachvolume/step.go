// Package attachvolume is the step attach-volume: it gives an EBS volume that exists to a cluster, as a static PersistentVolume and a
// claim bound to it, and takes it back cleanly.
//
// It must not attach or detach by itself, format, copy or delete the volume: the cluster's EBS CSI driver attaches it for pods that use
// the claim, and it is never taken from a node by force.
package attachvolume

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pipectl.dev/cloud"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

const example = `
cluster: {eks: {name: blog, region: ap-northeast-2}}
volume: vol-0123456789abcdef0
claim: jenkins/jenkins-home
`

const doc = `Makes a PersistentVolume for the EBS volume (reclaim policy Retain, held to the volume's zone) and a PersistentVolumeClaim that is
bound to it, and tags the volume so that the IAM policies of the EBS CSI driver let the cluster use it. No storage class is needed.

A volume that is still attached to an instance that is not a node of the cluster is refused: two writers would destroy it. Where no node
in the volume's zone has an attach slot free, by what the CSI driver says of each, that is told: a pod would wait.

down waits until no pod uses the claim (sync-argocd stops them), removes claim and PersistentVolume, and waits until EC2 says that the
volume is detached. The data stay. Nothing is ever detached by force.`

// New returns the step.
func New(aws cloud.Opener, clusters kube.Opener) steps.Definition {
	return steps.Define(steps.About{
		Name: "attach-volume", Summary: "Give an EBS volume that outlives clusters to one of them", Example: example, Doc: doc, AWS: true,
	}, &step{aws: aws, kube: clusters})
}

type step struct {
	aws  cloud.Opener
	kube kube.Opener
}

// world is what the step looks at.
type world struct {
	aws    *cloud.Session
	client *kube.Client
	volume volume
	list   []corev1.Node
	nodes  map[string]bool // their instances
}

func (s *step) session(ctx context.Context, ref steps.ClusterRef) (*cloud.Session, error) {
	region := ""
	if ref.EKS != nil {
		region = ref.EKS.Region
	}
	return s.aws(ctx, region)
}

func (s *step) look(ctx context.Context, env steps.Env, sp Spec) (world, error) {
	var w world
	var err error
	if w.aws, err = s.session(ctx, sp.Cluster); err != nil {
		return w, err
	}
	var found bool
	if w.volume, found, err = describe(ctx, w.aws, sp.Volume); err != nil {
		return w, err
	}
	if !found {
		return w, noVolume(sp.Volume)
	}
	if err := sp.asFormatted(w.volume); err != nil {
		return w, err
	}
	if w.client, err = s.kube(ctx, kube.Relative(sp.Cluster, env.Dir)); err != nil {
		return w, err
	}
	w.list, err = w.client.Nodes(ctx)
	w.nodes = instances(w.list)
	return w, err
}

// Plan compares volume tags and the two objects. An attachment that an earlier stage will end is no obstacle yet.
func (s *step) Plan(ctx context.Context, env steps.Env, sp Spec) (steps.Plan[Outputs], error) {
	w, err := s.look(ctx, env, sp)
	if err != nil {
		return steps.Plan[Outputs]{}, err
	}
	p := steps.Plan[Outputs]{Forecast: steps.Forecast{Seconds: 3}}
	tags := steps.Change{Kind: "ec2:VolumeTags", Name: sp.Volume, ID: sp.Volume, Action: reconcile.Keep}
	if tags.Drift = tagDrift(w.volume.Tags, wantTags(sp.Cluster)); len(tags.Drift) > 0 {
		tags.Action = reconcile.Update
	}
	p.Changes = append(p.Changes, tags)
	objs, err := s.objects(ctx, w, sp)
	if err != nil {
		return steps.Plan[Outputs]{}, err
	}
	would, err := w.client.Diff(ctx, objs, kube.ApplyOptions{Owner: &env.Identity})
	if err != nil {
		return steps.Plan[Outputs]{}, err
	}
	settled := len(tags.Drift) == 0
	for _, a := range would {
		if phase := text(a.Object, "status", "phase"); a.Change.Action == reconcile.Keep && a.Ref.Kind != "Namespace" && phase != "Bound" {
			a.Change.Action, a.Change.Drift = reconcile.Update, []string{"phase: have " + phase + ", want Bound"}
		}
		settled = settled && a.Change.Action == reconcile.Keep
		p.Changes = append(p.Changes, a.Change)
	}
	for _, a := range strangers(w.volume, w.nodes) {
		p.Forecast.Notes = append(p.Forecast.Notes, fmt.Sprintf("volume %s is %s to %s now, which is not a node of %s", sp.Volume, a.State, a.Instance, sp.Cluster))
	}
	room, err := w.room(ctx)
	if err != nil {
		return steps.Plan[Outputs]{}, err
	}
	if room != "" {
		p.Forecast.Notes = append(p.Forecast.Notes, room)
	}
	if settled {
		p.Outputs = sp.outputs(w.volume.Zone, w.volume.Tags[ownerTag])
	}
	return p, nil
}

func (s Spec) outputs(zone, owner string) *Outputs {
	return &Outputs{VolumeID: s.Volume, PersistentVolume: volumeName(s.Volume), Claim: s.Claim, Zone: zone, Values: s.values(owner)}
}

// objects are those to apply: the namespace when it is missing, volume and claim.
func (s *step) objects(ctx context.Context, w world, sp Spec) ([]*unstructured.Unstructured, error) {
	ref := kube.ObjectRef{APIVersion: "v1", Kind: "Namespace", Name: sp.namespace()}
	live, err := w.client.Get(ctx, ref)
	if err != nil {
		return nil, err
	}
	claim, err := w.client.Get(ctx, sp.claimRef())
	if err != nil {
		return nil, err
	}
	objs := sp.objects(w.volume, claim)
	if live == nil {
		ns := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace"}}
		ns.SetName(ref.Name)
		objs = append(objs, ns)
	}
	return objs, nil
}

// Apply refuses a volume that is in use elsewhere, then tags it and makes the objects.
func (s *step) Apply(ctx context.Context, env steps.Env, sp Spec) (Outputs, error) {
	w, err := s.look(ctx, env, sp)
	if err != nil {
		return Outputs{}, err
	}
	if err := s.usable(ctx, env, sp, w); err != nil {
		return Outputs{}, err
	}
	if err := s.tag(ctx, env, sp, w); err != nil {
		return Outputs{}, err
	}
	if err := recycle(ctx, env, w.client, sp); err != nil {
		return Outputs{}, err
	}
	objs, err := s.objects(ctx, w, sp)
	if err != nil {
		return Outputs{}, err
	}
	if _, err := w.client.Apply(ctx, objs, kube.ApplyOptions{Owner: &env.Identity, Report: env.Report}); err != nil {
		return Outputs{}, err
	}
	if err := bound(ctx, env, w.client, sp); err != nil {
		return Outputs{}, err
	}
	return *sp.outputs(w.volume.Zone, w.volume.Tags[ownerTag]), nil
}

// usable makes sure that nobody else has the volume and that the cluster can attach it.
func (s *step) usable(ctx context.Context, env steps.Env, sp Spec, w world) error {
	for _, a := range strangers(w.volume, w.nodes) {
		if !a.leaving() {
			return &steps.Error{Code: "VolumeInUse", Category: steps.Precondition,
				Message: fmt.Sprintf("volume %s: is %s to instance %s, which is not a node of %s", sp.Volume, a.State, a.Instance, sp.Cluster),
				Hints:   []string{"stop what uses it there and detach it: pipectl never takes a volume away by force"}}
		}
	}
	err := free(ctx, env, w.aws, sp.Volume, sp.Timeout.Duration, func(a attachment) bool { return !w.nodes[a.Instance] })
	if err != nil {
		return err
	}
	csi, err := w.client.Get(ctx, kube.ObjectRef{APIVersion: "storage.k8s.io/v1", Kind: "CSIDriver", Name: driver})
	if err != nil {
		return err
	}
	if csi == nil {
		return &steps.Error{Code: "NoCSIDriver", Category: steps.Precondition, Message: fmt.Sprintf("cluster %s: has no CSI driver %s", sp.Cluster, driver),
			Hints: []string{"install it first: `step: install-addon` with name aws-ebs-csi-driver"}}
	}
	room, err := w.room(ctx)
	if err != nil {
		return err
	}
	if room != "" {
		env.Note(room)
	}
	for _, tag := range ownershipTags(w.volume.Tags) {
		env.Note(fmt.Sprintf("volume %s carries the tag %s=owned: tools that remove that cluster would remove the volume", sp.Volume, tag))
	}
	return nil
}

func (s *step) tag(ctx context.Context, env steps.Env, sp Spec, w world) error {
	began := time.Now()
	change := steps.Change{Kind: "ec2:VolumeTags", Name: sp.Volume, ID: sp.Volume, Action: reconcile.Keep}
	want := wantTags(sp.Cluster)
	if change.Drift = tagDrift(w.volume.Tags, want); len(change.Drift) > 0 {
		change.Action = reconcile.Update
		if err := writeTags(ctx, w.aws, sp.Volume, want); err != nil {
			return err
		}
	}
	env.Report(steps.Progress{Change: change, Phase: reconcile.Done, Elapsed: time.Since(began)})
	return nil
}

// Observe needs the cluster alone: the PersistentVolume knows the zone.
func (s *step) Observe(ctx context.Context, env steps.Env, sp Spec) (Outputs, bool, error) {
	if env.Unknown("cluster") || env.Unknown("volume") || sp.Cluster.IsZero() || sp.Volume == "" {
		return Outputs{}, false, nil
	}
	c, err := s.kube(ctx, kube.Relative(sp.Cluster, env.Dir))
	if kube.HasCode(err, kube.CodeClusterNotFound) {
		return Outputs{}, false, nil
	}
	if err != nil {
		return Outputs{}, false, err
	}
	pv, err := c.Get(ctx, sp.volumeRef())
	if err != nil || pv == nil {
		return Outputs{}, false, err
	}
	claim, err := c.Get(ctx, sp.claimRef())
	if err != nil {
		return Outputs{}, false, err
	}
	if text(claim, "spec", "volumeName") != volumeName(sp.Volume) || text(claim, "status", "phase") != "Bound" {
		return Outputs{}, false, nil
	}
	return *sp.outputs(zoneOf(pv), pv.GetAnnotations()[ownerTag]), true, nil
}
