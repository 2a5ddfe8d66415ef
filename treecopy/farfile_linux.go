package treecopy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// fetch is run for a source on another machine.
func (c *fileCopy) fetch() error {
	for attempt := 1; ; attempt++ {
		end, err := c.arrive()
		if err != nil {
			return err
		}
		if c.w.o.afterRead != nil {
			c.w.o.afterRead(join(c.n.path, c.name))
		}
		now := end.Stat.stat()
		done, err := c.judge(&now, end.Racy, attempt)
		if err != nil {
			return err
		}
		if done {
			return c.commit()
		}
		if err := pause(c.w.ctx, time.Duration(attempt)*10*time.Millisecond); err != nil {
			return err
		}
	}
}

// arrive takes one reading of the file in: into memory when it is small, into the temporary file when it is large.
func (c *fileCopy) arrive() (end FileEnd, err error) {
	f, err := c.w.far.Open(c.w.ctx, c.n.path, c.name, c.w.o.Mounts == MountsCross, c.w.o.Hash)
	if errors.Is(err, unix.EXDEV) {
		return end, hint(ErrMount, "a file is mounted here: exclude it, or cross mount points")
	}
	if err != nil {
		return end, doing("open source", sourceErr(err))
	}
	defer f.Close()
	st, attrs := f.Opened()
	c.st, c.farAttrs = st.stat(), c.w.attrs.taken(attrs)
	if !c.st.is(unix.S_IFREG) {
		return end, errSourceGone
	}
	if c.st.size < 0 || c.st.blocks < 0 {
		return end, fmt.Errorf("%w: a size below 0", ErrLost)
	}
	take := c.arriveSmall
	if c.st.size > smallFile {
		take = c.arriveLarge
	}
	if err := take(f); err != nil {
		return end, err
	}
	end = f.Closed()
	if now := end.Stat.stat(); sameFile(&c.st, &now) && c.sum.n > 0 && !bytes.Equal(c.sum.bytes(), end.Sum) {
		return end, fmt.Errorf("%w: it did not arrive as it was read", ErrLost)
	}
	return end, nil
}

func (c *fileCopy) arriveSmall(f RemoteFile) error {
	buf := c.w.small[:c.st.size]
	clear(buf)
	err := c.stretches(f, func(off int64, b []byte) error {
		copy(buf[off:], b)
		return nil
	})
	c.data, c.sum = buf, c.w.h.whole(buf)
	return err
}

func (c *fileCopy) arriveLarge(f RemoteFile) error {
	if err := c.create(); err != nil {
		return err
	}
	if err := c.allocate(c.st.blocks*512 < c.st.size); err != nil {
		return err
	}
	c.w.h.reset()
	at, data := int64(0), int64(0)
	err := c.stretches(f, func(off int64, b []byte) error {
		c.w.h.writeZeros(off - at)
		c.w.h.write(b)
		if err := writeFull(c.out, b, off); err != nil {
			return doing("write", err)
		}
		c.w.written.Add(int64(len(b)))
		at, data = off+int64(len(b)), data+int64(len(b))
		return nil
	})
	if err != nil {
		return err
	}
	c.w.h.writeZeros(c.st.size - at)
	c.w.saved.Add(c.st.size - data)
	c.sum = c.w.h.sum()
	return unix.Ftruncate(c.out, c.st.size)
}

// stretches hands on what comes, once it is certain that it lies in the file and after what came before.
func (c *fileCopy) stretches(f RemoteFile, take func(off int64, b []byte) error) error {
	at := int64(0)
	for {
		off, b, err := f.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, ErrLost) { // a connection may end too
			return nil
		}
		if err != nil {
			return doing("read", sourceErr(err))
		}
		if off < at || int64(len(b)) > c.st.size-off {
			return fmt.Errorf("%w: data at %d is out of order or beyond %d bytes", ErrLost, off, c.st.size)
		}
		if err := take(off, b); err != nil {
			return err
		}
		at = off + int64(len(b))
		c.w.bytesRead.Add(int64(len(b)))
		if err := c.w.rate.wait(c.w.ctx, int64(len(b))); err != nil {
			return err
		}
	}
}

// hashFar has a file hashed where it is.
func (w *worker) hashFar(n *node, x *entry) (s sum, err error) {
	b, err := w.far.Sum(w.ctx, n.path, x.name, x.st.size, w.o.Hash)
	if len(b) <= len(s.b) {
		s.n = byte(copy(s.b[:], b))
	}
	return s, err
}
