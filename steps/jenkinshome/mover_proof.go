package jenkinshome

import (
	"context"

	"pipectl.dev/treecopy"
)

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

// verifyDelta reads back what one pass wrote.
func verifyDelta(ctx context.Context, root, delta string, exclude []string) error {
	m, err := treecopy.OpenManifest(delta)
	if err != nil {
		return err
	}
	defer func() { _ = m.Close() }() // read only
	_, err = treecopy.Verify(ctx, root, m, treecopy.Options{Excludes: exclude})
	return copyError(err)
}
