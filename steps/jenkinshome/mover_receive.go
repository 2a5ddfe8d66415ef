package jenkinshome

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"

	"pipectl.dev/steps"
	"pipectl.dev/treecopy"
	"pipectl.dev/treecopy/stream"
)

// receiver is the other end of a stream: what makes passes of a connection, and of the next where that is lost.
type receiver struct {
	args moverArgs
	log  *slog.Logger
	keys stream.Keys
	l    net.Listener
	src  *stream.Source // nil while there is no connection
	seen stream.Stats   // of it, until the pass before
	root treecopy.Stat  // of the home, as last seen
	lost int            // connections
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

// copy makes one pass, over the connection of the pass before where there is one: Jenkins stands still while another is made. After a lost
// connection the pass begins where it was: what is complete is not sent again.
func (r *receiver) copy(ctx context.Context, root string, o treecopy.Options) (rep *treecopy.Report, err error) {
	o.Check = func(_, dst string) error { return notEmptiedFar(ctx, r.src, dst) }
	err = r.connected(ctx, func() error {
		if rep, err = treecopy.CopyFrom(ctx, remember{r.src, r}, root, o); err != nil {
			return err
		}
		now := r.src.Stats()
		r.log.Info("received", "bytes", now.Raw-r.seen.Raw, "wire", now.Wire-r.seen.Wire, "packed", now.Packed > r.seen.Packed)
		r.seen = now
		return nil
	})
	return rep, err
}

// still waits until nothing writes to the home any more.
func (r *receiver) still(ctx context.Context) error {
	return r.connected(ctx, func() error { return r.src.Still(ctx) })
}

// connected does something over a connection. One that is lost is waited for anew, as often as that takes.
func (r *receiver) connected(ctx context.Context, do func() error) error {
	for {
		if r.src == nil {
			src, err := r.connect(ctx)
			if err != nil {
				return err
			}
			r.src = src
		}
		err := do()
		if err == nil {
			return nil
		}
		r.hangUp()
		if !errors.Is(err, treecopy.ErrLost) || ctx.Err() != nil {
			return err
		}
		r.lost++
		r.log.Warn("connection: " + err.Error())
	}
}

// losses counts connections that were lost: a pass during which it grows was not made in one go.
func (r *receiver) losses() int {
	if r == nil {
		return 0
	}
	return r.lost
}

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

// ahead copies what it can while Jenkins still runs, and waits until it has stopped.
func (p precopy) ahead(ctx context.Context, root string) error {
	if err := p.catchUp(ctx, root); err != nil {
		return err
	}
	return p.far.still(ctx)
}

// pass copies by the stream where that is the route, else from a directory.
func (p precopy) pass(ctx context.Context, root string, o treecopy.Options) (*treecopy.Report, error) {
	if p.far != nil {
		return p.far.copy(ctx, root, o)
	}
	return treecopy.Copy(ctx, p.args.Source, root, o)
}

// lookAgain holds the home against the copy a second time, without writing: after Jenkins has stopped nobody may change it.
func (p precopy) lookAgain(ctx context.Context, root string) error {
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
