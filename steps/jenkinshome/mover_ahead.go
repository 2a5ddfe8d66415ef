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
}

// getAhead may fail: then the last pass looks everywhere, which costs time and nothing else. Only a copy that differs from what was read
// is an error, since no later pass would notice it.
func (c *cut) getAhead(ctx context.Context) error {
	if c.ahead.release != nil || c.args.Flush || c.args.Serve != 0 {
		return nil
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
	delta, err := os.CreateTemp(c.args.Scratch, "pipectl-ahead-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, delta.Close(), os.Remove(delta.Name())) }()
	p, trusted := c.copying(), trusted(c.ahead.root)
	o := p.options(c.ahead.root, true)
	o.Tracker, o.DeltaManifest = c.ahead.tracker, delta.Name()
	rep, err := treecopy.Copy(ctx, c.args.Source, c.ahead.root, o)
	if err != nil {
		return copyError(err)
	}
	c.log.Info("caught up", "files", rep.Seen.Files, "copied", rep.Copied.Files, "seconds", rep.Seconds, "tracking", string(c.ahead.tracker.Method()))
	return p.readBack(ctx, c.ahead.root, delta.Name(), trusted) // the last pass verifies only what it writes itself
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
