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
	manifest := manifestOf(root)
	if trusted {
		manifest = delta
	}
	rep, err := verify(ctx, root, manifest, p.args.Exclude)
	if err != nil {
		return err
	}
	if !trusted { // the expensive part of the proof, done before anything stands still
		p.log.Info("copy verified", "files", rep.Seen.Files, "seconds", rep.Seconds)
	}
	return treecopy.MarkVerified(root)
}

// verify reads back what a manifest lists.
func verify(ctx context.Context, root, manifest string, exclude []string) (*treecopy.Report, error) {
	m, err := treecopy.OpenManifest(manifest)
	if err != nil {
		return nil, err
	}
	defer func() { _ = m.Close() }() // read only
	rep, err := treecopy.Verify(ctx, root, m, treecopy.Options{Excludes: exclude})
	return rep, copyError(err)
}
