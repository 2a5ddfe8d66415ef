package treecopy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// verifier compares a tree with a manifest, directory by directory.
type verifier struct {
	*engine
	m      *Manifest
	mu     sync.Mutex
	inodes map[string]inode   // of first names, by path
	links  map[string][]named // further names, by the path of the first
}

type named struct {
	path string
	id   inode
}

// Verify reads dir back and compares it with the manifest; the source is not needed. Every file is read in full, from the
// device as far as the system lets go of its cache. Differences are the Report's Problems, the error is then an ErrMismatch.
// Entries under Options.Excludes may be there or not; for a partial manifest other entries may, too. The target's root itself
// is not compared, only what is in it.
func Verify(ctx context.Context, dir string, m *Manifest, o Options) (*Report, error) {
	o.Hash, o.Source = m.Hash, m.Source
	if o.RunID == "" {
		o.RunID = m.RunID
	}
	e, err := newEngine(ctx, dir, o)
	if err != nil {
		return nil, err
	}
	defer e.close()
	e.reading = true
	v := &verifier{engine: e, m: m, inodes: map[string]inode{}, links: map[string][]named{}}
	if root, err := realPath(dir); err == nil {
		o.Manifest = m.path
		e.o.Manifest = m.path
		e.protect(root)
	}
	if err = v.run(); err != nil {
		err = fmt.Errorf("verify %s: %w", dir, err)
	}
	rep := e.report()
	rep.Copied = Counts{} // counted for Progress only
	return rep, err
}

func (v *verifier) run() error {
	v.enter("sync")
	if err := unix.Syncfs(v.src); err != nil { // a page that is not written back cannot be dropped
		return fmt.Errorf("sync: %w", err)
	}
	v.enter("verify")
	v.expected.Store(v.m.Entries)
	finish := v.background()
	defer finish()
	v.dirs()
	if v.stopped() {
		return context.Cause(v.ctx)
	}
	v.checkLinks()
	if v.rep.Errors > 0 {
		return fmt.Errorf("%d differences: %w: %w", v.rep.Errors, ErrMismatch, v.first)
	}
	v.rep.OwnersKept = v.m.Owners
	if !v.m.Partial {
		v.rep.ManifestHash = v.m.Digest
	}
	finish()
	if v.o.Progress != nil {
		v.o.Progress(v.progress())
	}
	return nil
}

// dirs hands the manifest's directories to the workers in the order of paths.
func (v *verifier) dirs() {
	paths := make([]string, 0, len(v.m.index))
	for p := range v.m.index {
		paths = append(paths, p)
	}
	for p := range v.m.linked {
		if _, ok := v.m.index[p]; !ok {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	next := make(chan string)
	go func() {
		defer close(next)
		for _, p := range paths {
			select {
			case next <- p:
			case <-v.ctx.Done():
				return
			}
		}
	}()
	v.parallel(func() {
		w := v.newWorker()
		for p := range next {
			if err := v.dir(w, p); err != nil && !v.stopped() {
				v.problem(p, err)
			}
		}
	})
}

// dir compares one directory and what is in it.
func (v *verifier) dir(w *worker, path string) error {
	self, recs, known, err := v.m.block(path)
	if err != nil {
		return err
	}
	if !known {
		recs = v.m.linked[path]
	}
	fd, err := openPath(v.src, path, v.o.Mounts == MountsCross)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // opened read-only
	v.seen.dirs.Add(1)
	if known && path != "." {
		st, err := fstat(fd)
		if err != nil {
			return err
		}
		v.dress(path, &self, &st, xattrs{fd: fd}, w)
	}
	if err := v.names(w, fd, path, recs); err != nil {
		return err
	}
	for i := range recs {
		if v.stopped() {
			return nil
		}
		v.entries.Add(1)
		if err := v.entry(w, fd, path, &recs[i]); err != nil {
			v.problem(join(path, recs[i].name), err)
		}
	}
	return nil
}

// names reports what is in the directory and not in the manifest.
func (v *verifier) names(w *worker, fd int, path string, recs []record) error {
	if v.m.Partial {
		return nil
	}
	var err error
	if w.list, err = readDir(fd, w.dents, w.list[:0]); err != nil {
		return err
	}
	for _, d := range w.list {
		p := join(path, d.name)
		if _, ok := v.m.index[p]; ok || v.protected[p] || path == "." && d.name == "lost+found" {
			continue
		}
		if _, ok := slices.BinarySearchFunc(recs, d.name, func(r record, name string) int { return strings.Compare(r.name, name) }); ok {
			continue
		}
		if !v.skip.match(p, d.kind == unix.DT_DIR) {
			v.problem(p, errors.New("not in the manifest"))
		}
	}
	return nil
}

var kinds = map[byte]uint32{'d': unix.S_IFDIR, 'f': unix.S_IFREG, 'l': unix.S_IFLNK, 'p': unix.S_IFIFO}

// entry compares one file, link or FIFO.
func (v *verifier) entry(w *worker, fd int, dir string, r *record) error {
	st, err := lstatat(fd, r.name)
	if err != nil {
		return err
	}
	path := join(dir, r.name)
	if !st.is(kinds[r.kind]) {
		return fmt.Errorf("is of another kind: mode %o", st.mode)
	}
	if r.leader != "" {
		v.mu.Lock()
		v.links[r.leader] = append(v.links[r.leader], named{path, inode{st.dev, st.ino}})
		v.mu.Unlock()
		v.seen.hardLinks.Add(1)
		return nil
	}
	if r.kind == 'f' && st.nlink > 1 {
		v.mu.Lock()
		v.inodes[path] = inode{st.dev, st.ino}
		v.mu.Unlock()
	}
	v.dress(path, r, &st, xattrs{fd, r.name}, w)
	switch r.kind {
	case 'l':
		v.seen.symlinks.Add(1)
		target, err := readlinkat(fd, r.name, w.small)
		if err == nil && target != r.target {
			err = fmt.Errorf("points to %q", EscapeName(target))
		}
		return err
	case 'p':
		v.seen.fifos.Add(1)
		return nil
	}
	return v.content(w, fd, path, r, &st)
}

// dress compares owner, mode, time and attributes.
func (v *verifier) dress(path string, r *record, st *stat, x xattrs, w *worker) {
	if v.o.ContentOnly || r.dirty {
		return
	}
	mask := uint32(0o7777)
	if !v.m.Owners {
		mask = 0o1777
	}
	switch {
	case r.kind != 'l' && (st.mode^r.mode)&mask != 0:
		v.problem(path, fmt.Errorf("mode is %04o, not %04o", st.mode&0o7777, r.mode))
	case v.m.Owners && (st.uid != r.uid || st.gid != r.gid):
		v.problem(path, fmt.Errorf("owner is %d:%d, not %d:%d", st.uid, st.gid, r.uid, r.gid))
	case st.mtime != r.mtime:
		v.problem(path, fmt.Errorf("modified at %s, not %s", st.mtime.append(nil), r.mtime.append(nil)))
	}
	list, err := w.attrs.read(x)
	if err != nil {
		v.problem(path, err)
	} else if sumAttrs(list) != r.attrs {
		v.problem(path, errors.New("extended attributes differ"))
	}
}

// content reads a file past the cache and compares its hash.
func (v *verifier) content(w *worker, dir int, path string, r *record, st *stat) error {
	v.seen.files.Add(1)
	v.bytes.Add(st.size)
	if r.dirty {
		v.sample(&v.rep.Dirty, path)
		return nil
	}
	if st.size != r.size {
		return fmt.Errorf("size is %d, not %d", st.size, r.size)
	}
	if r.sum.n == 0 {
		if v.m.Hash == NoHash {
			return nil
		}
		return errors.New("content hash is not in the manifest")
	}
	fd, err := openQuietly(dir, r.name, 0, true)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()          // opened read-only
	_ = unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED) // advice only: what is not dropped is read from memory
	got, err := w.hashOpen(fd, r.size)
	_ = unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED)
	if err == nil && got != r.sum {
		err = errors.New("content differs")
	}
	v.copied.files.Add(1)
	return err
}

// checkLinks compares the inodes of files with several names.
func (v *verifier) checkLinks() {
	for leader, names := range v.links {
		want, ok := v.inodes[leader]
		for _, n := range names {
			if !ok || n.id != want {
				v.problem(n.path, fmt.Errorf("is not the same file as %s", EscapeName(leader)))
			}
		}
	}
}

// VerifyFile is Verify with the path of a manifest.
func VerifyFile(ctx context.Context, dir, manifest string, o Options) (*Report, error) {
	m, err := OpenManifest(manifest)
	if err != nil {
		return nil, err
	}
	defer func() { _ = m.Close() }() // only read from
	return Verify(ctx, dir, m, o)
}
