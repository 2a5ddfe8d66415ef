package stream

import (
	"context"

	"pipectl.dev/treecopy"
)

// Sum is part of treecopy.Remote.
func (s *Source) Sum(ctx context.Context, dir, name string, size int64, h treecopy.Hash) ([]byte, error) {
	c, err := s.request("", kindSum, func(e *encoder, id uint64) {
		e.uint(id)
		e.text(string(h))
		e.int(size)
		e.text(dir)
		e.text(name)
	})
	if err != nil {
		return nil, err
	}
	d, err := s.expect(ctx, c, kindSummed)
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
	c, err := s.request("", kindMeasure, func(e *encoder, id uint64) {
		e.uint(id)
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
	d, err := s.expect(ctx, c, kindMeasured)
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
	c, err := s.request("", kindChanges, func(e *encoder, id uint64) {
		e.uint(id)
		e.text(since)
	})
	if err != nil {
		return treecopy.Changes{}, err
	}
	d, err := s.expect(ctx, c, kindChanged)
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
	c, err := s.request("", kindAwait, func(e *encoder, id uint64) { e.uint(id) })
	if err != nil {
		return err
	}
	_, err = s.expect(ctx, c, kindStill)
	return err
}
