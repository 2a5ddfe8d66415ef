package jenkinshome

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"pipectl.dev/cloud"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/jenkinshome/jenkins"
)

// exec does one operation.
func (m *mission) exec(ctx context.Context, x op) error {
	switch x {
	case opClaim:
		return m.tag(ctx, Precopying, map[string]string{tagSource: m.move.Source.sourceTag(), tagNode: m.move.Source.Node})
	case opAttach:
		return m.attach(ctx)
	case opCopy:
		return m.copy(ctx)
	case opPrecopied:
		return m.precopied(ctx)
	case opOpen:
		return m.openRecord(ctx)
	case opCutting:
		return m.tag(ctx, Cutting, nil)
	case opLaunch:
		return m.launch(ctx)
	case opFollow:
		return m.follow(ctx)
	case opDetach:
		return m.detach(ctx)
	case opCommit:
		return m.commit(ctx)
	case opMoved:
		return m.moved(ctx)
	case opAbort:
		return m.abort(ctx)
	case opStopJob:
		return m.stopJobs(ctx)
	case opStartOld:
		return startOld(ctx, m.source, m.workload(), m.rec, m.oldOrNil(), func(text string, _ ...any) { m.env.Note(text) })
	case opBackedOut:
		return m.backedOut(ctx)
	case opCompare:
		return m.compare(ctx)
	case opVerified:
		return m.tag(ctx, Verified, map[string]string{tagChecked: m.checked().tag()})
	case opTurnBack:
		return m.tag(ctx, RollingBack, nil)
	case opStopNew:
		return m.stopNew(ctx)
	case opFreeNew:
		return awaitFree(ctx, m.aws, m.move.VolumeID, 10*time.Minute, m.say)
	case opClean:
		return m.clean(ctx)
	}
	return fmt.Errorf("move: cannot %q", x)
}

func (m *mission) tag(ctx context.Context, s State, more map[string]string) error {
	tags := map[string]string{tagState: string(s)}
	for k, v := range more {
		if v != "" {
			tags[k] = v
		}
	}
	return writeTags(ctx, m.aws, m.move.VolumeID, tags)
}

func (m *mission) attach(ctx context.Context) error {
	if m.move.Route == routeSameNode {
		return nil
	}
	now, err := settled(ctx, m.aws, m.move.VolumeID, m.say)
	if err != nil {
		return err
	}
	return attach(ctx, m.aws, now, m.move.Source.InstanceID, m.say)
}

// detach does nothing on route sameNode: there the claim's own driver does.
func (m *mission) detach(ctx context.Context) error {
	if m.move.Route == routeSameNode {
		return nil
	}
	began := time.Now()
	defer func() { m.detached = time.Since(began) }()
	return detach(ctx, m.aws, m.move.VolumeID, m.move.Source.InstanceID, m.say)
}

// copy runs the mover while Jenkins runs. A mover that an earlier run left is joined.
func (m *mission) copy(ctx context.Context) error {
	image, err := moverImage(ctx, m.open, m.image)
	if err != nil {
		return err
	}
	spec := kube.JobSpec{Namespace: m.move.Source.Namespace, Name: m.move.copyJob(), Owner: m.env.Identity, Run: m.env.RunID,
		Pod:   moverPod(m.home, m.move.Route, m.move.Claim, image, m.arguments().args("copy")),
		Lines: func(line string) { m.env.Log.Info(line, "from", "mover") }, Progress: m.say}
	r, err := m.source.RunJob(ctx, spec)
	if err != nil {
		return err
	}
	res, err := resultOf(r, "copy")
	if err != nil { // another try in this run must not find this Job's end
		return errors.Join(err, m.source.DeleteJob(ctx, spec.Namespace, spec.Name))
	}
	m.tell(res)
	if res.Figures != nil {
		if err := m.tag(ctx, m.vol.state0(Precopying), map[string]string{tagFigures: res.Figures.tag()}); err != nil {
			return err
		}
		m.vol.Tags[tagFigures] = res.Figures.tag()
	}
	return m.source.DeleteJob(ctx, spec.Namespace, spec.Name)
}

// state0 is the volume's state, or what it becomes when it had none.
func (v volume) state0(first State) State {
	if s := v.state(); s != None {
		return s
	}
	return first
}

func (m *mission) tell(res moverResult) {
	for _, l := range res.Left {
		m.env.Note(fmt.Sprintf("left out: %d entries, %s", l.Count, l.Reason))
	}
	for _, n := range res.Notes {
		m.env.Note(n)
	}
	for _, p := range m.home.Remade {
		m.env.Note("not moved, since every pod makes it anew: " + p)
	}
	if m.home.Risk != "" {
		m.env.Note(m.home.Risk)
	}
}

// resultOf reads what a mover left.
func resultOf(r kube.JobResult, what string) (moverResult, error) {
	var res moverResult
	if err := json.Unmarshal([]byte(r.Message), &res); err != nil || (res.Error == nil && !r.Succeeded()) {
		return res, &steps.Error{Code: "MoverFailed", Category: steps.Unhealthy, Retryable: true,
			Message: fmt.Sprintf("%s: mover pod %s on %s: exit code %d (%s) %s", what, r.Pod, r.Node, r.ExitCode, r.Reason, r.Message),
			Hints:   []string{"see `kubectl logs " + r.Pod + "`; run again to carry on"}}
	}
	if res.Error != nil {
		return res, asError(res.Error, what+": ")
	}
	return res, nil
}

// arguments of the mover that precopy and cut-over share.
func (m *mission) arguments() moverArgs {
	a := moverDefaults
	a.Source, a.Target, a.Scratch, a.Identity, a.RunID = dirSource, dirTarget, dirScratch, m.move.copyIdentity(), runLabel(m.env.RunID)
	a.Exclude, a.FSGroup, a.Passes, a.Small = m.move.Exclude, m.move.FSGroup, max(1, m.passes), m.small
	if m.move.Route == routeAttach {
		a.Volume, a.Host = m.move.VolumeID, dirHost
	}
	return a
}

// runLabel is a run id as treecopy and labels allow it.
func runLabel(id string) string {
	if len(id) > 40 {
		id = id[:40]
	}
	if id == "" {
		id = "run"
	}
	return id
}

func (m *mission) precopied(ctx context.Context) error {
	var gone []types.Tag
	for _, k := range []string{tagHash, tagTime, tagDowntime, tagChecked} {
		if _, ok := m.vol.Tags[k]; ok {
			gone = append(gone, types.Tag{Key: &k})
		}
	}
	if len(gone) > 0 { // a move that was rolled back
		if _, err := m.aws.EC2.DeleteTags(ctx, &ec2.DeleteTagsInput{Resources: []string{m.move.VolumeID}, Tags: gone}); err != nil {
			return fmt.Errorf("volume %s: tags: %w", m.move.VolumeID, cloud.Explain(err))
		}
	}
	return m.tag(ctx, Precopied, nil)
}

// openRecord writes the state ConfigMap anew. Whatever an earlier attempt left in it has been settled, or we would not be here.
func (m *mission) openRecord(ctx context.Context) error {
	m.rec.Cut = cutState{VolumeID: m.move.VolumeID, Figures: parseFigures(m.vol.Tags[tagFigures])}
	run := runLabel(m.env.RunID)
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
	image, err := moverImage(ctx, m.open, m.image)
	if err != nil {
		return err
	}
	name, ns := m.move.cutJob(), m.move.Source.Namespace
	if err := m.source.EnsureJobAccount(ctx, grants(m.move, name, m.env.Identity)); err != nil {
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
	job := cutJobObject(ns, name, m.rec.RunID, m.env.Identity, cutPod(m.home, m.move.Route, m.move.Claim, image, name, m.cutArguments().args("cut")))
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

func (m *mission) cutArguments() moverArgs {
	a, w, s := m.arguments(), m.workload(), m.migrate
	a.Owner, a.Namespace, a.Record, a.Kind, a.Name = ownerFlag(m.env.Identity), w.Namespace, m.move.recordName(), w.Kind, w.Name
	a.User, a.TokenFile, a.Path, a.Port = s.Jenkins.User, dirJenkins+"/"+tokenKey, s.Jenkins.Path, m.port()
	a.Application, a.Own = m.home.App, os.Getenv("BUILD_URL")
	if a.Application != "" {
		a.ArgoNamespace = s.ArgoCD
	}
	a.Wait, a.Then, a.StopWithin, a.AckBy = s.Jenkins.Builds.Wait.Duration, s.Jenkins.Builds.Then, s.StopWithin.Duration, s.AckWithin.Duration
	return a
}

// follow waits until the mover wants something from us, or has ended.
func (m *mission) follow(ctx context.Context) error {
	ns := m.move.Source.Namespace
	last := NoPhase
	look := func(ctx context.Context) (bool, error) {
		if err := m.rec.reload(ctx); err != nil {
			return false, passOver(err)
		}
		job, err := m.jobState(ctx)
		if err != nil {
			return false, passOver(err)
		}
		if m.rec.Phase != last {
			last = m.rec.Phase
			m.say("cut-over: " + string(last))
		}
		return job != Running || (m.rec.Phase == Copied && !m.rec.Abort) || m.rec.Phase == Committed, nil
	}
	watchRecord := func(ctx context.Context) (watch.Interface, error) {
		return m.source.Typed.CoreV1().ConfigMaps(ns).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + m.move.recordName()})
	}
	return kube.Await(ctx, 2*time.Second, look, watchRecord)
}

// passOver forgives a cluster that is away for a moment: the mover does not need us yet.
func passOver(err error) error {
	var e *steps.Error
	if errors.As(err, &e) && e.Category == steps.Transient {
		return nil
	}
	return err
}

// commit is the point from which only an orchestrator may start the old Jenkins.
func (m *mission) commit(ctx context.Context) error {
	if err := m.rec.reload(ctx); err != nil {
		return err
	}
	old, err := life2(ctx, m.source, m.workload())
	if err != nil {
		return err
	}
	if m.rec.Phase != Copied || m.rec.Abort || old == Up {
		return errLookAgain
	}
	return m.again(m.rec.write(ctx, Committed, nil))
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

// clean removes what only the mover needed. The record stays: verify and rollback read it.
func (m *mission) clean(ctx context.Context) error {
	name, ns := m.move.cutJob(), m.move.Source.Namespace
	wait, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	err := m.source.DeleteJob(wait, ns, name)
	if derr := m.source.Typed.CoreV1().Secrets(ns).Delete(ctx, name, metav1.DeleteOptions{}); derr != nil && !apierrors.IsNotFound(derr) {
		err = errors.Join(err, kube.Explain(derr))
	}
	err = errors.Join(err, m.source.DeleteJobAccount(ctx, grants(m.move, name, m.env.Identity)))
	argo := "argocd"
	if m.migrate != nil {
		argo = m.migrate.ArgoCD
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
