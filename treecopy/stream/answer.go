package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"syscall"

	"pipectl.dev/treecopy"
)

func (s *server) takeOpen(d *decoder) error {
	cross, h, dir := d.bool(), treecopy.Hash(d.text()), d.text()
	if d.err == nil && (!treecopy.ValidPath(dir) || !validHash(h)) {
		return errors.New("the peer asks for a path that is none")
	}
	list, err := s.asks(d, treecopy.ValidName)
	if err != nil {
		return err
	}
	s.serving.Go(func() {
		for _, a := range list {
			s.open(a, dir, cross, h, len(list) > 1)
		}
	})
	return nil
}

func validHash(h treecopy.Hash) bool {
	return h == treecopy.XXH3 || h == treecopy.BLAKE3 || h == treecopy.NoHash
}

// open sends a file. One of many that has grown must not hold up the others: its credit may come after they were taken.
func (s *server) open(a ask, dir string, cross bool, h treecopy.Hash, ofMany bool) {
	var f treecopy.RemoteFile
	err := s.disk(func() (err error) {
		f, err = s.tree.Open(s.ctx, dir, a.name, cross, h)
		return err
	})
	if err != nil {
		s.failed(a.id, err)
		return
	}
	if st, _ := f.Opened(); ofMany && st.Size > smallFile {
		s.serving.Go(func() { s.file(a, f) })
		return
	}
	s.file(a, f)
}

func (s *server) file(a ask, f treecopy.RemoteFile) {
	defer f.Close()
	st, attrs := f.Opened()
	if s.out.send(kindFile, func(e *encoder) { e.uint(a.id); e.stat(&st); e.attrs(attrs) }) != nil {
		return
	}
	for {
		var off int64
		var b []byte
		err := s.disk(func() (err error) {
			off, b, err = f.Next()
			return err
		})
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			s.failed(a.id, err)
			return
		}
		if !a.c.take(int64(len(b))) {
			s.failed(a.id, syscall.ECANCELED)
			return
		}
		if s.out.send(kindData, func(e *encoder) { e.uint(a.id); e.int(off); e.bytes(b) }) != nil {
			return
		}
	}
	end := f.Closed()
	s.finish(a.id)
	_ = s.out.send(kindEnd, func(e *encoder) { // a broken connection is found by who reads
		e.uint(a.id)
		e.stat(&end.Stat)
		e.bool(end.Racy)
		e.bytes(end.Sum)
		e.int(end.Bytes)
	})
}

// answer runs one request of which the answer is one frame.
func (s *server) answer(id uint64, kind byte, f func() (func(*encoder), error)) error {
	if _, err := s.begin(id); err != nil {
		return err
	}
	s.serving.Go(func() {
		var fill func(*encoder)
		err := s.disk(func() (err error) {
			fill, err = f()
			return err
		})
		if err != nil {
			s.failed(id, err)
			return
		}
		s.finish(id)
		_ = s.out.send(kind, func(e *encoder) { e.uint(id); fill(e) }) // a broken connection is found by who reads
	})
	return nil
}

func (s *server) begun() (func(*encoder), error) {
	about, err := s.tree.Begin(s.ctx)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(about)
	return func(e *encoder) { e.bytes(text) }, err
}

func (s *server) takeSum(d *decoder) error {
	id, h, size, dir, name := d.uint(), treecopy.Hash(d.text()), d.int(), d.text(), d.text()
	if d.err != nil {
		return d.err
	}
	if !treecopy.ValidPath(dir) || !treecopy.ValidName(name) || !validHash(h) {
		return errors.New("the peer asks for a path that is none")
	}
	return s.answer(id, kindSummed, func() (func(*encoder), error) {
		sum, err := s.tree.Sum(s.ctx, dir, name, size, h)
		return func(e *encoder) { e.bytes(sum) }, err
	})
}

func (s *server) takeMeasure(d *decoder) error {
	id, block, cross := d.uint(), d.int(), d.bool()
	var excludes []string
	for n := d.uint(); n > 0 && d.err == nil; n-- {
		excludes = append(excludes, d.text())
	}
	if d.err != nil {
		return d.err
	}
	return s.answer(id, kindMeasured, func() (func(*encoder), error) {
		u, err := s.tree.Measure(s.ctx, block, excludes, cross)
		return func(e *encoder) { e.int(u.Bytes); e.int(u.Nodes); e.int(u.Largest) }, err
	})
}

// takeChanges answers in one frame. More than fits into it is told as a change of everything: then looking everywhere is no detour.
func (s *server) takeChanges(d *decoder) error {
	id, since := d.uint(), d.text()
	if d.err != nil {
		return d.err
	}
	return s.answer(id, kindChanged, func() (func(*encoder), error) {
		c, err := s.tree.Changes(s.ctx, since)
		if err != nil {
			return nil, err
		}
		var e encoder
		if e.changes(&c); len(e.b) > maxFrame/2 {
			c.Whole, c.Dirs, c.Inodes = fmt.Sprintf("too much changed: %d directories", len(c.Dirs)), nil, nil
		}
		return func(e *encoder) { e.changes(&c) }, nil
	})
}

// takeAwait answers when nothing writes to the tree any more. It takes no place of those who read.
func (s *server) takeAwait(d *decoder) error {
	id := d.uint()
	if d.err != nil {
		return d.err
	}
	if _, err := s.begin(id); err != nil {
		return err
	}
	s.serving.Go(func() {
		if s.o.Still != nil {
			if err := s.o.Still(s.ctx); err != nil {
				s.failed(id, err)
				return
			}
		}
		s.finish(id)
		_ = s.out.send(kindStill, func(e *encoder) { e.uint(id) }) // a broken connection is found by who reads
	})
	return nil
}
