package treecopy

import (
	"errors"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// inode identifies a file whatever its name.
type inode struct{ dev, ino uint64 }

// linkTable gathers files with several names. The first name met is copied like any file; the others are linked to it after
// the walk, when it is certainly there.
type linkTable struct {
	mu     sync.Mutex
	groups map[inode]*linkGroup
	kept   map[inode]inode // target file -> source file that it was kept for
}

// linkGroup is one file of the source.
type linkGroup struct {
	first linkName
	rest  []linkName
	rec   record // of the first name
	ok    bool   // the first name is in the target
}

type linkName struct {
	n    *node
	name string
	st   stat
	dst  stat
	bad  bool // could not be made
}

func (l linkName) path() string { return join(l.n.path, l.name) }

// claim registers a name; first is true for the one that has to be copied.
func (t *linkTable) claim(n *node, x *entry) (g *linkGroup, first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := inode{x.st.dev, x.st.ino}
	g = t.groups[id]
	if g == nil {
		g = &linkGroup{first: linkName{n: n, name: x.name, st: x.st, dst: x.dst}}
		t.groups[id] = g
		return g, true
	}
	g.rest = append(g.rest, linkName{n: n, name: x.name, st: x.st, dst: x.dst})
	return g, false
}

// mayKeep says whether the target's file may stay for this entry: not when two files of the source would share it.
func (t *linkTable) mayKeep(x *entry) bool {
	if x.dst.nlink <= 1 {
		return true
	}
	if x.st.nlink <= 1 {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	to, from := inode{x.dst.dev, x.dst.ino}, inode{x.st.dev, x.st.ino}
	if holder, ok := t.kept[to]; ok {
		return holder == from
	}
	t.kept[to] = from
	return true
}

// link makes the further names, group by group.
func (e *engine) link() {
	w := e.newWorker()
	for _, g := range e.links.groups {
		for i := range g.rest {
			if e.stopped() {
				return
			}
			if err := w.linkOne(g, &g.rest[i]); err != nil {
				g.rest[i].bad = true
				e.fail(g.rest[i].path(), err)
			}
		}
	}
}

// linkOne makes one further name. Where the first name could not be copied, this one takes its place.
func (w *worker) linkOne(g *linkGroup, l *linkName) error {
	if !g.ok {
		return w.promote(g, l)
	}
	if w.reading {
		return nil
	}
	if w.o.DryRun {
		if l.dst.mode == 0 || l.dst.ino != g.first.dst.ino || l.dst.dev != g.first.dst.dev {
			w.copied.hardLinks.Add(1)
		}
		return nil
	}
	from, err := openPath(w.dst, g.first.n.path, true)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(from) }() // a directory
	to, err := w.reopen(l.n)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(to) }() // a directory
	return w.linkInto(g, l, from, to)
}

func (w *worker) linkInto(g *linkGroup, l *linkName, from, to int) error {
	have, err := lstatat(from, g.first.name)
	if err != nil {
		return err
	}
	there, err := lstatat(to, l.name)
	switch {
	case err == nil && there.ino == have.ino && there.dev == have.dev:
		w.unchanged.Add(1)
		return nil
	case err == nil && there.is(unix.S_IFDIR):
		if err := w.unlink(to, l.name, l.path()); err != nil {
			return err
		}
	case err != nil && !errors.Is(err, unix.ENOENT):
		return err
	}
	w.touch(l.n)
	w.copied.hardLinks.Add(1)
	tmp := w.tempName()
	if err := unix.Linkat(from, g.first.name, to, tmp, 0); err != nil {
		return doing("link", err)
	}
	if err := unix.Renameat(to, tmp, to, l.name); err != nil {
		return errors.Join(err, dropTemp(to, tmp))
	}
	return nil
}

// promote copies a further name as the first one.
func (w *worker) promote(g *linkGroup, l *linkName) error {
	dir := &node{path: l.n.path, src: -1, dst: -1}
	if w.far == nil {
		src, err := openPath(w.src, l.n.path, w.o.Mounts == MountsCross)
		if err != nil {
			return sourceErr(err)
		}
		defer func() { _ = unix.Close(src) }() // opened read-only
		dir.src = src
	}
	if w.writing() {
		fd, err := w.reopen(l.n)
		if err != nil {
			return err
		}
		dir.dst = fd
		defer func() { _ = unix.Close(dir.dst) }() // a directory
		w.touch(l.n)
	}
	rec, err := w.settleFile(dir, &entry{name: l.name, st: l.st, dst: l.dst})
	g.rec, g.ok = rec, err == nil
	if err == nil {
		g.first = *l
	}
	return err
}

// reopen opens a settled target directory again, to be changed.
func (e *engine) reopen(n *node) (int, error) {
	fd, err := openPath(e.dst, n.path, true)
	if err == nil && n.st.mode&0o300 != 0o300 && unix.Geteuid() != 0 {
		if err := unix.Fchmod(fd, n.st.mode&0o7777|0o700); err != nil {
			return -1, errors.Join(err, unix.Close(fd))
		}
	}
	return fd, err
}

// resettle gives directories that were changed after they were settled their mode and times back.
func (e *engine) resettle() {
	for n := range e.touched {
		if n.parent == nil && e.o.KeepRoot {
			continue
		}
		fd, err := openPath(e.dst, n.path, true)
		if err == nil {
			err = errors.Join(unix.Fchmod(fd, e.modeFor(&n.st)), futimens(fd, n.st.mtime), unix.Close(fd))
		}
		if err != nil {
			e.fail(n.path, err)
		}
	}
}

// linked renders the groups for the manifest: the smallest path comes first and is the leader, whatever was copied first.
func (e *engine) linked(onlyWritten bool) []record {
	var out []record
	for _, g := range e.links.groups {
		if !g.ok || onlyWritten && !g.rec.wrote {
			continue
		}
		names := []string{g.first.path()}
		for i := range g.rest {
			if p := g.rest[i].path(); p != names[0] && !g.rest[i].bad {
				names = append(names, p)
			}
		}
		slices.Sort(names)
		for i, name := range names {
			r := g.rec
			r.name = name
			if i > 0 {
				r.leader = names[0]
			}
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b record) int { return strings.Compare(first(&a), first(&b)) })
	return out
}

// first is the path by which a group is sorted.
func first(r *record) string {
	if r.leader != "" {
		return r.leader
	}
	return r.name
}
