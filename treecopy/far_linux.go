package treecopy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// CopyFrom is Copy from a source on another machine. Options.Source must name it, and Options.Tracker be of TrackRemote. After an
// ErrLost, running again over a new connection resumes: what is complete in the target is not sent again.
func CopyFrom(ctx context.Context, from Remote, dst string, o Options) (*Report, error) {
	e, err := newFarEngine(ctx, from, o)
	if err != nil {
		return nil, err
	}
	defer e.close()
	err = e.copy(dst)
	e.settled(err)
	if err != nil {
		return e.report(), fmt.Errorf("copy to %s: %w", dst, err)
	}
	return e.report(), nil
}

// farWorkers is how many entries are on their way at a time: more than for a local source, since each waits for an answer.
const farWorkers = 48

func newFarEngine(ctx context.Context, from Remote, o Options) (*engine, error) {
	if o.Source == "" {
		return nil, badOption(errors.New("source: has no identity"), "name the source that is on another machine")
	}
	if o.Tracker != nil && !o.Tracker.remote {
		return nil, badOption(errors.New("tracker: is of a source on this machine"), "make it by TrackRemote")
	}
	if o.Workers <= 0 {
		o.Workers = farWorkers
	}
	o, err := o.withDefaults("")
	if err != nil {
		return nil, err
	}
	about, err := from.Begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	e := &engine{o: o, far: from, about: about, src: -1, dst: -1, srcDir: EscapeName(about.Name), srcSt: about.Root.stat()}
	if err := e.prepare(ctx); err != nil {
		return nil, err
	}
	for _, name := range about.Foreign {
		if foreign(name) {
			e.attrs.passBy(name)
		}
	}
	return e, nil
}

// checkFar refuses a source that is the unfinished end of another copy.
func (e *engine) checkFar() error {
	m := e.about.Swapped
	if m == nil || m.State == MarkerComplete {
		return nil
	}
	return hint(fmt.Errorf("%s: %w: it is the target of a copy of %s that did not finish", e.srcDir, ErrSwapped, m.Source), "finish that copy first")
}

// sourceEmpty says whether the source holds nothing that would be copied.
func (e *engine) sourceEmpty() (bool, error) {
	if e.far == nil {
		return isEmpty(e.src, e.protected)
	}
	l, err := e.far.List(e.ctx, ".", e.o.Mounts == MountsCross)
	if err != nil {
		return false, err
	}
	for i := range l.Entries {
		if n := l.Entries[i].Name; n != "lost+found" && n != MarkerName && n != ManifestName {
			return false, nil
		}
	}
	return true, nil
}

// openFar is openSource's part for a source on another machine: the directory comes with all that is in it.
func (w *worker) openFar(n *node) error {
	l, err := w.far.List(w.ctx, n.path, w.o.Mounts == MountsCross)
	if err != nil {
		return err
	}
	if err := l.sane(); err != nil {
		return err
	}
	n.far, n.st = l, l.Dir.stat()
	if !n.st.is(unix.S_IFDIR) {
		return unix.ENOTDIR
	}
	return nil
}

// scanFar is the first part of scan.
func (w *worker) scanFar(n *node) {
	n.memory = w.remember(len(n.far.Entries))
	for i := range n.far.Entries {
		x := &n.far.Entries[i]
		if w.stopped() {
			return
		}
		st, before := x.Stat.stat(), len(n.entries)
		w.take(n, x.Name, &st, x.Error)
		if len(n.entries) > before {
			n.entries[before].far = x
		}
	}
}

// attrsOf reads the attributes of an entry of the source.
func (w *worker) attrsOf(n *node, x *entry) ([]attr, error) {
	if x.far != nil {
		return w.attrs.taken(x.far.Attrs), nil
	}
	return w.attrs.source(xattrs{n.src, x.name})
}

// dirAttrs reads those of a directory of the source.
func (w *worker) dirAttrs(n *node) ([]attr, error) {
	if n.far != nil {
		return w.attrs.taken(n.far.Attrs), nil
	}
	return w.attrs.source(xattrs{fd: n.src})
}

func (w *worker) targetOf(n *node, x *entry) (string, error) {
	if x.far != nil {
		return x.far.Target, nil
	}
	return readlinkat(n.src, x.name, w.small)
}

// taken are the attributes that may be set here, out of those that another machine sent.
func (s *attrStore) taken(list []Attr) []attr {
	var out []attr
	for _, a := range list {
		if !foreign(a.Name) && !s.isRefused(a.Name) {
			out = append(out, attr{a.Name, a.Value})
		}
	}
	return out
}

// announce says which of a directory's files will certainly be asked for, so that they are on their way meanwhile.
func (w *worker) announce(n *node, order []int32) {
	if w.far == nil || w.o.DryRun {
		return
	}
	var names []string
	room := int64(aheadBytes)
	for _, i := range order {
		x := &n.entries[i]
		if !x.st.is(unix.S_IFREG) || x.st.nlink > 1 || x.st.size > smallFile || room < x.st.size {
			continue
		}
		if !x.dst.is(unix.S_IFREG) || x.dst.size != x.st.size {
			names, room = append(names, x.name), room-x.st.size
		}
	}
	if len(names) > 0 {
		w.far.AheadFiles(n.path, names, w.o.Mounts == MountsCross, w.o.Hash)
	}
}

// aheadBytes is what a worker lets come before it needs it.
const aheadBytes = 1 << 20

func (s Stat) stat() stat {
	return stat{mode: s.Mode, uid: s.UID, gid: s.GID, nlink: s.Nlink, dev: s.Dev, ino: s.Ino, size: s.Size, blocks: s.Blocks,
		mtime: stamp{s.MTime.Sec, s.MTime.Nsec}, ctime: stamp{s.CTime.Sec, s.CTime.Nsec}}
}

func (s *stat) export() Stat {
	return Stat{Mode: s.mode, UID: s.uid, GID: s.gid, Nlink: s.nlink, Dev: s.dev, Ino: s.ino, Size: s.size, Blocks: s.blocks,
		MTime: Time{s.mtime.sec, s.mtime.nsec}, CTime: Time{s.ctime.sec, s.ctime.nsec}}
}

// announceDirs says which directories will be listed next: the last on the stack first.
func (w *worker) announceDirs(tasks []task) {
	if w.far == nil {
		return
	}
	dirs := make([]string, len(tasks))
	for i := range tasks {
		dirs[len(tasks)-1-i] = tasks[i].n.path
	}
	w.far.AheadDirs(dirs, w.o.Mounts == MountsCross)
}

// entry is a name in the directory.
func (l *Listing) entry(name string) (stat, error) {
	i, ok := slices.BinarySearchFunc(l.Entries, name, func(x RemoteEntry, name string) int { return strings.Compare(x.Name, name) })
	if !ok {
		return stat{}, unix.ENOENT
	}
	return l.Entries[i].Stat.stat(), l.Entries[i].Error
}

// sane says whether a listing that another machine sent can be one: nothing in it may lead elsewhere, or count wrongly.
func (l *Listing) sane() error {
	for i := range l.Entries {
		x := &l.Entries[i]
		switch {
		case !ValidName(x.Name), i > 0 && l.Entries[i-1].Name >= x.Name:
			return fmt.Errorf("%w: name %q is none, or out of order", ErrLost, EscapeName(x.Name))
		case x.Stat.Size < 0, x.Stat.Blocks < 0:
			return fmt.Errorf("%w: %s has a size below 0", ErrLost, EscapeName(x.Name))
		}
	}
	return nil
}
