package stream

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"syscall"

	"pipectl.dev/treecopy"
)

// Serve lets the peer read a tree until it says that it is done: then the error is nil, and the connection closed in any case. It may be
// called again for the next connection.
func Serve(ctx context.Context, conn io.ReadWriteCloser, tree treecopy.Remote, o Options) error {
	s := &server{session: newSession(ctx, conn, o, true), tree: tree, files: map[uint64]*credit{}, reading: make(chan struct{}, 16*runtime.GOMAXPROCS(0))}
	defer s.end()
	s.ctx, s.cancel = context.WithCancel(ctx)
	defer s.wind()
	err := s.greet(s.take)
	for err == nil {
		err = s.read(s.take)
	}
	if errors.Is(err, errBye) {
		return nil
	}
	return s.because(ctx, s.explain(err))
}

func (s *server) because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return lost(err)
}

// server is one connection of Serve.
type server struct {
	*session
	ctx     context.Context
	cancel  context.CancelFunc
	tree    treecopy.Remote
	reading chan struct{} // how many may read from the disk at a time
	serving sync.WaitGroup

	fmu   sync.Mutex
	files map[uint64]*credit // requests under way
}

// wind ends all requests.
func (s *server) wind() {
	s.cancel()
	s.out.fail(io.ErrClosedPipe)
	s.fmu.Lock()
	for _, c := range s.files {
		c.give(0, true)
	}
	s.fmu.Unlock()
	s.serving.Wait()
}

// credit is how much of a file may be sent.
type credit struct {
	mu   sync.Mutex
	more *sync.Cond
	left int64
	over bool // nobody wants the rest
}

func (c *credit) give(n int64, over bool) {
	c.mu.Lock()
	c.left, c.over = min(c.left+n, window), c.over || over
	c.more.Broadcast()
	c.mu.Unlock()
}

// take waits for credit; false when nobody wants the rest.
func (c *credit) take(n int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.left < n && !c.over {
		c.more.Wait()
	}
	c.left -= n
	return !c.over
}

// begin books a request.
func (s *server) begin(id uint64) (*credit, error) {
	s.fmu.Lock()
	defer s.fmu.Unlock()
	if s.files[id] != nil || len(s.files) >= maxRequests {
		return nil, errors.New("too many requests, or one twice")
	}
	c := &credit{left: window}
	c.more = sync.NewCond(&c.mu)
	s.files[id] = c
	return c, nil
}

func (s *server) finish(id uint64) {
	s.fmu.Lock()
	delete(s.files, id)
	s.fmu.Unlock()
}

// take understands one frame.
func (s *server) take(kind byte, payload []byte) error {
	d := &decoder{b: payload}
	switch kind {
	case kindPing:
	case kindBye:
		return errBye
	case kindCredit, kindCancel:
		id, n := d.uint(), int64(0)
		if kind == kindCredit {
			n = int64(d.uint() & (1<<40 - 1))
		}
		s.fmu.Lock()
		if c := s.files[id]; c != nil { // else it is done already
			c.give(n, kind == kindCancel)
		}
		s.fmu.Unlock()
	case kindBegin:
		id := d.uint()
		if d.err != nil {
			return d.err
		}
		return s.answer(id, kindBegun, s.begun)
	case kindList:
		return s.takeList(d)
	case kindOpen:
		return s.takeOpen(d)
	case kindSum:
		return s.takeSum(d)
	case kindMeasure:
		return s.takeMeasure(d)
	case kindChanges:
		return s.takeChanges(d)
	case kindAwait:
		return s.takeAwait(d)
	default:
		return errFrame
	}
	return d.err
}

// ask is one name of a request.
type ask struct {
	id   uint64
	name string
	c    *credit
}

func (s *server) asks(d *decoder, valid func(string) bool) (list []ask, err error) {
	for len(d.b) > 0 && d.err == nil {
		a := ask{id: d.uint(), name: d.text()}
		if d.err != nil {
			break
		}
		if !valid(a.name) {
			return nil, errors.New("the peer asks for a name that is none")
		}
		if a.c, err = s.begin(a.id); err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, d.err
}

// together is how many directories are listed one after the other by one goroutine.
const together = 16

func (s *server) takeList(d *decoder) error {
	cross := d.bool()
	list, err := s.asks(d, treecopy.ValidPath)
	if err != nil {
		return err
	}
	for len(list) > 0 {
		some := list[:min(together, len(list))]
		list = list[len(some):]
		s.serving.Go(func() {
			for _, a := range some {
				s.list(a, cross)
			}
		})
	}
	return nil
}

// disk runs f when fewer than so many read.
func (s *server) disk(f func() error) error {
	select {
	case s.reading <- struct{}{}:
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
	defer func() { <-s.reading }()
	return f()
}

func (s *server) failed(id uint64, err error) {
	s.finish(id)
	_ = s.out.send(kindFailed, func(e *encoder) { // a broken connection is found by who reads
		e.uint(id)
		e.failure(err)
	})
}

func (s *server) list(a ask, cross bool) {
	var l *treecopy.Listing
	err := s.disk(func() (err error) {
		l, err = s.tree.List(s.ctx, a.name, cross)
		return err
	})
	if err != nil {
		s.failed(a.id, err)
		return
	}
	s.finish(a.id)
	for i, first := 0, true; first || i < len(l.Entries); first = false {
		err := s.out.send(kindEntries, func(e *encoder) {
			e.uint(a.id)
			if first {
				e.stat(&l.Dir)
				e.attrs(l.Attrs)
			}
			i = fillEntries(e, l, i)
		})
		if errors.Is(err, errTooLarge) { // attributes of a size that no file system of ours gives
			err = syscall.E2BIG
			s.failed(a.id, err)
		}
		if err != nil {
			return
		}
	}
}

// fillEntries puts entries into a frame while there is room: a name, a target and attributes fit into what is left then.
func fillEntries(e *encoder, l *treecopy.Listing, from int) (to int) {
	last := encoder{}
	size, to := 0, from
	for ; to < len(l.Entries) && size < maxFrame/4; to++ {
		before := len(last.b)
		last.entry(&l.Entries[to])
		size += len(last.b) - before
	}
	e.bool(to == len(l.Entries))
	e.b = append(e.b, last.b...)
	return to
}
