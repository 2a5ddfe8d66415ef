package jenkinshome

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/treecopy/stream"
)

// Route stream: a mover beside the old Jenkins serves the home, one in the data volume's zone copies from it, and whoever runs pipectl
// carries bytes from one to the other by two port-forwards. Neither cluster need reach the other, and what is carried is cipher text: the
// movers speak mutual TLS with keys of this run, which reach them as Secrets. Like route snapshot, the last pass is made while the mover of
// the critical section, which then serves the home itself, waits.

// dirKeys is where a mover finds its keys.
const dirKeys = "/pipectl/keys"

// Files of keys, and keys of their Secret.
const (
	fileAuthority   = "authority.pem"
	fileCertificate = "certificate.pem"
	fileKey         = "key.pem"
)

// keysValid is longer than any move takes; the Secrets go with the passes that need them.
const keysValid = 7 * 24 * time.Hour

// copiesElsewhere are routes whose copy is made by a node that does not have the home, and whose last pass the orchestrator makes.
func copiesElsewhere(route string) bool { return route == routeSnapshot || route == routeStream }

func (m Move) serveJob() string   { return objectName("pipectl-serve-", m.Source.Workload) }
func (m Move) streamKeys() string { return objectName("pipectl-stream-", m.Source.Workload) }

// streamPort is where a mover listens, on the loopback of its pod only. It is the same for all who look at a move, and differs between the
// two sides, which may share a machine.
func (m Move) streamPort(source bool) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(m.copyIdentity())) // never fails
	port := 20000 + int(h.Sum32()%10000)*2
	if source {
		port++
	}
	return port
}

// streamable says which node would copy, or why none can.
func (m *mission) streamable(ctx context.Context) error {
	if m.home.held() != "" {
		return errStreamsNoPod
	}
	if m.vol.ID == "" { // not made yet: the plan is made again when it is
		return nil
	}
	d, err := m.copier(ctx, sourceDisk{})
	if err == nil {
		m.disk = d
	}
	return err
}

// The side that writes could not tell a pod that is deleted from a home whose files are.
var errStreamsNoPod = &steps.Error{Code: "HomeInPod", Category: steps.Precondition, Message: "the home is an emptyDir, which goes with its pod: nobody beside the data volume could see that",
	Hints: []string{"use an EC2 instance in the volume's zone as the node of the old Jenkins, or put a hostPath in place of the emptyDir first"}}

// end is one side of a stream: the Job that has the mover, and where.
type end struct {
	kube           *kube.Client
	namespace, job string
	port           int
}

// streamPass has the home copied once over the stream: while Jenkins runs by a mover that is started to serve it, in the last pass by the
// mover of the critical section.
func (m *mission) streamPass(ctx context.Context, final bool) (moverResult, error) {
	if final {
		if res, err := m.fromAhead(ctx); err == nil || ctx.Err() != nil {
			return res, err
		}
	}
	if m.disk.Instance == "" {
		return moverResult{}, errors.New("route stream: no node to copy on")
	}
	image, err := m.readyCopier(ctx, final)
	if err != nil {
		return moverResult{}, err
	}
	from := m.cutEnd()
	if !final {
		from.job = m.move.serveJob()
		if _, err := m.source.StartJob(ctx, m.servingJob(image)); err != nil {
			return moverResult{}, err
		}
	}
	res, err := m.carried(ctx, from, m.receivingJob(image, final, false))
	return res, errors.Join(err, m.dropStream(ctx, false))
}

// readyCopier clears away what a run that was cut off left of the mover that copies, and has keys lie ready for the next one. It returns the
// movers' image.
func (m *mission) readyCopier(ctx context.Context, final bool) (image string, err error) {
	if image, err = moverImage(ctx, m.open, m.image); err != nil {
		return "", err
	}
	if err := m.dropCopier(ctx, m.disk.kube); err != nil {
		return "", err
	}
	keys, err := m.streamKeysFor(ctx, final)
	if err != nil {
		return "", err
	}
	return image, putKeys(ctx, m.disk.kube, copyIn, m.move.streamKeys(), keys, m.env.Identity)
}

// cutEnd is the mover of the critical section, which serves the home in the last pass.
func (m *mission) cutEnd() end {
	return end{m.source, m.move.Source.Namespace, m.move.cutJob(), m.move.streamPort(true)}
}

// carried follows the copying Job to its end, and carries between both meanwhile.
func (m *mission) carried(ctx context.Context, from end, job kube.JobSpec) (moverResult, error) {
	if _, err := m.disk.kube.StartJob(ctx, job); err != nil {
		return moverResult{}, err
	}
	to := end{m.disk.kube, job.Namespace, job.Name, m.move.streamPort(false)}
	work, stop := context.WithCancel(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		carry(work, from, to, func(text string) { m.env.Log.Info(text, "from", "relay") })
	}()
	r, err := m.disk.kube.FollowJob(ctx, job)
	stop()
	<-over
	if err != nil {
		return moverResult{}, err
	}
	return resultOf(r, "copy over a stream")
}

// streamKeysFor gives the target's keys. Those of a pass while Jenkins runs are made for it; those of the last pass were made when the
// critical section began, maybe by another run.
func (m *mission) streamKeysFor(ctx context.Context, final bool) (stream.Keys, error) {
	ns := m.move.Source.Namespace
	if final {
		return readKeys(ctx, m.source, ns, m.move.streamKeys())
	}
	source, target, err := stream.NewKeys(m.env.RunID, keysValid)
	if err != nil {
		return target, err
	}
	if err := m.source.DeleteJob(ctx, ns, m.move.serveJob()); err != nil { // it has the keys of another pass
		return target, err
	}
	return target, putKeys(ctx, m.source, ns, m.move.serveJob(), source, m.env.Identity)
}

// cutKeys are the keys of the last pass: the source's go to the mover of the critical section beside its token, the target's wait in a
// Secret that this mover may not read, for whoever makes the pass.
func (m *mission) cutKeys(ctx context.Context, secret string) error {
	if m.move.Route != routeStream {
		return nil
	}
	source, target, err := stream.NewKeys(m.env.RunID, keysValid)
	if err != nil {
		return err
	}
	ns := m.move.Source.Namespace
	if err := putKeys(ctx, m.source, ns, m.move.streamKeys(), target, m.env.Identity); err != nil {
		return err
	}
	data := keyFiles(source)
	data[tokenKey] = []byte(m.migrate.Jenkins.Token.Reveal())
	return putSecret(ctx, m.source, ns, secret, data, m.env.Identity)
}

func (m *mission) servingJob(image string) kube.JobSpec {
	a := m.arguments()
	a.Volume, a.Host, a.Target, a.Serve, a.Keys = "", "", "", m.move.streamPort(true), dirKeys
	return kube.JobSpec{Namespace: m.move.Source.Namespace, Name: m.move.serveJob(), Owner: m.env.Identity, Run: m.env.RunID,
		Pod: withKeys(moverPod(m.home, routeStream, "", image, a.args("serve")), m.move.serveJob())}
}

func (m *mission) receivingJob(image string, final, ahead bool) kube.JobSpec {
	a := m.arguments()
	a.Receive, a.Keys, a.Final, a.Ahead, a.PeerBy = m.move.streamPort(false), dirKeys, final, ahead, peerWithin
	if final {
		a.Passes = 1
	}
	return kube.JobSpec{Namespace: copyIn, Name: m.move.copyJob(), Owner: m.env.Identity, Run: m.env.RunID,
		Pod:   withKeys(snapshotPod(m.disk.Node, image, a.args("copy")), m.move.streamKeys()),
		Lines: func(line string) { m.env.Log.Info(line, "from", "mover") }, Progress: m.say}
}

func withKeys(p corev1.PodSpec, secret string) corev1.PodSpec {
	mode := int32(0o400)
	p.Volumes = append(p.Volumes, corev1.Volume{Name: "keys", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret, DefaultMode: &mode}}})
	p.Containers[0].VolumeMounts = append(p.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "keys", MountPath: dirKeys, ReadOnly: true})
	return p
}

// receiverAgain finds an instance that can receive, after another run had found one.
func (m *mission) receiverAgain(ctx context.Context) error {
	d, err := m.copier(ctx, sourceDisk{})
	if err == nil {
		m.disk, m.move.Source.InstanceID, m.move.Source.Node = d, d.Instance, d.Node
	}
	return err
}

// dropCopier ends the mover that copies, and its keys with it.
func (m *mission) dropCopier(ctx context.Context, k *kube.Client) error {
	if err := k.DeleteJob(ctx, copyIn, m.move.copyJob()); err != nil {
		return err
	}
	return dropSecret(ctx, k, copyIn, m.move.streamKeys(), m.env.Identity)
}

// dropStream ends the movers of a pass and removes their keys; with all, also those that wait for the last pass.
func (m *mission) dropStream(ctx context.Context, all bool) error {
	k, _, err := m.copyCluster(ctx)
	if unreachable(err) { // what is gone has no Job
		k, err = nil, nil
	}
	if k != nil && err == nil {
		err = m.dropCopier(ctx, k)
	}
	if m.source == nil { // nobody there answers: what it has is told by the caller
		return err
	}
	ns := m.move.Source.Namespace
	err = errors.Join(err, m.source.DeleteJob(ctx, ns, m.move.serveJob()), dropSecret(ctx, m.source, ns, m.move.serveJob(), m.env.Identity))
	if all {
		err = errors.Join(err, dropSecret(ctx, m.source, ns, m.move.streamKeys(), m.env.Identity))
	}
	return err
}

func keyFiles(k stream.Keys) map[string][]byte {
	return map[string][]byte{fileAuthority: k.Authority, fileCertificate: k.Certificate, fileKey: k.Key}
}

func putKeys(ctx context.Context, k *kube.Client, namespace, name string, keys stream.Keys, owner steps.Identity) error {
	return putSecret(ctx, k, namespace, name, keyFiles(keys), owner)
}

func readKeys(ctx context.Context, k *kube.Client, namespace, name string) (stream.Keys, error) {
	s, err := k.Typed.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return stream.Keys{}, fmt.Errorf("secret %s/%s: keys of the last pass: %w", namespace, name, kube.Explain(err))
	}
	return stream.Keys{Authority: s.Data[fileAuthority], Certificate: s.Data[fileCertificate], Key: s.Data[fileKey]}, nil
}

func dropSecret(ctx context.Context, k *kube.Client, namespace, name string, owner steps.Identity) error {
	api := k.Typed.CoreV1().Secrets(namespace)
	s, err := api.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && !kube.Owned(s, owner) {
		return nil
	}
	if err == nil {
		err = api.Delete(ctx, name, metav1.DeleteOptions{})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("secret %s/%s: delete: %w", namespace, name, kube.Explain(err))
	}
	return nil
}
