package treecopy

import (
	"cmp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// scan fills n.entries, sorted by name, with what is known of source, target and previous manifest. It gives the indexes of
// what is not a directory in the order of inodes, which is the order on disk.
func (w *worker) scan(n *node) ([]int32, error) {
	if n.far != nil {
		w.scanFar(n)
	} else if err := w.scanNear(n); err != nil {
		return nil, err
	}
	if w.stopped() {
		return nil, nil
	}
	if err := w.recall(n); err != nil {
		return nil, err
	}
	if err := w.compare(n); err != nil {
		return nil, err
	}
	n.recs = n.recs[:len(n.entries)]
	for i := range n.entries {
		if !n.entries[i].st.is(unix.S_IFDIR) {
			n.order = append(n.order, int32(i))
		}
	}
	slices.SortFunc(n.order, func(a, b int32) int { return cmp.Compare(n.entries[a].st.ino, n.entries[b].st.ino) })
	return n.order, nil
}

func (w *worker) scanNear(n *node) (err error) {
	if w.list, err = readDir(n.src, w.dents, w.list[:0]); err != nil {
		return sourceErr(err) // a directory that was removed while open cannot be listed
	}
	slices.SortFunc(w.list, func(a, b dirent) int { return strings.Compare(a.name, b.name) })
	n.memory = w.remember(len(w.list))
	for i := range w.list {
		if w.stopped() {
			return nil
		}
		w.look(n, w.list[i].name)
	}
	return nil
}

// remember gives memory for a directory with at most this many entries.
func (e *engine) remember(entries int) *memory {
	m, ok := e.memories.Get().(*memory)
	if !ok {
		m = &memory{}
	}
	m.entries, m.recs, m.order = slices.Grow(m.entries, entries), slices.Grow(m.recs, entries), slices.Grow(m.order, entries)
	return m
}

// forget hands the memory of a finished directory on.
func (e *engine) forget(m *memory) {
	clear(m.entries)
	clear(m.recs)
	m.entries, m.recs, m.order = m.entries[:0], m.recs[:0], m.order[:0]
	e.memories.Put(m)
}

// look takes one name into n.entries, unless it is left out.
func (w *worker) look(n *node, name string) {
	st, err := lstatat(n.src, name)
	if err == nil && n.parent != nil && len(w.skip.rules) == 0 && !w.reading && plainKind(&st) && !strings.HasPrefix(name, TempPrefix) {
		n.entries = append(n.entries, entry{name: name, st: st}) // the usual case needs no path
		return
	}
	w.take(n, name, &st, err)
}

// take takes a name that was looked at, with what came of the look, into n.entries, unless it is left out.
func (w *worker) take(n *node, name string, st *stat, err error) {
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
		n.entries = append(n.entries, entry{name: name, st: *st})
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
	if _, n.was = w.prev.index[n.path]; !n.was {
		return nil
	}
	if err := w.prev.read(n.path, &n.old); err != nil {
		return err
	}
	self, recs := &n.old.self, n.old.recs
	if len(w.prev.linked[n.path]) > 0 {
		recs = w.prev.withLinked(n.path, slices.Clone(recs))
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
