package stream

import (
	"context"

	"pipectl.dev/treecopy"
)

// ask sends a request and takes the one frame of its answer.
func (s *Source) ask(ctx context.Context, kind, answer byte, fill func(e *encoder)) (*decoder, error) {
	c, err := s.request("", kind, func(e *encoder, id uint64) {
		e.uint(id)
		fill(e)
	})
	if err != nil {
		return nil, err
	}
	return s.expect(ctx, c, answer)
}

// Sum is part of treecopy.Remote.
func (s *Source) Sum(ctx context.Context, dir, name string, size int64, h treecopy.Hash) ([]byte, error) {
	d, err := s.ask(ctx, kindSum, kindSummed, func(e *encoder) {
		e.text(string(h))
		e.int(size)
		e.text(dir)
		e.text(name)
	})
	if err != nil {
		return nil, err
	}
	sum := d.bytes()
	if d.err != nil {
		return nil, lost(d.err)
	}
	return sum, nil
}

// Measure is part of treecopy.Remote.
func (s *Source) Measure(ctx context.Context, block int64, excludes []string, cross bool) (u treecopy.Usage, err error) {
	d, err := s.ask(ctx, kindMeasure, kindMeasured, func(e *encoder) {
		e.int(block)
		e.bool(cross)
		e.uint(uint64(len(excludes)))
		for _, x := range excludes {
			e.text(x)
		}
	})
	if err != nil {
		return u, err
	}
	u = treecopy.Usage{Bytes: d.int(), Nodes: d.int(), Largest: d.int()}
	if d.err != nil || u.Bytes < 0 || u.Nodes < 0 || u.Largest < 0 {
		return u, lost(errFrame)
	}
	return u, nil
}

// Changes is part of treecopy.Remote.
func (s *Source) Changes(ctx context.Context, since string) (treecopy.Changes, error) {
	d, err := s.ask(ctx, kindChanges, kindChanged, func(e *encoder) { e.text(since) })
	if err != nil {
		return treecopy.Changes{}, err
	}
	out := d.changes()
	if d.err != nil {
		return treecopy.Changes{}, lost(d.err)
	}
	return out, nil
}

// Still waits until the peer says that nothing writes to the tree any more. A connection that is lost meanwhile is an ErrLost.
func (s *Source) Still(ctx context.Context) error {
	_, err := s.ask(ctx, kindAwait, kindStill, func(*encoder) {})
	return err
}
