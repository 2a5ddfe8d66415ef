package treecopy

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// space is the capacity of a file system; inodes is 0 where they are made as needed.
type space struct {
	block                        int64
	freeBytes, usedBytes         int64
	inodes, freeNodes, usedNodes int64
}

func statfs(fd int) (space, error) {
	var s unix.Statfs_t
	if err := unix.Fstatfs(fd, &s); err != nil {
		return space{}, err
	}
	block := int64(s.Frsize)
	if block <= 0 {
		block = int64(s.Bsize)
	}
	return space{
		block: block, freeBytes: int64(s.Bavail) * block, usedBytes: int64(s.Blocks-s.Bfree) * block,
		inodes: int64(s.Files), freeNodes: int64(s.Ffree), usedNodes: int64(s.Files - s.Ffree),
	}, nil
}

func syncfs(fd int) error { return unix.Syncfs(fd) }

// expect says how many entries the pass will look at, where something tells it.
func (e *engine) expect() {
	if e.dirty != nil {
		return
	}
	if e.prev != nil {
		e.expected.Store(e.prev.Dirs + e.prev.Entries)
		return
	}
	if e.far != nil {
		if a := e.about; a.Alone {
			e.expected.Store(a.Space.UsedNodes)
		}
		return
	}
	up, err := lstatat(e.src, "..")
	if err != nil || up.dev == e.srcSt.dev {
		return
	}
	if s, err := statfs(e.src); err == nil { // the source is a file system of its own
		e.expected.Store(s.usedNodes)
	}
}

// full says with numbers that a write found no room.
func (e *engine) full(path string, cause error) error {
	err := &SpaceError{Path: path, Cause: cause}
	if s, serr := e.o.statfs(e.dst); serr == nil {
		err.FreeBytes, err.FreeNodes = s.freeBytes, s.freeNodes
	}
	return err
}

// checkSpace foresees a full target. What the source's whole file system holds is the cheap upper bound; only when that does
// not fit are the trees measured.
func (e *engine) checkSpace() error {
	to, err := e.o.statfs(e.dst)
	if err != nil {
		return err
	}
	if bound := e.sourceHolds(); bound.nodes > 0 && bound.fits(&to) {
		return nil
	}
	if e.dirty != nil { // measuring would look everywhere; what does not fit after all stops the pass cleanly
		return nil
	}
	need, err := e.measureSource(to.block)
	if err != nil {
		return err
	}
	have := e.measure(e.dst, to.block, false)
	if e.stopped() {
		return nil
	}
	need.bytes, need.nodes = max(0, need.bytes-have.bytes)+need.largest, max(0, need.nodes-have.nodes)+int64(e.o.Workers)
	if need.fits(&to) {
		return nil
	}
	wanted := need.withMargin()
	return &SpaceError{
		Path: e.dstDir, NeedBytes: wanted.bytes, FreeBytes: to.freeBytes, NeedInodes: wanted.nodes, FreeNodes: to.freeNodes,
	}
}

// sourceHolds is what the source's whole file system holds.
func (e *engine) sourceHolds() usage {
	if e.far != nil {
		s := e.about.Space
		return usage{bytes: s.UsedBytes, nodes: s.UsedNodes}
	}
	from, err := e.o.statfs(e.src)
	if err != nil {
		return usage{}
	}
	return usage{bytes: from.usedBytes, nodes: from.usedNodes}
}

func (e *engine) measureSource(block int64) (usage, error) {
	if e.far == nil {
		return e.measure(e.src, block, true), nil
	}
	u, err := e.far.Measure(e.ctx, block, e.o.Excludes, e.o.Mounts == MountsCross)
	return usage{u.Bytes, u.Nodes, u.Largest}, err
}

// usage is what a tree takes, or will take.
type usage struct{ bytes, nodes, largest int64 }

// withMargin adds 5 % for what a file system needs besides.
func (u usage) withMargin() usage {
	return usage{bytes: u.bytes + u.bytes/20, nodes: u.nodes + u.nodes/20, largest: u.largest}
}

func (u usage) fits(s *space) bool {
	w := u.withMargin()
	return w.bytes <= s.freeBytes && (s.inodes == 0 || w.nodes <= s.freeNodes)
}

// measure walks a tree and adds up blocks and inodes. What cannot be read counts nothing here; the copy reports it.
func (e *engine) measure(root int, block int64, source bool) usage {
	var bytes, nodes, largest atomic.Int64
	var seen linkTable
	seen.groups = map[inode]*linkGroup{}
	q := newQueue()
	q.push(task{n: &node{path: "."}})
	e.parallel(func() {
		buf := make([]byte, 32<<10)
		for {
			t, ok := q.pop()
			if !ok {
				return
			}
			e.measureDir(root, t.n.path, buf, source, func(path string, st *stat) {
				if st.is(unix.S_IFDIR) {
					q.push(task{n: &node{path: path}})
				} else if st.nlink > 1 {
					if _, first := seen.claim(t.n, &entry{name: path, st: *st}); !first {
						return
					}
				}
				n := min(st.blocks*512, st.size)
				n = (n + block - 1) / block * block
				nodes.Add(1)
				bytes.Add(n)
				for old := largest.Load(); n > old && !largest.CompareAndSwap(old, n); old = largest.Load() {
				}
			})
			q.done()
		}
	})
	return usage{bytes.Load(), nodes.Load(), largest.Load()}
}

func (e *engine) measureDir(root int, path string, buf []byte, source bool, each func(string, *stat)) {
	if e.stopped() {
		return
	}
	fd, err := openPath(root, path, e.o.Mounts == MountsCross)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(fd) }() // opened read-only
	list, err := readDir(fd, buf, nil)
	if err != nil {
		return
	}
	for _, d := range list {
		st, err := lstatat(fd, d.name)
		p := join(path, d.name)
		if err == nil && !(source && e.skip.match(p, st.is(unix.S_IFDIR))) {
			each(p, &st)
		}
	}
}
