package treecopy

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// stream copies a large file chunk by chunk. Holes of a sparse file are hashed as the zeros they read as, and not written.
func (c *fileCopy) stream() error {
	if err := c.create(); err != nil {
		return err
	}
	sparse := c.st.blocks*512 < c.st.size
	if err := c.allocate(sparse); err != nil {
		return err
	}
	_ = unix.Fadvise(c.in, 0, 0, unix.FADV_SEQUENTIAL) // advice only
	c.w.h.reset()
	var err error
	if sparse {
		err = c.extents()
	} else {
		_, err = c.span(0, c.st.size)
	}
	if err != nil {
		return err
	}
	c.sum = c.w.h.sum()
	// What was read once must not push the running node's own pages out of memory.
	_ = unix.Fadvise(c.in, 0, 0, unix.FADV_DONTNEED)
	return unix.Ftruncate(c.out, c.st.size)
}

// allocate empties the temporary file, since an earlier attempt may have been longer, and asks for the room that the file takes.
func (c *fileCopy) allocate(sparse bool) error {
	if err := unix.Ftruncate(c.out, 0); err != nil || sparse {
		return err
	}
	// The size is kept: after a power failure a preallocated file must not look whole.
	if err := unix.Fallocate(c.out, unix.FALLOC_FL_KEEP_SIZE, 0, c.st.size); isFull(err) {
		return doing("allocate", err)
	}
	return nil
}

// extents walks data and holes.
func (c *fileCopy) extents() error {
	at, saved := int64(0), int64(0)
	for at < c.st.size {
		data, err := unix.Seek(c.in, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			data = c.st.size // only a hole is left
		} else if err != nil {
			_, err = c.span(at, c.st.size) // the file system does not know holes
			return err
		}
		data = min(data, c.st.size)
		c.w.h.writeZeros(data - at)
		saved += data - at
		if data == c.st.size {
			break
		}
		end, err := unix.Seek(c.in, data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		end = min(end, c.st.size)
		n, err := c.span(data, end)
		if err != nil {
			return err
		}
		if n < end { // cut off while we read; the check after the read sees it
			break
		}
		at = end
	}
	c.w.saved.Add(saved)
	return nil
}

// span copies [from, to) and gives where it stopped: before to when the file ended early.
func (c *fileCopy) span(from, to int64) (int64, error) {
	buf := c.w.chunkBuffer()
	for from < to {
		if c.w.stopped() {
			return from, context.Cause(c.w.ctx)
		}
		n, err := pread(c.in, buf[:min(int64(len(buf)), to-from)], from)
		if err != nil || n == 0 {
			return from, doing("read", err)
		}
		c.w.h.write(buf[:n])
		if err := writeFull(c.out, buf[:n], from); err != nil {
			return from, doing("write", err)
		}
		c.w.bytesRead.Add(int64(n))
		c.w.written.Add(int64(n))
		startWriteback(c.out, from, int64(n))
		from += int64(n)
		if err := c.w.rate.wait(c.w.ctx, int64(n)); err != nil {
			return from, err
		}
	}
	return from, nil
}

// startWriteback begins to write every eighth chunk's stretch, so that a large file is not all written at the end.
func startWriteback(fd int, off, n int64) {
	const stretch = 8 * chunk
	if end := off + n; end%stretch == 0 {
		_ = unix.SyncFileRange(fd, end-stretch, stretch, unix.SYNC_FILE_RANGE_WRITE) // syncfs reports what fails
	}
}

// pause sleeps unless the pass ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
