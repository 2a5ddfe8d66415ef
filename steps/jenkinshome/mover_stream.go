package jenkinshome

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"pipectl.dev/steps"
	"pipectl.dev/treecopy"
	"pipectl.dev/treecopy/stream"
)

// podAddressEnv is set where pods are processes of one machine, as in a rehearsal: each has a loopback address of its own.
const podAddressEnv = "PIPECTL_POD_ADDRESS"

// listenOn opens a mover's port on the loopback of its pod: only a port-forward reaches it. Tests replace it.
var listenOn = func(ctx context.Context, port int) (net.Listener, error) {
	var c net.ListenConfig
	return c.Listen(ctx, "tcp", net.JoinHostPort(cmp.Or(os.Getenv(podAddressEnv), "127.0.0.1"), strconv.Itoa(port)))
}

const (
	peerWithin = 10 * time.Minute // how long a mover that copies waits for a connection
	idleWithin = 30 * time.Minute // how long one that serves waits: whoever needed it may be gone
)

// keysAt reads a mover's keys.
func keysAt(dir string) (k stream.Keys, err error) {
	for name, into := range map[string]*[]byte{fileAuthority: &k.Authority, fileCertificate: &k.Certificate, fileKey: &k.Key} {
		b, rerr := os.ReadFile(filepath.Join(dir, name))
		if rerr != nil {
			err = errors.Join(err, fmt.Errorf("mover: keys: %w", rerr))
		}
		*into = b
	}
	return k, err
}

// serving lets the other mover read the home.
type serving struct {
	args   moverArgs
	log    *slog.Logger
	follow bool         // tell where the home changed
	active atomic.Int32 // connections that are being served
	began  time.Time
	last   atomic.Int64 // when one ended, as time since began: clocks are set meanwhile

	catch, stop   func()        // close these
	caught, still chan struct{} // a peer waits for the last pass; nothing writes any more
}

func newServing(a moverArgs, log *slog.Logger, follow bool) *serving {
	s := &serving{args: a, log: log, follow: follow, began: time.Now(), caught: make(chan struct{}), still: make(chan struct{})}
	s.catch, s.stop = sync.OnceFunc(func() { close(s.caught) }), sync.OnceFunc(func() { close(s.still) })
	return s
}

// settle says that nothing writes to the home any more.
func (s *serving) settle() { s.stop() }

// awaitStill is asked by a peer that has caught up.
func (s *serving) awaitStill(ctx context.Context) error {
	s.catch()
	select {
	case <-s.still:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run serves one connection after the other, or a few at a time, until ctx is done. Nobody for idle: that is an error.
func (s *serving) run(ctx context.Context, idle time.Duration) error {
	if err := looksLikeHome(s.args.Source); err != nil {
		return err
	}
	keys, err := keysAt(s.args.Keys)
	if err != nil {
		return err
	}
	tree, err := s.open()
	if err != nil {
		return err
	}
	l, err := listenOn(ctx, s.args.Serve)
	if err != nil {
		return errors.Join(err, tree.Close())
	}
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(work, func() { _ = l.Close() })
	defer stop()
	s.last.Store(int64(time.Since(s.began)))
	go s.watch(work, idle, cancel)
	s.log.Info("serving")
	done := make(chan struct{})
	many := 0
	for {
		conn, err := l.Accept()
		if err != nil {
			for ; many > 0; many-- {
				<-done
			}
			_ = l.Close()
			if cause := context.Cause(work); cause != nil {
				err = cause
			}
			return errors.Join(err, tree.Close())
		}
		many++
		go func() {
			s.one(work, conn, keys, tree)
			done <- struct{}{}
		}()
	}
}

// open opens the home. Changes that cannot be followed cost time and nothing else.
func (s *serving) open() (*treecopy.Tree, error) {
	tree, err := treecopy.OpenTree(s.args.Source)
	if err != nil || !s.follow {
		return tree, err
	}
	method, err := tree.Follow()
	if err != nil {
		s.log.Warn("changes are not followed: " + err.Error())
	} else {
		s.log.Info("following changes", "by", string(method))
	}
	return tree, nil
}

// alone is for how long no peer has been there.
func (s *serving) alone() time.Duration {
	if s.active.Load() > 0 {
		return 0
	}
	return time.Since(s.began) - time.Duration(s.last.Load())
}

// watch ends a mover that nobody needs any more.
func (s *serving) watch(ctx context.Context, idle time.Duration, end context.CancelCauseFunc) {
	for ctx.Err() == nil {
		pause(ctx, idle/10)
		if s.alone() > idle {
			end(&steps.Error{Code: "NoPeer", Category: steps.Timeout, Retryable: true, Message: fmt.Sprintf("nobody read the home for %s", idle), Hints: []string{"run again to carry on"}})
		}
	}
}

func (s *serving) one(ctx context.Context, conn net.Conn, keys stream.Keys, tree *treecopy.Tree) {
	defer conn.Close()
	c, err := stream.Server(ctx, conn, keys)
	if err == nil {
		s.active.Add(1)
		err = stream.Serve(ctx, c, tree, stream.Options{Identity: s.args.Identity, Still: s.awaitStill})
		s.last.Store(int64(time.Since(s.began)))
		s.active.Add(-1)
	}
	switch {
	case ctx.Err() != nil:
	case err != nil:
		s.log.Warn("connection: " + err.Error())
	default:
		s.log.Info("peer served to its end")
	}
}

// busy says whether somebody reads the home at this moment.
func (s *serving) busy() bool { return s != nil && s.active.Load() > 0 }

// serve is the mover beside a running Jenkins. It ends when its Job is removed.
func serve(ctx context.Context, a moverArgs, log *slog.Logger) error {
	err := newServing(a, log, a.Passes > 1).run(ctx, idleWithin)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// serve has the home served from now on, until hangUp; what serves it already goes on. With follow, changes are followed: the last pass then
// looks only where something changed.
func (c *cut) serve(ctx context.Context, follow bool) *serving {
	if c.ahead.serving != nil {
		return c.ahead.serving
	}
	s := newServing(c.args, c.log, follow)
	work, cancel := context.WithCancel(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		for work.Err() == nil {
			if err := s.run(work, 24*time.Hour); err != nil && work.Err() == nil { // nobody comes then, and the deadline ends the wait
				c.log.Error("serving: " + err.Error())
				pause(work, 3*time.Second)
			}
		}
	}()
	c.ahead.serving, c.ahead.stop = s, func() { cancel(); <-over }
	return s
}

func (c *cut) hangUp() {
	if c.ahead.stop != nil {
		c.ahead.stop()
	}
	c.ahead.serving, c.ahead.stop = nil, nil
}

// aheadWithin is how long the mover of the critical section waits, while Jenkins still runs, for a peer that is not there.
const aheadWithin = 2 * time.Minute

// serveAhead lets another mover catch up while Jenkins still runs. Where none comes, or it is lost, the last pass takes longer, no more.
func (c *cut) serveAhead(ctx context.Context) error {
	s := c.serve(ctx, true)
	began := time.Now()
	tick := time.NewTicker(c.pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.caught:
			c.log.Info("the other mover has caught up")
			return nil
		case <-tick.C:
		}
		if s.alone() > aheadWithin && time.Since(began) > aheadWithin {
			c.log.Warn(fmt.Sprintf("the last pass will look at the whole home: no other mover for %s", aheadWithin))
			return nil
		}
		if err := c.rec.reload(ctx); err == nil && c.rec.Abort {
			return nil
		}
	}
}
