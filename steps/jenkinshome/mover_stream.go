package jenkinshome

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
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
	active atomic.Int32 // connections that are being served
	last   atomic.Int64 // when one ended, by this machine's clock
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
	tree, err := treecopy.OpenTree(s.args.Source)
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
	s.last.Store(time.Now().UnixNano())
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

// watch ends a mover that nobody needs any more.
func (s *serving) watch(ctx context.Context, idle time.Duration, end context.CancelCauseFunc) {
	for ctx.Err() == nil {
		pause(ctx, idle/10)
		if s.active.Load() == 0 && time.Since(time.Unix(0, s.last.Load())) > idle {
			end(&steps.Error{Code: "NoPeer", Category: steps.Timeout, Retryable: true, Message: fmt.Sprintf("nobody read the home for %s", idle), Hints: []string{"run again to carry on"}})
		}
	}
}

func (s *serving) one(ctx context.Context, conn net.Conn, keys stream.Keys, tree *treecopy.Tree) {
	defer conn.Close()
	c, err := stream.Server(ctx, conn, keys)
	if err == nil {
		s.active.Add(1)
		err = stream.Serve(ctx, c, tree, stream.Options{Identity: s.args.Identity})
		s.last.Store(time.Now().UnixNano())
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
	s := &serving{args: a, log: log}
	err := s.run(ctx, idleWithin)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// serve lets the last pass be made while the mover of the critical section waits; nil where that is not the route.
func (c *cut) serve(ctx context.Context) (s *serving, stop func()) {
	if c.args.Serve == 0 {
		return nil, func() {}
	}
	s = &serving{args: c.args, log: c.log}
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
	return s, func() { cancel(); <-over }
}

// receiver is the other end of a stream: what makes passes of a connection, and of the next where that is lost.
type receiver struct {
	args moverArgs
	log  *slog.Logger
	keys stream.Keys
	l    net.Listener
	src  *stream.Source // nil while there is no connection
	seen stream.Stats   // of it, until the pass before
	root treecopy.Stat  // of the home, as last seen
	lost int            // passes that a lost connection ended
}

func newReceiver(ctx context.Context, a moverArgs, log *slog.Logger) (*receiver, error) {
	keys, err := keysAt(a.Keys)
	if err != nil {
		return nil, err
	}
	l, err := listenOn(ctx, a.Receive)
	if err != nil {
		return nil, err
	}
	return &receiver{args: a, log: log, keys: keys, l: l}, nil
}

func (r *receiver) close() error {
	r.hangUp()
	return r.l.Close()
}

func (r *receiver) hangUp() {
	if r.src != nil {
		_ = r.src.Close() // the passes are over, or lost
	}
	r.src, r.seen = nil, stream.Stats{}
}

// copy makes one pass, over the connection of the pass before where there is one: Jenkins stands still while another is made. A connection
// that is lost is waited for anew, and the pass begins where it was: what is complete is not sent again.
func (r *receiver) copy(ctx context.Context, root string, o treecopy.Options) (*treecopy.Report, error) {
	for {
		if r.src == nil {
			src, err := r.connect(ctx)
			if err != nil {
				return nil, err
			}
			r.src = src
		}
		rep, err := treecopy.CopyFrom(ctx, remember{r.src, r}, root, o)
		if err == nil {
			now := r.src.Stats()
			r.log.Info("received", "bytes", now.Raw-r.seen.Raw, "wire", now.Wire-r.seen.Wire, "packed", now.Packed > r.seen.Packed)
			r.seen = now
			return rep, nil
		}
		r.hangUp()
		if !errors.Is(err, treecopy.ErrLost) || ctx.Err() != nil {
			return rep, err
		}
		r.lost++
		r.log.Warn("connection: " + err.Error())
	}
}

// resumed says that the copy was not made in one go.
func (r *receiver) resumed() bool { return r != nil && r.lost > 0 }

// remember keeps what the source tells of its root.
type remember struct {
	*stream.Source
	r *receiver
}

func (m remember) Begin(ctx context.Context) (treecopy.RemoteAbout, error) {
	a, err := m.Source.Begin(ctx)
	if err == nil {
		m.r.root = a.Root
	}
	return a, err
}

// connect waits for the peer. Keys that do not fit are an error at once: time does not mend them.
func (r *receiver) connect(ctx context.Context) (*stream.Source, error) {
	late := &steps.Error{Code: "NoPeer", Category: steps.Timeout, Retryable: true, Message: fmt.Sprintf("no connection to the source for %s", r.args.PeerBy),
		Hints: []string{"pipectl carries it: let it run to its end; run again to carry on"}}
	wait, cancel := context.WithTimeoutCause(ctx, r.args.PeerBy, late)
	defer cancel()
	stop := context.AfterFunc(wait, func() { _ = r.l.Close() })
	defer stop()
	for {
		conn, err := r.l.Accept()
		if err != nil {
			if cause := context.Cause(wait); cause != nil {
				err = cause
			}
			return nil, err
		}
		c, err := stream.Client(wait, conn, r.keys)
		if err == nil {
			var src *stream.Source
			if src, err = stream.Connect(ctx, c, stream.Options{Identity: r.args.Identity}); err == nil {
				return src, nil
			}
		}
		if errors.Is(err, stream.ErrKeys) {
			return nil, &steps.Error{Code: "KeysRefused", Category: steps.Precondition, Message: "stream", Err: err, Hints: []string{"run again: a run makes its own keys"}}
		}
		r.log.Warn("connection: " + err.Error())
	}
}

// pass copies by the stream where that is the route, else from a directory.
func (p precopy) pass(ctx context.Context, root string, o treecopy.Options) (*treecopy.Report, error) {
	if p.far != nil {
		return p.far.copy(ctx, root, o)
	}
	return treecopy.Copy(ctx, p.args.Source, root, o)
}

// lookAgain holds the home against the copy a second time, without writing: after Jenkins has stopped nobody may change it. A snapshot
// cannot change.
func (p precopy) lookAgain(ctx context.Context, root string) error {
	if p.far == nil {
		return nil
	}
	o := p.options(root, false)
	o.DryRun = true
	second, err := p.pass(ctx, root, o)
	if err != nil {
		return copyError(err)
	}
	return unchanged(second)
}

// origin is the owner and mode of the home's root.
func (p precopy) origin() (uid int, mode fs.FileMode, err error) {
	if p.far != nil {
		return int(p.far.root.UID), fs.FileMode(p.far.root.Mode & 0o777), nil
	}
	return originOf(p.args.Source)
}
