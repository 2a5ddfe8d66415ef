package treecopy

import (
	"errors"
	"fmt"
	"slices"
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
	st       stat        // in the source
	dstSt    stat        // in the target, when it was there before
	fresh    bool        // made by this pass, or by a dry run's imagination
	ready    bool        // opened, so it may be settled
	trusted  bool        // by inode and ctime in the previous manifest, the source's attributes did not change
	changed  atomic.Bool // this pass wrote into the target directory
	inherits defaultACL  // of the target directory
	attrs    uint64      // of the source's attributes
	entries  []entry
	recs     []record     // what the manifest will hold, by index of entries; kind 0 = nothing
	left     atomic.Int32 // visit + tasks of files + children
}

// entry is a name in the source.
type entry struct {
	name string
	st   stat
	dst  stat    // mode 0 = not in the target
	prev *record // in the previous manifest
}

// visit lists a directory, makes it in the target and deals out what is in it. Children go on the stack first, so that other
// workers can begin with them while this one copies the files.
func (w *worker) visit(n *node) {
	w.entries.Add(1)
	if err := w.pace.wait(w.ctx, 1); err != nil {
		return
	}
	if !w.openSource(n) || !w.openTarget(n) {
		return
	}
	n.ready = true
	w.seen.dirs.Add(1)
	order, err := w.scan(n)
	if err != nil {
		n.ready = false
		w.fail(n.path, err)
		return
	}
	w.children(n)
	w.deal(n, order)
}

// openSource opens the directory and decides about mount points.
func (w *worker) openSource(n *node) bool {
	cross := w.o.Mounts == MountsCross
	dir, name := w.src, "."
	if n.parent != nil {
		dir, name = n.parent.src, baseName(n.path)
	}
	fd, err := openQuietly(dir, name, unix.O_DIRECTORY, cross)
	if isGone(err) {
		w.gone(n.path)
		return false
	}
	if err == nil {
		n.src = fd
		n.st, err = fstat(fd)
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
	if w.dst >= 0 && n.st.dev == w.dstSt.dev && n.st.ino == w.dstSt.ino {
		w.stop(hint(fmt.Errorf("%s: %w", EscapeName(n.path), ErrOverlap), "choose a target outside of the source"))
		return false
	}
	return true
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

// scan fills n.entries, sorted by name, with what is known of source, target and previous manifest. It gives the indexes of
// what is not a directory in the order of inodes, which is the order on disk.
func (w *worker) scan(n *node) ([]int32, error) {
	var err error
	if w.list, err = readDir(n.src, w.dents, w.list[:0]); err != nil {
		return nil, err
	}
	slices.SortFunc(w.list, func(a, b dirent) int { return strings.Compare(a.name, b.name) })
	n.entries = make([]entry, 0, len(w.list))
	for i := range w.list {
		if w.stopped() {
			return nil, nil
		}
		w.look(n, w.list[i].name)
	}
	if err := w.recall(n); err != nil {
		return nil, err
	}
	if err := w.compare(n); err != nil {
		return nil, err
	}
	n.recs = make([]record, len(n.entries))
	order := make([]int32, 0, len(n.entries))
	for i := range n.entries {
		if !n.entries[i].st.is(unix.S_IFDIR) {
			order = append(order, int32(i))
		}
	}
	slices.SortFunc(order, func(a, b int32) int {
		x, y := n.entries[a].st.ino, n.entries[b].st.ino
		if x < y {
			return -1
		} else if x > y {
			return 1
		}
		return 0
	})
	return order, nil
}

// look takes one name into n.entries, unless it is left out.
func (w *worker) look(n *node, name string) {
	st, err := lstatat(n.src, name)
	if err == nil && n.parent != nil && len(w.skip.rules) == 0 && !w.reading && plainKind(&st) && !strings.HasPrefix(name, TempPrefix) {
		n.entries = append(n.entries, entry{name: name, st: st}) // the usual case needs no path
		return
	}
	path := join(n.path, name)
	switch {
	case isGone(err):
		w.gone(path)
		return
	case err != nil:
		w.fail(path, err)
		return
	}
	isDir := st.is(unix.S_IFDIR)
	switch {
	case w.skip.match(path, isDir):
		w.leaveOut("excluded", path)
	case !isDir && strings.HasPrefix(name, TempPrefix):
		w.leaveOut("temporary file of a copy", path)
	case n.parent == nil && (name == MarkerName || name == ManifestName) && !isDir:
		w.leaveOut("record of a copy", path)
	case w.reading && w.protected[path]:
		w.leaveOut("record of a copy", path)
	case n.parent == nil && name == "lost+found" && isDir:
		w.leaveOut("lost+found", path)
	case st.is(unix.S_IFSOCK):
		w.leaveOut("socket", path)
	case st.is(unix.S_IFBLK), st.is(unix.S_IFCHR):
		w.problem(path, hint(ErrDevice, "exclude it"))
	default:
		n.entries = append(n.entries, entry{name: name, st: st})
	}
}

func plainKind(st *stat) bool {
	return st.is(unix.S_IFREG) || st.is(unix.S_IFDIR) || st.is(unix.S_IFLNK) || st.is(unix.S_IFIFO)
}

// recall joins what the previous manifest says.
func (w *worker) recall(n *node) error {
	if w.prev == nil {
		return nil
	}
	self, recs, ok, err := w.prev.block(n.path)
	if err != nil || !ok {
		return err
	}
	n.trusted, n.attrs = self.ino == n.st.ino && self.ctime == n.st.ctime && self.mtime == n.st.mtime, self.attrs
	i := 0
	for k := range n.entries {
		for i < len(recs) && recs[i].name < n.entries[k].name {
			i++
		}
		if i < len(recs) && recs[i].name == n.entries[k].name {
			n.entries[k].prev = &recs[i]
		}
	}
	return nil
}

// compare joins what the target holds, sweeps temporary files of earlier runs, and notes names that the source does not have.
func (w *worker) compare(n *node) error {
	if n.dst < 0 || n.fresh {
		return nil
	}
	var err error
	if w.list, err = readDir(n.dst, w.dents, w.list[:0]); err != nil {
		return err
	}
	slices.SortFunc(w.list, func(a, b dirent) int { return strings.Compare(a.name, b.name) })
	var more []string
	i := 0
	for _, d := range w.list {
		for i < len(n.entries) && n.entries[i].name < d.name {
			i++
		}
		if i < len(n.entries) && n.entries[i].name == d.name {
			if n.entries[i].dst, err = lstatat(n.dst, d.name); err != nil && !isGone(err) {
				return err
			}
			continue
		}
		if keep, err := w.surplus(n, d); err != nil {
			return err
		} else if !keep {
			more = append(more, d.name)
		}
	}
	if len(more) > 0 {
		w.lateMu.Lock()
		w.extras = append(w.extras, extra{n, more})
		w.lateMu.Unlock()
	}
	return nil
}

// surplus judges a name that only the target has: ours and excluded ones are kept, left-over temporaries go at once.
func (w *worker) surplus(n *node, d dirent) (keep bool, err error) {
	path := join(n.path, d.name)
	isDir := d.kind == unix.DT_DIR
	if d.kind == unix.DT_UNKNOWN {
		st, err := lstatat(n.dst, d.name)
		if err != nil {
			return true, err
		}
		isDir = st.is(unix.S_IFDIR)
	}
	switch {
	case !isDir && strings.HasPrefix(d.name, TempPrefix):
		if w.writing() && !w.protected[path] {
			w.swept.Add(1)
			n.changed.Store(true)
			return true, unix.Unlinkat(n.dst, d.name, 0)
		}
		return true, nil
	case w.protected[path], n.parent == nil && d.name == "lost+found", w.skip.match(path, isDir):
		return true, nil
	}
	return false, nil
}

// children puts the subdirectories on the stack.
func (w *worker) children(n *node) {
	var tasks []task
	for i := range n.entries {
		x := &n.entries[i]
		if !x.st.is(unix.S_IFDIR) {
			continue
		}
		child := &node{parent: n, path: join(n.path, x.name), src: -1, dst: -1, st: x.st, dstSt: x.dst}
		tasks = append(tasks, task{n: child, visit: true})
		child.left.Store(1)
	}
	if len(tasks) > 0 {
		n.left.Add(int32(len(tasks)))
		w.q.push(tasks...)
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
		w.q.push(tasks...)
	}
	w.files(n, kept)
}

func baseName(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
