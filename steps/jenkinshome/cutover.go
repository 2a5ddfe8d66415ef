package jenkinshome

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/kube"
	"pipectl.dev/steps/jenkinshome/jenkins"
)

// openRecord writes the state ConfigMap anew. Whatever an earlier attempt left in it has been settled, or we would not be here.
func (m *mission) openRecord(ctx context.Context) error {
	m.rec.Cut = cutState{VolumeID: m.move.VolumeID, Figures: parseFigures(m.vol.Tags[tagFigures]), Disk: m.disk.Volume, DiskDir: m.disk.Dir}
	if m.home != nil {
		m.rec.Cut.Home = m.home.place()
	}
	run := fmt.Sprintf("%s-%d", runLabel(m.env.RunID), time.Now().UnixMilli()) // two attempts of one run are two Jobs
	return m.again(m.rec.write(ctx, Ready, map[string]*string{keyRun: &run, keyAbort: nil, keyBaseline: nil}))
}

// again turns a lost compare-and-swap into another look.
func (m *mission) again(err error) error {
	if errors.Is(err, errStale) {
		return errLookAgain
	}
	return err
}

func (m *mission) launch(ctx context.Context) error {
	if m.home == nil {
		if err := m.find(ctx); err != nil {
			return err
		}
	}
	m.tellOfSharers(ctx)
	image, err := moverImage(ctx, m.open, m.image)
	if err != nil {
		return err
	}
	name, ns := m.move.cutJob(), m.move.Source.Namespace
	if err := m.source.EnsureJobAccount(ctx, grants(m.move, name, m.env.Identity, m.home.held())); err != nil {
		return err
	}
	if m.home.App != "" {
		objs, err := argoGrant(m.migrate.ArgoCD, name, ns, m.env.Identity)
		if err != nil {
			return err
		}
		if _, err := m.source.Apply(ctx, objs, kube.ApplyOptions{}); err != nil {
			return err
		}
	}
	if err := putToken(ctx, m.source, ns, name, m.migrate.Jenkins.Token.Reveal(), m.env.Identity); err != nil {
		return err
	}
	if err := m.cutKeys(ctx, name); err != nil {
		return err
	}
	job := cutJobObject(ns, name, m.rec.RunID, m.env.Identity, cutPod(m.home, m.move.Route, m.move.Claim, image, name, m.cutArguments(image).args("cut")))
	_, err = m.source.Typed.BatchV1().Jobs(ns).Create(ctx, job, metav1.CreateOptions{FieldManager: kube.FieldManager})
	if apierrors.IsAlreadyExists(err) { // of an earlier attempt: gone first
		if err := m.source.DeleteJob(ctx, ns, name); err != nil {
			return err
		}
		return errLookAgain
	}
	if err != nil {
		return fmt.Errorf("job %s/%s: create: %w", ns, name, kube.Explain(err))
	}
	return nil
}

func (m *mission) cutArguments(image string) moverArgs {
	a, w, s := m.arguments(), m.workload(), m.migrate
	a.Owner, a.Namespace, a.Record, a.Kind, a.Name = ownerFlag(m.env.Identity), w.Namespace, m.move.recordName(), w.Kind, w.Name
	a.HomeVolume, a.ParkImage = m.home.InPod, image
	a.User, a.TokenFile, a.Path, a.Port = s.Jenkins.User, dirJenkins+"/"+tokenKey, s.Jenkins.Path, m.port()
	a.Application, a.Own = m.home.App, os.Getenv("BUILD_URL")
	if a.Application != "" {
		a.ArgoNamespace = s.ArgoCD
	}
	switch v := m.home.Volume; {
	case v.PersistentVolumeClaim != nil:
		a.HomeClaim = v.PersistentVolumeClaim.ClaimName
		a.HomeDir, a.Node = m.home.place().Dir, m.home.place().Node
	case v.HostPath != nil:
		a.HomeDir, a.Node = path.Join(v.HostPath.Path, m.home.SubPath), m.home.Pod.Spec.NodeName
	}
	switch m.move.Route {
	case routeSnapshot:
		a.Flush, a.Volume = true, ""
	case routeStream:
		a.Serve, a.Keys, a.Volume = m.move.streamPort(true), dirJenkins, ""
	}
	a.Wait, a.Then, a.StopWithin, a.AckBy = s.Jenkins.Builds.Wait.Duration, s.Jenkins.Builds.Then, s.StopWithin.Duration, m.ackWithin()
	return a
}

// ackWithin is longer where the last pass is ours to make.
func (m *mission) ackWithin() time.Duration {
	d := m.migrate.AckWithin.Duration
	if m.move.Route == routeSnapshot {
		d += snapshotWithin
	}
	return d
}

// snapshotWithin is what a last pass by snapshot may take beyond ackWithin; whoever makes it may die, and Jenkins must not stay down.
const snapshotWithin = 30 * time.Minute

// commit is the point from which only an orchestrator may start the old Jenkins.
func (m *mission) commit(ctx context.Context) error {
	if err := m.rec.reload(ctx); err != nil {
		return err
	}
	old, err := m.oldLife(ctx)
	if err != nil {
		return err
	}
	if m.rec.Phase != Copied || m.rec.Abort || old == Up {
		return errLookAgain
	}
	if err := m.alonePair(ctx); kube.HasCode(err, "HomeShared") || kube.HasCode(err, "ClaimInUse") {
		m.rec.Cut.Why = info(err)
		if err := m.abort(ctx); err != nil {
			return err
		}
		return errLookAgain
	} else if err != nil {
		return err
	}
	if l := m.last; l != nil {
		c := &m.rec.Cut
		c.Hash, c.Files, c.Bytes, c.Down.Copy, c.Down.Verify = l.Hash, l.Files, l.Bytes, l.Copy, l.Verify
	}
	return m.again(m.rec.write(ctx, Committed, nil))
}

// alonePair says who may write to the home that was copied, or to its copy.
func (m *mission) alonePair(ctx context.Context) error {
	if err := m.unused(ctx); err != nil {
		return err
	}
	return m.aloneInCluster(ctx)
}

func (m *mission) moved(ctx context.Context) error {
	c := m.rec.Cut
	c.Down.Detach += m.detached.Seconds()
	c.Down.Total = c.Down.Stop + c.Down.Copy + c.Down.Verify + c.Down.Detach
	return m.tag(ctx, Moved, map[string]string{tagHash: c.Hash, tagTime: timeTag(time.Now()), tagDowntime: c.Down.tag()})
}

func (m *mission) abort(ctx context.Context) error {
	yes := "true"
	return m.again(m.rec.write(ctx, m.rec.Phase, map[string]*string{keyAbort: &yes}))
}

func (m *mission) stopJobs(ctx context.Context) error {
	if err := m.tellGone(ctx); err != nil {
		return err
	}
	if m.lost {
		if err := m.dropLost(ctx); err != nil {
			return err
		}
	}
	for _, name := range []string{m.move.copyJob(), m.move.cutJob()} {
		if err := m.source.DeleteJob(ctx, m.move.Source.Namespace, name); err != nil {
			return err
		}
	}
	return m.rec.reload(ctx)
}

func (m *mission) backedOut(ctx context.Context) error {
	if m.rec.Phase == NoPhase || m.rec.Phase == BackedOut {
		return nil
	}
	return m.again(m.rec.write(ctx, BackedOut, nil))
}

// oldOrNil reaches the old Jenkins, where we have what it takes.
func (m *mission) oldOrNil() func(context.Context) (*jenkins.Client, func(), error) {
	access := JenkinsAccess{}
	if m.migrate != nil {
		access = m.migrate.Jenkins.JenkinsAccess
	}
	return func(ctx context.Context) (*jenkins.Client, func(), error) {
		pod, err := livePod(ctx, m.source, m.workload())
		if err != nil {
			return nil, nil, err
		}
		port := access.Port
		if port == 0 {
			c, err := containerOf(pod, m.move.Source.Container)
			if err != nil {
				return nil, nil, err
			}
			port = portOf(c)
		}
		t := transport(m.source, pod, port)
		return jenkins.New(t, access.Path, access.User, access.Token), func() { closeIdle(t) }, nil
	}
}

// retire removes the last of what a finished move keeps in the source cluster. The old workload and its home were never ours: they stay.
func (m *mission) retire(ctx context.Context) error {
	old := m.move.Source.Namespace + "/" + m.move.Source.Workload
	if m.source == nil {
		m.env.Note("the source cluster does not answer: what the move kept there goes with it")
		return nil
	}
	if err := m.letSync(ctx); err != nil {
		return err
	}
	if p := m.rec.Cut.Parked; p != nil {
		m.env.Note(fmt.Sprintf("%s stays as it is, with its home in pod %s, which runs no Jenkins: scale it to 0, in Git too, when that home is no longer wanted. A pod made in its place would start an empty Jenkins", old, p.Pod))
	} else {
		m.env.Note(fmt.Sprintf("%s stays at 0 replicas and its home where it is: pipectl made neither. Remove them by hand when they are no longer wanted, in Git too", old))
	}
	return m.clean(ctx)
}

// cleanLate removes what a run that ended between the move and its clean-up left: a second chance. The third is finalize's, and down's for
// what is billed.
func (m *mission) cleanLate(ctx context.Context) error {
	if m.source != nil {
		return m.clean(ctx)
	}
	if err := m.dropAll(ctx); err != nil {
		m.env.Note("left behind and billed: " + err.Error())
	}
	return nil
}

// clean removes what only the mover needed. The record stays: verify and rollback read it.
func (m *mission) clean(ctx context.Context) error {
	name, ns := m.move.cutJob(), m.move.Source.Namespace
	wait, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	err := m.source.DeleteJob(wait, ns, name)
	if derr := m.source.Typed.CoreV1().Secrets(ns).Delete(ctx, name, metav1.DeleteOptions{}); derr != nil && !apierrors.IsNotFound(derr) {
		err = errors.Join(err, kube.Explain(derr))
	}
	err = errors.Join(err, m.dropAll(ctx))
	err = errors.Join(err, m.source.DeleteJobAccount(ctx, grants(m.move, name, m.env.Identity, "")))
	argo := "argocd"
	switch {
	case m.migrate != nil:
		argo = m.migrate.ArgoCD
	case m.verify != nil:
		argo = m.verify.ArgoCD
	}
	objs, oerr := argoGrant(argo, name, ns, m.env.Identity)
	err = errors.Join(err, oerr)
	for _, o := range objs {
		err = errors.Join(err, m.source.DeleteOwned(ctx, kube.RefOf(o), m.env.Identity))
	}
	if m.forget {
		err = errors.Join(err, m.source.DeleteRecord(ctx, ns, m.move.recordName()))
	}
	if err != nil { // leftovers do no harm, and the move is done: a warning, not a failure
		m.env.Note("left behind in the source cluster: " + err.Error())
	}
	return nil
}
