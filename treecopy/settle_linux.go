package treecopy

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// release ends one part of a node's work. With the last part the directory is settled and closed, and its parent has one
// part less.
func (w *worker) release(n *node) {
	for n != nil && n.left.Add(-1) == 0 {
		if n.ready && !w.stopped() {
			if err := w.settle(n); err != nil {
				w.fail(n.path, err)
			}
		}
		n.close()
		if n.memory != nil {
			w.forget(n.memory)
			n.memory = nil
		}
		n = n.parent
	}
}

func (n *node) close() {
	for _, fd := range []int{n.src, n.dst} {
		if fd >= 0 {
			_ = unix.Close(fd) // opened read-only
		}
	}
	n.src, n.dst, n.far = -1, -1, nil
}

// settle gives the finished directory its attributes and times, and hands its block to the manifest.
func (w *worker) settle(n *node) error {
	if !w.untouched(n) {
		list, err := w.dirAttrs(n)
		if err != nil {
			return doing("read attributes", err)
		}
		n.attrs = sumAttrs(list)
		if w.writing() && (n.parent != nil || !w.o.KeepRoot) {
			if err := w.settleTarget(n, list); err != nil {
				return err
			}
		}
	}
	if slices.ContainsFunc(n.recs, func(r record) bool { return r.dirty }) {
		w.lateMu.Lock()
		w.suspects = append(w.suspects, n.path)
		w.lateMu.Unlock()
	}
	if w.out == nil {
		return nil
	}
	w.b.self = n.record()
	if w.asBefore(n) {
		w.out.keep(n.old.ref)
		return nil
	}
	w.b.recs, w.b.was, w.b.had = slices.DeleteFunc(n.recs, func(r record) bool { return r.kind == 0 }), nil, nil
	if n.was {
		w.b.was, w.b.had = &n.old.self, n.old.recs
	}
	if err := w.out.add(&w.b, n.path); err != nil {
		return err
	}
	return w.settleDelta(n)
}

// asBefore says that the directory's block in the previous manifest still holds, so nothing was written either.
func (w *worker) asBefore(n *node) bool {
	if !n.was || n.fresh || !w.b.self.same(&n.old.self) {
		return false
	}
	count := 0
	for i := range n.recs {
		if r := &n.recs[i]; r.kind != 0 {
			if p := n.entries[i].prev; r.wrote || p == nil || p.linked || !r.same(p) {
				return false
			}
			count++
		}
	}
	return count == n.old.ref.entries
}

// untouched says that the directory is as the previous manifest knows it on both sides, going by what the walk saw anyway.
func (w *worker) untouched(n *node) bool {
	return n.trusted && !n.changed.Load() && n.dstSt.mtime == n.st.mtime && w.equalOwnerMode(&n.st, &n.dstSt)
}

// settleDelta hands the entries written by this pass to the delta manifest.
func (w *worker) settleDelta(n *node) error {
	if w.delta == nil {
		return nil
	}
	w.b.recs, w.b.was = slices.DeleteFunc(w.b.recs, func(r record) bool { return !r.wrote }), nil
	if len(w.b.recs) == 0 && !n.fresh {
		return nil
	}
	return w.delta.add(&w.b, n.path)
}

func (n *node) record() record {
	return record{kind: 'd', name: n.path, stat: n.st, attrs: n.attrs}
}

// settleTarget writes only what differs, so that a pass without changes writes nothing.
func (w *worker) settleTarget(n *node, want []attr) error {
	have, err := w.attrs.read(xattrs{fd: n.dst})
	if err != nil {
		return err
	}
	now, err := fstat(n.dst)
	if err != nil {
		return err
	}
	changed, err := w.dress(xattrs{fd: n.dst}, &n.st, &now, want, have)
	if err != nil {
		return err
	}
	if changed && !n.fresh && (n.parent != nil || !w.made) {
		w.updated.Add(1)
	}
	if n.st.mtime != now.mtime {
		return doing("set times", futimens(n.dst, n.st.mtime))
	}
	return nil
}

// dress sets owner, attributes and mode where they differ, in the order that keeps setuid bits and capabilities.
func (e *engine) dress(x xattrs, want, have *stat, wantAttrs, haveAttrs []attr) (changed bool, err error) {
	if want.uid != have.uid || want.gid != have.gid {
		did, err := e.own(x, want, have)
		if err != nil {
			return changed, err
		}
		changed = changed || did
	}
	if changed || !equalAttrs(wantAttrs, haveAttrs) {
		if have.mode&0o600 != 0o600 && !want.is(unix.S_IFLNK) { // without privilege attributes need write permission
			if err := x.chmod(have.mode&0o7777 | 0o600); err != nil {
				return changed, doing("set mode", err)
			}
		}
		if _, err := e.attrs.apply(x, wantAttrs, haveAttrs); err != nil {
			return changed, doing("set attributes", err)
		}
		changed = true
	}
	if mode := e.modeFor(want); !want.is(unix.S_IFLNK) && (changed || mode != have.mode&0o7777) {
		return true, doing("set mode", x.chmod(mode))
	}
	return changed, nil
}

func (x xattrs) chmod(mode uint32) error {
	if x.name == "" {
		return unix.Fchmod(x.fd, mode)
	}
	return unix.Fchmodat(x.fd, x.name, mode, 0)
}

// own gives the entry to the source's owner, unless that was found to be impossible.
func (e *engine) own(x xattrs, want, have *stat) (bool, error) {
	if e.noOwner.Load() {
		return false, nil
	}
	err := unix.Fchownat(x.fd, x.name, int(want.uid), int(want.gid), unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH)
	if err != nil {
		return false, e.ownerRefused(err)
	}
	return true, nil
}

// ownerRefused decides about an owner that cannot be given. Who is not root knows that owners get lost, and is told once. Root counts on
// them: where it is refused all the same the copy fails.
func (e *engine) ownerRefused(err error) error {
	if !errors.Is(err, unix.EPERM) || unix.Geteuid() == 0 {
		return doing("set owner", err)
	}
	e.dropOwners()
	return nil
}

// dropOwners says once that owners are not kept.
func (e *engine) dropOwners() {
	if e.noOwner.CompareAndSwap(false, true) {
		e.note("owners are not kept: that needs root or CAP_CHOWN; setuid and setgid bits of foreign files are dropped")
	}
}

// modeFor is the mode to set. A setuid file must not become another user's program.
func (e *engine) modeFor(want *stat) uint32 {
	if e.noOwner.Load() && want.uid != uint32(unix.Geteuid()) && !want.is(unix.S_IFDIR) {
		return want.mode & 0o1777
	}
	return want.mode & 0o7777
}

// touch remembers a directory whose times must be set again at the end.
func (e *engine) touch(n *node) {
	e.lateMu.Lock()
	e.touched[n] = true
	e.lateMu.Unlock()
}
