package treecopy

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Manifest is an opened manifest file. It keeps only an index of directories in memory and reads blocks as they are asked for.
type Manifest struct {
	Source  string // identity of the source
	RunID   string // of the pass that wrote it
	Hash    Hash
	Digest  string // of the tree; "" when a content hash is missing
	Dirs    int64
	Entries int64 // other than directories
	Owners  bool  // the copy has the owners of the source
	Partial bool  // only what one pass wrote, see Options.DeltaManifest

	path   string
	file   *os.File
	index  map[string]blockRef
	linked map[string][]record // by directory: names of files that have several, sorted
}

// OpenManifest opens a manifest and checks that it is whole.
func OpenManifest(path string) (*Manifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	m := &Manifest{path: path, file: f, index: map[string]blockRef{}, linked: map[string][]record{}}
	if err := m.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return m, nil
}

// Close closes the file.
func (m *Manifest) Close() error { return m.file.Close() }

var errTornManifest = errors.New("not a whole manifest")

func (m *Manifest) load() error {
	r := bufio.NewReaderSize(m.file, 1<<18)
	var off int64
	var open *blockRef // the block being read
	var leader record
	for n := 0; ; n++ {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) || errors.Is(err, io.EOF) {
			return errTornManifest
		} else if err != nil {
			return err
		}
		at := off
		off += int64(len(line))
		if n == 0 {
			if err := m.header(string(line[:len(line)-1])); err != nil {
				return err
			}
			continue
		}
		switch line[0] {
		case 'd':
			rec, err := parseRecord(string(line[:len(line)-1]))
			if err != nil {
				return err
			}
			m.store(open, at)
			open = &blockRef{path: rec.name, off: at}
		case 'F', 'h', 'e':
			m.store(open, at)
			open = nil
			if line[0] == 'e' {
				return m.trailer(string(line[:len(line)-1]))
			}
			if leader, err = m.addLinked(string(line[:len(line)-1]), leader); err != nil {
				return err
			}
		}
	}
}

func (m *Manifest) store(b *blockRef, end int64) {
	if b != nil {
		b.n = int(end - b.off)
		m.index[b.path] = *b
	}
}

// addLinked files a name of a file with several; further names take everything but name and leader from the first.
func (m *Manifest) addLinked(line string, leader record) (record, error) {
	var rec record
	if rest, ok := strings.CutPrefix(line, "h "); ok {
		_, name, ok := strings.Cut(rest, " ")
		if !ok {
			return leader, errTornManifest
		}
		full, err := UnescapeName(name)
		if err != nil {
			return leader, err
		}
		rec = leader
		rec.leader, rec.name = leader.name, full
	} else {
		r, err := parseRecord("f" + line[1:])
		if err != nil {
			return leader, err
		}
		rec, leader = r, r
	}
	dir := path.Dir(rec.name)
	rec.name = path.Base(rec.name)
	m.linked[dir] = append(m.linked[dir], rec)
	return leader, nil
}

func (m *Manifest) header(line string) error {
	rest, ok := strings.CutPrefix(line, manifestMagic+" ")
	if !ok {
		return errTornManifest
	}
	for _, f := range strings.Fields(rest) {
		k, v, _ := strings.Cut(f, "=")
		switch k {
		case "hash":
			m.Hash = Hash(v)
		case "run":
			m.RunID = v
		case "partial":
			m.Partial = v == "true"
		case "owners":
			m.Owners = v == "true"
		case "source":
			s, err := UnescapeName(v)
			if err != nil {
				return err
			}
			m.Source = s
		}
	}
	return nil
}

func manifestHeader(o *Options, owners, partial bool) string {
	return fmt.Sprintf("hash=%s run=%s owners=%t partial=%t source=%s", o.Hash, o.RunID, owners, partial, appendEscaped(nil, o.Source, true))
}

func (m *Manifest) trailer(line string) error {
	if _, err := fmt.Sscanf(line, "end dirs=%d entries=%d", &m.Dirs, &m.Entries); err != nil {
		return errTornManifest
	}
	if _, d, ok := strings.Cut(line, "digest="); ok {
		m.Digest = d
	}
	for dir := range m.linked {
		slices.SortFunc(m.linked[dir], func(a, b record) int { return strings.Compare(a.name, b.name) })
	}
	return nil
}

// block reads one directory: its own record and its entries, sorted by name. ok is false for a directory that is not there.
func (m *Manifest) block(dir string) (self record, recs []record, ok bool, err error) {
	ref, ok := m.index[dir]
	if !ok {
		return self, nil, false, nil
	}
	b := make([]byte, ref.n)
	if _, err := m.file.ReadAt(b, ref.off); err != nil {
		return self, nil, false, fmt.Errorf("%s: %w", m.path, err)
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	recs = make([]record, 0, len(lines)-1+len(m.linked[dir]))
	for i, line := range lines {
		rec, err := parseRecord(line)
		if err != nil {
			return self, nil, false, fmt.Errorf("%s: %s: %w", m.path, EscapeName(dir), err)
		}
		if i == 0 {
			self = rec
		} else {
			recs = append(recs, rec)
		}
	}
	if l := m.linked[dir]; len(l) > 0 {
		recs = append(recs, l...)
		slices.SortFunc(recs, func(a, b record) int { return strings.Compare(a.name, b.name) })
	}
	return self, recs, true, nil
}

// fields cuts a line apart; the first error stays.
type fields struct {
	rest string
	err  error
}

func (f *fields) next() string {
	s, rest, ok := strings.Cut(f.rest, " ")
	if !ok && f.err == nil {
		f.err = errTornManifest
	}
	f.rest = rest
	return s
}

func (f *fields) uint(base, size int) uint64 {
	v, err := strconv.ParseUint(f.next(), base, size)
	if err != nil && f.err == nil {
		f.err = err
	}
	return v
}

func (f *fields) stamp() stamp {
	a, b, _ := strings.Cut(f.next(), ".")
	sec, err := strconv.ParseInt(a, 10, 64)
	nsec, err2 := strconv.ParseInt(b, 10, 64)
	if e := errors.Join(err, err2); e != nil && f.err == nil {
		f.err = e
	}
	return stamp{sec, nsec}
}

func (f *fields) name(s string) string {
	n, err := UnescapeName(s)
	if err != nil && f.err == nil {
		f.err = err
	}
	return n
}

func parseRecord(line string) (r record, err error) {
	f := fields{rest: line}
	kind := f.next()
	if len(kind) != 1 || !strings.Contains("dflp", kind) {
		return r, errTornManifest
	}
	r.kind = kind[0]
	r.mode = uint32(f.uint(8, 32))
	r.uid, r.gid = uint32(f.uint(10, 32)), uint32(f.uint(10, 32))
	r.mtime = f.stamp()
	r.attrs = f.uint(16, 64)
	switch r.kind {
	case 'f':
		r.size = int64(f.uint(10, 63))
		switch h := f.next(); h {
		case "-":
		case "!":
			r.dirty = true
		default:
			if len(h) > 2*len(r.sum.b) {
				return r, errTornManifest
			}
			n, err := hex.Decode(r.sum.b[:], []byte(h))
			if err != nil {
				return r, err
			}
			r.sum.n = byte(n)
		}
		r.ctime, r.ino = f.stamp(), f.uint(10, 64)
	case 'd':
		r.ctime, r.ino = f.stamp(), f.uint(10, 64)
	case 'l':
		r.target = f.name(f.next())
	}
	r.name = f.name(f.rest)
	if f.err != nil || r.name == "" {
		return r, errors.Join(errTornManifest, f.err)
	}
	return r, nil
}
