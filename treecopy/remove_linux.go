package treecopy

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// unlink removes what is in the way of an entry. It must have come from this source, except that anything but a directory
// would be replaced by a rename anyway.
func (e *engine) unlink(dir int, name, path string) error {
	if !e.writing() {
		return nil
	}
	if !e.owned {
		return hint(fmt.Errorf("something else is in the way: %w", ErrNotEmpty), "remove %s from the target", EscapeName(path))
	}
	_, err := e.removeAll(dir, name, path)
	return err
}

// removeAll removes a tree and counts its entries.
func (e *engine) removeAll(dir int, name, path string) (int64, error) {
	err := unix.Unlinkat(dir, name, 0)
	if err == nil {
		return 1, nil
	}
	if errors.Is(err, unix.ENOENT) {
		return 0, nil
	}
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return 0, err
	}
	fd, err := e.openToEmpty(dir, name)
	if err != nil {
		return 0, err
	}
	var count int64
	list, err := readDir(fd, make([]byte, 32<<10), nil)
	for i := 0; err == nil && i < len(list); i++ {
		var n int64
		if e.stopped() {
			err = e.ctx.Err()
			break
		}
		n, err = e.removeAll(fd, list[i].name, join(path, list[i].name))
		count += n
	}
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return count, err
	}
	return count + 1, unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
}

func (e *engine) openToEmpty(dir int, name string) (int, error) {
	st, err := lstatat(dir, name)
	if err != nil {
		return -1, err
	}
	if !st.is(unix.S_IFDIR) {
		return -1, unix.EPERM
	}
	if unix.Geteuid() != 0 && st.mode&0o700 != 0o700 {
		if err := unix.Fchmodat(dir, name, st.mode&0o7777|0o700, 0); err != nil {
			return -1, err
		}
	}
	return openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, false)
}

// confirm asks whether what the source no longer has is to go.
func (e *engine) confirm() error {
	if e.o.Confirm == nil || len(e.extras) == 0 {
		return nil
	}
	return e.o.Confirm()
}

// prune removes what the source no longer has. It runs after the walk and only when the walk was whole: room is never made by
// deleting.
func (e *engine) prune() {
	for _, x := range e.extras {
		for _, name := range x.names {
			if e.stopped() {
				return
			}
			path := join(x.n.path, name)
			n, err := int64(1), error(nil)
			if !e.o.DryRun {
				n, err = e.pruneOne(x.n, name)
			}
			e.deleted.Add(n)
			if n > 0 {
				e.name(&e.rep.Removed, path)
			}
			if err != nil {
				e.fail(path, err)
			}
		}
	}
}

func (e *engine) pruneOne(n *node, name string) (int64, error) {
	dir, err := e.reopen(n)
	if err != nil {
		return 0, err
	}
	e.touch(n)
	count, err := e.removeKept(dir, name, join(n.path, name))
	return count, errors.Join(err, unix.Close(dir))
}

// removeKept is removeAll that leaves excluded entries, and the directories they are in.
func (e *engine) removeKept(dir int, name, path string) (int64, error) {
	if len(e.skip.rules) == 0 {
		return e.removeAll(dir, name, path)
	}
	st, err := lstatat(dir, name)
	if err != nil {
		return 0, err
	}
	if e.skip.match(path, st.is(unix.S_IFDIR)) {
		return 0, nil
	}
	if !st.is(unix.S_IFDIR) {
		return e.removeAll(dir, name, path)
	}
	fd, err := e.openToEmpty(dir, name)
	if err != nil {
		return 0, err
	}
	var count int64
	list, err := readDir(fd, make([]byte, 32<<10), nil)
	for i := 0; err == nil && i < len(list); i++ {
		var n int64
		n, err = e.removeKept(fd, list[i].name, join(path, list[i].name))
		count += n
	}
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return count, err
	}
	err = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	if errors.Is(err, unix.ENOTEMPTY) {
		return count, nil
	}
	return count + 1, err
}

// sweepExtras removes temporary files of an interrupted run from directories that the source no longer has; the walk itself
// sweeps all others.
func (e *engine) sweepExtras() {
	for _, x := range e.extras {
		for _, name := range x.names {
			dir, err := openPath(e.dst, x.n.path, true)
			if err == nil {
				err = errors.Join(e.sweep(dir, name), unix.Close(dir))
			}
			if err != nil {
				e.fail(join(x.n.path, name), err)
			}
		}
	}
}

func (e *engine) sweep(dir int, name string) error {
	st, err := lstatat(dir, name)
	if err != nil || !st.is(unix.S_IFDIR) || e.stopped() {
		return err
	}
	fd, err := openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, false)
	if err != nil {
		return err
	}
	list, err := readDir(fd, make([]byte, 32<<10), nil)
	swept := false
	for _, d := range list {
		if err != nil {
			break
		}
		if strings.HasPrefix(d.name, TempPrefix) && d.kind != unix.DT_DIR {
			err, swept = unix.Unlinkat(fd, d.name, 0), true
			e.swept.Add(1)
		} else {
			err = e.sweep(fd, d.name)
		}
	}
	if swept && err == nil {
		err = futimens(fd, st.mtime)
	}
	return errors.Join(err, unix.Close(fd))
}
