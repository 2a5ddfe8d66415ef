package treecopy

import (
	"encoding/hex"
	"strconv"
)

// A manifest is a text file: a header, one block per directory in the order of paths, the files with several names, an end.
//
//	pipectl-manifest 1 hash=xxh3-128 run=… owners=true partial=false source=…
//	d MODE UID GID MTIME ATTRS CTIME INODE PATH
//	f MODE UID GID MTIME ATTRS SIZE HASH CTIME INODE NAME
//	l MODE UID GID MTIME ATTRS TARGET NAME
//	p MODE UID GID MTIME ATTRS NAME
//	F …as f, with PATH    followed by    h LEADER PATH    for every further name
//	end dirs=… entries=… digest=… sum=… unknown=… files=… symlinks=… fifos=… hardLinks=… bytes=… check=…
//
// MODE is octal, times are seconds.nanoseconds, ATTRS is a hash of the extended attributes or 0, HASH is "-" where it is not
// known and "!" where the file was changing. Names are escaped as by EscapeName. The digest names the content and is empty while
// unknown, the number of entries without a content hash, is not 0; sum is what it is computed from, so that the next pass need
// only add and take away what changed. check is a hash of all lines before the last.
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
	linked bool   // one of several names, so it stands apart from its directory's block
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

// same says that a and b are the same line of a manifest.
func (r *record) same(o *record) bool {
	return r.kind == o.kind && r.name == o.name && (r.mode^o.mode)&0o7777 == 0 && r.uid == o.uid && r.gid == o.gid && r.mtime == o.mtime &&
		r.attrs == o.attrs && r.target == o.target && r.leader == o.leader && (r.kind != 'f' || r.size == o.size && r.sum == o.sum && r.dirty == o.dirty) &&
		(r.kind != 'f' && r.kind != 'd' || r.ctime == o.ctime && r.ino == o.ino)
}

// join puts a name below a directory; the root is ".".
func join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}
