package treecopy

import (
	"context"
	"errors"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// treeFile is a file of a Tree that is being read.
type treeFile struct {
	fd    int
	st    stat
	attrs []Attr
	began time.Time
	at    int64 // everything before was given or is a hole
	end   int64 // of the stretch of data that is being read
	h     *hasher
	buf   []byte
	done  FileEnd
}

// Open is part of Remote.
func (t *Tree) Open(_ context.Context, dir, name string, cross bool, h Hash) (RemoteFile, error) {
	fd, err := t.openFile(dir, name, cross)
	if err != nil {
		return nil, err
	}
	f := &treeFile{fd: fd, h: newHasher(h)}
	f.h.reset()
	if f.st, err = fstat(fd); err == nil && f.st.is(unix.S_IFREG) {
		f.attrs, err = readAttrs(xattrs{fd: fd})
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	if f.st.size > smallFile {
		_ = unix.Fadvise(fd, 0, 0, unix.FADV_SEQUENTIAL) // advice only
	}
	if !f.sparse() {
		f.end = f.st.size
	}
	f.began = time.Now()
	return f, nil
}

func (t *Tree) openFile(dir, name string, cross bool) (int, error) {
	if !ValidName(name) {
		return -1, unix.EINVAL
	}
	return t.open(join(dir, name), 0, cross)
}

func (f *treeFile) sparse() bool { return f.st.blocks*512 < f.st.size }

func (f *treeFile) Opened() (Stat, []Attr) { return f.st.export(), f.attrs }

// stretch is how much Next gives at a time.
const stretch = 128 << 10

func (f *treeFile) Next() (int64, []byte, error) {
	if !f.st.is(unix.S_IFREG) {
		return 0, nil, f.finish()
	}
	if f.at >= f.end && f.at < f.st.size {
		if err := f.skipHole(); err != nil {
			return 0, nil, err
		}
	}
	if f.at >= f.st.size {
		return 0, nil, f.finish()
	}
	if f.buf == nil {
		f.buf = make([]byte, min(stretch, f.st.size))
	}
	n, err := pread(f.fd, f.buf[:min(int64(len(f.buf)), f.end-f.at)], f.at)
	if err != nil {
		return 0, nil, err
	}
	if n == 0 { // cut off while we read; what Closed says tells
		return 0, nil, f.finish()
	}
	off := f.at
	f.h.write(f.buf[:n])
	f.at, f.done.Bytes = f.at+int64(n), f.done.Bytes+int64(n)
	return off, f.buf[:n], nil
}

// skipHole goes to the next data.
func (f *treeFile) skipHole() error {
	data, err := unix.Seek(f.fd, f.at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		data = f.st.size // only a hole is left
	} else if err != nil { // the file system does not know holes
		f.end = f.st.size
		return nil
	}
	data = min(data, f.st.size)
	f.h.writeZeros(data - f.at)
	f.at, f.end = data, data
	if data == f.st.size {
		return nil
	}
	end, err := unix.Seek(f.fd, data, unix.SEEK_HOLE)
	f.end = min(end, f.st.size)
	return err
}

// finish looks at the file again and gives io.EOF.
func (f *treeFile) finish() error {
	now, err := fstat(f.fd)
	if err != nil {
		return err
	}
	f.done.Stat, f.done.Racy, f.done.Sum = now.export(), racy(&now, f.began), f.h.sum().bytes()
	if f.st.size > smallFile { // what was read once must not push the running node's own pages out of memory
		_ = unix.Fadvise(f.fd, 0, 0, unix.FADV_DONTNEED)
	}
	return io.EOF
}

func (f *treeFile) Closed() FileEnd { return f.done }

func (f *treeFile) Close() {
	if f.fd >= 0 {
		_ = unix.Close(f.fd) // opened read-only
		f.fd = -1
	}
}

// Sum is part of Remote.
func (t *Tree) Sum(ctx context.Context, dir, name string, size int64, h Hash) ([]byte, error) {
	f, err := t.Open(ctx, dir, name, true, h)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, _ := f.Opened(); st.Size != size {
		return nil, nil
	}
	for {
		_, _, err := f.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
	}
	if end := f.Closed(); end.Stat.Size == size {
		return end.Sum, nil
	}
	return nil, nil
}
