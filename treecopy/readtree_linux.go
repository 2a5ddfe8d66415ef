package treecopy

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Tree is a directory that is read by paths which somebody else sends: nothing is written, no link followed, nothing outside of it
// opened, whatever they ask for. It is the Remote that a sender serves, and may be copied from directly.
type Tree struct {
	dir     string
	fd      int
	dev     uint64
	changes teller
}

// OpenTree opens a directory.
func OpenTree(dir string) (*Tree, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	st, err := fstat(fd)
	if err != nil {
		return nil, errors.Join(&fs.PathError{Op: "stat", Path: dir, Err: err}, unix.Close(fd))
	}
	return &Tree{dir: dir, fd: fd, dev: st.dev}, nil
}

// Begin is part of Remote.
func (t *Tree) Begin(context.Context) (RemoteAbout, error) {
	a := RemoteAbout{Name: t.dir}
	st, err := fstat(t.fd)
	if err != nil {
		return a, err
	}
	a.Root = st.export()
	if s, err := statfs(t.fd); err == nil {
		a.Space = Space{s.usedBytes, s.usedNodes}
	}
	if up, err := lstatat(t.fd, ".."); err == nil {
		a.Alone = up.dev != st.dev
	}
	look := attrStore{left: map[string]bool{}, leave: func(name string) { a.Foreign = append(a.Foreign, name) }}
	if _, err := look.source(xattrs{fd: t.fd}); err != nil {
		return a, err
	}
	if a.Swapped, err = readMarkerIf(t.dir); err != nil {
		return a, hint(err, "the source carries a damaged marker of a copy")
	}
	return a, nil
}

// Close closes it; what is open of it stays so.
func (t *Tree) Close() error { return errors.Join(t.changes.stop(), unix.Close(t.fd)) }

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
			if st, serr := fstat(fd); serr != nil || st.dev != t.dev {
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
