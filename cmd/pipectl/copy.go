package main

import (
	"errors"
	"io/fs"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"pipectl.dev/steps"
	"pipectl.dev/treecopy"
)

const copyDescription = `DST is made when it is not there; it must be empty, or an earlier copy of SRC. The same command again copies only what differs,
also after a crash or Ctrl-C. With --manifest a change that kept size and time is found as well, and unchanged files are not read.

   pipectl copy /var/lib/jenkins /mnt/home             copy
   pipectl copy --verify /var/lib/jenkins /mnt/home    copy, then read DST back and compare it with what was read from SRC
   pipectl copy --verify /mnt/home                     only compare DST with the manifest of its last copy; SRC is not needed
   pipectl copy --delete --dry-run SRC DST             say what would be copied and removed`

func (a *app) copyCommand() *cli.Command {
	return &cli.Command{
		Name: "copy", Usage: "copy a file tree fast, resumably, and prove the copy", ArgsUsage: "SRC DST",
		Description: copyDescription,
		Flags: flags([]cli.Flag{
			&cli.BoolFlag{Name: "verify", Usage: "read DST back and compare content, modes, owners, times; without SRC only that"},
			&cli.BoolFlag{Name: "delete", Usage: "remove from DST what SRC no longer has"},
			&cli.StringSliceFlag{Name: "exclude", Usage: "leave out what matches `PATTERN`, as in .gitignore; repeatable"},
			&cli.BoolFlag{Name: "dry-run", Usage: "say what would be done, write nothing"},
			&cli.BoolFlag{Name: "live", Usage: "SRC is in use: files that vanish or change are not errors; copy again without --live when it is not"},
			&cli.StringFlag{Name: "manifest", Usage: "keep hashes, modes, owners and times of all entries in `FILE`", DefaultText: "DST/" + treecopy.ManifestName + " with --verify"},
			&cli.StringFlag{Name: "throttle", Usage: "at most `RATE` a second: bytes such as 50MiB, entries such as 2000ops, or both with a comma", DefaultText: "no limit"},
			&cli.StringFlag{Name: "hash", Value: string(treecopy.XXH3), Usage: "content `HASH`: xxh3-128, blake3 or none"},
			&cli.IntFlag{Name: "workers", Usage: "`N` entries at once", DefaultText: "by CPU"},
			&cli.BoolFlag{Name: "allow-non-empty", Usage: "accept a DST with other content"},
			&cli.StringFlag{Name: "events", Usage: "write events as JSON lines to `FILE`"},
		}, []cli.Flag{outputFlag(), &cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no progress"}}),
		Action: a.copyAction,
	}
}

// copyResult is what a copy leaves on stdout.
type copyResult struct {
	*treecopy.Report
	Verified *treecopy.Report `json:"verified,omitempty"` // of --verify: what was read back from DST
	Error    *steps.ErrorInfo `json:"error,omitempty"`
}

func (a *app) copyAction(c *cli.Context) error {
	o, err := copyOptions(c)
	if err != nil {
		return err
	}
	show, err := a.showCopy(c)
	if err != nil {
		return err
	}
	o.Progress = show.progress
	var r copyResult
	dst := c.Args().Get(c.NArg() - 1)
	if c.NArg() == 2 {
		r.Report, err = treecopy.Copy(c.Context, c.Args().Get(0), dst, o)
	}
	if err == nil && c.Bool("verify") && !o.DryRun {
		r.Verified, err = treecopy.VerifyFile(c.Context, dst, o.Manifest, treecopy.Options{Workers: o.Workers, Excludes: o.Excludes,
			BytesPerSecond: o.BytesPerSecond, OpsPerSecond: o.OpsPerSecond, Progress: show.progress})
	}
	if err = copyError(err); err != nil {
		e := steps.Classify(err)
		r.Error = &steps.ErrorInfo{Code: e.Code, Category: e.Category, Retryable: e.Retryable, Message: e.Message, Hint: strings.Join(e.Hints, "; ")}
	}
	if cerr := show.close(r, err); err == nil {
		err = cerr
	}
	if r.Report != nil || r.Verified != nil || err != nil {
		if perr := a.printCopy(c, r); err == nil {
			err = perr
		}
	}
	return err
}

// copyOptions reads arguments and flags.
func copyOptions(c *cli.Context) (treecopy.Options, error) {
	o := treecopy.Options{
		Workers: c.Int("workers"), Excludes: c.StringSlice("exclude"), Delete: c.Bool("delete"), Live: c.Bool("live"), DryRun: c.Bool("dry-run"),
		Manifest: c.String("manifest"), Hash: treecopy.Hash(c.String("hash")), AllowNonEmpty: c.Bool("allow-non-empty"),
	}
	verify := c.Bool("verify")
	switch {
	case c.NArg() > 2:
		return o, usage(c, "copy: unexpected argument %q", c.Args().Get(2))
	case c.NArg() == 0, c.NArg() == 1 && !verify:
		return o, usage(c, "copy: expected SRC and DST")
	case verify && o.Hash == treecopy.NoHash && c.NArg() == 2:
		return o, usage(c, "copy: --verify has nothing to compare with --hash none")
	}
	if o.Workers < 0 {
		return o, usage(c, "--workers: expected a number of entries at once, got %d", o.Workers)
	}
	if err := oneOf(c, "output", "json", "yaml", "text"); err != nil {
		return o, err
	}
	var err error
	if o.BytesPerSecond, o.OpsPerSecond, err = parseThrottle(c.String("throttle")); err != nil {
		return o, usage(c, "--throttle: %v", err)
	}
	if verify && o.Manifest == "" {
		o.Manifest = filepath.Join(c.Args().Get(c.NArg()-1), treecopy.ManifestName)
	}
	return o, nil
}

var sizes = []struct {
	unit string
	is   float64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}}

// parseThrottle reads rates such as 50MiB, 2000ops or 50MiB/s,2000ops/s.
func parseThrottle(text string) (bytes, ops int64, err error) {
	if text == "" {
		return 0, 0, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		rate := strings.TrimSuffix(strings.TrimSpace(part), "/s")
		into, unit := &ops, 1.0
		number, ok := strings.CutSuffix(rate, "ops")
		for i := 0; i < len(sizes) && !ok; i++ {
			if number, ok = strings.CutSuffix(rate, sizes[i].unit); ok {
				into, unit = &bytes, sizes[i].is
			}
		}
		v, perr := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if v *= unit; !ok || perr != nil || v < 1 || v > math.MaxInt64/2 || *into != 0 {
			return 0, 0, errors.New(strconv.Quote(text) + ": expected a rate such as 50MiB, 2000ops, or 50MiB,2000ops")
		}
		*into = int64(v)
	}
	return bytes, ops, nil
}

// copyError gives the copy's errors the category that decides the exit code.
func copyError(err error) error {
	if err == nil {
		return nil
	}
	e := &steps.Error{Code: "CopyFailed", Category: steps.Precondition, Err: err}
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	switch {
	case is(treecopy.ErrMismatch):
		e.Code, e.Category, e.Hints = "CopyDiffers", steps.Verification, []string{"remove what differs from DST, then copy again with --verify; if it differs again, something writes to DST or its device is faulty"}
	case is(treecopy.ErrNotEmpty, treecopy.ErrForeign, treecopy.ErrOverlap, treecopy.ErrSwapped, treecopy.ErrInSource):
		e.Code, e.Category = "BadTrees", steps.BadInput
	case is(treecopy.ErrChanged, treecopy.ErrVanished):
		e.Code, e.Category = "SourceChanged", steps.Partial
	case is(fs.ErrPermission):
		e.Code, e.Category, e.Hints = "NotPermitted", steps.Permission, []string{"run as root, or exclude what may not be read"}
	case is(treecopy.ErrIncomplete):
		e.Code, e.Category, e.Hints = "CopyIncomplete", steps.Partial, []string{"mend or exclude what the result lists, then run the same command again: it carries on"}
	case is(treecopy.ErrBadManifest):
		e.Code, e.Category = "BadManifest", steps.BadInput
	case is(treecopy.ErrBadOption):
		e.Code, e.Category = "BadUsage", steps.BadInput
	case is(syscall.ENOTDIR):
		e.Code, e.Category, e.Hints = "NotADirectory", steps.BadInput, []string{"SRC and DST are directories; a single file is copied by cp"}
	case is(fs.ErrNotExist):
		e.Code, e.Category, e.Hints = "NotFound", steps.BadInput, []string{"SRC and the parent directory of DST must exist; --verify needs the manifest of a copy made with --manifest or --verify"}
	default:
		if known := steps.Classify(err); known.Category != steps.Internal {
			return err
		}
	}
	var h interface{ Hint() string }
	if errors.As(err, &h) && h.Hint() != "" {
		e.Hints = []string{h.Hint()}
	}
	if flag := copyFlag(is); flag != "" {
		e.Hints = []string{flag}
	}
	return e
}

// copyFlag is the hint where a flag mends it.
func copyFlag(is func(...error) bool) string {
	switch {
	case is(treecopy.ErrDevice):
		return "leave it out by --exclude"
	case is(treecopy.ErrMount):
		return "leave it out by --exclude, and copy what is mounted there by a command of its own"
	case is(treecopy.ErrNotEmpty):
		return "choose an empty DST; or --allow-non-empty, without --delete, leaves what is in it beside the copy"
	}
	return ""
}
