package treecopy

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/zeebo/blake3"
)

// A manifest is a text file: a header, one block per directory in the order of paths, the files with several names, an end.
//
//	pipectl-manifest 1 hash=xxh3-128 run=… owners=true partial=false source=…
//	d MODE UID GID MTIME ATTRS CTIME INODE PATH
//	f MODE UID GID MTIME ATTRS SIZE HASH CTIME INODE NAME
//	l MODE UID GID MTIME ATTRS TARGET NAME
//	p MODE UID GID MTIME ATTRS NAME
//	F …as f, with PATH    followed by    h LEADER PATH    for every further name
//	end dirs=… entries=… digest=…
//
// MODE is octal, times are seconds.nanoseconds, ATTRS is a hash of the extended attributes or 0, HASH is "-" where it is not
// known and "!" where the file was changing. Names are escaped as by EscapeName.
const manifestMagic = "pipectl-manifest 1"

// stat is what is known about an entry; mode 0 means there is none.
type stat struct {
	mode, uid, gid uint32 // mode with the file type
	nlink          uint32
	dev, ino       uint64
	size, blocks   int64
	mtime, ctime   stamp
}

type stamp struct{ sec, nsec int64 }

// record is an entry as the manifest holds it.
type record struct {
	kind   byte // d, f, l, p
	name   string
	stat   // perm bits of mode only
	attrs  uint64
	sum    sum
	dirty  bool
	target string // of a symbolic link
	leader string // path of the first name, when this is a further one
	wrote  bool   // by this pass
}

func (r *record) hashField(b []byte) []byte {
	switch {
	case r.dirty:
		return append(b, '!')
	case r.sum.n == 0:
		return append(b, '-')
	}
	return hex.AppendEncode(b, r.sum.bytes())
}

func (s stamp) append(b []byte) []byte {
	b = strconv.AppendInt(b, s.sec, 10)
	b = append(b, '.')
	for n, d := s.nsec, int64(100_000_000); d > 0; d /= 10 {
		b = append(b, byte('0'+n/d%10))
	}
	return b
}

// meta appends the fields that all kinds share.
func (r *record) meta(b []byte, kind byte) []byte {
	b = append(b, kind, ' ')
	b = strconv.AppendUint(b, uint64(r.mode&0o7777), 8)
	b = append(b, ' ')
	b = strconv.AppendUint(b, uint64(r.uid), 10)
	b = append(b, ' ')
	b = strconv.AppendUint(b, uint64(r.gid), 10)
	b = append(b, ' ')
	b = r.mtime.append(b)
	b = append(b, ' ')
	b = strconv.AppendUint(b, r.attrs, 16)
	return append(b, ' ')
}

// origin appends what tells that the source's entry was not touched since.
func (r *record) origin(b []byte) []byte {
	b = r.ctime.append(b)
	b = append(b, ' ')
	b = strconv.AppendUint(b, r.ino, 10)
	return append(b, ' ')
}

// line appends the record as a line of the manifest; kind differs from r.kind for the first of several names.
func (r *record) line(b []byte, kind byte) []byte {
	if r.leader != "" {
		b = append(b, "h "...)
		b = appendEscaped(b, r.leader, true)
		b = append(b, ' ')
		return append(appendEscaped(b, r.name, false), '\n')
	}
	b = r.meta(b, kind)
	switch r.kind {
	case 'f':
		b = strconv.AppendInt(b, r.size, 10)
		b = append(b, ' ')
		b = r.hashField(b)
		b = append(b, ' ')
		b = r.origin(b)
	case 'd':
		b = r.origin(b)
	case 'l':
		b = appendEscaped(b, r.target, true)
		b = append(b, ' ')
	}
	return append(appendEscaped(b, r.name, false), '\n')
}

// proof appends what the tree's digest says about the entry name in dir: nothing that only this source has (inode, ctime).
func (r *record) proof(b []byte, dir, name string) []byte {
	if name == "." { // the root's own attributes belong to the place, not to the content
		return append(b, "root"...)
	}
	b = r.meta(b, r.kind)
	if r.kind == 'f' {
		b = strconv.AppendInt(b, r.size, 10)
		b = append(b, ' ')
		b = r.hashField(b)
		b = append(b, ' ')
	}
	b = append(append(b, r.target...), 0)
	b = append(append(b, r.leader...), 0)
	if dir != "." {
		b = append(append(b, dir...), '/')
	}
	return append(b, name...)
}

// digest names a set of entries whatever their order: the sum, modulo 2^256, of the BLAKE3 hashes of their proofs.
type digest struct {
	acc     [4]uint64
	unknown bool // some content hash is missing, so there is nothing to say
}

func (d *digest) add(r *record, dir, name string, scratch []byte) []byte {
	if r.kind == 'f' && (r.sum.n == 0 || r.dirty) {
		d.unknown = true
	}
	scratch = r.proof(scratch[:0], dir, name)
	h := blake3.Sum256(scratch)
	var c uint64
	for i := range d.acc {
		var v uint64
		for k := range 8 {
			v |= uint64(h[8*i+k]) << (8 * k)
		}
		d.acc[i], c = bits.Add64(d.acc[i], v, c)
	}
	return scratch
}

func (d *digest) String() string {
	if d.unknown {
		return ""
	}
	return fmt.Sprintf("%016x%016x%016x%016x", d.acc[3], d.acc[2], d.acc[1], d.acc[0])
}

// manifestWriter takes directory blocks in any order, from any goroutine. Blocks wait in an unlinked file, so that memory
// holds only an index of directories.
type manifestWriter struct {
	mu      sync.Mutex
	path    string   // "" = only the digest is wanted
	spool   *os.File // nil without path
	pending []byte
	size    int64
	index   []blockRef
	digest  digest
	scratch []byte
	entries int64
	dirs    int64
}

type blockRef struct {
	path string
	off  int64
	n    int
}

func newManifestWriter(path string) (*manifestWriter, error) {
	m := &manifestWriter{path: path}
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

// add takes the block of one directory; recs are sorted by name and hold no directories.
func (m *manifestWriter) add(dir *record, path string, recs []record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dirs++
	m.entries += int64(len(recs))
	m.scratch = m.digest.add(dir, ".", path, m.scratch)
	for i := range recs {
		m.scratch = m.digest.add(&recs[i], path, recs[i].name, m.scratch)
	}
	if m.spool == nil {
		return nil
	}
	began := len(m.pending)
	dir.name = path
	m.pending = dir.line(m.pending, 'd')
	for i := range recs {
		m.pending = recs[i].line(m.pending, recs[i].kind)
	}
	m.index = append(m.index, blockRef{path, m.size + int64(began), len(m.pending) - began})
	if len(m.pending) > 1<<20 {
		return m.flush()
	}
	return nil
}

func (m *manifestWriter) flush() error {
	n, err := m.spool.WriteAt(m.pending, m.size)
	m.size, m.pending = m.size+int64(n), m.pending[:0]
	return err
}

// finish adds the files with several names (each group with its first name first, whole paths as names) and puts the manifest
// in place. It gives the digest, "" when a content hash is missing.
func (m *manifestWriter) finish(header string, linked []record) (string, error) {
	for i := range linked {
		m.scratch = m.digest.add(&linked[i], ".", linked[i].name, m.scratch)
	}
	m.entries += int64(len(linked))
	if m.spool == nil {
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

func (m *manifestWriter) render(f *os.File, header string, linked []record) error {
	w := bufio.NewWriterSize(f, 1<<18)
	fmt.Fprintf(w, "%s %s\n", manifestMagic, header)
	slices.SortFunc(m.index, func(a, b blockRef) int { return strings.Compare(a.path, b.path) })
	var block []byte
	for _, ref := range m.index {
		block = slices.Grow(block[:0], ref.n)[:ref.n]
		if _, err := m.spool.ReadAt(block, ref.off); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		_, _ = w.Write(block) // the error stays with w
	}
	for i := range linked {
		block = linked[i].line(block[:0], 'F')
		_, _ = w.Write(block)
	}
	fmt.Fprintf(w, "end dirs=%d entries=%d digest=%s\n", m.dirs, m.entries, m.digest.String())
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

// join puts a name below a directory; the root is ".".
func join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}
