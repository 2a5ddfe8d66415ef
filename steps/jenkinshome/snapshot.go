package jenkinshome

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	corev1 "k8s.io/api/core/v1"

	"pipectl.dev/cloud"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/wait"
)

// Route snapshot: the disk that has the home is snapshotted, a volume made from the snapshot in the data volume's zone, and a node there
// copies from it. Every pass is such a copy, the last one of a snapshot that was taken after Jenkins had stopped. Only the volumes made
// from snapshots, and the snapshots, are ours; the disk itself is never attached, changed or detached.

const (
	ebsDriver    = "ebs.csi.aws.com"
	kindClone    = "jenkins:Clone"    // a volume made from a snapshot
	kindSnapshot = "jenkins:Snapshot" // of the disk that has the home
	copyIn       = "kube-system"      // namespace of the copying Job: it admits privileged pods wherever it is
)

// sourceDisk is the EBS volume that has the home, and who can copy from snapshots of it.
type sourceDisk struct {
	Volume         string
	Dir            string // of the home, below the root of its file system
	Node, Instance string // in the data volume's zone; "" while that is not known
	kube           *kube.Client
}

// sourceDisk finds it: the claim's own EBS volume, else the root volume of the node, where a hostPath or a local volume lies on it.
func (m *mission) sourceDisk(ctx context.Context) (sourceDisk, error) {
	h := m.home
	d := sourceDisk{Volume: h.Disk, Dir: strings.TrimPrefix(h.SubPath, "/")}
	switch {
	case h.Disk != "":
	case h.Dir == "":
		return d, &steps.Error{Code: "NotEBS", Category: steps.Precondition, Message: fmt.Sprintf("the home (%s) is on no EBS volume, so there is nothing to take a snapshot of", h.Kind),
			Hints: []string{"use another route"}}
	case h.NoInstance != nil:
		return d, h.NoInstance
	default:
		machine, err := readInstance(ctx, m.aws, h.Instance)
		if err != nil {
			return d, err
		}
		if d.Volume = rootVolume(machine); d.Volume == "" {
			return d, &steps.Error{Code: "NotEBS", Category: steps.Precondition, Message: "instance " + h.Instance + ": its root disk is no EBS volume, so there is nothing to take a snapshot of",
				Hints: []string{"use another route"}}
		}
		d.Dir = strings.TrimPrefix(strings.TrimSuffix(h.Dir, "/")+"/"+d.Dir, "/")
	}
	if m.vol.ID == "" {
		return d, nil
	}
	return m.copier(ctx, d)
}

func rootVolume(i types.Instance) string {
	for _, b := range i.BlockDeviceMappings {
		if aws.ToString(b.DeviceName) == aws.ToString(i.RootDeviceName) && b.Ebs != nil {
			return aws.ToString(b.Ebs.VolumeId)
		}
	}
	return ""
}

// copier chooses a node in the data volume's zone: where the volume is attached, else where it was, else any.
func (m *mission) copier(ctx context.Context, d sourceDisk) (sourceDisk, error) {
	k, where, err := m.copyCluster(ctx)
	if err != nil {
		return d, err
	}
	d.kube = k
	nodes, err := k.Nodes(ctx)
	if err != nil {
		return d, fmt.Errorf("copyCluster: %w", err)
	}
	best, full := 0, error(nil)
	for _, n := range nodes {
		if !ready(&n) || n.Spec.Unschedulable {
			continue
		}
		id, rank, err := m.copierRank(ctx, &n, d.Volume != "")
		if cannotTell(err) {
			return d, err
		}
		if rank > best {
			best, d.Node, d.Instance = rank, n.Name, id
		}
		if id != "" && err != nil {
			full = err
		}
	}
	if best == 0 && full != nil {
		return d, full
	}
	if best == 0 {
		return d, &steps.Error{Code: "NoCopier", Category: steps.Precondition, Message: fmt.Sprintf("no ready node of %s is an EC2 instance in the volume's zone %s", where, m.vol.Zone),
			Hints: []string{"name a cluster that has one by `copyCluster`, such as the one that Jenkins goes to"}}
	}
	return d, nil
}

// copierRank says how well a node would do, 0 of one that cannot: then err says why, and id is told of one that only lacks room for the volumes.
func (m *mission) copierRank(ctx context.Context, n *corev1.Node, clone bool) (id string, rank int, err error) {
	if id, err = instanceOf(ctx, m.aws, n, ""); err != nil {
		return "", 0, err
	}
	machine, err := readInstance(ctx, m.aws, id)
	if err == nil {
		err = inZone(m.vol, id, machine)
	}
	if err != nil {
		return "", 0, err
	}
	if id == m.vol.Instance { // it has what a pass needs, or had it
		return id, 3, nil
	}
	volumes := 1
	if clone {
		volumes = 2
	}
	if err := m.takes(ctx, machine, volumes); err != nil {
		return id, 0, err
	}
	if _, _, before := parseSource(m.vol.Tags[tagSource]); id == before {
		return id, 2, nil
	}
	return id, 1, nil
}

// copyCluster is where the copying Job runs.
func (m *mission) copyCluster(ctx context.Context) (*kube.Client, steps.ClusterRef, error) {
	if m.move.Copier == nil {
		return m.source, m.move.Source.Cluster, nil
	}
	k, err := m.open(ctx, kube.Relative(*m.move.Copier, m.env.Dir))
	if err != nil {
		return nil, *m.move.Copier, fmt.Errorf("copyCluster: %w", err)
	}
	return k, *m.move.Copier, nil
}

func ready(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// snapshotPass copies what the disk holds at this moment. The pass before it is what makes it short: EBS keeps only what changed since the
// snapshot before, and the copy writes only what differs.
func (m *mission) snapshotPass(ctx context.Context, final bool) (moverResult, error) {
	if m.disk.Instance == "" {
		return moverResult{}, errors.New("route snapshot: no node to copy on")
	}
	image, err := moverImage(ctx, m.open, m.image)
	if err != nil {
		return moverResult{}, err
	}
	if err := m.dropClones(ctx); err != nil { // of a run that was cut off: older than what we want
		return moverResult{}, err
	}
	snap, err := m.takeSnapshot(ctx)
	if err != nil {
		return moverResult{}, err
	}
	if err := m.wasWhole(ctx); err != nil {
		return moverResult{}, errors.Join(err, m.dropSnapshots(ctx, snap))
	}
	clone, err := m.cloneOf(ctx, snap)
	if err != nil {
		return moverResult{}, err
	}
	a := m.arguments()
	a.HomePod = "" // of the snapshot nothing goes away
	a.FromVolume, a.FromDir, a.Final, a.Passes = clone, m.disk.Dir, final, 1
	spec := m.snapshotJob(image, a)
	r, err := m.disk.kube.RunJob(ctx, spec)
	if err != nil {
		return moverResult{}, err
	}
	res, err := resultOf(r, "copy from a snapshot")
	return res, errors.Join(err, m.dropClones(ctx), m.dropSnapshots(ctx, snap))
}

func (m *mission) snapshotJob(image string, a moverArgs) kube.JobSpec {
	return kube.JobSpec{Namespace: copyIn, Name: m.move.copyJob(), Owner: m.env.Identity, Run: m.env.RunID,
		Pod:   snapshotPod(m.disk.Node, image, a.args("copy")),
		Lines: func(line string) { m.env.Log.Info(line, "from", "mover") }, Progress: m.say}
}

// cloneTags mark what a move makes for its passes; the data volume's id is the name, since a move is one per volume.
func (m *mission) cloneTags(kind string) map[string]string {
	return cloud.Tags(m.env.Identity.String(), kind, m.move.VolumeID)
}

func (m *mission) mine() []types.Filter {
	return append(cloud.OwnedBy(m.env.Identity.String()), cloud.Filter("tag:"+cloud.TagName, m.move.VolumeID))
}

func (m *mission) snapshots(ctx context.Context) ([]types.Snapshot, error) {
	all, err := m.aws.Snapshots(ctx, m.mine()...)
	if err != nil {
		return nil, fmt.Errorf("snapshots: %w", cloud.Explain(err))
	}
	return slices.DeleteFunc(all, func(s types.Snapshot) bool {
		return !cloud.Ours(cloud.EC2TagMap(s.Tags), m.env.Identity.String(), kindSnapshot, m.move.VolumeID)
	}), nil
}

// takeSnapshot takes one and waits until volumes can be made from it. Its description tells it from those that were there before: the call
// has no client token, and one whose answer was lost must neither be taken for an older one nor made again.
func (m *mission) takeSnapshot(ctx context.Context) (string, error) {
	mark := fmt.Sprintf("home of %s/%s at %s", m.move.Source.Namespace, m.move.Source.Workload, time.Now().UTC().Format(time.RFC3339Nano))
	var snap *types.Snapshot
	find := func(ctx context.Context) (bool, error) {
		all, err := m.snapshots(ctx)
		i := slices.IndexFunc(all, func(s types.Snapshot) bool { return aws.ToString(s.Description) == mark })
		if snap = nil; i >= 0 {
			snap = &all[i]
		}
		return i >= 0, err
	}
	err := m.aws.Once(ctx, find, func(ctx context.Context) error {
		_, err := cloud.EC2(m.aws).CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: &m.disk.Volume, Description: &mark,
			TagSpecifications: cloud.TagAtCreate(types.ResourceTypeSnapshot, m.cloneTags(kindSnapshot))}, cloud.Careful)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("volume %s: snapshot: %w", m.disk.Volume, cloud.Explain(err))
	}
	err = wait.Until(ctx, wait.Options{Expect: time.Minute, Timeout: 6 * time.Hour, Speed: m.aws.Speed,
		Report: func(p wait.Progress) { m.say("snapshot of " + m.disk.Volume + " " + p.Detail) }}, func(ctx context.Context) (bool, string, error) {
		found, err := find(ctx)
		if cloud.IsTransient(err) {
			return false, "no answer", nil
		}
		if err != nil || !found {
			return false, "not visible yet", err
		}
		if snap.State == types.SnapshotStateError {
			return false, "", &steps.Error{Code: "SnapshotFailed", Category: steps.Unhealthy, Message: "snapshot " + aws.ToString(snap.SnapshotId) + ": " + aws.ToString(snap.StateMessage)}
		}
		return snap.State == types.SnapshotStateCompleted, aws.ToString(snap.Progress), nil
	})
	if err != nil {
		return "", fmt.Errorf("volume %s: snapshot: %w", m.disk.Volume, err)
	}
	return aws.ToString(snap.SnapshotId), nil
}

// cloneOf makes a volume from the snapshot beside the data volume and attaches it to the copying node.
func (m *mission) cloneOf(ctx context.Context, snap string) (string, error) {
	out, err := cloud.EC2(m.aws).CreateVolume(ctx, &ec2.CreateVolumeInput{SnapshotId: &snap, AvailabilityZone: &m.vol.Zone, VolumeType: types.VolumeTypeGp3,
		TagSpecifications: cloud.TagAtCreate(types.ResourceTypeVolume, m.cloneTags(kindClone)),
		ClientToken:       aws.String(cloud.ClientToken(m.env.Identity.String(), kindClone, snap, ""))})
	if err != nil {
		return "", fmt.Errorf("snapshot %s: volume: %w", snap, cloud.Explain(err))
	}
	id := aws.ToString(out.VolumeId)
	v, err := m.visible(ctx, id)
	if err != nil {
		return "", err
	}
	return id, attach(ctx, m.aws, v, m.disk.Instance, m.say)
}

// visible waits until a new volume is seen by all calls and can be attached.
func (m *mission) visible(ctx context.Context, id string) (v volume, err error) {
	err = wait.Until(ctx, wait.Options{Min: time.Second, Expect: 5 * time.Second, Timeout: 10 * time.Minute, Speed: m.aws.Speed,
		Report: func(p wait.Progress) { m.say("volume " + id + ": " + p.Detail) }}, func(ctx context.Context) (bool, string, error) {
		v, err = readVolume(ctx, m.aws, id)
		return v.ID != "" && v.Busy == "", cmp.Or(v.Busy, "not visible yet"), err
	})
	if err != nil {
		return v, fmt.Errorf("volume %s: %w", id, err)
	}
	return v, nil
}
