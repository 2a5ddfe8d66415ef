package jenkinshome

import (
	"context"
	"errors"
	"fmt"
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
		res.Final, err = p.final(ctx, root)
		return res, err
	}
	began := time.Now()
	fig := &Figures{}
	for pass := 1; ; pass++ {
		rep, err := p.pass(ctx, root, p.options(root, true))
		if err != nil {
			return res, copyError(err)
		}
		p.log.Info("pass done", "pass", pass, "files", rep.Seen.Files, "copied", rep.Copied.Files, "bytes", rep.BytesCopied, "seconds", rep.Seconds,
			"vanished", rep.Vanished.Count, "changing", rep.Dirty.Count)
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
		return res, err
	}
	if err := p.setRoot(root); err != nil {
		return res, err
	}
	fig.Seconds = time.Since(began).Seconds()
	res.Figures = fig
	return res, nil
}

// openSource mounts what the home is to be read from, where that is not there already.
func (p *precopy) openSource(ctx context.Context) (letGo func() error, err error) {
	switch {
	case p.args.Receive != 0:
		if p.far, err = newReceiver(ctx, p.args, p.log); err != nil {
			return nil, err
		}
		return p.far.close, nil
	case p.args.FromVolume == "":
		return func() error { return nil }, looksLikeHome(p.args.Source)
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

// final copies what changed since the pass before and reads back what it wrote. The source is a snapshot: nothing can change it meanwhile.
func (p precopy) final(ctx context.Context, root string) (*finalPass, error) {
	began := time.Now()
	delta, err := os.CreateTemp(p.args.Scratch, "pipectl-delta-*")
	if err != nil {
		return nil, err
	}
	defer func() { _ = delta.Close(); _ = os.Remove(delta.Name()) }() // goes with the pod in any case
	o := p.options(root, false)
	o.DeltaManifest = delta.Name()
	trusted := trusted(root)
	rep, err := p.pass(ctx, root, o)
	if err != nil {
		return nil, copyError(err)
	}
	p.log.Info("last pass done", "files", rep.Seen.Files, "copied", rep.Copied.Files, "deleted", rep.Deleted, "seconds", rep.Seconds, "looked", looked(rep))
	f := &finalPass{Hash: rep.ManifestHash, Files: rep.Seen.Files, Bytes: rep.Bytes, Copy: time.Since(began).Seconds()}
	if err := p.lookAgain(ctx, root); err != nil {
		return nil, err
	}
	began = time.Now()
	if err := p.readBack(ctx, root, delta.Name(), trusted && !p.far.resumed()); err != nil {
		return nil, err
	}
	f.Verify = time.Since(began).Seconds()
	return f, p.setRoot(root)
}

// trusted says that all that a volume holds was read back, see treecopy.Marker.Trusted.
func trusted(root string) bool {
	m, err := treecopy.ReadMarker(root)
	return err == nil && m.Trusted()
}

// readBack verifies what a pass wrote, as its delta has it. Where what was there before is not trusted it verifies everything: a pass that
// was cut off wrote files that the delta of the next one does not have.
func (p precopy) readBack(ctx context.Context, root, delta string, trusted bool) error {
	check := p.verify
	if trusted {
		check = func(ctx context.Context, root string) error { return verifyDelta(ctx, root, delta, p.args.Exclude) }
	}
	if err := check(ctx, root); err != nil {
		return err
	}
	return treecopy.MarkVerified(root)
}

func (p precopy) options(root string, live bool) treecopy.Options {
	last := time.Now()
	return treecopy.Options{
		Excludes: p.args.Exclude, Delete: true, Live: live, Manifest: manifestOf(root),
		Source: p.args.Identity, RunID: p.args.RunID, KeepRoot: true, Mounts: treecopy.MountsRefuse,
		Progress: func(t treecopy.Progress) {
			if time.Since(last) > 10*time.Second {
				last = time.Now()
				p.log.Info("copying", "phase", t.Phase, "entries", t.Entries, "files", t.Files, "bytes", t.Bytes)
			}
		},
	}
}

// verify reads the whole copy back: the expensive part of the proof, done before anything stands still.
func (p precopy) verify(ctx context.Context, root string) error {
	m, err := treecopy.OpenManifest(manifestOf(root))
	if err != nil {
		return err
	}
	defer func() { _ = m.Close() }() // read only
	rep, err := treecopy.Verify(ctx, root, m, treecopy.Options{Excludes: p.args.Exclude})
	if err != nil {
		return copyError(err)
	}
	p.log.Info("copy verified", "files", rep.Seen.Files, "seconds", rep.Seconds)
	return nil
}

// looksLikeHome refuses a source that is no Jenkins home: source and target named the wrong way round, or the wrong directory.
func looksLikeHome(dir string) error {
	for _, name := range []string{"config.xml", "secrets"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			return &steps.Error{Code: "NotAHome", Category: steps.Precondition, Message: "source: no Jenkins home", Err: err,
				Hints: []string{"`from.home` is the directory in the container that has config.xml and secrets/"}}
		}
	}
	return nil
}

// mountTarget makes the target ready to be written to and returns how to let go of it. On route sameNode the claim is there already.
func mountTarget(ctx context.Context, dev device.Devices, a moverArgs, log *slog.Logger) (root string, release func() error, err error) {
	if a.Volume == "" {
		return a.Target, func() error { return nil }, nil
	}
	find, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	path, err := dev.Find(find, a.Volume)
	if err != nil {
		return "", nil, err
	}
	holds, err := dev.Holds(path)
	if err != nil {
		return "", nil, err
	}
	log.Info("device found", "device", path, "holds", holds)
	if holds == "" {
		if err := dev.Format(ctx, path); err != nil {
			return "", nil, err
		}
		log.Info("device formatted", "device", path)
	}
	if holds == "ext4" {
		grow(log, path, func() (before, after int64, err error) { return dev.Grow(ctx, path) })
	}
	if root, err = dev.Mount(path, a.Target); err != nil {
		return "", nil, err
	}
	if holds == "xfs" {
		grow(log, path, func() (before, after int64, err error) { return dev.GrowMounted(path, root) })
	}
	return root, func() error { return dev.Unmount(root) }, nil
}

// grow gives the file system what the volume has grown by since it was formatted. Where that fails the copy finds out whether there is room.
func grow(log *slog.Logger, path string, by func() (before, after int64, err error)) {
	switch before, after, err := by(); {
	case err != nil:
		log.Warn("the file system stays as large as it is: " + err.Error())
	case after > before:
		log.Info("file system grown", "device", path, "from", before, "to", after)
	}
}

// fileSystem is the type of what the volume was formatted with, by us or by somebody before.
func (p precopy) fileSystem(ctx context.Context) (string, error) {
	path, err := p.dev.Find(ctx, p.args.Volume)
	if err != nil {
		return "", err
	}
	return p.dev.Holds(path)
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
	case errors.Is(err, treecopy.ErrMismatch):
		e.Code, e.Category = "CopyDiffers", steps.Verification
	case errors.Is(err, treecopy.ErrChanged), errors.Is(err, treecopy.ErrVanished):
		e.Code, e.Category = "SourceChanged", steps.Unhealthy
	}
	return e
}
