package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Options are what both sides agree on.
type Options struct {
	// Identity names the copy; a peer that means another one is refused.
	Identity string
	// Silence is after how long a peer that says nothing is given up; default one minute.
	Silence time.Duration
	// Plain leaves packing out, whatever is measured.
	Plain bool
	// Still returns when nothing writes to the served tree any more, or ctx is done. nil: nothing ever does.
	Still func(ctx context.Context) error
}

// Stats are what went over a connection, as seen by who received.
type Stats struct {
	Wire   int64 `json:"wireBytes"`
	Raw    int64 `json:"rawBytes"`     // after unpacking
	Packed int64 `json:"packedBlocks"` // blocks that came packed by zstd
}

var (
	errGreeting = errors.New("the peer does not speak this protocol")
	errOther    = errors.New("the peer is of another copy")
	errBye      = errors.New("the peer is done")
)

// session is what both sides have in common.
type session struct {
	conn    io.ReadWriteCloser
	o       Options
	out     *outlet
	in      *inlet
	watch   *time.Timer
	close   func() error
	stop    func() bool
	quit    chan struct{}
	leave   func()
	mu      sync.Mutex
	silent  bool
	running sync.WaitGroup
}

func newSession(ctx context.Context, conn io.ReadWriteCloser, o Options, packing bool) *session {
	if o.Silence <= 0 {
		o.Silence = time.Minute
	}
	s := &session{conn: conn, o: o, out: newOutlet(conn, packing && !o.Plain), in: &inlet{r: conn}, quit: make(chan struct{})}
	s.close = sync.OnceValue(conn.Close)
	s.leave = sync.OnceFunc(func() { close(s.quit) })
	s.watch = time.AfterFunc(o.Silence, func() {
		s.mu.Lock()
		s.silent = true
		s.mu.Unlock()
		_ = s.close() // who reads gets the error
	})
	s.stop = context.AfterFunc(ctx, func() { _ = s.close() }) // likewise
	return s
}

// greet exchanges the greetings. Both sides write first: neither waits for the other. A peer that has ours may go on before its own is on
// its way, so that more frames may come in the block of its greeting: those go to take.
func (s *session) greet(take func(kind byte, payload []byte) error) error {
	text, err := json.Marshal(hello{Identity: s.o.Identity})
	if err != nil {
		return err
	}
	wrote := make(chan error, 1)
	s.running.Go(func() {
		_, err := io.WriteString(s.conn, magic)
		wrote <- err
		if err != nil {
			s.out.fail(err)
			close(s.out.done)
			return
		}
		s.out.run()
	})
	if err := s.out.send(kindHello, func(e *encoder) { e.bytes(text) }); err != nil {
		return err
	}
	got := make([]byte, len(magic))
	if _, err := io.ReadFull(s.conn, got); err != nil {
		return s.explain(err)
	}
	if string(got) != magic {
		return errGreeting
	}
	if err := <-wrote; err != nil {
		return s.explain(err)
	}
	greeted := false
	err = s.read(func(kind byte, payload []byte) error {
		if greeted {
			return take(kind, payload)
		}
		greeted = true
		return s.known(kind, payload)
	})
	if errors.Is(err, errOther) {
		s.out.finish() // so that the peer can say so, too
	}
	if err != nil {
		return s.explain(err)
	}
	s.running.Go(s.ping)
	return nil
}

// known checks the peer's greeting.
func (s *session) known(kind byte, payload []byte) error {
	var theirs hello
	d := decoder{b: payload}
	if text := d.bytes(); kind != kindHello || d.err != nil || json.Unmarshal(text, &theirs) != nil {
		return errGreeting
	}
	if theirs.Identity != s.o.Identity {
		return fmt.Errorf("%w: %q, not %q", errOther, theirs.Identity, s.o.Identity)
	}
	return nil
}

// read takes one block in.
func (s *session) read(take func(kind byte, payload []byte) error) error {
	err := s.in.next(take)
	if err == nil {
		s.watch.Reset(s.o.Silence)
	}
	return err
}

// ping keeps a peer that waits for us from giving us up.
func (s *session) ping() {
	t := time.NewTicker(s.o.Silence / 4)
	defer t.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-t.C:
			if s.out.send(kindPing, nil) != nil {
				return
			}
		}
	}
}

// explain says of an error of a closed connection why it was closed.
func (s *session) explain(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.silent {
		return fmt.Errorf("the peer said nothing for %s", s.o.Silence)
	}
	return err
}

// end closes the connection and waits for all that served it.
func (s *session) end() {
	s.stop()
	s.watch.Stop()
	s.leave()
	_ = s.close() // what counts was said before
	s.out.fail(io.ErrClosedPipe)
	s.running.Wait()
	s.in.close()
}
