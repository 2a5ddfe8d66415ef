package treecopy

import (
	"errors"
	"strings"
)

// fields cuts a line apart; the first error stays.
type fields struct {
	rest string
	err  error
}

func (f *fields) fail(err error) {
	if f.err == nil {
		f.err = err
	}
}

func (f *fields) next() string {
	i := strings.IndexByte(f.rest, ' ')
	if i < 0 {
		f.fail(errTornManifest)
		return f.rest
	}
	s := f.rest[:i]
	f.rest = f.rest[i+1:]
	return s
}

func (f *fields) uint(base uint64) uint64 { return f.number(f.next(), base) }

// number reads what strconv wrote. A manifest has hundreds of thousands, and its check has told already that it is whole.
func (f *fields) number(s string, base uint64) (v uint64) {
	for i := 0; i < len(s); i++ {
		d := uint64(unhexLower(s[i]))
		if d >= base {
			f.fail(errTornManifest)
			return 0
		}
		v = v*base + d
	}
	if s == "" {
		f.fail(errTornManifest)
	}
	return v
}

func unhexLower(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

func (f *fields) stamp() stamp {
	i := strings.IndexByte(f.rest, '.')
	if i < 0 {
		f.fail(errTornManifest)
		return stamp{}
	}
	whole, neg := strings.CutPrefix(f.rest[:i], "-")
	f.rest = f.rest[i+1:]
	sec, nsec := int64(f.number(whole, 10)), int64(f.uint(10))
	if neg {
		sec = -sec
	}
	return stamp{sec, nsec}
}

func (f *fields) text(s string) string {
	n, err := UnescapeName(s)
	if err != nil {
		f.fail(err)
	}
	return n
}

// parseRecord reads a line into r, which is zero.
func parseRecord(line string, r *record) error {
	f := fields{rest: line}
	kind := f.next()
	if len(kind) != 1 || !strings.Contains("dflp", kind) {
		return errTornManifest
	}
	r.kind = kind[0]
	r.mode = uint32(f.uint(8))
	r.uid, r.gid = uint32(f.uint(10)), uint32(f.uint(10))
	r.mtime = f.stamp()
	r.attrs = f.uint(16)
	switch r.kind {
	case 'f':
		r.size = int64(f.uint(10))
		switch h := f.next(); h {
		case "-":
		case "!":
			r.dirty = true
		default:
			r.sum = f.sum(h)
		}
		r.ctime, r.ino = f.stamp(), f.uint(10)
	case 'd':
		r.ctime, r.ino = f.stamp(), f.uint(10)
	case 'l':
		r.target = f.text(f.next())
	}
	r.name = f.text(f.rest)
	if f.err != nil || r.name == "" {
		return errors.Join(errTornManifest, f.err)
	}
	return nil
}

func (f *fields) sum(h string) (s sum) {
	if len(h) > 2*len(s.b) || len(h)%2 != 0 {
		f.fail(errTornManifest)
		return s
	}
	for i := 0; i < len(h); i += 2 {
		hi, lo := unhexLower(h[i]), unhexLower(h[i+1])
		if hi > 15 || lo > 15 {
			f.fail(errTornManifest)
		}
		s.b[i/2] = hi<<4 | lo
	}
	s.n = byte(len(h) / 2)
	return s
}
