package treecopy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/zeebo/xxh3"
)

// manifestWriter takes directory blocks in any order, from any goroutine. Blocks wait in an unlinked file, so that memory
// holds only an index of directories. What did not change is taken from the previous manifest as it stands there.
type manifestWriter struct {
	mu      sync.Mutex
	path    string    // "" = only the digest is wanted
	prev    *Manifest // nil = there is none
	spool   *os.File  // nil without path
	pending []byte
	size    int64
	index   []blockRef
	digest  digest
	entries int64
	dirs    int64
	known   int // directories of prev that were replaced or taken over
}

// blockRef is where a block lies: in the spool, or in the previous manifest.
type blockRef struct {
	path    string
	off     int64
	n       int
	entries int // other than directories
	ino     uint64
	old     bool
}

// block is one directory on its way into a manifest.
type block struct {
	self    record
	recs    []record // sorted by name, no directories
	was     *record  // the directory in the previous manifest; nil = not there
	had     []record // what it held there, further names of linked files left out
	text    []byte
	scratch []byte
}

// newManifestWriter begins a manifest that follows prev, which may be nil and is not closed.
func newManifestWriter(path string, prev *Manifest) (*manifestWriter, error) {
	m := &manifestWriter{path: path, prev: prev}
	if prev != nil {
		m.digest = prev.sum
	}
	if path == "" {
		return m, nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), TempPrefix+"spool-*")
	if err != nil {
		return nil, err
	}
	m.spool = f
	return m, os.Remove(f.Name())
}

// add takes the block of one directory.
func (m *manifestWriter) add(b *block, path string) error {
	var diff digest
	b.scratch = diff.add(&b.self, ".", path, b.scratch)
	for i := range b.recs {
		b.scratch = diff.add(&b.recs[i], path, b.recs[i].name, b.scratch)
	}
	if b.was != nil {
		b.scratch = diff.remove(b.was, ".", path, b.scratch)
		for i := range b.had {
			b.scratch = diff.remove(&b.had[i], path, b.had[i].name, b.scratch)
		}
	}
	b.text = b.text[:0]
	if m.spool != nil {
		b.self.name = path
		b.text = b.self.line(b.text, 'd')
		for i := range b.recs {
			b.text = b.recs[i].line(b.text, b.recs[i].kind)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dirs++
	m.entries += int64(len(b.recs))
	m.digest.plus(&diff)
	if b.was != nil {
		m.known++
	}
	if m.spool == nil {
		return nil
	}
	m.index = append(m.index, blockRef{path: path, off: m.size + int64(len(m.pending)), n: len(b.text), entries: len(b.recs)})
	m.pending = append(m.pending, b.text...)
	if len(m.pending) > 1<<20 {
		return m.flush()
	}
	return nil
}

// keep takes a block over from the previous manifest.
func (m *manifestWriter) keep(ref blockRef) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dirs++
	m.entries += int64(ref.entries)
	m.known++
	ref.old = true
	m.index = append(m.index, ref)
}

func (m *manifestWriter) flush() error {
	n, err := m.spool.WriteAt(m.pending, m.size)
	m.size, m.pending = m.size+int64(n), m.pending[:0]
	return err
}

// finish adds the files with several names (each group with its first name first, whole paths as names) and puts the manifest
// in place. It gives the digest, "" when a content hash is missing.
func (m *manifestWriter) finish(header string, linked []record) (string, error) {
	var scratch []byte
	for i := range linked {
		scratch = m.digest.add(&linked[i], ".", linked[i].name, scratch)
	}
	m.entries += int64(len(linked))
	if err := m.forget(); err != nil {
		return "", err
	}
	if m.spool == nil || m.asBefore(header, linked) {
		return m.digest.String(), nil
	}
	if err := m.flush(); err != nil {
		return "", err
	}
	tmp, err := os.CreateTemp(filepath.Dir(m.path), TempPrefix+"manifest-*")
	if err != nil {
		return "", err
	}
	err = errors.Join(m.render(tmp, header, linked), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), m.path)
	}
	if err != nil {
		return "", errors.Join(err, removeIf(tmp.Name()))
	}
	return m.digest.String(), syncDir(filepath.Dir(m.path))
}

// asBefore says that the previous manifest holds as it is, but for the id of the run that wrote it: it need not be written again.
func (m *manifestWriter) asBefore(header string, linked []record) bool {
	p := m.prev
	if p == nil || m.size+int64(len(m.pending)) > 0 || len(m.index) != len(p.index) || m.digest != p.sum || m.path != p.path {
		return false
	}
	var h Manifest
	if h.header(manifestMagic+" "+header) != nil || h.Hash != p.Hash || h.Owners != p.Owners || h.Source != p.Source {
		return false
	}
	byPath := make(map[string]*record, len(linked))
	for i := range linked {
		byPath[linked[i].name] = &linked[i]
	}
	names := 0
	for dir, recs := range p.linked {
		for i := range recs {
			r, ok := byPath[join(dir, recs[i].name)]
			if !ok || r.ctime != recs[i].ctime || r.ino != recs[i].ino { // the digest tells the rest
				return false
			}
			names++
		}
	}
	return names == len(linked)
}

// forget takes out of the digest what only the previous manifest has.
func (m *manifestWriter) forget() error {
	if m.prev == nil {
		return nil
	}
	var scratch []byte
	for dir, recs := range m.prev.linked {
		for i := range recs {
			scratch = m.digest.remove(&recs[i], dir, recs[i].name, scratch)
		}
	}
	if m.known == len(m.prev.index) {
		return nil
	}
	seen := make(map[string]bool, len(m.index))
	for i := range m.index {
		seen[m.index[i].path] = true
	}
	var b blockReader
	for dir := range m.prev.index {
		if seen[dir] {
			continue
		}
		if err := m.prev.read(dir, &b); err != nil {
			return err
		}
		scratch = m.digest.remove(&b.self, ".", dir, scratch)
		for i := range b.recs {
			scratch = m.digest.remove(&b.recs[i], dir, b.recs[i].name, scratch)
		}
	}
	return nil
}

func (m *manifestWriter) render(f *os.File, header string, linked []record) error {
	check := xxh3.New()
	w := bufio.NewWriterSize(f, 1<<18)
	both := io.MultiWriter(w, check)
	fmt.Fprintf(both, "%s %s\n", manifestMagic, header)
	slices.SortFunc(m.index, func(a, b blockRef) int { return strings.Compare(a.path, b.path) })
	var text []byte
	for i := 0; i < len(m.index); i++ {
		ref := m.index[i]
		for ref.old && i+1 < len(m.index) && ref.n < 1<<20 { // what lay together is read together
			next := m.index[i+1]
			if !next.old || next.off != ref.off+int64(ref.n) {
				break
			}
			ref.n += next.n
			i++
		}
		text = slices.Grow(text[:0], ref.n)[:ref.n]
		from := m.spool
		if ref.old {
			from = m.prev.file
		}
		if _, err := from.ReadAt(text, ref.off); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		_, _ = both.Write(text) // the error stays with w
	}
	for i := range linked {
		_, _ = both.Write(linked[i].line(text[:0], 'F'))
	}
	d := &m.digest
	fmt.Fprintf(w, "end dirs=%d entries=%d digest=%s sum=%s unknown=%d files=%d symlinks=%d fifos=%d hardLinks=%d bytes=%d check=%016x\n", m.dirs, m.entries,
		d.String(), d.sum(), d.unknown, d.counts.Files, d.counts.Symlinks, d.counts.FIFOs, d.counts.HardLinks, d.bytes, check.Sum64())
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Sync()
}

// close gives the spool back.
func (m *manifestWriter) close() {
	if m != nil && m.spool != nil {
		_ = m.spool.Close() // unlinked scratch file
	}
}
