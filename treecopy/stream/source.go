package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"pipectl.dev/treecopy"
)

// Source is the tree that a peer serves, as treecopy.CopyFrom reads it. Several passes may be made over it.
type Source struct {
	*session

	cmu   sync.Mutex
	calls map[uint64]*call
	last  uint64
	ahead map[string]*call // asked for beforehand, by aheadKey
	err   error            // why the connection ended
	gone  chan struct{}    // closed then
	stats Stats
}

// Connect greets the peer that serves a tree.
func Connect(ctx context.Context, conn io.ReadWriteCloser, o Options) (*Source, error) {
	s := &Source{session: newSession(ctx, conn, o, false), calls: map[uint64]*call{}, ahead: map[string]*call{}, gone: make(chan struct{})}
	if err := s.greet(s.take); err != nil {
		s.end()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, lost(err)
	}
	s.running.Go(s.receive)
	return s, nil
}

// Close tells the peer that we are done, and ends.
func (s *Source) Close() error {
	err := s.out.send(kindBye, nil)
	if err == nil {
		s.out.finish()
	}
	s.end()
	return nil
}

// Stats is what came so far.
func (s *Source) Stats() Stats {
	s.cmu.Lock()
	defer s.cmu.Unlock()
	return s.stats
}

// Begin is part of treecopy.Remote.
func (s *Source) Begin(ctx context.Context) (a treecopy.RemoteAbout, err error) {
	s.forget()
	d, err := s.ask(ctx, kindBegin, kindBegun, func(*encoder) {})
	if err != nil {
		return a, err
	}
	if text := d.bytes(); d.err != nil || json.Unmarshal(text, &a) != nil {
		return a, lost(errFrame)
	}
	return a, nil
}

// forget drops what was asked for beforehand and not taken: a later pass wants to know how things are then.
func (s *Source) forget() {
	s.cmu.Lock()
	old := s.ahead
	s.ahead = map[string]*call{}
	s.cmu.Unlock()
	for _, c := range old {
		s.drop(c)
	}
}

// receive deals out what comes until the connection ends.
func (s *Source) receive() {
	var err error
	for err == nil {
		err = s.read(s.take)
		s.cmu.Lock()
		s.stats = Stats{Wire: s.in.wire, Raw: s.in.unpacked, Packed: s.in.packed}
		s.cmu.Unlock()
	}
	s.cmu.Lock()
	s.err = lost(s.explain(err))
	s.cmu.Unlock()
	close(s.gone)
	s.out.fail(s.err)
	_ = s.close() // there is nothing more to say
}

// request sends one, unless its answer is under way.
func (s *Source) request(key string, kind byte, fill func(*encoder, uint64)) (*call, error) {
	s.cmu.Lock()
	c := s.ahead[key]
	if c != nil {
		delete(s.ahead, key)
		s.cmu.Unlock()
		return c, nil
	}
	c = s.register("")
	s.cmu.Unlock()
	return c, s.sent(s.out.send(kind, func(e *encoder) { fill(e, c.id) }))
}

func (s *Source) sent(err error) error {
	if err == nil || errors.Is(err, errTooLarge) {
		return err
	}
	return lost(err)
}

// expect takes the next frame apart: one of the wanted kind, or the error that the peer met.
func (s *Source) expect(ctx context.Context, c *call, kind byte) (*decoder, error) {
	f, err := s.next(ctx, c)
	if err != nil {
		return nil, err
	}
	d := &decoder{b: f.payload}
	switch f.kind {
	case kind:
		return d, nil
	case kindFailed:
		if err := d.failure(); err != nil && d.err == nil {
			return nil, err
		}
	}
	return nil, lost(errFrame)
}

func dirKey(dir string, cross bool) string { return fmt.Sprint("d", cross, dir) }
func fileKey(dir, name string, cross bool, h treecopy.Hash) string {
	return fmt.Sprint("f", cross, h, " ", dir, "/", name)
}

// dirsAhead is how many listings may come before they are wanted.
const dirsAhead = 1024

// filesAhead is how many files; CopyFrom's workers bound their bytes.
const filesAhead = 8192

// AheadDirs is part of treecopy.Remote.
func (s *Source) AheadDirs(dirs []string, cross bool) {
	for len(dirs) > 0 {
		some := dirs[:min(together, len(dirs))]
		dirs = dirs[len(some):]
		calls := s.announced(dirsAhead, some, func(dir string) string { return dirKey(dir, cross) })
		if len(calls) == 0 {
			return
		}
		_ = s.out.send(kindList, func(e *encoder) { // a broken connection is found by who reads
			e.bool(cross)
			for i, c := range calls {
				e.uint(c.id)
				e.text(some[i])
			}
		})
	}
}

// AheadFiles is part of treecopy.Remote.
func (s *Source) AheadFiles(dir string, names []string, cross bool, h treecopy.Hash) {
	calls := s.announced(filesAhead, names, func(name string) string { return fileKey(dir, name, cross, h) })
	if len(calls) == 0 {
		return
	}
	_ = s.out.send(kindOpen, func(e *encoder) { // a broken connection is found by who reads
		e.bool(cross)
		e.text(string(h))
		e.text(dir)
		for i, c := range calls {
			e.uint(c.id)
			e.text(names[i])
		}
	})
}

// announced books as many of names as there is room for, beginning with the first.
func (s *Source) announced(room int, names []string, key func(string) string) (out []*call) {
	s.cmu.Lock()
	defer s.cmu.Unlock()
	for _, name := range names {
		k := key(name)
		if len(s.ahead) >= room || s.ahead[k] != nil {
			break
		}
		out = append(out, s.register(k))
	}
	return out
}

// lastEntries reads whether a frame of entries is the last.
func lastEntries(d *decoder) bool { return d.bool() }

// List is part of treecopy.Remote.
func (s *Source) List(ctx context.Context, dir string, cross bool) (*treecopy.Listing, error) {
	c, err := s.request(dirKey(dir, cross), kindList, func(e *encoder, id uint64) {
		e.bool(cross)
		e.uint(id)
		e.text(dir)
	})
	if err != nil {
		return nil, err
	}
	l := &treecopy.Listing{}
	for first := true; ; first = false {
		d, err := s.expect(ctx, c, kindEntries)
		if err != nil {
			return nil, err
		}
		if first {
			l.Dir, l.Attrs = d.stat(), d.attrs()
		}
		last := lastEntries(d)
		for len(d.b) > 0 && d.err == nil {
			l.Entries = append(l.Entries, d.entry())
		}
		if d.err != nil {
			return nil, lost(d.err)
		}
		if last {
			return l, nil
		}
	}
}

// Receive makes one pass over a connection.
func Receive(ctx context.Context, conn io.ReadWriteCloser, dst string, so Options, o treecopy.Options) (*treecopy.Report, Stats, error) {
	src, err := Connect(ctx, conn, so)
	if err != nil {
		return nil, Stats{}, err
	}
	rep, err := treecopy.CopyFrom(ctx, src, dst, o)
	stats := src.Stats()
	return rep, stats, errors.Join(err, src.Close())
}
