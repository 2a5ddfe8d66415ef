package treecopy

import (
	"path"
	"sync"

	"golang.org/x/sys/unix"
)

// dirtyWalk is a pass that looks only where something changed. What it does not look at it takes from the former manifest.
type dirtyWalk struct {
	root  *branch
	links map[uint64]bool // inodes of the former manifest that have several names

	mu      sync.Mutex
	scanned map[string]bool // directories looked into
	lost    map[string]bool // directories that could not be looked into
	clean   map[string]bool // directories in those that are as they were, as far as is known
}

// scan, pass and lose note what became of a directory; a pass that looks everywhere has no dirtyWalk and notes nothing.
func (d *dirtyWalk) scan(dir string) {
	if d == nil {
		return
	}
	d.mu.Lock()
	d.scanned[dir] = true
	d.mu.Unlock()
}

func (d *dirtyWalk) pass(dir string) {
	d.mu.Lock()
	d.clean[dir] = true
	d.mu.Unlock()
}

func (d *dirtyWalk) lose(dir string) {
	if d == nil {
		return
	}
	d.mu.Lock()
	d.lost[dir] = true
	d.mu.Unlock()
}

func (d *dirtyWalk) wasScanned(dir string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.scanned[dir]
}

// through opens a directory only to reach those below it that changed. It says false when that will not do: a directory on the
// way is not the one that the former manifest knows.
func (w *worker) through(n *node) bool {
	var tasks []task
	for name, b := range n.way.below {
		p := join(n.path, name)
		st, err := n.sourceEntry(name)
		if err != nil {
			return false
		}
		dst, err := lstatat(n.dst, name)
		if err != nil || !w.known(p, &st, &dst) {
			return false
		}
		child := &node{parent: n, path: p, src: -1, dst: -1, st: st, dstSt: dst, way: b}
		child.left.Store(1)
		tasks = append(tasks, task{n: child, visit: true})
	}
	n.left.Add(int32(len(tasks)))
	w.own = append(w.own, tasks...)
	return true
}

// sourceEntry looks at a name in the open directory.
func (n *node) sourceEntry(name string) (stat, error) {
	if n.far != nil {
		return n.far.entry(name)
	}
	return lstatat(n.src, name)
}

// known says that a directory is the one that the former manifest holds at this path, and that the target has it.
func (w *worker) known(p string, st, dst *stat) bool {
	ref, ok := w.prev.index[p]
	return ok && ref.ino == st.ino && st.is(unix.S_IFDIR) && dst.is(unix.S_IFDIR)
}

// wayTo says how to look into a subdirectory of a directory that is looked into; skip is true for one to be left alone.
func (w *worker) wayTo(n *node, x *entry, p string) (way *branch, skip bool) {
	if w.dirty == nil || n.way == nil || n.way.deep || !w.known(p, &x.st, &x.dst) {
		return nil, false
	}
	w.dirty.pass(p)
	way = n.way.below[x.name]
	return way, way == nil
}

// former takes what the former manifest counts in a directory out of the totals: it is counted anew.
func (e *engine) former(b *blockReader) {
	e.uncount(b.recs)
	e.seen.dirs.Add(-1)
}

func (e *engine) uncount(recs []record) {
	var c Counts
	var bytes int64
	for i := range recs {
		c.tally(&recs[i])
		if recs[i].kind == 'f' && recs[i].leader == "" {
			bytes += recs[i].size
		}
	}
	e.count(c, bytes, -1)
}

// partners looks for the other names of files that have several now and had one in the former manifest, until all are found.
func (e *engine) partners() error {
	for !e.stopped() {
		want := map[uint64]bool{}
		for id, g := range e.links.groups {
			if !e.dirty.links[id.ino] && 1+len(g.rest) < int(g.first.st.nlink) {
				e.dirty.links[id.ino], want[id.ino] = true, true
			}
		}
		dirs, err := e.prev.holders(want)
		if err != nil {
			return err
		}
		way := &branch{}
		for _, dir := range dirs {
			if !e.dirty.scanned[dir] {
				way.add(dir, false)
			}
		}
		if way.below == nil && !way.here {
			return nil
		}
		e.walk(way)
	}
	return nil
}

// keepRest takes over from the former manifest what the pass did not look into, but for directories that are gone, and takes
// those out of the totals.
func (e *engine) keepRest() error {
	kept := map[string]bool{}
	var stays func(dir string) bool
	stays = func(dir string) bool {
		v, ok := kept[dir]
		if !ok {
			up := path.Dir(dir)
			v = !e.dirty.lost[dir] && (dir == "." || e.dirty.scanned[up] && e.dirty.clean[dir] || !e.dirty.scanned[up] && stays(up))
			kept[dir] = v
		}
		return v
	}
	var b blockReader
	for dir, ref := range e.prev.index {
		switch {
		case e.dirty.scanned[dir]:
		case stays(dir):
			if e.out != nil {
				e.out.keep(ref)
			}
		default:
			if err := e.prev.read(dir, &b); err != nil {
				return err
			}
			e.former(&b)
		}
	}
	for _, recs := range e.prev.linked { // all of their directories were looked into, or are gone
		e.uncount(recs)
	}
	return nil
}

// holders gives the directories with files of these inodes; names of files that had several are not looked for.
func (m *Manifest) holders(inodes map[uint64]bool) ([]string, error) {
	if len(inodes) == 0 {
		return nil, nil
	}
	var out []string
	var b blockReader
	for dir := range m.index {
		if err := m.read(dir, &b); err != nil {
			return nil, err
		}
		for i := range b.recs {
			if b.recs[i].kind == 'f' && inodes[b.recs[i].ino] {
				out = append(out, dir)
				break
			}
		}
	}
	return out, nil
}
