package jenkinshome

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/treecopy"
)

// lastPass copies what changed since the live passes, looks at the source a second time, verifies what it wrote, and unmounts.
func (c *cut) lastPass(ctx context.Context) (err error) {
	if err := c.stillDown(ctx); err != nil {
		return err
	}
	if err := looksLikeHome(c.args.Source); err != nil {
		return err
	}
	if c.args.Serve != 0 { // whoever copies is told, now or when it connects
		c.serve(ctx, false).settle()
		return nil
	}
	if c.args.Flush {
		return c.timed(&c.rec.Cut.Down.Copy, func() error { return flush(c.args.Source) })
	}
	d := &c.rec.Cut.Down
	var root string
	var release func() error
	err = c.timed(&d.Copy, func() error {
		root, release, err = c.target(ctx)
		return err
	})
	if err != nil {
		return err
	}
	delta, err := os.CreateTemp(c.args.Scratch, "pipectl-delta-*")
	if err != nil {
		return errors.Join(err, release())
	}
	defer func() { err = errors.Join(err, delta.Close(), os.Remove(delta.Name())) }()
	trusted := trusted(root)
	err = c.timed(&d.Copy, func() error { return c.final(ctx, root, delta.Name()) })
	if err == nil {
		err = c.timed(&d.Verify, func() error { return c.copying(ctx).readBack(ctx, root, delta.Name(), trusted) })
	}
	if err == nil {
		err = setRoot(c.args, root)
	}
	if uerr := c.timed(&d.Detach, release); err == nil {
		err = uerr
	}
	return err
}

func (c *cut) final(ctx context.Context, root, delta string) error {
	p := c.copying(ctx)
	o := p.options(root, false)
	o.DeltaManifest = delta
	rep, err := treecopy.Copy(ctx, c.args.Source, root, o)
	if err != nil {
		return copyError(err)
	}
	c.log.Info("last pass done", "files", rep.Seen.Files, "copied", rep.Copied.Files, "deleted", rep.Deleted, "seconds", rep.Seconds, "looked", looked(rep))
	c.rec.Cut.Hash, c.rec.Cut.Files, c.rec.Cut.Bytes = rep.ManifestHash, rep.Seen.Files, rep.Bytes
	if err := p.lookAgain(ctx, root); err != nil {
		return err
	}
	if who, err := c.writers(); err != nil || len(who) > 0 { // what is open can be written to at any time
		return cmp.Or(err, error(homeShared(who)))
	}
	if err := c.stillDown(ctx); !kube.HasCode(err, "HomeGone") { // by now its copy is whole
		return err
	}
	return nil
}

// unchanged judges a second look at the source, after Jenkins had stopped.
func unchanged(second *treecopy.Report) error {
	if n := second.Copied.Files + second.Copied.Symlinks + second.Copied.FIFOs + second.Updated + second.Deleted; n > 0 {
		return &steps.Error{Code: "SourceChanged", Category: steps.Unhealthy, Message: fmt.Sprintf("source: %d entries changed after Jenkins had stopped", n),
			Hints: []string{"something else writes to the home; stop it"}}
	}
	return nil
}

// copying is what copies and verifies for a cut-over.
func (c *cut) copying(ctx context.Context) precopy {
	return precopy{args: c.args, log: c.log, tracker: c.ahead.tracker, confirm: c.args.confirm(ctx, c.kube)}
}

// manifestOf is where the manifest of a copy lies.
func manifestOf(root string) string { return filepath.Join(root, treecopy.ManifestName) }

// since is the time that has passed since an RFC 3339 time of another machine; 0 when that cannot be told.
func since(at string) float64 {
	t, err := time.Parse(time.RFC3339, at)
	if err != nil {
		return 0
	}
	return max(0, time.Since(t).Seconds())
}
