package treecopy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Tracker records what changes in a source, so that a pass need look only there:
//
//	t, err := treecopy.Track(src) // before the first pass
//	defer t.Close()
//	o := treecopy.Options{Tracker: t, Manifest: …} // for every pass
//
// The first pass looks everywhere. A later one looks only into directories that changed, if the pass before it was complete and
// had the same target, manifest and options; else, and when the system lost events, it looks everywhere again, and
// Report.Tracking says why. A failed pass loses nothing. What others do to the target is not noticed by such a pass: verify it.
//
// A store through a memory mapping is noticed when the mapping goes, so a final pass must follow the end of the process that
// made it. Files with several names are looked at in every pass. By inotify a write through a name outside of the source is
// missed when that name was made since the last pass; fanotify sees it. Changes made on another machine to a network file system
// are seen by neither.
type Tracker struct {
	mu     sync.Mutex
	method Method
	reason string  // why the method is Rescan
	remote bool    // the source is on another machine, and told of by its Remote
	mark   string  // of what that told last
	source watcher // nil for Rescan
	left   dirtySet
	base   *passBase // nil until a pass was complete
	quit   chan struct{}
}

// watcher is a source of events; its methods are called one at a time.
type watcher interface {
	// drain takes in every event that has happened.
	drain() error
	// take gives what drain gathered and starts anew.
	take() dirtySet
	close() error
}

// passBase is what a complete pass left: only on it can the next one build.
type passBase struct {
	src, dst inode
	manifest fileID
	hash     Hash
	excludes []string
	mounts   MountPolicy
}

// fileID tells a file from every other, and from itself once it was written to.
type fileID struct {
	inode
	size         int64
	mtime, ctime stamp
}

// Track begins to record what changes in dir. It fails only when dir cannot be opened; a system without means to track gives a
// Tracker whose Method is Rescan.
func Track(dir string) (*Tracker, error) { return track(dir, Fanotify, Inotify) }

func track(dir string, methods ...Method) (*Tracker, error) {
	root, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	t := &Tracker{method: Rescan}
	for _, m := range methods {
		if m == Fanotify {
			t.source, err = newFanotify(root)
		} else {
			t.source, err = newInotify(root)
		}
		if err == nil {
			t.method, t.quit = m, make(chan struct{})
			go t.drainNowAndThen()
			return t, nil
		}
		if t.reason != "" {
			t.reason += ", "
		}
		t.reason += string(m) + ": " + err.Error()
	}
	t.source = nil
	if t.reason == "" {
		t.reason = "nothing tells of changes"
	}
	return t, unix.Close(root)
}

// Method is how changes are learned of.
func (t *Tracker) Method() Method {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.method
}

// Close ends the recording.
func (t *Tracker) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	source := t.source
	t.source, t.method, t.reason, t.base = nil, Rescan, "closed", nil
	if source == nil {
		return nil
	}
	close(t.quit)
	return source.close()
}

// take gives all that changed since the last complete pass.
func (t *Tracker) take() dirtySet {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.source == nil {
		return dirtySet{whole: t.reason}
	}
	err := t.source.drain()
	set := t.source.take()
	if err != nil {
		set.whole = err.Error()
	}
	set.merge(t.left)
	t.left = dirtySet{}
	return set
}

// giveBack returns what a pass took and did not deal with.
func (t *Tracker) giveBack(set dirtySet) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.left.merge(set)
}

// drainEvery keeps the system's queue short. It is a clock and not the queue that wakes the reader: who waits for a descriptor stands
// in the way of a test's virtual time.
const drainEvery = 200 * time.Millisecond

func (t *Tracker) drainNowAndThen() {
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	for {
		select {
		case <-t.quit:
			return
		case <-tick.C:
		}
		t.mu.Lock()
		if t.source != nil {
			_ = t.source.drain() // take reads on and reports
		}
		t.mu.Unlock()
	}
}

// planned decides where the pass has to look. It takes the tracker's record; settled or giveBack must follow.
func (e *engine) planned() error {
	t := e.o.Tracker
	if t == nil {
		return nil
	}
	if err := e.takeChanges(t); err != nil {
		return err
	}
	e.rep.Tracking = &Tracking{Method: t.Method(), Whole: e.whyWhole(t)}
	if e.rep.Tracking.Whole != "" {
		return nil
	}
	root := &branch{}
	for dir, deep := range e.taken.dirs {
		root.add(dir, deep)
	}
	known := map[uint64]bool{}
	for dir, recs := range e.prev.linked {
		root.add(dir, false) // what happens to one name of a file happens to all
		for i := range recs {
			known[recs[i].ino] = true
		}
	}
	dirs, err := e.prev.holders(e.taken.inodes)
	if err != nil {
		e.rep.Tracking.Whole = err.Error()
		return nil
	}
	for _, dir := range dirs {
		root.add(dir, false)
	}
	e.dirty = &dirtyWalk{root: root, scanned: map[string]bool{}, clean: map[string]bool{}, lost: map[string]bool{}, links: known}
	e.count(e.prev.sum.counts, e.prev.sum.bytes, 1)
	return nil
}

// whyWhole says why the pass must look everywhere, if it must.
func (e *engine) whyWhole(t *Tracker) string {
	t.mu.Lock()
	b := t.base
	t.mu.Unlock()
	switch {
	case e.taken.whole != "":
		return e.taken.whole
	case b == nil:
		return "first pass"
	case e.prev == nil:
		return "no former manifest"
	case e.distrust:
		return "the former pass did not end"
	case e.o.Mounts == MountsCross:
		return "mount points are crossed"
	}
	id, err := identify(e.prev.file)
	if err != nil || id != b.manifest || b.src != (inode{e.srcSt.dev, e.srcSt.ino}) || b.dst != (inode{e.dstSt.dev, e.dstSt.ino}) ||
		b.hash != e.o.Hash || b.mounts != e.o.Mounts || !slices.Equal(b.excludes, e.o.Excludes) {
		return "source, target, manifest or options are others than in the pass before"
	}
	return ""
}

// settled tells the tracker how the pass ended.
func (e *engine) settled(err error) {
	t := e.o.Tracker
	if t == nil || e.rep.Tracking == nil {
		return
	}
	e.rep.Tracking.Dirs = e.visits.Load()
	if err != nil || e.o.DryRun || e.o.Manifest == "" {
		if e.taken.whole != "" {
			e.taken.whole = "a pass that looked everywhere did not end"
		}
		t.giveBack(e.taken)
		return
	}
	b := &passBase{
		src: inode{e.srcSt.dev, e.srcSt.ino}, dst: inode{e.dstSt.dev, e.dstSt.ino}, hash: e.o.Hash, excludes: slices.Clone(e.o.Excludes),
		mounts: e.o.Mounts,
	}
	f, err := os.Open(e.o.Manifest)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }() // only looked at
	if b.manifest, err = identify(f); err != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.base = b
	for _, dir := range e.suspects { // files that were changing when they were read
		t.left.add(dir, false)
	}
}

func identify(f *os.File) (fileID, error) {
	st, err := fstat(int(f.Fd()))
	return fileID{inode{st.dev, st.ino}, st.size, st.mtime, st.ctime}, err
}

// count adds to what is seen; sign is -1 to take away.
func (e *engine) count(c Counts, bytes, sign int64) {
	e.seen.files.Add(sign * c.Files)
	e.seen.dirs.Add(sign * c.Dirs)
	e.seen.symlinks.Add(sign * c.Symlinks)
	e.seen.fifos.Add(sign * c.FIFOs)
	e.seen.hardLinks.Add(sign * c.HardLinks)
	e.bytes.Add(sign * bytes)
}

// pending reads the events that have gathered in a descriptor of fanotify or inotify; none when there are none.
func pending(fd int, buf []byte) ([]byte, error) {
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil, nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, fmt.Errorf("events cannot be read: %w", err)
		}
		return buf[:n], nil
	}
}
