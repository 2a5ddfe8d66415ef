package treecopy

import (
	"encoding/binary"
	"errors"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// noOpenat2 is set once the kernel, or a seccomp filter, refuses openat2.
var noOpenat2 atomic.Bool

// openat opens name in dir without following a link, without leaving dir, and, unless cross, without entering a mount (EXDEV).
func openat(dir int, name string, flags int, cross bool) (int, error) {
	flags |= unix.O_CLOEXEC | unix.O_NOFOLLOW
	for !noOpenat2.Load() {
		how := unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
		if !cross {
			how.Resolve |= unix.RESOLVE_NO_XDEV
		}
		fd, err := unix.Openat2(dir, name, &how)
		switch err {
		case nil:
			return fd, nil
		case unix.EINTR, unix.EAGAIN:
			continue
		case unix.ENOSYS, unix.EPERM:
			// EPERM is also the answer to O_NOATIME; only when plain openat is happier is openat2 to blame.
			fd, perr := openatPlain(dir, name, flags)
			if perr == nil {
				noOpenat2.Store(true)
			}
			return fd, perr
		default:
			return -1, err
		}
	}
	return openatPlain(dir, name, flags)
}

func openatPlain(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// openQuietly opens for reading and leaves the access time alone where that is permitted. O_NONBLOCK: a FIFO that took the
// place of a file must not block.
func openQuietly(dir int, name string, flags int, cross bool) (int, error) {
	flags |= unix.O_RDONLY | unix.O_NONBLOCK
	fd, err := openat(dir, name, flags|unix.O_NOATIME, cross)
	if errors.Is(err, unix.EPERM) {
		fd, err = openat(dir, name, flags, cross)
	}
	return fd, err
}

// openPath opens a directory by its path below root, also when the path is longer than PATH_MAX.
func openPath(root int, path string, cross bool) (int, error) {
	at := root
	for {
		piece := path
		if len(piece) > 2000 {
			if i := strings.LastIndexByte(piece[:2000], '/'); i > 0 {
				piece = piece[:i]
			}
		}
		fd, err := openat(at, piece, unix.O_RDONLY|unix.O_DIRECTORY, cross)
		if at != root {
			_ = unix.Close(at) // only read from
		}
		if err != nil || len(piece) == len(path) {
			return fd, err
		}
		at, path = fd, path[len(piece)+1:]
	}
}

func lstatat(dir int, name string) (stat, error) {
	var st unix.Stat_t
	for {
		err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err != unix.EINTR {
			return fromSys(&st), err
		}
	}
}

func fstat(fd int) (stat, error) {
	var st unix.Stat_t
	for {
		err := unix.Fstat(fd, &st)
		if err != unix.EINTR {
			return fromSys(&st), err
		}
	}
}

func fromSys(s *unix.Stat_t) stat {
	return stat{
		mode: s.Mode, uid: s.Uid, gid: s.Gid, nlink: uint32(s.Nlink), dev: s.Dev, ino: s.Ino, size: s.Size, blocks: s.Blocks,
		mtime: stamp{s.Mtim.Sec, s.Mtim.Nsec}, ctime: stamp{s.Ctim.Sec, s.Ctim.Nsec},
	}
}

func (s *stat) is(kind uint32) bool { return s.mode&unix.S_IFMT == kind }

// futimens sets the times of an open file; access time and modification time become t.
func futimens(fd int, t stamp) error {
	ts := [2]unix.Timespec{{Sec: t.sec, Nsec: t.nsec}, {Sec: t.sec, Nsec: t.nsec}}
	_, _, e := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

func utimensat(dir int, name string, t stamp) error {
	ts := []unix.Timespec{{Sec: t.sec, Nsec: t.nsec}, {Sec: t.sec, Nsec: t.nsec}}
	return unix.UtimesNanoAt(dir, name, ts, unix.AT_SYMLINK_NOFOLLOW)
}

// dirent is one name of a directory.
type dirent struct {
	name string
	ino  uint64
	kind uint8 // DT_*
}

// readDir appends the entries of an open directory to list.
func readDir(fd int, buf []byte, list []dirent) ([]dirent, error) {
	for {
		n, err := unix.Getdents(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return list, err
		}
		text := string(buf[:n]) // one allocation for all names
		for at := 0; at < n; {
			ino := binary.NativeEndian.Uint64(buf[at:])
			size := int(binary.NativeEndian.Uint16(buf[at+16:]))
			name := text[at+19 : at+size]
			name = name[:strings.IndexByte(name, 0)]
			if name != "." && name != ".." {
				list = append(list, dirent{name, ino, buf[at+18]})
			}
			at += size
		}
	}
}

func readlinkat(dir int, name string, buf []byte) (string, error) {
	n, err := unix.Readlinkat(dir, name, buf)
	if err != nil {
		return "", err
	}
	if n == len(buf) {
		return "", unix.ENAMETOOLONG
	}
	return string(buf[:n]), nil
}

// isGone says that a name was there when it was listed and is not any more.
func isGone(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESTALE) }

// isFull says that the target has no room.
func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }
