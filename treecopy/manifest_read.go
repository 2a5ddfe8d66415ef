package treecopy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/zeebo/xxh3"
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

	sum    digest // what Digest is computed from
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

var errTornManifest = hint(ErrBadManifest, "it was cut off or changed; a copy with --manifest writes a new one")

func (m *Manifest) load() error {
	r := bufio.NewReaderSize(m.file, 1<<18)
	check := xxh3.New()
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
		if line[0] != 'e' {
			_, _ = check.Write(line) // never fails
		}
		if n == 0 {
			if err := m.header(string(line[:len(line)-1])); err != nil {
				return err
			}
			continue
		}
		switch line[0] {
		case 'd':
			var rec record
			if err := parseRecord(string(line[:len(line)-1]), &rec); err != nil {
				return err
			}
			m.store(open, at)
			open = &blockRef{path: rec.name, off: at, entries: -1, ino: rec.ino}
		case 'F', 'h', 'e':
			m.store(open, at)
			open = nil
			if line[0] == 'e' {
				return m.trailer(string(line[:len(line)-1]), check.Sum64())
			}
			if leader, err = m.addLinked(string(line[:len(line)-1]), leader); err != nil {
				return err
			}
		}
		if open != nil {
			open.entries++
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
		if err := parseRecord("f"+line[1:], &rec); err != nil {
			return leader, err
		}
		leader = rec
	}
	dir := path.Dir(rec.name)
	rec.name, rec.linked = path.Base(rec.name), true
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

// trailer reads the last line and compares the hash of all before it.
func (m *Manifest) trailer(line string, check uint64) error {
	var digest, sum string
	var wrote uint64
	numbers := map[string]*int64{
		"dirs": &m.Dirs, "entries": &m.Entries, "unknown": &m.sum.unknown, "files": &m.sum.counts.Files, "symlinks": &m.sum.counts.Symlinks,
		"fifos": &m.sum.counts.FIFOs, "hardLinks": &m.sum.counts.HardLinks, "bytes": &m.sum.bytes,
	}
	for _, f := range strings.Fields(line) {
		k, v, _ := strings.Cut(f, "=")
		var err error
		switch n := numbers[k]; {
		case n != nil:
			*n, err = strconv.ParseInt(v, 10, 64)
		case k == "check":
			wrote, err = strconv.ParseUint(v, 16, 64)
		case k == "digest":
			digest = v
		case k == "sum":
			sum = v
		}
		if err != nil {
			return errTornManifest
		}
	}
	m.sum.counts.Dirs = m.Dirs
	if err := m.sum.parse(sum); err != nil || wrote != check || digest != m.sum.String() {
		return errTornManifest
	}
	m.Digest = digest
	for dir := range m.linked {
		slices.SortFunc(m.linked[dir], func(a, b record) int { return strings.Compare(a.name, b.name) })
	}
	return nil
}

// blockReader holds one directory of a manifest, and memory to read the next one into.
type blockReader struct {
	ref  blockRef
	self record
	recs []record // sorted by name, without names of files that have several
	buf  []byte
}

// read reads the directory dir, which must be in the index.
func (m *Manifest) read(dir string, b *blockReader) error {
	b.ref = m.index[dir]
	b.buf = slices.Grow(b.buf[:0], b.ref.n)[:b.ref.n]
	if _, err := m.file.ReadAt(b.buf, b.ref.off); err != nil {
		return fmt.Errorf("%s: %w", m.path, err)
	}
	text := string(b.buf)
	b.recs = slices.Grow(b.recs[:0], b.ref.entries)[:b.ref.entries]
	for i := -1; text != ""; i++ {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		rec := &b.self
		if i >= 0 {
			rec = &b.recs[i]
		}
		*rec = record{}
		if err := parseRecord(line, rec); err != nil {
			return fmt.Errorf("%s: %s: %w", m.path, EscapeName(dir), err)
		}
	}
	return nil
}

// block gives one directory whole: its own record and all of its entries, sorted by name. ok is false for one that is not there.
func (m *Manifest) block(dir string) (self record, recs []record, ok bool, err error) {
	if _, ok := m.index[dir]; !ok {
		return self, nil, false, nil
	}
	var b blockReader
	if err := m.read(dir, &b); err != nil {
		return self, nil, false, err
	}
	return b.self, m.withLinked(dir, b.recs), true, nil
}

// withLinked adds the names in dir of files that have several.
func (m *Manifest) withLinked(dir string, recs []record) []record {
	if l := m.linked[dir]; len(l) > 0 {
		recs = append(recs, l...)
		slices.SortFunc(recs, func(a, b record) int { return strings.Compare(a.name, b.name) })
	}
	return recs
}
