package jenkinshome

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"pipectl.dev/steps"
	"pipectl.dev/steps/jenkinshome/device"
	"pipectl.dev/treecopy"
)

// precopy copies a home in passes while Jenkins runs, then proves what it copied.
type precopy struct {
	args moverArgs
	dev  device.Devices
	log  *slog.Logger
	far  *receiver // route stream: where the home comes from

	confirm func() error      // whether the source is still whole; nil: it does not go away
	tracker *treecopy.Tracker // of the home; nil: every pass looks everywhere
}

func (p precopy) run(ctx context.Context) (res moverResult, err error) {
	letGo, err := p.openSource(ctx)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, letGo()) }()
	root, release, err := mountTarget(ctx, p.dev, p.args, p.log)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if p.args.Volume != "" {
		if res.FileSystem, err = p.fileSystem(ctx); err != nil {
			return res, err
		}
	}
	if p.args.Final {
		if p.args.Ahead {
			if err := p.ahead(ctx, root); err != nil {
				return res, err
			}
		}
		res.Final, err = p.final(ctx, root)
		return res, err
	}
	err = p.passes(ctx, root, &res)
	return res, err
}

// passes copies while Jenkins runs until a pass is short, and reads all of it back.
func (p precopy) passes(ctx context.Context, root string, res *moverResult) error {
	began := time.Now()
	fig := &Figures{}
	for pass := 1; ; pass++ {
		rep, err := p.pass(ctx, root, p.options(root, true))
		if err != nil {
			return copyError(err)
		}
		p.log.Info("pass done", "pass", pass, "files", rep.Seen.Files, "copied", rep.Copied.Files, "bytes", rep.BytesCopied, "seconds", rep.Seconds,
			"vanished", rep.Vanished.Count, "changing", rep.Dirty.Count, "looked", looked(rep))
		fig.Files, fig.Bytes, fig.Passes, fig.LastPass, fig.LastPassFiles = rep.Seen.Files, rep.Bytes, pass, rep.Seconds, rep.Copied.Files
		res.Left, res.Notes = rep.Skipped, rep.Notes
		if rep.Escaping.Count > 0 {
			res.Notes = append(res.Notes, fmt.Sprintf("%d symbolic links leave the home, such as %s: what they point to is not moved", rep.Escaping.Count, rep.Escaping.Names[0]))
		}
		if pass >= p.args.Passes || rep.Copied.Files <= p.args.Small {
			break
		}
	}
	res.Notes = append(res.Notes, oldAddresses(root)...)
	if err := p.readBack(ctx, root, "", false); err != nil {
		return err
	}
	if err := p.setRoot(root); err != nil {
		return err
	}
	fig.Seconds = time.Since(began).Seconds()
	res.Figures = fig
	return nil
}

// openSource mounts what the home is to be read from, where that is not there already.
func (p *precopy) openSource(ctx context.Context) (letGo func() error, err error) {
	switch {
	case p.args.Receive != 0:
		if p.far, err = newReceiver(ctx, p.args, p.log); err != nil {
			return nil, err
		}
		p.tracker = treecopy.TrackRemote()
		return p.far.close, nil
	case p.args.FromVolume == "":
		if err := looksLikeHome(p.args.Source); err != nil {
			return nil, err
		}
		if p.args.Passes == 1 { // nothing to shorten
			return func() error { return nil }, nil
		}
		p.tracker, err = treecopy.Track(p.args.Source)
		return p.tracker.Close, err
	}
	find, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	path, err := p.dev.Find(find, p.args.FromVolume)
	if err != nil {
		return nil, err
	}
	root, err := p.dev.View(path, p.args.Source, p.args.FromDir)
	if err != nil {
		return nil, err
	}
	p.log.Info("source found", "device", path, "directory", p.args.FromDir)
	p.args.Source = filepath.Join(root, p.args.FromDir)
	if err := looksLikeHome(p.args.Source); err != nil {
		return nil, errors.Join(err, p.dev.Unmount(root))
	}
	return func() error { return p.dev.Unmount(root) }, nil
}

// final copies what changed since the pass before and reads back what it wrote. Nothing may change the source any more.
func (p precopy) final(ctx context.Context, root string) (*finalPass, error) {
	began := time.Now()
	delta, err := os.CreateTemp(p.args.Scratch, "pipectl-delta-*")
	if err != nil {
		return nil, err
	}
	defer func() { _ = delta.Close(); _ = os.Remove(delta.Name()) }() // goes with the pod in any case
	o := p.options(root, false)
	o.DeltaManifest = delta.Name()
	trusted, lost := trusted(root), p.far.losses()
	rep, err := p.pass(ctx, root, o)
	if err != nil {
		return nil, copyError(err)
	}
	p.log.Info("last pass done", "files", rep.Seen.Files, "copied", rep.Copied.Files, "deleted", rep.Deleted, "seconds", rep.Seconds, "looked", looked(rep))
	f := &finalPass{Hash: rep.ManifestHash, Files: rep.Seen.Files, Bytes: rep.Bytes, Copy: time.Since(began).Seconds()}
	if p.far != nil { // a snapshot cannot change
		if err := p.lookAgain(ctx, root); err != nil {
			return nil, err
		}
	}
	began = time.Now()
	if err := p.readBack(ctx, root, delta.Name(), trusted && p.far.losses() == lost); err != nil {
		return nil, err
	}
	f.Verify = time.Since(began).Seconds()
	return f, p.setRoot(root)
}

func (p precopy) options(root string, live bool) treecopy.Options {
	last := time.Now()
	return treecopy.Options{
		Check:    notEmptied, // of a stream its own
		Confirm:  p.confirm,
		Excludes: p.args.Exclude, Delete: true, Live: live, Manifest: manifestOf(root),
		Source: p.args.Identity, RunID: p.args.RunID, KeepRoot: true, Mounts: treecopy.MountsRefuse, Tracker: p.tracker,
		Progress: func(t treecopy.Progress) {
			if time.Since(last) > 10*time.Second {
				last = time.Now()
				p.log.Info("copying", "phase", t.Phase, "entries", t.Entries, "files", t.Files, "bytes", t.Bytes)
			}
		},
	}
}

// looksLikeHome refuses a source that is no Jenkins home: source and target named the wrong way round, or the wrong directory.
func looksLikeHome(dir string) error {
	for _, name := range []string{"config.xml", "secrets"} {
		_, err := os.Lstat(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrPermission) {
			return homeUnreadable(err)
		}
		if err != nil {
			return &steps.Error{Code: "NotAHome", Category: steps.Precondition, Message: "source: no Jenkins home", Err: err,
				Hints: []string{"`from.home` is the directory in the container that has config.xml and secrets/"}}
		}
	}
	return nil
}

// setRoot gives the root of the volume the owner, group and mode by which a kubelet sees that fsGroup has been applied: otherwise the first
// mount would change the mode of every file, that of secrets included.
func setRoot(a moverArgs, root string) error {
	return precopy{args: a}.setRoot(root)
}

func (p precopy) setRoot(root string) error {
	uid, mode, err := p.origin()
	if err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		if err := os.Lchown(root, uid, int(p.args.FSGroup)); err != nil {
			return err
		}
	}
	return os.Chmod(root, 0o775|os.ModeSetgid|mode&0o770)
}

func originOf(dir string) (uid int, mode os.FileMode, err error) {
	fi, err := os.Stat(dir)
	if err != nil {
		return 0, 0, err
	}
	uid, _ = owner(fi)
	return uid, fi.Mode().Perm(), nil
}

// copyError gives an error of treecopy its kind.
func copyError(err error) error {
	if err == nil {
		return nil
	}
	var ours *steps.Error
	if errors.As(err, &ours) {
		return err
	}
	e := &steps.Error{Code: "CopyFailed", Category: steps.Unhealthy, Message: "copy", Err: err}
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		e.Hints = []string{h.Hint()}
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, treecopy.ErrNoSpace):
		e.Code, e.Category = "NoSpace", steps.Precondition
		if s := (*treecopy.SpaceError)(nil); errors.As(err, &s) {
			e.Hints = []string{roomHint(s)}
		}
	case errors.Is(err, treecopy.ErrNotEmpty), errors.Is(err, treecopy.ErrForeign), errors.Is(err, treecopy.ErrSwapped), errors.Is(err, treecopy.ErrMount),
		errors.Is(err, treecopy.ErrDevice):
		e.Code, e.Category = "CopyRefused", steps.Precondition
	case errors.Is(err, fs.ErrPermission):
		e.Code, e.Category = "CopyDenied", steps.Permission
	case errors.Is(err, treecopy.ErrMismatch):
		e.Code, e.Category = "CopyDiffers", steps.Verification
		e.Hints = []string{"what the volume gives back is not what was written to it: something else writes to it, or its device is faulty; begin anew with another volume (`name` of data-volume)"}
	case errors.Is(err, treecopy.ErrChanged), errors.Is(err, treecopy.ErrVanished):
		e.Code, e.Category = "SourceChanged", steps.Unhealthy
	}
	return e
}

// homeUnreadable is the error of a mover that is root, and refused all the same.
func homeUnreadable(err error) *steps.Error {
	return &steps.Error{Code: "HomeUnreadable", Category: steps.Permission, Message: "source: the mover may not look into the home", Err: err,
		Hints: []string{"is the home on an NFS export with root_squash? Export it to the mover's node with no_root_squash for the time of the move"}}
}
