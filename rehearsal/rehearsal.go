package rehearsal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"pipectl.dev/steps"
)

// defaultSpeed shows the post's 17 minutes of cloud time in about as many seconds, and leaves the real control planes time to start.
const defaultSpeed = 60

// Main rehearses one pipeline and reports to o.Stdout. exit is the exit code for the process: that of the first child that failed, 18
// when all of them succeeded but what they left is not what it must be. err says why it could not be rehearsed at all.
func Main(ctx context.Context, o Options) (exit int, err error) {
	if o.Speed == 0 {
		o.Speed = defaultSpeed
	}
	lab, err := findLab(o)
	if err != nil {
		return 0, &steps.Error{Code: "NoLab", Category: steps.Precondition, Err: err, Hints: []string{"build it by `make lab`, or name it by --lab or PIPECTL_LAB"}}
	}
	o.Lab = lab
	if o.File, err = filepath.Abs(o.File); err != nil {
		return 0, err
	}
	lines, err := readOutline(o.File)
	if err != nil {
		return 0, &steps.Error{Code: "InvalidPipeline", Category: steps.BadInput, Err: err, Hints: []string{"`pipectl validate " + o.File + "` says more"}}
	}
	lines.Values = o.Params
	dir, cleanup, err := workDir(o)
	if err != nil {
		return 0, err
	}
	defer cleanup()
	return rehearse(ctx, o, lines, dir)
}

func rehearse(ctx context.Context, o Options, lines outline, dir string) (int, error) {
	fmt.Fprintln(o.Stderr, "rehearsal: starting a cloud and what is there before ...")
	w, err := build(ctx, o, lines, dir)
	defer w.close()
	if err != nil && ctx.Err() != nil {
		return 0, fmt.Errorf("starting the rehearsal: %w", context.Cause(ctx))
	}
	if err != nil {
		return 0, &steps.Error{Code: "NoWorld", Category: steps.Precondition, Message: "starting the rehearsal", Err: err}
	}
	if o.NoRun {
		return 0, w.keep(ctx)
	}
	p := &play{world: w, began: time.Now()}
	err = p.perform(ctx)
	if serr := w.saveResults(); err == nil {
		err = serr
	}
	if err != nil {
		return 0, err
	}
	if err := errors.Join(p.report(), w.writePolicy()); err != nil {
		return 0, err
	}
	if o.Keep {
		return p.exit(), w.keep(ctx)
	}
	return p.exit(), nil
}

// workDir makes the directory that all of the rehearsal lives in. A directory that was named by the user must be empty, and stays.
func workDir(o Options) (dir string, cleanup func(), err error) {
	if o.Dir == "" {
		parent := o.Getenv("TMPDIR") // who sets it, means it
		if parent == "" {
			parent = memoryDir()
		}
		if dir, err = os.MkdirTemp(parent, "pipectl-rehearsal-"); err != nil {
			return "", nil, err
		}
		return dir, janitor(dir), nil
	}
	dir, err = filepath.Abs(o.Dir)
	if err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, err
	}
	names, err := os.ReadDir(dir)
	if err == nil && len(names) > 0 {
		err = &steps.Error{Code: "DirNotEmpty", Category: steps.BadInput, Message: "work directory " + dir + " is not empty", Hints: []string{"name an empty or a new one"}}
	}
	return dir, func() {}, err
}

// saveResults copies results, events, ledger and logs to where the user wants them, before the work directory goes.
func (w *world) saveResults() error {
	if w.opts.Results == "" {
		return nil
	}
	if err := os.MkdirAll(w.opts.Results, 0o755); err != nil {
		return err
	}
	w.ledger.flush()
	copies := map[string]string{"results": w.results(), "events": w.events()}
	logs, err := filepath.Glob(filepath.Join(w.dir, "clusters", "*"))
	if err != nil {
		return err
	}
	for _, dir := range logs {
		copies[filepath.Join("logs", filepath.Base(dir))] = filepath.Join(dir, "logs")
	}
	for to, from := range copies {
		to = filepath.Join(w.opts.Results, to)
		if err := os.RemoveAll(to); err != nil {
			return err
		}
		if err := os.CopyFS(to, os.DirFS(from)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	raw, err := os.ReadFile(filepath.Join(w.dir, "rehearsal.log"))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(w.opts.Results, "rehearsal.log"), raw, 0o644)
}
