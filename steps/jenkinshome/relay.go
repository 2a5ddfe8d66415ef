package jenkinshome

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/kube"
)

// Reaching a port of a pod; tests replace it, since a port-forward needs a real API server.
var dialPod = func(ctx context.Context, k *kube.Client, namespace, pod string, port int) (net.Conn, error) {
	return k.PortForward(ctx, namespace, pod, port)
}

// Pauses between two tries to connect the ends. The first are short: Jenkins stands still while a mover's pod is waited for.
const (
	firstPause = 100 * time.Millisecond
	maxPause   = time.Second
)

// carry connects the two ends until ctx is done. A connection that ends, whoever ended it, is followed by the next.
func carry(ctx context.Context, from, to end, say func(string)) {
	last, wait := "", firstPause
	for ctx.Err() == nil {
		began := time.Now()
		err := carryOne(ctx, from, to)
		if err == nil {
			err = errors.New("connection ended")
		}
		if ctx.Err() == nil && err.Error() != last {
			last = err.Error()
			say(last)
		}
		if time.Since(began) > maxPause {
			wait = firstPause
		}
		pause(ctx, wait)
		wait = min(2*wait, maxPause)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// carryOne carries one connection. The target's side speaks first, so the source's is not dialled before it has something to say.
func carryOne(ctx context.Context, from, to end) error {
	a, err := to.dial(ctx)
	if err != nil {
		return err
	}
	defer a.Close()
	stop := context.AfterFunc(ctx, func() { _ = a.Close() })
	defer stop()
	first := make([]byte, 64<<10)
	n, err := a.Read(first)
	if err != nil {
		return fmt.Errorf("target: %w", err)
	}
	b, err := from.dial(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	stopB := context.AfterFunc(ctx, func() { _ = b.Close() })
	defer stopB()
	if _, err := b.Write(first[:n]); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	pump(a, b)
	return nil
}

// pump copies both ways until one of them ends.
func pump(a, b net.Conn) {
	var both sync.WaitGroup
	one := func(to, from net.Conn) {
		_, _ = io.Copy(to, from) // a connection that broke is followed by another one
		_, _ = a.Close(), b.Close()
	}
	both.Go(func() { one(a, b) })
	both.Go(func() { one(b, a) })
	both.Wait()
}

// dial connects to the running pod of the end's Job.
func (e end) dial(ctx context.Context) (net.Conn, error) {
	pods, err := e.kube.Typed.CoreV1().Pods(e.namespace).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + e.job})
	if err != nil {
		return nil, fmt.Errorf("pods of job %s/%s: %w", e.namespace, e.job, kube.Explain(err))
	}
	for i := range pods.Items {
		if p := &pods.Items[i]; p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodRunning {
			work, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			return dialPod(work, e.kube, e.namespace, p.Name, e.port)
		}
	}
	return nil, fmt.Errorf("job %s/%s: no pod runs yet", e.namespace, e.job)
}
