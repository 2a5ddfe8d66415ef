package treecopy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Tree is a directory that is read by paths which somebody else sends: nothing is written, no link followed, nothing outside of it
// opened, whatever they ask for. It is the Remote that a sender serves, and may be copied from directly.
type Tree struct {
	dir   string
	fd    int
	about RemoteAbout
}

// OpenTree opens a directory.
func OpenTree(dir string) (*Tree, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	t := &Tree{dir: dir, fd: fd, about: RemoteAbout{Name: dir}}
	if err := t.look(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, err), unix.Close(fd))
	}
	return t, nil
}

func (t *Tree) look() error {
	st, err := fstat(t.fd)
	if err != nil {
		return err
	}
	t.about.Root = st.export()
	if s, err := statfs(t.fd); err == nil {
		t.about.Space = Space{s.usedBytes, s.usedNodes}
	}
	if up, err := lstatat(t.fd, ".."); err == nil {
		t.about.Alone = up.dev != st.dev
	}
	t.about.Swapped, err = readMarkerIf(t.dir)
	return err
}

// Close closes it; what is open of it stays so.
func (t *Tree) Close() error { return unix.Close(t.fd) }

// About is part of Remote.
func (t *Tree) About() RemoteAbout { return t.about }

// AheadDirs does nothing: a local directory need not be asked for beforehand.
func (t *Tree) AheadDirs([]string, bool) {}

// AheadFiles does nothing.
func (t *Tree) AheadFiles(string, []string, bool, Hash) {}

// open opens an entry by a path that is not to be trusted.
func (t *Tree) open(path string, flags int, cross bool) (int, error) {
	if !ValidPath(path) {
		return -1, unix.EINVAL
	}
	if noOpenat2.Load() || len(path) > 2000 {
		return t.openSteps(path, flags, cross)
	}
	fd, err := openQuietly(t.fd, path, flags, cross)
	if noOpenat2.Load() { // which was found out just now, and by then a link may have been followed
		if err == nil {
			_ = unix.Close(fd) // opened read-only
		}
		return t.openSteps(path, flags, cross)
	}
	return fd, err
}

// openSteps opens name by name: long paths, and where the kernel cannot promise to stay below the root.
func (t *Tree) openSteps(path string, flags int, cross bool) (int, error) {
	at := t.fd
	for {
		name, rest, more := strings.Cut(path, "/")
		how := unix.O_DIRECTORY
		if !more {
			how = flags
		}
		fd, err := openQuietly(at, name, how, cross)
		if at != t.fd {
			_ = unix.Close(at) // opened read-only
		}
		if err == nil && !cross && noOpenat2.Load() {
			if st, serr := fstat(fd); serr != nil || st.dev != t.about.Root.Dev {
				_ = unix.Close(fd) // opened read-only
				return -1, unix.EXDEV
			}
		}
		if err != nil || !more {
			return fd, err
		}
		at, path = fd, rest
	}
}

// List is part of Remote.
func (t *Tree) List(_ context.Context, dir string, cross bool) (*Listing, error) {
	fd, err := t.open(dir, unix.O_DIRECTORY, cross)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }() // opened read-only
	st, err := fstat(fd)
	if err != nil {
		return nil, err
	}
	attrs, err := readAttrs(xattrs{fd: fd})
	if err != nil {
		return nil, err
	}
	names, err := readDir(fd, make([]byte, 32<<10), nil)
	if err != nil {
		return nil, err
	}
	l := &Listing{Dir: st.export(), Attrs: attrs, Entries: make([]RemoteEntry, 0, len(names))}
	var buf [4097]byte
	for _, d := range names {
		l.Entries = append(l.Entries, lookAt(fd, d.name, buf[:]))
	}
	slices.SortFunc(l.Entries, func(a, b RemoteEntry) int { return strings.Compare(a.Name, b.Name) })
	return l, nil
}

// lookAt reads all about an entry but its content. Attributes of directories are theirs to tell.
func lookAt(dir int, name string, buf []byte) RemoteEntry {
	st, err := lstatat(dir, name)
	e := RemoteEntry{Name: name, Error: err}
	if err != nil {
		return e
	}
	e.Stat = st.export()
	if st.is(unix.S_IFLNK) {
		if e.Target, e.Error = readlinkat(dir, name, buf); e.Error != nil {
			return e
		}
	}
	if st.is(unix.S_IFREG) || st.is(unix.S_IFLNK) || st.is(unix.S_IFIFO) {
		e.Attrs, e.Error = readAttrs(xattrs{dir, name})
	}
	return e
}

func readAttrs(x xattrs) ([]Attr, error) {
	var none attrStore
	list, err := none.read(x)
	var out []Attr
	for _, a := range list {
		out = append(out, Attr{a.name, a.value})
	}
	return out, err
}

// treeFile is a file of a Tree that is being read.
type treeFile struct {
	fd    int
	st    stat
	attrs []Attr
	began time.Time
	at    int64 // everything before was given or is a hole
	end   int64 // of the stretch of data that is being read
	h     *hasher
	buf   []byte
	done  FileEnd
}

// Open is part of Remote.
func (t *Tree) Open(_ context.Context, dir, name string, cross bool, h Hash) (RemoteFile, error) {
	fd, err := t.openFile(dir, name, cross)
	if err != nil {
		return nil, err
	}
	f := &treeFile{fd: fd, h: newHasher(h)}
	f.h.reset()
	if f.st, err = fstat(fd); err == nil && f.st.is(unix.S_IFREG) {
		f.attrs, err = readAttrs(xattrs{fd: fd})
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	if f.st.size > smallFile {
		_ = unix.Fadvise(fd, 0, 0, unix.FADV_SEQUENTIAL) // advice only
	}
	if !f.sparse() {
		f.end = f.st.size
	}
	f.began = time.Now()
	return f, nil
}

func (t *Tree) openFile(dir, name string, cross bool) (int, error) {
	if !ValidName(name) {
		return -1, unix.EINVAL
	}
	return t.open(join(dir, name), 0, cross)
}

func (f *treeFile) sparse() bool { return f.st.blocks*512 < f.st.size }

func (f *treeFile) Opened() (Stat, []Attr) { return f.st.export(), f.attrs }

// stretch is how much Next gives at a time.
const stretch = 128 << 10

func (f *treeFile) Next() (int64, []byte, error) {
	if !f.st.is(unix.S_IFREG) {
		return 0, nil, f.finish()
	}
	if f.at >= f.end && f.at < f.st.size {
		if err := f.skipHole(); err != nil {
			return 0, nil, err
		}
	}
	if f.at >= f.st.size {
		return 0, nil, f.finish()
	}
	if f.buf == nil {
		f.buf = make([]byte, min(stretch, f.st.size))
	}
	n, err := pread(f.fd, f.buf[:min(int64(len(f.buf)), f.end-f.at)], f.at)
	if err != nil {
		return 0, nil, err
	}
	if n == 0 { // cut off while we read; what Closed says tells
		return 0, nil, f.finish()
	}
	off := f.at
	f.h.write(f.buf[:n])
	f.at, f.done.Bytes = f.at+int64(n), f.done.Bytes+int64(n)
	return off, f.buf[:n], nil
}

// skipHole goes to the next data.
func (f *treeFile) skipHole() error {
	data, err := unix.Seek(f.fd, f.at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		data = f.st.size // only a hole is left
	} else if err != nil { // the file system does not know holes
		f.end = f.st.size
		return nil
	}
	data = min(data, f.st.size)
	f.h.writeZeros(data - f.at)
	f.at, f.end = data, data
	if data == f.st.size {
		return nil
	}
	end, err := unix.Seek(f.fd, data, unix.SEEK_HOLE)
	f.end = min(end, f.st.size)
	return err
}

// finish looks at the file again and gives io.EOF.
func (f *treeFile) finish() error {
	now, err := fstat(f.fd)
	if err != nil {
		return err
	}
	f.done.Stat, f.done.Racy, f.done.Sum = now.export(), racy(&now, f.began), f.h.sum().bytes()
	if f.st.size > smallFile { // what was read once must not push the running node's own pages out of memory
		_ = unix.Fadvise(f.fd, 0, 0, unix.FADV_DONTNEED)
	}
	return io.EOF
}

func (f *treeFile) Closed() FileEnd { return f.done }

func (f *treeFile) Close() {
	if f.fd >= 0 {
		_ = unix.Close(f.fd) // opened read-only
		f.fd = -1
	}
}

// Sum is part of Remote.
func (t *Tree) Sum(ctx context.Context, dir, name string, size int64, h Hash) ([]byte, error) {
	f, err := t.Open(ctx, dir, name, true, h)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, _ := f.Opened(); st.Size != size {
		return nil, nil
	}
	for {
		_, _, err := f.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
	}
	if end := f.Closed(); end.Stat.Size == size {
		return end.Sum, nil
	}
	return nil, nil
}

// Measure is part of Remote.
func (t *Tree) Measure(ctx context.Context, block int64, excludes []string, cross bool) (Usage, error) {
	o := Options{Excludes: excludes}
	if cross {
		o.Mounts = MountsCross
	}
	e, err := newEngine(ctx, t.dir, o)
	if err != nil {
		return Usage{}, err
	}
	defer e.close()
	u := e.measure(e.src, max(block, 1), true)
	return Usage{u.bytes, u.nodes, u.largest}, ctx.Err()
}
