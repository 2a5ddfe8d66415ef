package treecopy

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// dirtyTime is given to copies of files that were changing, so that no later pass takes them for equal.
var dirtyTime = stamp{1, 1}

// regular handles a file: one name of several waits for the first of them, the rest is compared and copied when different.
func (w *worker) regular(n *node, i int32) error {
	x := &n.entries[i]
	if x.st.nlink > 1 {
		if g, first := w.links.claim(n, x); !first {
			w.seen.hardLinks.Add(1)
			return nil
		} else {
			rec, err := w.settleFile(n, x)
			g.rec, g.ok = rec, err == nil
			return err
		}
	}
	rec, err := w.settleFile(n, x)
	if err == nil {
		n.recs[i] = rec
	}
	return err
}

// settleFile makes the target's file equal to the source's and gives its record.
func (w *worker) settleFile(n *node, x *entry) (record, error) {
	w.seen.files.Add(1)
	w.bytes.Add(x.st.size)
	rec := record{kind: 'f', name: x.name, stat: x.st}
	if w.reading {
		return w.digestFile(n, x, rec)
	}
	same, err := w.unchangedContent(n, x, &rec)
	if err != nil {
		return rec, err
	}
	if !same {
		return w.copyFile(n, x, rec)
	}
	changed, err := w.refresh(n, x, &rec)
	if changed {
		w.updated.Add(1)
	} else if err == nil {
		w.unchanged.Add(1)
	}
	return rec, err
}

// unchangedContent decides whether the target's content can stay, and fills in the hash where it is known or wanted.
func (w *worker) unchangedContent(n *node, x *entry, rec *record) (bool, error) {
	if !x.dst.is(unix.S_IFREG) || x.dst.size != x.st.size || !w.links.mayKeep(x) {
		return false, nil
	}
	coarse := x.dst.mtime.nsec == 0 && x.st.mtime.nsec != 0 && x.dst.mtime.sec == x.st.mtime.sec
	if x.dst.mtime != x.st.mtime && !coarse {
		return false, nil
	}
	if coarse || w.distrust {
		return w.compareContent(n, x, rec)
	}
	if p := x.prev; p != nil && p.kind == 'f' && p.size == x.st.size && p.mtime == x.st.mtime && w.prev.Hash == w.o.Hash {
		switch {
		case p.dirty:
			return false, nil
		case p.ino == x.st.ino && p.ctime == x.st.ctime:
			rec.sum, rec.attrs = p.sum, p.attrs
			x.prev = p
			return true, nil
		case p.sum.n > 0:
			s, err := w.hashSource(n, x)
			rec.sum = s
			x.prev = nil
			return s == p.sum, err
		}
	}
	x.prev = nil
	if w.o.Manifest == "" || w.o.Hash == NoHash || w.o.DryRun {
		return true, nil
	}
	s, err := w.hashSource(n, x)
	rec.sum = s
	return true, err
}

// compareContent reads both files.
func (w *worker) compareContent(n *node, x *entry, rec *record) (bool, error) {
	x.prev = nil
	a, err := w.hashSource(n, x)
	if err != nil {
		return false, err
	}
	rec.sum = a
	b, err := w.hashAt(n.dst, x.name, x.st.size)
	return a == b && a.n > 0, err
}

// refresh puts owner, mode and attributes right where only they differ.
func (w *worker) refresh(n *node, x *entry, rec *record) (bool, error) {
	trusted := x.prev != nil // inode and ctime as in the previous manifest: the source's attributes did not change
	if trusted && w.equalOwnerMode(&x.st, &x.dst) {
		return false, nil
	}
	want, err := w.attrsOf(n, x)
	if err != nil {
		return false, doing("read attributes", sourceErr(err))
	}
	rec.attrs = sumAttrs(want)
	have, err := w.attrs.read(xattrs{n.dst, x.name})
	if err != nil {
		return false, doing("read the target's attributes", err)
	}
	if w.equalOwnerMode(&x.st, &x.dst) && equalAttrs(want, have) {
		return w.retime(n, x)
	}
	rec.wrote = true
	if !w.writing() {
		return true, nil
	}
	changed, err := w.dress(xattrs{n.dst, x.name}, &x.st, &x.dst, want, have)
	if err != nil {
		return changed, err
	}
	_, err = w.retime(n, x)
	return changed, err
}

// retime sets the time of a file that was compared because its target shows whole seconds only. Whether the target's file system can show
// more is known when it does.
func (w *worker) retime(n *node, x *entry) (changed bool, err error) {
	if x.dst.mtime == x.st.mtime || !w.writing() {
		return false, nil
	}
	if err := utimensat(n.dst, x.name, x.st.mtime); err != nil {
		return false, doing("set times", err)
	}
	now, err := lstatat(n.dst, x.name)
	return now.mtime != x.dst.mtime, err
}

// racy says that a file was written so shortly before it was read that another write may carry the same timestamp.
func racy(st *stat, read time.Time) bool {
	m := st.mtime
	if c := st.ctime; c.sec > m.sec || c.sec == m.sec && c.nsec > m.nsec {
		m = c
	}
	grain := 20 * time.Millisecond // a kernel tick is 1 to 10 ms
	if st.mtime.nsec == 0 && st.ctime.nsec == 0 {
		grain = 2 * time.Second // this file system keeps whole seconds
	}
	age := read.Sub(time.Unix(m.sec, m.nsec))
	return age >= 0 && age < grain
}

// sameFile says whether the file was left alone between two looks.
func sameFile(a, b *stat) bool {
	return a.ino == b.ino && a.size == b.size && a.mtime == b.mtime && a.ctime == b.ctime
}

func (w *worker) digestFile(n *node, x *entry, rec record) (record, error) {
	list, err := w.attrsOf(n, x)
	if err != nil {
		return rec, sourceErr(err)
	}
	rec.attrs = sumAttrs(list)
	if w.o.Hash != NoHash {
		rec.sum, err = w.hashSource(n, x)
	}
	return rec, err
}

// hashSource reads a file of the source only to hash it.
func (w *worker) hashSource(n *node, x *entry) (sum, error) {
	hash := func() (sum, error) { return w.hashAt(n.src, x.name, x.st.size) }
	if w.far != nil {
		hash = func() (sum, error) { return w.hashFar(n, x) }
	}
	s, err := hash()
	return s, doing("read", sourceErr(err))
}

// hashAt hashes a file; one that is shorter or longer than size has no hash.
func (w *worker) hashAt(dir int, name string, size int64) (s sum, err error) {
	fd, err := openQuietly(dir, name, 0, true)
	if err != nil {
		return s, err
	}
	defer func() { _ = unix.Close(fd) }() // opened read-only
	if w.distrust {                       // memory may hold what the device does not
		_ = unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED)
	}
	return w.hashOpen(fd, size)
}

func (w *worker) hashOpen(fd int, size int64) (s sum, err error) {
	if size <= smallFile {
		n, err := pread(fd, w.small[:size+1], 0)
		w.bytesRead.Add(int64(n))
		if err != nil || int64(n) != size {
			return s, err
		}
		return w.h.whole(w.small[:n]), w.rate.wait(w.ctx, int64(n))
	}
	return w.hashLarge(fd, size)
}

func (w *worker) hashLarge(fd int, size int64) (s sum, err error) {
	w.h.reset()
	buf := w.chunkBuffer()
	_ = unix.Fadvise(fd, 0, 0, unix.FADV_SEQUENTIAL) // advice only
	for off := int64(0); ; {
		if w.stopped() {
			return s, w.ctx.Err()
		}
		n, err := pread(fd, buf, off)
		if err != nil {
			return s, err
		}
		if n == 0 {
			if off != size {
				return s, nil
			}
			return w.h.sum(), nil
		}
		w.h.write(buf[:n])
		off += int64(n)
		w.bytesRead.Add(int64(n))
		if err := w.rate.wait(w.ctx, int64(n)); err != nil {
			return s, err
		}
	}
}

func (w *worker) chunkBuffer() []byte {
	if w.large == nil {
		w.large = make([]byte, chunk)
	}
	return w.large
}

// pread reads once. Less than asked is taken for the end of the file, which it is for regular files.
func pread(fd int, b []byte, off int64) (int, error) {
	for {
		n, err := unix.Pread(fd, b, off)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
