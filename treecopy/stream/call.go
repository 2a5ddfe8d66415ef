package stream

import (
	"context"
	"fmt"
	"io"
	"sync"

	"pipectl.dev/treecopy"
)

// call is a request and what has come for it.
type call struct {
	id      uint64
	mu      sync.Mutex
	frames  []frame
	size    int64 // of all frames that came, of data only those not taken yet
	dropped bool  // nobody wants what comes
	came    chan struct{}
}

type frame struct {
	kind    byte
	payload []byte // behind the id
}

// register books requests; with keys they are found again by Open and List.
func (s *Source) register(key string) *call {
	s.last++
	c := &call{id: s.last, came: make(chan struct{}, 1)}
	s.calls[c.id] = c
	if key != "" {
		s.ahead[key] = c
	}
	return c
}

// final says whether a frame is the last of an answer.
func final(kind byte, d decoder) bool {
	switch kind {
	case kindData, kindFile:
		return false
	case kindEntries:
		return lastEntries(&d)
	}
	return true
}

func (s *Source) take(kind byte, payload []byte) error {
	switch kind {
	case kindPing:
		return nil
	case kindBegun, kindEntries, kindFile, kindData, kindEnd, kindSummed, kindMeasured, kindChanged, kindStill, kindFailed:
	default:
		return errFrame
	}
	d := decoder{b: payload}
	id := d.uint()
	s.cmu.Lock()
	c := s.calls[id]
	s.cmu.Unlock()
	if d.err != nil || c == nil {
		return errFrame
	}
	last, err := c.add(kind, d.b)
	if last {
		s.cmu.Lock()
		delete(s.calls, id)
		s.cmu.Unlock()
	}
	return err
}

// add keeps a frame. A peer that sends more than it may is one to part with.
func (c *call) add(kind byte, payload []byte) (last bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := c.size == 0
	d := decoder{b: payload}
	if kind == kindEntries && first {
		_, _ = d.stat(), d.attrs()
	}
	last = final(kind, d)
	c.size += int64(len(payload)) + 1
	limit := int64(maxListing)
	if kind == kindData {
		limit = window + maxFrame + 64<<10
	}
	if c.size > limit {
		return true, fmt.Errorf("the peer sends more than it may: %d bytes", c.size)
	}
	if !c.dropped {
		c.frames = append(c.frames, frame{kind, append([]byte(nil), payload...)})
	}
	select {
	case c.came <- struct{}{}:
	default:
	}
	return last, nil
}

// next waits for a frame.
func (s *Source) next(ctx context.Context, c *call) (frame, error) {
	for {
		c.mu.Lock()
		if len(c.frames) > 0 {
			f := c.frames[0]
			c.frames[0] = frame{}
			c.frames = c.frames[1:]
			if f.kind == kindData {
				c.size -= int64(len(f.payload)) + 1
			}
			c.mu.Unlock()
			return f, nil
		}
		c.mu.Unlock()
		select {
		case <-c.came:
		case <-ctx.Done():
			return frame{}, context.Cause(ctx)
		case <-s.gone:
			return frame{}, s.err
		}
	}
}

// drop says that nobody wants the rest of an answer.
func (s *Source) drop(c *call) {
	c.mu.Lock()
	c.dropped, c.frames = true, nil
	c.mu.Unlock()
	_ = s.out.send(kindCancel, func(e *encoder) { e.uint(c.id) }) // a broken connection is found by who reads
}

// arriving is a file on its way.
type arriving struct {
	s     *Source
	ctx   context.Context
	c     *call
	st    treecopy.Stat
	attrs []treecopy.Attr
	end   treecopy.FileEnd
	taken int64 // bytes since credit was given
	over  bool
}

// Open is part of treecopy.Remote.
func (s *Source) Open(ctx context.Context, dir, name string, cross bool, h treecopy.Hash) (treecopy.RemoteFile, error) {
	c, err := s.request(fileKey(dir, name, cross, h), kindOpen, func(e *encoder, id uint64) {
		e.bool(cross)
		e.text(string(h))
		e.text(dir)
		e.uint(id)
		e.text(name)
	})
	if err != nil {
		return nil, err
	}
	d, err := s.expect(ctx, c, kindFile)
	if err != nil {
		return nil, err
	}
	f := &arriving{s: s, ctx: ctx, c: c, st: d.stat(), attrs: d.attrs()}
	if d.err != nil {
		return nil, lost(d.err)
	}
	return f, nil
}

func (f *arriving) Opened() (treecopy.Stat, []treecopy.Attr) { return f.st, f.attrs }

func (f *arriving) Next() (int64, []byte, error) {
	got, err := f.s.next(f.ctx, f.c)
	if err != nil {
		return 0, nil, err
	}
	d := &decoder{b: got.payload}
	switch got.kind {
	case kindData:
		off, b := d.int(), d.bytes()
		if d.err != nil {
			return 0, nil, lost(d.err)
		}
		return off, b, f.pay(int64(len(b)))
	case kindEnd:
		f.end = treecopy.FileEnd{Stat: d.stat(), Racy: d.bool(), Sum: d.bytes(), Bytes: d.int()}
		if f.over = true; d.err != nil {
			return 0, nil, lost(d.err)
		}
		return 0, nil, io.EOF
	case kindFailed:
		f.over = true
		if err := d.failure(); err != nil && d.err == nil {
			return 0, nil, err
		}
	}
	return 0, nil, lost(errFrame)
}

// pay gives credit for what was taken, not for each piece.
func (f *arriving) pay(n int64) error {
	if f.taken += n; f.taken < window/4 {
		return nil
	}
	n, f.taken = f.taken, 0
	return f.s.sent(f.s.out.send(kindCredit, func(e *encoder) {
		e.uint(f.c.id)
		e.uint(uint64(n))
	}))
}

func (f *arriving) Closed() treecopy.FileEnd { return f.end }

func (f *arriving) Close() {
	if !f.over {
		f.s.drop(f.c)
	}
}
