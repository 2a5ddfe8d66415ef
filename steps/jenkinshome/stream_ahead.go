package jenkinshome

import (
	"context"
	"errors"
)

// receiving is the mover of the data volume's side, started while Jenkins still runs: it catches up, waits until the mover of the critical
// section says that nothing writes any more, and makes the last pass at once. Without it that pass would wait for a pod to start.
type receiving struct {
	stop func()
	done chan struct{} // closed when res and err are known
	res  moverResult
	err  error
}

// receiveAhead starts it where that is the route and Jenkins still runs. What goes wrong costs time in the last pass, and nothing else.
func (m *mission) receiveAhead(ctx context.Context) {
	if m.move.Route != routeStream || m.receiver != nil || m.rec.Abort || m.rec.Phase != Ready && m.rec.Phase != Baselined {
		return
	}
	if err := m.startReceiver(ctx); err != nil && ctx.Err() == nil {
		m.env.Log.Warn("the mover of the last pass starts when Jenkins has stopped: " + err.Error())
	}
}

func (m *mission) startReceiver(ctx context.Context) error {
	if m.disk.Instance == "" {
		if err := m.receiverAgain(ctx); err != nil {
			return err
		}
	}
	image, err := moverImage(ctx, m.open, m.image)
	if err != nil {
		return err
	}
	if err := errors.Join(m.attach(ctx), m.dropCopier(ctx, m.disk.kube)); err != nil {
		return err
	}
	keys, err := m.streamKeysFor(ctx, true)
	if err != nil {
		return err
	}
	if err := putKeys(ctx, m.disk.kube, copyIn, m.move.streamKeys(), keys, m.env.Identity); err != nil {
		return err
	}
	job := m.receivingJob(image, true, true)
	job.Progress = nil // what is told meanwhile is how far the cut-over is
	work, cancel := context.WithCancel(ctx)
	r := &receiving{done: make(chan struct{})}
	r.stop = func() { cancel(); <-r.done }
	go func() {
		defer close(r.done)
		r.res, r.err = m.carried(work, end{m.source, m.move.Source.Namespace, m.move.cutJob(), m.move.streamPort(true)}, job)
	}()
	m.receiver = r
	return nil
}

// errNoReceiver says that the last pass is to be made from its beginning.
var errNoReceiver = errors.New("no mover was started ahead")

// fromAhead is the last pass of the mover that was started ahead. Its Job stays until all is cleaned up: nobody waits for that now.
func (m *mission) fromAhead(ctx context.Context) (moverResult, error) {
	r := m.receiver
	if r == nil {
		return moverResult{}, errNoReceiver
	}
	select {
	case <-ctx.Done():
		return moverResult{}, context.Cause(ctx)
	case <-r.done:
	}
	m.receiver = nil
	if r.err != nil && ctx.Err() == nil {
		m.env.Log.Warn("the last pass begins anew: " + r.err.Error())
	}
	return r.res, r.err
}

// dropReceiver ends the carrying; the Job itself is removed with all others of the route.
func (m *mission) dropReceiver() {
	if r := m.receiver; r != nil {
		m.receiver = nil
		r.stop()
	}
}
