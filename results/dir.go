package results

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pipectl.dev/steps"
)

// Dir is a store in a directory: STAGE.json per stage, STAGE.sensitive where it has sensitive outputs, runs/ID.ndjson per run. Files are for their owner only.
type Dir struct {
	path  string
	owner Owner
	// through wraps the file that a result is written to; tests make it fail.
	through func(io.Writer) io.Writer
}

// NewDir returns the store in path, which is made when the first result is written.
func NewDir(path string, owner Owner) *Dir {
	return &Dir{path: path, owner: owner, through: func(w io.Writer) io.Writer { return w }}
}

// Where implements engine.Store.
func (d *Dir) Where(stage string) string {
	if stage == "" {
		return d.path
	}
	return filepath.Join(d.path, stage+".json")
}

// Get implements engine.Store.
func (d *Dir) Get(_ context.Context, stage string) (*steps.Result, error) {
	raw, err := os.ReadFile(d.Where(stage))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("results: %w", err)
	}
	return Decode(d.Where(stage), raw, d.owner, stage)
}

// Put implements engine.Store.
func (d *Dir) Put(_ context.Context, r steps.Result) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("results: %s: %w", r.Stage, err)
	}
	if err := d.replace(d.Where(r.Stage), append(raw, '\n')); err != nil {
		return fmt.Errorf("results: %w", err)
	}
	return nil
}

// replace writes a file so that at any moment, also after a crash, either the old or the new one is there and whole.
func (d *Dir) replace(path string, content []byte) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = d.through(f).Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// List implements engine.Store. Results come in the order of their stages' names; bad ones are errors beside the good ones.
func (d *Dir) List(ctx context.Context) ([]steps.Result, error) {
	files, err := filepath.Glob(filepath.Join(d.path, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("results: %w", err)
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), ".json")
	}
	return collect(files, func(stage string) (*steps.Result, error) { return d.Get(ctx, stage) })
}

func (d *Dir) sensitive(stage string) string { return filepath.Join(d.path, stage+".sensitive") }

// PutSensitive implements engine.Vault: a file of mode 0600 beside the result, JSON of name to value.
func (d *Dir) PutSensitive(_ context.Context, stage string, values map[string]string) error {
	if len(values) == 0 {
		if err := os.Remove(d.sensitive(stage)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("results: %w", err)
		}
		return nil
	}
	raw, err := json.MarshalIndent(values, "", "  ")
	if err == nil {
		err = d.replace(d.sensitive(stage), append(raw, '\n'))
	}
	if err != nil {
		return fmt.Errorf("results: sensitive outputs of %s: %w", stage, err)
	}
	return nil
}

// Sensitive implements engine.Vault.
func (d *Dir) Sensitive(_ context.Context, stage string) (map[string]string, error) {
	raw, err := os.ReadFile(d.sensitive(stage))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	values := map[string]string{}
	if err == nil {
		err = json.Unmarshal(raw, &values)
	}
	if err != nil {
		return nil, fmt.Errorf("results: %s: %w", d.sensitive(stage), err)
	}
	return values, nil
}

func (d *Dir) journal(runID string) string { return filepath.Join(d.path, "runs", runID+".ndjson") }

// Append implements engine.Store. A line that a crash cut off is ended first, so that it spoils no other.
func (d *Dir) Append(_ context.Context, runID string, line []byte) (err error) {
	path := d.journal(runID)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	whole := slices.Concat(line, []byte("\n"))
	last := make([]byte, 1)
	if st, err := f.Stat(); err == nil && st.Size() > 0 {
		if _, err := f.ReadAt(last, st.Size()-1); err == nil && last[0] != '\n' {
			whole = slices.Concat([]byte("\n"), whole)
		}
	}
	if _, err := d.through(f).Write(whole); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return f.Sync()
}

// Journal implements engine.Store.
func (d *Dir) Journal(_ context.Context, runID string) ([][]byte, error) {
	raw, err := os.ReadFile(d.journal(runID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	return wholeLines(raw), nil
}

// Runs implements engine.Store. Run ids begin with the time, so their order is that of the runs.
func (d *Dir) Runs(context.Context) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(d.path, "runs", "*.ndjson"))
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	for i, f := range files {
		files[i] = filepath.Base(f)
	}
	return runsOf(files, ""), nil
}
