package jenkinshome

import (
	"context"
	"errors"
	"time"
)

// receiving is the mover of the data volume's side, started while Jenkins still runs: it catches up, waits until the mover of the critical
// section says that nothing writes any more, and makes the last pass at once. Without it that pass would wait for a pod to start.
type receiving struct {
	stop func()
	done chan struct{} // closed when res and err are known
	res  moverResult
	err  error
}

// receivePause is how long one that failed is left alone before the next is started: what it met may pass.
const receivePause = 30 * time.Second

// receiveAhead starts it where that is the route and Jenkins still runs, and again when one has failed. What goes wrong costs time in the
// last pass, and nothing else.
func (m *mission) receiveAhead(ctx context.Context) {
	if m.move.Route != routeStream || m.rec.Abort || m.rec.Phase != Ready && m.rec.Phase != Baselined {
		return
	}
	if m.receiver != nil && !m.receiver.failed() || time.Since(m.received) < receivePause {
		return
	}
	if r := m.receiver; r != nil {
		m.env.Log.Warn("the mover of the last pass is started again: " + r.err.Error())
		m.dropReceiver()
	}
	m.received = time.Now()
	if err := m.startReceiver(ctx); err != nil && ctx.Err() == nil {
		m.env.Log.Warn("the mover of the last pass starts when Jenkins has stopped: " + err.Error())
	}
}

// failed reports whether it ended too early.
func (r *receiving) failed() bool {
	select {
	case <-r.done:
		return r.err != nil
	default:
		return false
	}
}

func (m *mission) startReceiver(ctx context.Context) error {
	if m.disk.Instance == "" {
		if err := m.receiverAgain(ctx); err != nil {
			return err
		}
	}
	if err := m.attach(ctx); err != nil {
		return err
	}
	image, err := m.readyCopier(ctx, true)
	if err != nil {
		return err
	}
	job := m.receivingJob(image, true, true)
	job.Progress = nil // what is told meanwhile is how far the cut-over is
	work, cancel := context.WithCancel(ctx)
	r := &receiving{done: make(chan struct{})}
	r.stop = func() { cancel(); <-r.done }
	go func() {
		defer close(r.done)
		r.res, r.err = m.carried(work, m.cutEnd(), job)
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
