package treecopy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Copy makes one pass from src to dst, which is made when absent (its parent must exist). The Report is complete as far as the
// pass came, also beside an error. Errors to expect: ErrNotEmpty, ErrForeign, ErrOverlap, ErrSwapped, ErrNoSpace (a
// *SpaceError), ErrIncomplete (wraps the first problem), the cause of the context's end. After an error, running again resumes.
func Copy(ctx context.Context, src, dst string, o Options) (*Report, error) {
	e, err := newEngine(ctx, src, o)
	if err != nil {
		return nil, err
	}
	defer e.close()
	err = e.copy(dst)
	e.settled(err)
	if err != nil {
		return e.report(), fmt.Errorf("copy to %s: %w", dst, err)
	}
	return e.report(), nil
}

// Digest reads a tree without writing to it. Report.ManifestHash names what it holds: two trees have the same one exactly when
// kinds, names, modes, owners, modification times, contents, attributes and hard links are the same; the root's own attributes
// and the records of a copy do not count. With Options.Manifest it also writes the manifest.
func Digest(ctx context.Context, dir string, o Options) (*Report, error) {
	e, err := newEngine(ctx, dir, o)
	if err != nil {
		return nil, err
	}
	defer e.close()
	e.reading = true
	if err := e.digest(); err != nil {
		return e.report(), fmt.Errorf("digest of %s: %w", dir, err)
	}
	return e.report(), nil
}

func newEngine(ctx context.Context, src string, o Options) (*engine, error) {
	o, err := o.withDefaults(src)
	if err != nil {
		return nil, err
	}
	if o.Tracker != nil && o.Tracker.remote {
		return nil, badOption(errors.New("tracker: is of a source on another machine"), "make it by Track")
	}
	e := &engine{o: o, src: -1, dst: -1, srcDir: src}
	if e.src, err = unix.Open(src, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return nil, denied(&fs.PathError{Op: "open", Path: src, Err: err})
	}
	if e.srcSt, err = fstat(e.src); err != nil {
		return nil, errors.Join(&fs.PathError{Op: "stat", Path: src, Err: err}, unix.Close(e.src))
	}
	if err := e.prepare(ctx); err != nil {
		return nil, errors.Join(err, unix.Close(e.src))
	}
	return e, nil
}

// prepare makes what a pass needs, whatever its source.
func (e *engine) prepare(ctx context.Context) (err error) {
	o := &e.o
	if e.skip, err = parseExcludes(o.Excludes); err != nil {
		return err
	}
	e.touched, e.protected = map[*node]bool{}, map[string]bool{}
	e.ctx, e.cancel = context.WithCancelCause(ctx)
	e.rate, e.pace = newLimiter(o.BytesPerSecond), newLimiter(o.OpsPerSecond)
	e.links.groups, e.links.kept = map[inode]*linkGroup{}, map[inode]inode{}
	e.attrs = attrStore{refused: map[string]bool{}, lost: func(name string, err error) {
		e.note("attribute %s is not kept: %v", name, err)
	}, left: map[string]bool{}, leave: func(name string) {
		e.note("attribute %s is left behind: the target's own policy sets it", name)
	}}
	e.began = time.Now()
	e.rep = Report{RunID: o.RunID, Source: o.Source, Live: o.Live, DryRun: o.DryRun, Hash: o.Hash, Workers: o.Workers}
	return nil
}

func (e *engine) close() {
	e.cancel(nil)
	for _, fd := range []int{e.src, e.dst} {
		if fd >= 0 {
			_ = unix.Close(fd) // synced before, where it matters
		}
	}
	e.out.close()
	e.delta.close()
	if e.prev != nil {
		_ = e.prev.Close() // only read from
	}
}

func (e *engine) copy(dst string) error {
	e.enter("check")
	e.dstDir = dst
	marker, err := e.openTargetRoot()
	if err != nil {
		return err
	}
	if err := e.openManifests(); err != nil {
		return err
	}
	if err := e.planned(); err != nil {
		return err
	}
	e.expect()
	if e.dst >= 0 {
		if err := e.checkSpace(); err != nil {
			return err
		}
	}
	if e.writing() {
		if err := marker.write(dst); err != nil {
			return err
		}
	}
	finish := e.background()
	defer finish()
	err = e.pass()
	if err == nil {
		err = e.seal(marker)
	}
	finish()
	if err != nil {
		return e.unsynced(marker, err)
	}
	if e.o.Progress != nil {
		e.o.Progress(e.progress())
	}
	return nil
}

// pass walks, links, deletes, and says whether all of it worked.
func (e *engine) pass() error {
	e.enter("copy")
	if err := e.search(); err != nil {
		return err
	}
	if !e.stopped() {
		e.enter("links")
		e.link()
	}
	if whole := e.outcome() == nil; whole && e.o.Delete && !e.reading {
		if err := e.confirm(); err != nil {
			return err
		}
		e.enter("delete")
		e.prune()
	} else if e.writing() && !e.stopped() {
		e.sweepExtras()
	}
	if e.writing() && !e.stopped() {
		e.resettle()
	}
	return e.outcome()
}

// search walks the tree, or the parts of it that changed.
func (e *engine) search() error {
	if e.dirty == nil {
		e.walk(nil)
		return nil
	}
	if e.far != nil { // all at once: a directory would else wait for the one above it
		e.far.AheadDirs(e.dirty.root.paths(), e.o.Mounts == MountsCross)
	}
	e.walk(e.dirty.root)
	if err := e.partners(); err != nil || e.stopped() {
		return err
	}
	return e.keepRest()
}

// outcome is the error of the pass so far.
func (e *engine) outcome() error {
	if e.stopped() {
		return context.Cause(e.ctx)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rep.OwnersKept = !e.noOwner.Load()
	if e.rep.Errors > 0 {
		return fmt.Errorf("%d %w: %w", e.rep.Errors, ErrIncomplete, e.first)
	}
	return nil
}

// seal makes the pass durable: first the data, then the manifest, then the marker that vouches for both.
func (e *engine) seal(marker *Marker) error {
	if !e.writing() {
		return nil
	}
	e.enter("sync")
	if err := e.sync(); err != nil {
		return err
	}
	e.enter("manifest")
	if err := e.writeManifests(); err != nil {
		return err
	}
	e.enter("marker")
	marker.State, marker.BootID, marker.Last = MarkerComplete, "", nil
	marker.FinishedAt, marker.ManifestHash = time.Now().UTC(), e.rep.ManifestHash
	marker.Files, marker.Bytes = e.seen.files.Load(), e.bytes.Load()
	if err := marker.write(e.dstDir); err != nil {
		return err
	}
	if e.o.KeepRoot {
		return nil
	}
	if err := futimens(e.dst, e.srcSt.mtime); err != nil {
		return err
	}
	return unix.Fsync(e.dst)
}

// openManifests opens the former manifest, if it is usable, and begins the new one.
func (e *engine) openManifests() error {
	if e.o.Manifest != "" {
		m, err := OpenManifest(e.o.Manifest)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			e.note("the former manifest is not used: %v", err)
		case m.Source != e.o.Source || m.Partial:
			e.note("the former manifest is not used: it is of another source, or of a part")
			_ = m.Close() // only read from
		default:
			e.prev = m
		}
	}
	if e.o.DryRun {
		return nil
	}
	var err error
	if e.out, err = newManifestWriter(e.o.Manifest, e.prev); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	if e.o.DeltaManifest != "" {
		if e.delta, err = newManifestWriter(e.o.DeltaManifest, nil); err != nil {
			return fmt.Errorf("delta manifest: %w", err)
		}
	}
	return nil
}

func (e *engine) writeManifests() (err error) {
	if e.rep.ManifestHash, err = e.out.finish(manifestHeader(&e.o, e.rep.OwnersKept, false), e.linked(false)); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	if e.delta == nil {
		return nil
	}
	if _, err := e.delta.finish(manifestHeader(&e.o, e.rep.OwnersKept, true), e.linked(true)); err != nil {
		return fmt.Errorf("delta manifest: %w", err)
	}
	return nil
}

func (e *engine) digest() error {
	e.enter("check")
	var err error
	if e.out, err = newManifestWriter(e.o.Manifest, nil); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	if abs, err := filepath.EvalSymlinks(e.srcDir); err == nil {
		e.protect(abs)
	}
	finish := e.background()
	defer finish()
	if err := e.pass(); err != nil {
		return err
	}
	e.enter("manifest")
	return e.writeManifests()
}

// protect keeps manifests that lie inside the tree at root from being taken for content.
func (e *engine) protect(root string) {
	e.protected[MarkerName], e.protected[ManifestName] = true, true
	for _, m := range []string{e.o.Manifest, e.o.DeltaManifest} {
		if m == "" {
			continue
		}
		dir, err := filepath.Abs(filepath.Dir(m))
		if err == nil {
			dir, err = filepath.EvalSymlinks(dir)
		}
		if err != nil {
			continue
		}
		if rel, err := filepath.Rel(root, filepath.Join(dir, filepath.Base(m))); err == nil && filepath.IsLocal(rel) {
			e.protected[rel] = true
		}
	}
}

func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(b[:max(0, len(b)-1)])
}
