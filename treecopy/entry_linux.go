package treecopy

import (
	"context"
	"errors"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// files handles entries that are not directories.
func (w *worker) files(n *node, order []int32) {
	w.announce(n, order)
	for _, i := range order {
		if w.stopped() || w.pace.wait(w.ctx, 1) != nil {
			return
		}
		w.entries.Add(1)
		x := &n.entries[i]
		var err error
		switch x.st.mode & unix.S_IFMT {
		case unix.S_IFREG:
			err = w.regular(n, i)
		case unix.S_IFLNK:
			w.seen.symlinks.Add(1)
			err = w.symlink(n, i)
		case unix.S_IFIFO:
			w.seen.fifos.Add(1)
			err = w.fifo(n, i)
		}
		if err == nil {
			continue
		}
		if errors.Is(err, errSourceGone) {
			w.gone(join(n.path, x.name))
		} else if !errors.Is(err, context.Canceled) {
			w.fail(join(n.path, x.name), err)
		}
	}
}

// errSourceGone says that an entry of the source vanished, as opposed to something missing in the target.
var errSourceGone = errors.New("vanished from the source")

func sourceErr(err error) error {
	if isGone(err) || errors.Is(err, unix.ELOOP) { // a link took the place of the file
		return errSourceGone
	}
	return err
}

// equalStat compares what can be seen without reading, but for attributes.
func (e *engine) equalOwnerMode(want, have *stat) bool {
	return (e.noOwner.Load() || want.uid == have.uid && want.gid == have.gid) && (want.is(unix.S_IFLNK) || e.modeFor(want) == have.mode&0o7777)
}

func (w *worker) symlink(n *node, i int32) error {
	x := &n.entries[i]
	target, err := w.targetOf(n, x)
	if err != nil {
		return sourceErr(err)
	}
	if escapes(n.path, target) {
		w.sample(&w.rep.Escaping, join(n.path, x.name))
	}
	list, err := w.attrsOf(n, x)
	if err != nil {
		return sourceErr(err)
	}
	rec := record{kind: 'l', name: x.name, stat: x.st, attrs: sumAttrs(list), target: target}
	if x.dst.is(unix.S_IFLNK) && x.dst.mtime == x.st.mtime && w.equalOwnerMode(&x.st, &x.dst) {
		if old, err := readlinkat(n.dst, x.name, w.small); err == nil && old == target && w.sameAttrs(n, x, list) {
			w.unchanged.Add(1)
			n.recs[i] = rec
			return nil
		}
	}
	rec.wrote = !w.reading
	n.recs[i] = rec
	if w.reading {
		return nil
	}
	w.copied.symlinks.Add(1)
	return w.place(n, x, list, func(tmp string) error { return unix.Symlinkat(target, n.dst, tmp) })
}

// sameAttrs says whether the target's entry has the wanted attributes; what cannot be read is made again.
func (w *worker) sameAttrs(n *node, x *entry, want []attr) bool {
	have, err := w.attrs.read(xattrs{n.dst, x.name})
	return err == nil && equalAttrs(want, have)
}

// escapes says whether a link points out of the tree, going by its text.
func escapes(dir, target string) bool {
	if strings.HasPrefix(target, "/") {
		return true
	}
	p := path.Join(dir, target)
	return p == ".." || strings.HasPrefix(p, "../")
}

func (w *worker) fifo(n *node, i int32) error {
	x := &n.entries[i]
	list, err := w.attrsOf(n, x)
	if err != nil {
		return sourceErr(err)
	}
	rec := record{kind: 'p', name: x.name, stat: x.st, attrs: sumAttrs(list)}
	if x.dst.is(unix.S_IFIFO) && x.dst.mtime == x.st.mtime && w.equalOwnerMode(&x.st, &x.dst) && w.sameAttrs(n, x, list) {
		w.unchanged.Add(1)
		n.recs[i] = rec
		return nil
	}
	rec.wrote = !w.reading
	n.recs[i] = rec
	if w.reading {
		return nil
	}
	w.copied.fifos.Add(1)
	return w.place(n, x, list, func(tmp string) error { return unix.Mknodat(n.dst, tmp, unix.S_IFIFO|0o600, 0) })
}

// place makes an entry that has no content under a temporary name, dresses it, and renames it.
func (w *worker) place(n *node, x *entry, list []attr, create func(tmp string) error) error {
	if !w.writing() {
		return nil
	}
	if err := w.clear(n, x); err != nil {
		return err
	}
	n.changed.Store(true)
	tmp := w.tempName()
	if err := create(tmp); err != nil {
		return doing("create", err)
	}
	err := w.finishAt(n, tmp, &x.st, list)
	if err == nil {
		err = doing("rename", unix.Renameat(n.dst, tmp, n.dst, x.name))
	}
	if err != nil {
		return errors.Join(err, dropTemp(n.dst, tmp))
	}
	return nil
}

// finishAt dresses a new entry by name and sets its time.
func (w *worker) finishAt(n *node, tmp string, want *stat, list []attr) error {
	made, err := lstatat(n.dst, tmp)
	if err != nil {
		return err
	}
	at := xattrs{n.dst, tmp}
	var have []attr
	if n.givesACL() {
		if have, err = w.attrs.read(at); err != nil {
			return err
		}
	}
	if _, err := w.dress(at, want, &made, list, have); err != nil {
		return err
	}
	return doing("set times", utimensat(n.dst, tmp, want.mtime))
}

// clear removes a directory that is where something else has to go.
func (w *worker) clear(n *node, x *entry) error {
	if !x.dst.is(unix.S_IFDIR) {
		return nil
	}
	return w.unlink(n.dst, x.name, join(n.path, x.name))
}

// tempName never exceeds 255 bytes, however long the name is that it stands for.
func (w *worker) tempName() string {
	return TempPrefix + w.o.RunID + "-" + strconv.FormatInt(w.temps.Add(1), 36)
}

func dropTemp(dir int, tmp string) error {
	if err := unix.Unlinkat(dir, tmp, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}
