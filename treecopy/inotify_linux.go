package treecopy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// inotify watches every directory by itself. A directory that appears is watched as soon as its event is read; what happened in
// it before is covered by looking into all of it.
type inotify struct {
	root  int
	fd    int
	buf   []byte
	lost  string
	paths map[int32]string // by watch
	set   dirtySet
}

const inMask = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_MODIFY | unix.IN_CLOSE_WRITE | unix.IN_ATTRIB | unix.IN_ONLYDIR

func newInotify(root int) (watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	w := &inotify{root: root, fd: fd, buf: make([]byte, 64<<10), paths: map[int32]string{}}
	if err := w.watch("."); err != nil {
		return nil, errors.Join(err, unix.Close(w.fd))
	}
	return w, nil
}

func (w *inotify) close() error { return errors.Join(unix.Close(w.fd), unix.Close(w.root)) }

// watch watches dir and all directories in it. What is gone already is left out, as are other file systems.
func (w *inotify) watch(dir string) error {
	fd, err := openPath(w.root, dir, false)
	if isGone(err) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EXDEV) {
		return nil
	}
	if err != nil {
		return err
	}
	return w.watchOpen(fd, dir)
}

// watchOpen is watch for an open directory, which it closes.
func (w *inotify) watchOpen(fd int, dir string) error {
	defer func() { _ = unix.Close(fd) }() // opened read-only
	wd, err := unix.InotifyAddWatch(w.fd, "/proc/self/fd/"+strconv.Itoa(fd), inMask)
	if err != nil {
		return fmt.Errorf("watch %s: %w", EscapeName(dir), err)
	}
	w.paths[int32(wd)] = dir
	list, err := readDir(fd, make([]byte, 8<<10), nil) // after the watch began: a later directory has an event
	if err != nil && !isGone(err) {
		return err
	}
	for _, d := range list {
		if d.kind != unix.DT_DIR && d.kind != unix.DT_UNKNOWN {
			continue
		}
		sub, err := openat(fd, d.name, unix.O_RDONLY|unix.O_DIRECTORY, false)
		switch {
		case isGone(err), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.EXDEV):
			continue
		case err != nil:
			return err
		}
		if err := w.watchOpen(sub, join(dir, d.name)); err != nil {
			return err
		}
	}
	return nil
}

func (w *inotify) drain() error {
	for {
		b, err := pending(w.fd, w.buf)
		if err != nil {
			w.lost = err.Error()
		}
		if len(b) == 0 {
			return err
		}
		for len(b) >= unix.SizeofInotifyEvent {
			end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
			if end > len(b) {
				break
			}
			name, _, _ := strings.Cut(string(b[unix.SizeofInotifyEvent:end]), "\x00")
			w.event(int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:]), name)
			b = b[end:]
		}
	}
}

func (w *inotify) event(wd int32, mask uint32, name string) {
	dir, known := w.paths[wd]
	switch {
	case mask&(unix.IN_Q_OVERFLOW|unix.IN_UNMOUNT) != 0 || len(w.set.dirs) > maxDirty:
		w.lost = "the system lost events"
		return
	case mask&unix.IN_IGNORED != 0:
		delete(w.paths, wd)
		return
	case !known:
		return // of a directory that left the tree
	}
	w.set.add(dir, false)
	if mask&unix.IN_ISDIR == 0 || name == "" {
		return
	}
	sub := join(dir, name)
	if mask&unix.IN_MOVED_FROM != 0 {
		w.unwatch(sub)
	}
	if mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0 {
		w.set.add(sub, true)
		if err := w.watch(sub); err != nil {
			w.lost = err.Error()
		}
	}
}

// unwatch forgets a directory that moved away: where it is now, it is watched anew.
func (w *inotify) unwatch(dir string) {
	for wd, p := range w.paths {
		if _, ok := below(dir, p); ok {
			_, _ = unix.InotifyRmWatch(w.fd, uint32(wd)) // it may be gone
			delete(w.paths, wd)
		}
	}
}

func (w *inotify) take() dirtySet {
	set := w.set
	set.whole, w.set, w.lost = w.lost, dirtySet{}, ""
	if set.whole != "" { // directories may have appeared unseen
		clear(w.paths)
		if err := w.watch("."); err != nil {
			w.lost = err.Error()
			set.whole = w.lost
		}
	}
	return set
}
