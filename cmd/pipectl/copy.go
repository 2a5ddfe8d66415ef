package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"pipectl.dev/cmd/pipectl/view"
	"pipectl.dev/steps"
	"pipectl.dev/treecopy"
)

func (a *app) copyCommand() *cli.Command {
	return &cli.Command{
		Name: "copy", Usage: "copy a file tree fast, resumably, and prove the copy", ArgsUsage: "SRC DST",
		Description: "The same command again copies only what differs. With --manifest that is known without reading unchanged files.",
		Flags: flags([]cli.Flag{
			&cli.StringSliceFlag{Name: "exclude", Usage: "leave out what matches `PATTERN`, as in .gitignore; repeatable"},
			&cli.BoolFlag{Name: "delete", Usage: "remove from DST what SRC no longer has"},
			&cli.BoolFlag{Name: "live", Usage: "SRC is in use: files that vanish or change are not errors"},
			&cli.BoolFlag{Name: "dry-run", Usage: "say what would be done, write nothing"},
			&cli.StringFlag{Name: "manifest", Usage: "keep the manifest in `FILE`"},
			&cli.StringFlag{Name: "hash", Value: string(treecopy.XXH3), Usage: "content `HASH`: xxh3-128, blake3 or none"},
			&cli.IntFlag{Name: "workers", Usage: "`N` entries at once", DefaultText: "by CPU"},
			&cli.Int64Flag{Name: "bytes-per-second", Usage: "read at most `N` bytes a second", DefaultText: "no limit"},
			&cli.Int64Flag{Name: "ops-per-second", Usage: "handle at most `N` entries a second", DefaultText: "no limit"},
			&cli.BoolFlag{Name: "allow-non-empty", Usage: "accept a DST with other content"},
		}, []cli.Flag{outputFlag(), &cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no progress"}}),
		Action: a.copyAction,
	}
}

func (a *app) copyAction(c *cli.Context) error {
	if c.NArg() != 2 {
		return usage(c, "copy: expected SRC and DST")
	}
	if err := oneOf(c, "output", "json", "yaml", "text"); err != nil {
		return err
	}
	o := treecopy.Options{
		Workers: c.Int("workers"), Excludes: c.StringSlice("exclude"), Delete: c.Bool("delete"), Live: c.Bool("live"), DryRun: c.Bool("dry-run"),
		Manifest: c.String("manifest"), Hash: treecopy.Hash(c.String("hash")), BytesPerSecond: c.Int64("bytes-per-second"),
		OpsPerSecond: c.Int64("ops-per-second"), AllowNonEmpty: c.Bool("allow-non-empty"),
	}
	if isTerminal(a.stderr) && !c.Bool("quiet") {
		o.Progress = func(p treecopy.Progress) {
			fmt.Fprintf(a.stderr, "\r\x1b[K %s: %d entries, %s", p.Phase, p.Entries, view.Bytes(p.Bytes))
		}
		defer fmt.Fprint(a.stderr, "\r\x1b[K")
	}
	r, err := treecopy.Copy(c.Context, c.Args().Get(0), c.Args().Get(1), o)
	if r != nil {
		if perr := a.printCopy(c, r); err == nil {
			err = perr
		}
	}
	return copyError(err)
}

func (a *app) printCopy(c *cli.Context, r *treecopy.Report) error {
	text := c.String("output") == "text" || (c.String("output") == "" && isTerminal(a.stdout))
	if !text {
		return a.print(format(c), r)
	}
	_, err := fmt.Fprintf(a.stdout, "%d files, %s: %d copied (%s), %d unchanged, %d deleted, %d errors in %s\n",
		r.Seen.Files, view.Bytes(r.Bytes), r.Copied.Files, view.Bytes(r.BytesCopied), r.Unchanged, r.Deleted, r.Errors,
		view.Span(time.Duration(r.Seconds*float64(time.Second))))
	return err
}

// copyError gives the copy's errors the category that decides the exit code.
func copyError(err error) error {
	if err == nil {
		return nil
	}
	e := &steps.Error{Code: "CopyFailed", Category: steps.Precondition, Err: err}
	switch {
	case errors.Is(err, treecopy.ErrIncomplete):
		e.Code, e.Category = "CopyIncomplete", steps.Partial
	case errors.Is(err, treecopy.ErrMismatch):
		e.Code, e.Category = "CopyDiffers", steps.Verification
	case errors.Is(err, treecopy.ErrNotEmpty), errors.Is(err, treecopy.ErrForeign), errors.Is(err, treecopy.ErrOverlap), errors.Is(err, treecopy.ErrSwapped):
		e.Code, e.Category = "BadTrees", steps.BadInput
	default:
		if known := steps.Classify(err); known.Category != steps.Internal {
			return err
		}
	}
	var h interface{ Hint() string }
	if errors.As(err, &h) && h.Hint() != "" {
		e.Hints = []string{h.Hint()}
	}
	return e
}
