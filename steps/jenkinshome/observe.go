package jenkinshome

import (
	"context"
	"fmt"
	"os"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/jenkinshome/jenkins"
)

// observe reads the volume and what of the rest the decision needs.
func (m *mission) observe(ctx context.Context, v Verb) (State, World, error) {
	var err error
	if m.vol, err = settled(ctx, m.aws, m.move.VolumeID, m.say); err != nil {
		return None, World{}, err
	}
	s := m.vol.state()
	if err := m.move.Source.sameSource(m.vol.Tags[tagSource]); err != nil {
		return s, World{}, err
	}
	w := World{Old: Unknown, New: Unknown, Check: m.check, OnDiff: m.verify != nil && m.verify.OnFailure != "report"}
	_, _, instance := parseSource(m.vol.Tags[tagSource])
	if instance != "" {
		m.move.Source.InstanceID, m.move.Source.Node = instance, m.vol.Tags[tagNode]
	}
	m.carryOn()
	w.Volume = m.vol.place(m.move.Source.InstanceID)
	if needsNoSource(s, w.Volume, v) {
		return s, w, m.notAnother(ctx, s, v)
	}
	if err := m.observeSource(ctx, s, v, &w); err != nil {
		return s, w, err
	}
	w.Volume = m.vol.place(m.move.Source.InstanceID)
	if m.move.Route == routeSameNode && w.Volume == Free && s != Moved && s != RollingBack {
		w.Volume = OnSource // the CSI driver attaches the claim when a mover needs it
	}
	if v == RunVerify || v == Rollback || v == Resume {
		err = m.observeTarget(ctx, &w)
	}
	return s, w, err
}

// askWithin is how long a source is asked that need not be there any more.
const askWithin = 2 * time.Second

// notAnother refuses to call a move finished for a Jenkins that was not moved: one of the same name that runs in another cluster, on another
// volume. A source that does not answer in time, or has no such Jenkins, is not missed.
func (m *mission) notAnother(ctx context.Context, s State, v Verb) error {
	if v != RunPrecopy || s != Moved && s != Verified && s != Finalized || m.move.Source.Cluster.IsZero() {
		return nil
	}
	ask, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	k, err := m.open(ask, kube.Relative(m.move.Source.Cluster, m.env.Dir))
	if err != nil {
		return ctx.Err()
	}
	who := m.move.Source
	if who.UID, err = clusterUID(ask, k); err != nil {
		return ctx.Err()
	}
	other := who.sameSource(m.vol.Tags[tagSource])
	if other == nil {
		return nil
	}
	if life, err := lifeOf(ask, k, m.workload()); err != nil || life != Up {
		return ctx.Err()
	}
	if h, err := findHome(ask, k, who); err == nil && h.Disk == m.move.VolumeID { // the name of the old cluster stands for the new one now
		return nil
	}
	return other
}

// needsNoSource is where the table decides without a look at the source cluster, which may be long gone.
func needsNoSource(s State, p Place, v Verb) bool {
	letsGo := v == Down || v == Rollback
	switch s {
	case Finalized:
		return true
	case Verified:
		return v != Finalize
	case Moved:
		return v == RunPrecopy || v == RunMigrate || v == Resume || v == Finalize || v == Down
	case RollingBack:
		return v == RunPrecopy || v == RunMigrate || v == Finalize
	case Cutting:
		return v == RunPrecopy || v == Finalize
	case Precopied:
		return v == RunPrecopy || v == Resume || v == Finalize || letsGo && p != OnSource
	case Precopying:
		return v == Finalize || letsGo && p != OnSource
	case None:
		return v == Resume || v == Finalize || letsGo
	}
	return false
}

func (m *mission) observeSource(ctx context.Context, s State, v Verb, w *World) error {
	if m.source == nil {
		k, err := m.open(ctx, kube.Relative(m.move.Source.Cluster, m.env.Dir))
		if unreachable(err) {
			return nil
		}
		if err != nil {
			return err
		}
		m.source = k
	}
	w.Source = true
	uid, err := clusterUID(ctx, m.source)
	if err != nil {
		return sourceLost(err, w)
	}
	m.move.Source.UID = uid
	if err := m.move.Source.sameSource(m.vol.Tags[tagSource]); err != nil {
		return err
	}
	if m.rec, err = readRecord(ctx, m.source, m.env.Identity, m.move.Source.Namespace, m.move.recordName()); err != nil {
		return err
	}
	w.Phase, w.Abort = m.rec.Phase, m.rec.Abort
	if w.Job, err = m.jobState(ctx); err != nil {
		return err
	}
	if w.Old, err = m.oldLife(ctx); err != nil {
		return err
	}
	if w.Old == Up && (v == RunPrecopy || v == RunMigrate || v == Resume) && (s == None || s == Precopying || s == Precopied) {
		if err := m.find(ctx); err != nil {
			return err
		}
	}
	w.Self = m.isSelf()
	return nil
}

func unreachable(err error) bool {
	return kube.HasCode(err, kube.CodeClusterUnreachable) || kube.HasCode(err, kube.CodeClusterNotFound)
}

// sourceLost makes a cluster that stops to answer look like one that never did.
func sourceLost(err error, w *World) error {
	if unreachable(err) {
		*w = World{Old: Unknown, New: Unknown, Check: w.Check, OnDiff: w.OnDiff}
		return nil
	}
	return err
}

func (m *mission) workload() kube.Workload {
	return workloadOf(m.move.Source.Namespace, m.move.Source.Workload)
}

func clusterUID(ctx context.Context, k *kube.Client) (string, error) {
	ns, err := k.Typed.CoreV1().Namespaces().Get(ctx, "kube-system", metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("namespace kube-system: %w", kube.Explain(err))
	}
	return string(ns.UID), nil
}

// lifeOf counts a Jenkins as up while it is wanted or has a pod.
func lifeOf(ctx context.Context, k *kube.Client, w kube.Workload) (Life, error) {
	st, found, err := k.ReadWorkload(ctx, w)
	if err != nil || !found {
		return Stops, err
	}
	pods, err := k.PodsOf(ctx, w)
	if err != nil {
		return Unknown, err
	}
	if st.Replicas > 0 || len(pods) > 0 {
		return Up, nil
	}
	return Stops, nil
}

func (m *mission) jobState(ctx context.Context) (Job, error) {
	j, err := m.source.Typed.BatchV1().Jobs(m.move.Source.Namespace).Get(ctx, m.move.cutJob(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return NoJob, nil
	}
	if err != nil {
		return NoJob, fmt.Errorf("job %s/%s: %w", m.move.Source.Namespace, m.move.cutJob(), kube.Explain(err))
	}
	switch {
	case j.Labels[kube.RunLabel] != m.rec.RunID: // of an attempt that was settled: launching removes it
		return NoJob, nil
	case ended(j), m.lost:
		return Ended, nil
	}
	return Running, nil
}

func ended(j *batchv1.Job) bool {
	for _, c := range j.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}

// find looks at the running Jenkins and its node.
func (m *mission) find(ctx context.Context) error {
	h, err := findHome(ctx, m.source, m.move.Source)
	if err != nil {
		return err
	}
	m.home = h
	h.Instance, h.NoInstance = instanceOf(ctx, m.aws, h.Node, m.given)
	if cannotTell(h.NoInstance) {
		return h.NoInstance
	}
	m.move.Source.InstanceID, m.move.Source.Node = h.Instance, h.Node.Name
	if err := m.ownerOfHome(ctx); err != nil {
		return err
	}
	return m.route(ctx)
}

// ownerOfHome forgets an Application that does not exist: a label says what rendered the workload, which need not be Argo CD.
func (m *mission) ownerOfHome(ctx context.Context) error {
	if m.migrate == nil || m.home.App == "" {
		return nil
	}
	app, err := m.source.Get(ctx, kube.ApplicationRef(m.migrate.ArgoCD, m.home.App))
	if kube.HasCode(err, kube.CodeForbidden) {
		return nil // pausing it says so
	}
	if err == nil && app == nil {
		m.home.App = ""
	}
	return err
}

// mayRunMover says early that the namespace would not admit the mover's pod.
func (m *mission) mayRunMover(ctx context.Context) error {
	ns, err := m.source.Typed.CoreV1().Namespaces().Get(ctx, m.move.Source.Namespace, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("namespace %s: %w", m.move.Source.Namespace, kube.Explain(err))
	}
	switch level := ns.Labels["pod-security.kubernetes.io/enforce"]; level {
	case "baseline", "restricted":
		return &steps.Error{Code: "PodSecurity", Category: steps.Precondition,
			Message: fmt.Sprintf("namespace %s enforces pod security %q; a mover reads all files of the home on the node, and on route attach mounts the volume there: that is privileged", ns.Name, level),
			Hints:   []string{"kubectl label namespace " + ns.Name + " pod-security.kubernetes.io/enforce=privileged --overwrite   (put it back after the move)"}}
	}
	return nil
}

// isSelf reports whether we run in the very pod that is to be stopped: that would end this run in the middle.
func (m *mission) isSelf() bool {
	host := os.Getenv("HOSTNAME")
	return m.home != nil && (os.Getenv("BUILD_URL") != "" || os.Getenv("JENKINS_URL") != "") && host != "" && host == m.home.Pod.Name
}

// onItself reports whether this run is a build of the Jenkins that is to be moved, on one of its agents.
func (m *mission) onItself(ctx context.Context) bool {
	own := os.Getenv("BUILD_URL")
	if own == "" || m.migrate == nil || m.home == nil {
		return false
	}
	j := m.oldController()
	all, err := j.Running(ctx, "")
	if err != nil {
		return false // what asks next says why
	}
	others, err := j.Running(ctx, own)
	return err == nil && len(others) < len(all)
}

// itself is what a build must know that moves the Jenkins it belongs to.
const itself = "this build belongs to the Jenkins that is moved: it is not waited for, and loses its connection when that stops. pipectl goes on on the agent; " +
	"should the agent end too, the Job in the source cluster goes on, and running the pipeline again within `ackWithin`, from anywhere, takes it up where it is"

func (m *mission) oldController() *jenkins.Client {
	a := m.migrate.Jenkins.JenkinsAccess
	return jenkins.New(transport(m.source, m.home.Pod, m.port()), a.Path, a.User, a.Token)
}

func (m *mission) port() int {
	if m.migrate != nil && m.migrate.Jenkins.Port != 0 {
		return m.migrate.Jenkins.Port
	}
	return m.home.Port
}
