package treecopy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// fanotify watches the whole file system by one mark. Events name directories by handle; where those are is asked when the
// changes are taken, so a directory that moved is found where it is now.
type fanotify struct {
	root  int
	fd    int
	buf   []byte
	lost  string                     // why events are missing
	dirs  map[string]map[string]bool // handle of a directory → subdirectories that appeared in it
	files map[string]bool            // handles of files whose number of links changed
}

const fanMask = unix.FAN_CREATE | unix.FAN_DELETE | unix.FAN_MOVED_FROM | unix.FAN_MOVED_TO | unix.FAN_MODIFY | unix.FAN_CLOSE_WRITE | unix.FAN_ATTRIB |
	unix.FAN_ONDIR

// maxDirty bounds the memory of a record: beyond it the next pass looks everywhere.
const maxDirty = 1 << 20

func newFanotify(root int) (watcher, error) {
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK|unix.FAN_UNLIMITED_QUEUE|unix.FAN_REPORT_FID|
		unix.FAN_REPORT_DFID_NAME, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return nil, err
	}
	w := &fanotify{root: root, fd: fd, buf: make([]byte, 64<<10)}
	w.reset()
	err = unix.FanotifyMark(fd, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, fanMask, root, "")
	if err == nil {
		err = w.probe()
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(w.fd))
	}
	return w, nil
}

// probe checks that this file system's handles can be turned back into paths.
func (w *fanotify) probe() error {
	h, _, err := unix.NameToHandleAt(w.root, "", unix.AT_EMPTY_PATH)
	if err != nil {
		return err
	}
	dir, st, err := w.path(h.Type(), h.Bytes())
	if err != nil {
		return err
	}
	if here, err := w.home(); err != nil || dir != here || !st.is(unix.S_IFDIR) {
		return fmt.Errorf("handles of this file system do not lead back: %q", dir)
	}
	return nil
}

func (w *fanotify) reset() {
	w.lost, w.dirs, w.files = "", map[string]map[string]bool{}, map[string]bool{}
}

// home is where the root is now.
func (w *fanotify) home() (string, error) {
	return os.Readlink("/proc/self/fd/" + strconv.Itoa(w.root))
}

func (w *fanotify) close() error {
	return errors.Join(unix.Close(w.fd), unix.Close(w.root))
}

func (w *fanotify) drain() error {
	for {
		b, err := pending(w.fd, w.buf)
		if err != nil {
			w.lost = err.Error()
		}
		if len(b) == 0 {
			return err
		}
		for len(b) >= 24 {
			size := int(binary.NativeEndian.Uint32(b))
			if size < 24 || size > len(b) {
				w.lost = "an event makes no sense"
				break
			}
			w.event(b[:size])
			b = b[size:]
		}
	}
}

// event takes in one event: 24 bytes of metadata, then records of 4 bytes and their content.
func (w *fanotify) event(b []byte) {
	mask := binary.NativeEndian.Uint64(b[8:])
	if mask&unix.FAN_Q_OVERFLOW != 0 || len(w.dirs) > maxDirty || len(w.files) > maxDirty {
		w.lost = "the system lost events"
		return
	}
	inDir := false
	var file string
	for b = b[binary.NativeEndian.Uint16(b[6:]):]; len(b) >= 12; {
		kind, size := b[0], int(binary.NativeEndian.Uint16(b[2:]))
		if size < 20 || size > len(b) {
			break
		}
		rec := b[12:size] // behind the file system's id: length, type, handle, name
		b = b[size:]
		end := 8 + int(binary.NativeEndian.Uint32(rec))
		if end > len(rec) {
			break
		}
		handle := string(rec[4:end])
		switch kind {
		case unix.FAN_EVENT_INFO_TYPE_DFID_NAME, unix.FAN_EVENT_INFO_TYPE_DFID:
			inDir = true
			name, _, _ := bytes.Cut(rec[end:], []byte{0})
			w.change(handle, string(name), mask)
		case unix.FAN_EVENT_INFO_TYPE_FID:
			file = handle
		}
	}
	if !inDir && file != "" && mask&unix.FAN_ONDIR == 0 && mask&unix.FAN_ATTRIB != 0 {
		w.files[file] = true
	}
}

func (w *fanotify) change(dir, name string, mask uint64) {
	names, ok := w.dirs[dir]
	if appeared := mask&unix.FAN_ONDIR != 0 && mask&(unix.FAN_CREATE|unix.FAN_MOVED_TO) != 0; appeared {
		if names == nil {
			names = map[string]bool{}
		}
		names[name], ok = true, false
	}
	if !ok {
		w.dirs[dir] = names
	}
}

func (w *fanotify) take() dirtySet {
	defer w.reset()
	set := dirtySet{whole: w.lost}
	here, err := w.home()
	if err != nil {
		set.whole = "the source cannot be found: " + err.Error()
	}
	if set.whole != "" {
		return set
	}
	for handle, names := range w.dirs {
		at, st, err := w.path(int32(binary.NativeEndian.Uint32([]byte(handle))), []byte(handle[4:]))
		switch {
		case errors.Is(err, unix.ESTALE), errors.Is(err, unix.ENOENT), err == nil && st.nlink == 0:
			continue // gone: its former parent has an event too
		case err != nil:
			set.whole = "a changed directory cannot be found: " + err.Error()
			return set
		}
		dir, ok := below(here, at)
		if !ok {
			continue
		}
		set.add(dir, false)
		for name := range names {
			set.add(join(dir, name), true)
		}
	}
	w.takeFiles(&set)
	return set
}

// takeFiles finds out which files got or lost a name and are still there. One that has a single name again may have been written to
// by another one meanwhile.
func (w *fanotify) takeFiles(set *dirtySet) {
	for handle := range w.files {
		_, st, err := w.path(int32(binary.NativeEndian.Uint32([]byte(handle))), []byte(handle[4:]))
		if err == nil && st.nlink > 0 {
			if set.inodes == nil {
				set.inodes = map[uint64]bool{}
			}
			set.inodes[st.ino] = true
		} else if err != nil && !isGone(err) {
			set.whole = "a changed file cannot be found: " + err.Error()
		}
	}
}

// path turns a handle into what it stands for and, for a directory, where that is.
func (w *fanotify) path(kind int32, handle []byte) (string, stat, error) {
	fd, err := unix.OpenByHandleAt(w.root, unix.NewFileHandle(kind, handle), unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return "", stat{}, err
	}
	defer func() { _ = unix.Close(fd) }() // only looked at
	st, err := fstat(fd)
	if err != nil || !st.is(unix.S_IFDIR) {
		return "", st, err
	}
	at, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	return at, st, err
}

// below gives path relative to root.
func below(root, path string) (string, bool) {
	if path == root {
		return ".", true
	}
	return strings.CutPrefix(path, strings.TrimSuffix(root, "/")+"/")
}
