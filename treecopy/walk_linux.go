package treecopy

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// node is a directory in the works. It stays open until everything below it is done.
type node struct {
	parent   *node
	path     string      // "." is the root
	src, dst int         // -1 = not open
	far      *Listing    // of a source on another machine
	st       stat        // in the source
	dstSt    stat        // in the target, when it was there before
	fresh    bool        // made by this pass, or by a dry run's imagination
	ready    bool        // opened, so it may be settled
	way      *branch     // in a pass that follows changes: where they are; nil = look into all
	trusted  bool        // by inode and ctime in the previous manifest, the source's attributes did not change
	changed  atomic.Bool // this pass wrote into the target directory
	inherits defaultACL  // of the target directory
	attrs    uint64      // of the source's attributes
	*memory
	was  bool         // the previous manifest has the directory; memory.old is its block
	left atomic.Int32 // visit + tasks of files + children
}

// memory is what a directory needs while it is in the works. It is used again for others, since there are many.
type memory struct {
	entries []entry
	recs    []record // what the manifest will hold, by index of entries; kind 0 = nothing
	old     blockReader
	order   []int32
}

// entry is a name in the source.
type entry struct {
	name string
	st   stat
	dst  stat         // mode 0 = not in the target
	prev *record      // in the previous manifest
	far  *RemoteEntry // of a source on another machine
}

// visit lists a directory, makes it in the target and deals out what is in it. Children go on the stack first and files on top
// of them: a directory is done before the next one begins.
func (w *worker) visit(n *node) {
	w.entries.Add(1)
	if err := w.pace.wait(w.ctx, 1); err != nil {
		return
	}
	if !w.openSource(n) || !w.openTarget(n) {
		w.dirty.lose(n.path)
		return
	}
	if n.way != nil && !n.way.here && (w.through(n) || w.dirty.wasScanned(n.path)) {
		return
	}
	n.ready = true
	order, err := w.scan(n)
	if err != nil {
		n.ready = false
		w.dirty.lose(n.path)
		if errors.Is(err, errSourceGone) {
			w.gone(n.path)
		} else {
			w.fail(n.path, err)
		}
		return
	}
	w.seen.dirs.Add(1)
	w.visits.Add(1)
	w.dirty.scan(n.path)
	if w.dirty != nil && n.was {
		w.former(&n.old)
	}
	w.children(n)
	w.deal(n, order)
}

// openSource opens the directory and decides about mount points.
func (w *worker) openSource(n *node) bool {
	cross := w.o.Mounts == MountsCross
	open := w.openNear
	if w.far != nil {
		open = w.openFar
	}
	err := open(n)
	if isGone(err) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) { // or something else took its place
		w.gone(n.path)
		return false
	}
	if err == nil && n.st.dev != w.srcSt.dev && !cross {
		err = unix.EXDEV
	}
	if errors.Is(err, unix.EXDEV) {
		w.mounted(n.path)
		return false
	}
	if err != nil {
		w.fail(n.path, err)
		return false
	}
	if w.far == nil && w.dst >= 0 && n.st.dev == w.dstSt.dev && n.st.ino == w.dstSt.ino {
		w.stop(hint(fmt.Errorf("%s: %w", EscapeName(n.path), ErrOverlap), "choose a target outside of the source"))
		return false
	}
	return true
}

func (w *worker) openNear(n *node) (err error) {
	dir, name := w.src, "."
	if n.parent != nil {
		dir, name = n.parent.src, baseName(n.path)
	}
	if n.src, err = openQuietly(dir, name, unix.O_DIRECTORY, w.o.Mounts == MountsCross); err != nil {
		return err
	}
	n.st, err = fstat(n.src)
	return err
}

func (e *engine) mounted(path string) {
	if e.o.Mounts == MountsSkip {
		e.leaveOut("mount point", path)
		return
	}
	e.problem(path, hint(ErrMount, "decide about it: cross, skip, or exclude it"))
}

// openTarget opens the counterpart, or makes it.
func (w *worker) openTarget(n *node) bool {
	if w.reading {
		return true
	}
	var err error
	switch {
	case n.parent == nil && w.dst < 0: // a dry run into a directory that is not there yet
		n.fresh = true
	case n.parent == nil:
		n.dst, err = openat(w.dst, ".", unix.O_RDONLY|unix.O_DIRECTORY, true)
		n.dstSt = w.dstSt
	case n.dstSt.is(unix.S_IFDIR):
		n.dst, err = w.openExisting(n)
	case w.o.DryRun:
		n.fresh = true
		w.copied.dirs.Add(1)
		return true
	default:
		n.dst, err = w.makeDir(n)
		n.fresh = true
	}
	if err != nil {
		w.fail(n.path, err)
		return false
	}
	return true
}

// openExisting opens a target directory, against its mode if need be; settle puts the mode right.
func (w *worker) openExisting(n *node) (int, error) {
	dir, name := n.parent.dst, baseName(n.path)
	if dir < 0 {
		return -1, nil
	}
	if w.writing() && n.dstSt.mode&0o700 != 0o700 && unix.Geteuid() != 0 {
		if err := unix.Fchmodat(dir, name, n.dstSt.mode&0o7777|0o700, 0); err != nil {
			return -1, err
		}
		n.dstSt.mode |= 0o700
	}
	return openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, w.o.Mounts == MountsCross)
}

func (w *worker) makeDir(n *node) (int, error) {
	dir, name := n.parent.dst, baseName(n.path)
	if n.dstSt.mode != 0 { // something else is in the way
		if err := w.unlink(dir, name, n.path); err != nil {
			return -1, err
		}
	}
	n.parent.changed.Store(true)
	if err := unix.Mkdirat(dir, name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, err
	}
	w.copied.dirs.Add(1)
	fd, err := openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, w.o.Mounts == MountsCross)
	if err == nil && n.parent.givesACL() {
		err = stripACL(fd)
	}
	return fd, err
}

// stripACL takes back what a new directory inherited, and the mode that came with it.
func stripACL(fd int) error {
	for _, a := range []string{aclAccess, aclDefault} {
		if err := unix.Fremovexattr(fd, a); err != nil && !errors.Is(err, unix.ENODATA) {
			return doing("drop inherited ACL", err)
		}
	}
	return unix.Fchmod(fd, 0o700)
}

// defaultACL remembers whether a target directory gives new entries a default ACL.
type defaultACL struct {
	once  sync.Once
	given bool
}

// givesACL says whether new entries in the target get an ACL that must go again. Directories made by this pass were stripped;
// it is looked up when something is first made in another one.
func (n *node) givesACL() bool {
	if n.fresh {
		return false
	}
	n.inherits.once.Do(func() {
		_, err := unix.Fgetxattr(n.dst, aclDefault, nil)
		n.inherits.given = err == nil
	})
	return n.inherits.given
}

// children puts the subdirectories on the stack.
func (w *worker) children(n *node) {
	var tasks []task
	for i := range n.entries {
		x := &n.entries[i]
		if !x.st.is(unix.S_IFDIR) {
			continue
		}
		p := join(n.path, x.name)
		way, skip := w.wayTo(n, x, p)
		if skip {
			continue
		}
		child := &node{parent: n, path: p, src: -1, dst: -1, st: x.st, dstSt: x.dst, way: way}
		tasks = append(tasks, task{n: child, visit: true})
		child.left.Store(1)
	}
	if len(tasks) > 0 {
		n.left.Add(int32(len(tasks)))
		w.own = append(w.own, tasks...)
		w.announceDirs(tasks)
	}
}

// deal copies the files of a small directory at once and puts those of a large one, and large files, on the stack.
func (w *worker) deal(n *node, order []int32) {
	var tasks []task
	kept := order[:0:0]
	for _, i := range order {
		if n.entries[i].st.size >= bigTask && n.entries[i].st.is(unix.S_IFREG) {
			tasks = append(tasks, task{n: n, files: []int32{i}})
		} else {
			kept = append(kept, i)
		}
	}
	for len(kept) > 2*batchFiles {
		tasks = append(tasks, task{n: n, files: kept[:batchFiles]})
		kept = kept[batchFiles:]
	}
	if len(tasks) > 0 {
		n.left.Add(int32(len(tasks)))
		w.own = append(w.own, tasks...)
	}
	w.files(n, kept)
}

func baseName(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
