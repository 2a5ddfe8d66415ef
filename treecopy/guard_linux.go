package treecopy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// openTargetRoot opens the target, or makes it, once every guard agreed. It gives the marker to write.
func (e *engine) openTargetRoot() (*Marker, error) {
	if e.o.Check != nil {
		if err := e.o.Check(e.srcDir, e.dstDir); err != nil {
			return nil, err
		}
	}
	check := e.checkOverlap
	if e.far != nil {
		check = e.checkFar
	}
	if err := check(); err != nil {
		return nil, err
	}
	fresh, err := e.makeRoot()
	if err != nil {
		return nil, err
	}
	next := &Marker{
		APIVersion: "pipectl.dev/v1", Kind: "TreeCopy", Source: e.o.Source, State: MarkerCopying, BootID: bootID(),
		Done: Done{RunID: e.o.RunID, Live: e.o.Live, StartedAt: time.Now().UTC(), Hash: e.o.Hash},
	}
	if fresh {
		e.owned = true
		return next, nil
	}
	if e.dst, err = unix.Open(e.dstDir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return nil, &fs.PathError{Op: "open", Path: e.dstDir, Err: err}
	}
	if e.dstSt, err = fstat(e.dst); err != nil {
		return nil, err
	}
	if root, err := filepath.EvalSymlinks(e.dstDir); err == nil {
		e.protect(root)
	}
	return next, e.judgeTarget(next)
}

// makeRoot makes an absent target; fresh is true for a dry run's target that stays absent.
func (e *engine) makeRoot() (fresh bool, err error) {
	_, err = os.Lstat(e.dstDir)
	if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if e.o.DryRun {
		return true, nil
	}
	e.made = true
	return false, os.Mkdir(e.dstDir, 0o700)
}

// judgeTarget decides by marker and content whether this source may be copied here, and completes the marker to write.
func (e *engine) judgeTarget(next *Marker) error {
	old, err := readMarkerIf(e.dstDir)
	if err != nil {
		return hint(err, "the marker of the target is damaged; remove it only when you know what the target holds")
	}
	if old != nil {
		return e.judgeMarker(old, next)
	}
	empty, err := isEmpty(e.dst, e.protected)
	switch {
	case err != nil:
		return err
	case empty:
		e.owned = true
		return nil
	case e.o.Delete:
		return hint(fmt.Errorf("%w and carries no marker: nothing is deleted from it", ErrNotEmpty), "copy into an empty directory first")
	case !e.o.AllowNonEmpty:
		return hint(fmt.Errorf("%w and carries no marker of this source", ErrNotEmpty), "choose an empty directory, or allow a target that is not empty")
	}
	next.Shared = true
	return nil
}

func (e *engine) judgeMarker(old, next *Marker) error {
	if old.Source != e.o.Source {
		return hint(fmt.Errorf("%w: %s", ErrForeign, old.Source), "choose another target, or give the source the identity it had then")
	}
	if old.Shared && e.o.Delete {
		return hint(errors.New("target held other things before the first copy: nothing is deleted from it"), "run without delete")
	}
	if e.o.Delete && old.held() > 0 {
		empty, err := e.sourceEmpty()
		if err != nil {
			return err
		}
		if empty {
			return hint(fmt.Errorf("%s: %w", e.srcDir, ErrEmptySource), "check that the source is mounted; a target is not emptied this way")
		}
	}
	e.owned = !old.Shared
	next.Shared, next.Last, next.Verified = old.Shared, old.Last, old.Verified
	if old.State == MarkerComplete {
		next.Last = &old.Done
		return nil
	}
	if old.BootID != next.BootID {
		e.distrust = true
		why := "ended with its machine"
		if old.BootID == notWritten {
			why = "could not write all to the device"
		}
		e.note("the former pass %s: files found in the target are read and compared", why)
	}
	return nil
}

// isEmpty says whether a directory has nothing but what a copy or a new file system leaves there.
func isEmpty(dir int, ours map[string]bool) (bool, error) {
	fd, err := openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY, true)
	if err != nil {
		return false, err
	}
	list, err := readDir(fd, make([]byte, 32<<10), nil)
	for _, d := range list {
		if d.name != "lost+found" && !strings.HasPrefix(d.name, TempPrefix) && !ours[d.name] {
			return false, errors.Join(err, unix.Close(fd))
		}
	}
	return true, errors.Join(err, unix.Close(fd))
}

// checkOverlap refuses the same directory, one inside the other, and a source that is the unfinished or reversed end of
// another copy.
func (e *engine) checkOverlap() error {
	src, err := realPath(e.srcDir)
	if err != nil {
		return err
	}
	dst, err := realPath(e.dstDir)
	if err != nil {
		return err
	}
	if err := overlap(src, dst); err != nil {
		return err
	}
	for _, m := range []string{e.o.Manifest, e.o.DeltaManifest} {
		if real, err := realPath(m); m != "" && err == nil && strings.HasPrefix(real, strings.TrimSuffix(src, "/")+"/") {
			return hint(fmt.Errorf("manifest %s: %w", m, ErrInSource), "keep the manifest in the target or elsewhere")
		}
	}
	if err := e.checkIdentity(); err != nil {
		return err
	}
	m, err := readMarkerIf(e.srcDir)
	switch {
	case err != nil:
		return hint(err, "the source carries a damaged marker of a copy")
	case m == nil:
		return nil
	case m.State != MarkerComplete:
		return hint(fmt.Errorf("%s: %w: it is the target of a copy of %s that did not finish", e.srcDir, ErrSwapped, m.Source), "finish that copy first")
	case m.Source == "path:"+dst:
		return hint(fmt.Errorf("%s: %w: it is a copy of %s", e.srcDir, ErrSwapped, dst), "remove %s from the source if you mean it", MarkerName)
	}
	return nil
}

// checkIdentity finds the same directory under another path (a bind mount), and a target below such a one.
func (e *engine) checkIdentity() error {
	fd, err := unix.Open(e.dstDir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		fd, err = unix.Open(filepath.Dir(filepath.Clean(e.dstDir)), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return &fs.PathError{Op: "open", Path: e.dstDir, Err: err}
	}
	for {
		st, err := fstat(fd)
		if err == nil && st.dev == e.srcSt.dev && st.ino == e.srcSt.ino {
			err = hint(fmt.Errorf("%w: the target is, or is inside, %s", ErrOverlap, e.srcDir), "choose a target outside of the source")
		}
		up := -1
		if err == nil {
			up, err = unix.Openat(fd, "..", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		}
		if cerr := unix.Close(fd); err != nil || cerr != nil {
			return errors.Join(err, cerr)
		}
		parent, err := fstat(up)
		if err != nil || parent.dev == st.dev && parent.ino == st.ino {
			return errors.Join(err, unix.Close(up))
		}
		fd = up
	}
}

func overlap(src, dst string) error {
	const choose = "choose directories that are not inside each other"
	switch {
	case src == dst:
		return hint(fmt.Errorf("%w: both are %s", ErrOverlap, src), choose)
	case strings.HasPrefix(dst, strings.TrimSuffix(src, "/")+"/"):
		return hint(fmt.Errorf("%w: the target is inside the source", ErrOverlap), choose)
	case strings.HasPrefix(src, strings.TrimSuffix(dst, "/")+"/"):
		return hint(fmt.Errorf("%w: the source is inside the target", ErrOverlap), choose)
	}
	return nil
}

// realPath resolves links; the last element may be absent.
func realPath(p string) (string, error) {
	abs, err := filepath.Abs(p)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(abs)
	if errors.Is(err, fs.ErrNotExist) {
		dir, err := filepath.EvalSymlinks(filepath.Dir(abs))
		if err != nil {
			return "", hint(err, "make the parent directory of the target first")
		}
		return filepath.Join(dir, filepath.Base(abs)), nil
	}
	return real, err
}
