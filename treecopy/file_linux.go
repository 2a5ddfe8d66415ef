package treecopy

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

const readAttempts = 4

// copyFile copies content and dress of one file. A file that changes while it is read is read again; what still changes then
// is an error in a final pass, and is kept as found and marked dirty in a live one.
func (w *worker) copyFile(n *node, x *entry, rec record) (record, error) {
	w.copied.files.Add(1)
	rec.wrote = true
	if w.o.DryRun {
		w.name(&w.rep.ToCopy, join(n.path, x.name))
		w.bytesCopied.Add(x.st.size)
		return rec, nil
	}
	if err := w.clear(n, x); err != nil {
		return rec, err
	}
	c := fileCopy{w: w, n: n, name: x.name, st: x.st, out: -1}
	err := c.run()
	if err != nil {
		w.copied.files.Add(-1)
		return rec, errors.Join(err, c.discard())
	}
	rec.stat, rec.sum, rec.attrs, rec.dirty = c.st, c.sum, sumAttrs(c.attrs), c.dirty
	w.bytesCopied.Add(c.st.size)
	if c.dirty {
		w.sample(&w.rep.Dirty, join(n.path, x.name))
	}
	return rec, nil
}

// fileCopy is one file on its way.
type fileCopy struct {
	w        *worker
	n        *node
	name     string
	st       stat // what is being copied: as listed, then as found after each attempt
	in       int
	out      int // -1 until the temporary file exists
	tmp      string
	attrs    []attr
	sum      sum
	dirty    bool
	data     []byte // of a small file
	farAttrs []attr // from a source on another machine
}

func (c *fileCopy) run() error {
	if c.w.far != nil {
		return c.fetch()
	}
	var err error
	if c.in, err = openQuietly(c.n.src, c.name, 0, c.w.o.Mounts == MountsCross); err != nil {
		if errors.Is(err, unix.EXDEV) {
			return hint(ErrMount, "a file is mounted here: exclude it, or cross mount points")
		}
		return doing("open source", sourceErr(err))
	}
	defer func() { _ = unix.Close(c.in) }() // opened read-only
	for attempt := 1; ; attempt++ {
		began := time.Now()
		if err := c.load(); err != nil {
			if now, serr := fstat(c.in); serr == nil && !now.is(unix.S_IFREG) { // something else took the file's place
				return errSourceGone
			}
			return err
		}
		if c.w.o.afterRead != nil {
			c.w.o.afterRead(join(c.n.path, c.name))
		}
		now, err := fstat(c.in)
		if err != nil {
			return err
		}
		if done, err := c.judge(&now, racy(&now, began), attempt); err != nil {
			return err
		} else if done {
			return c.commit()
		}
		if err := pause(c.w.ctx, time.Duration(attempt)*10*time.Millisecond); err != nil {
			return err
		}
	}
}

// judge says whether what was read is good, going by what the file is now, and takes it for what to read next.
func (c *fileCopy) judge(now *stat, racy bool, attempt int) (done bool, err error) {
	same := sameFile(&c.st, now)
	if same && !(c.w.o.Live && racy) {
		return true, nil
	}
	if !now.is(unix.S_IFREG) {
		return false, errSourceGone
	}
	if attempt == readAttempts {
		if !c.w.o.Live {
			return false, hint(ErrChanged, "stop what writes to the source before the final pass")
		}
		c.dirty = true
		return true, nil
	}
	if !same {
		c.w.retried.Add(1)
	}
	c.st = *now
	return false, nil
}

// load reads the content: into memory when it is small, into the temporary file when it is large.
func (c *fileCopy) load() error {
	if c.st.size > smallFile {
		return c.stream()
	}
	buf := c.w.small[:c.st.size+1]
	n, err := pread(c.in, buf, 0)
	if err != nil {
		return doing("read", err)
	}
	c.w.bytesRead.Add(int64(n))
	c.data = buf[:min(int64(n), c.st.size)]
	c.sum = c.w.h.whole(c.data)
	return c.w.rate.wait(c.w.ctx, int64(n))
}

// create makes the temporary file; it stays private until it is whole.
func (c *fileCopy) create() error {
	if c.out >= 0 {
		return nil
	}
	c.n.changed.Store(true)
	tmp := c.w.tempName()
	fd, err := unix.Openat(c.n.dst, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return doing("create", err)
	}
	c.out, c.tmp = fd, tmp
	return nil
}

// commit dresses the temporary file and renames it into place.
func (c *fileCopy) commit() error {
	if err := c.create(); err != nil {
		return err
	}
	if c.st.size <= smallFile && len(c.data) > 0 {
		if err := writeFull(c.out, c.data, 0); err != nil {
			return doing("write", err)
		}
		c.w.written.Add(int64(len(c.data)))
	}
	list := c.farAttrs
	if c.w.far == nil {
		var err error
		if list, err = c.w.attrs.source(xattrs{fd: c.in}); err != nil {
			return doing("read attributes", err)
		}
	}
	if err := c.dressNew(list); err != nil {
		return err
	}
	t := c.st.mtime
	if c.dirty {
		t = dirtyTime
	}
	if err := futimens(c.out, t); err != nil {
		return doing("set times", err)
	}
	err := unix.Close(c.out)
	c.out = -1
	if err != nil {
		return doing("close", err)
	}
	return doing("rename", unix.Renameat(c.n.dst, c.tmp, c.n.dst, c.name))
}

// dressNew is dress for a file that is new and 0600.
func (c *fileCopy) dressNew(list []attr) error {
	if c.n.givesACL() {
		if err := unix.Fremovexattr(c.out, aclAccess); err != nil && !errors.Is(err, unix.ENODATA) {
			return doing("drop inherited ACL", err)
		}
	}
	if !c.w.noOwner.Load() {
		// Asked for even where the owner seems right: a setgid directory or a mount option may have set another group.
		if err := unix.Fchown(c.out, int(c.st.uid), int(c.st.gid)); err != nil {
			if err := c.w.ownerRefused(err); err != nil {
				return err
			}
		}
	}
	if len(list) > 0 {
		var err error
		if list, err = c.w.attrs.apply(xattrs{fd: c.out}, list, nil); err != nil {
			return doing("set attributes", err)
		}
	}
	c.attrs = list
	if mode := c.w.modeFor(&c.st); mode != 0o600 || len(list) > 0 || c.n.givesACL() {
		return doing("set mode", unix.Fchmod(c.out, mode))
	}
	return nil
}

// discard removes what an unfinished copy left.
func (c *fileCopy) discard() error {
	if c.out >= 0 {
		_ = unix.Close(c.out) // the file goes anyway
		c.out = -1
	}
	if c.tmp == "" {
		return nil
	}
	return dropTemp(c.n.dst, c.tmp)
}

func writeFull(fd int, b []byte, off int64) error {
	for len(b) > 0 {
		n, err := unix.Pwrite(fd, b, off)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}
