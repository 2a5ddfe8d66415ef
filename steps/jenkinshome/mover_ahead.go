package jenkinshome

import (
	"context"
	"errors"
	"fmt"
	"os"

	"pipectl.dev/treecopy"
)

// ahead is what a mover prepares while Jenkins still runs: the target mounted, the source caught up with, and its changes followed since,
// so that the last pass, for which Jenkins stands still, looks only where something changed.
type ahead struct {
	root    string
	release func() error // nil once let go of
	tracker *treecopy.Tracker

	serving *serving // route stream: what lets another mover do all that
	stop    func()
}

// getAhead may fail: then the last pass looks everywhere, which costs time and nothing else. Only a copy that differs from what was read
// is an error, since no later pass would notice it.
func (c *cut) getAhead(ctx context.Context) error {
	if c.ahead.release != nil || c.args.Flush {
		return nil
	}
	if c.args.Serve != 0 {
		return c.serveAhead(ctx)
	}
	err := c.catchUp(ctx)
	if err == nil {
		return nil
	}
	if lerr := c.letGo(); lerr != nil {
		c.log.Error(lerr.Error())
	}
	if errors.Is(err, treecopy.ErrMismatch) {
		return err
	}
	c.log.Warn("the last pass will look at the whole home: " + err.Error())
	return nil
}

func (c *cut) catchUp(ctx context.Context) (err error) {
	if err := looksLikeHome(c.args.Source); err != nil {
		return err
	}
	if c.ahead.root, c.ahead.release, err = mountTarget(ctx, c.dev, c.args, c.log); err != nil {
		return err
	}
	if c.ahead.tracker, err = treecopy.Track(c.args.Source); err != nil {
		return err
	}
	return c.copying(ctx).catchUp(ctx, c.ahead.root)
}

// catchUp makes a pass while Jenkins runs and reads back what it wrote: the last pass verifies only what it writes itself.
func (p precopy) catchUp(ctx context.Context, root string) (err error) {
	delta, err := os.CreateTemp(p.args.Scratch, "pipectl-ahead-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, delta.Close(), os.Remove(delta.Name())) }()
	trusted, lost := trusted(root), p.far.losses()
	o := p.options(root, true)
	o.DeltaManifest = delta.Name()
	rep, err := p.pass(ctx, root, o)
	if err != nil {
		return copyError(err)
	}
	p.log.Info("caught up", "files", rep.Seen.Files, "copied", rep.Copied.Files, "seconds", rep.Seconds, "tracking", string(p.tracker.Method()))
	return p.readBack(ctx, root, delta.Name(), trusted && p.far.losses() == lost)
}

// target is the mounted target and how to let go of it: what was prepared, or mounted now.
func (c *cut) target(ctx context.Context) (string, func() error, error) {
	if c.ahead.release != nil {
		return c.ahead.root, c.letGo, nil
	}
	return mountTarget(ctx, c.dev, c.args, c.log)
}

// letGo unmounts and ends the following, if there is anything.
func (c *cut) letGo() error {
	a := c.ahead
	c.ahead = ahead{}
	if a.stop != nil {
		a.stop()
	}
	var err error
	if a.tracker != nil {
		err = a.tracker.Close()
	}
	if a.release != nil {
		err = errors.Join(err, a.release())
	}
	return err
}

// looked says how a pass knew where to look.
func looked(r *treecopy.Report) string {
	switch t := r.Tracking; {
	case t == nil:
		return "everywhere"
	case t.Whole != "":
		return "everywhere: " + t.Whole
	default:
		return fmt.Sprintf("into %d directories that changed, by %s", t.Dirs, t.Method)
	}
}
