package results

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/steps"
)

var blog = Owner{Pipeline: "blog", Identity: "1/eu/blog"}

func sample(stage string) steps.Result {
	return steps.Result{
		APIVersion: steps.APIVersion, Kind: "StageResult", Pipeline: "blog", Identity: "1/eu/blog", Stage: stage, Step: "x", RunID: "r",
		Status: steps.Succeeded, StartedAt: time.Unix(1, 0).UTC(), Outputs: []byte(`{"n":9007199254740993}`),
	}
}

func TestDirKeepsResultsForTheirOwnerOnly(t *testing.T) {
	t.Parallel()
	d := NewDir(filepath.Join(t.TempDir(), "a", "b"), blog)
	if got, err := d.Get(t.Context(), "home"); got != nil || err != nil {
		t.Fatalf("an empty store: %v, %v", got, err)
	}
	for _, stage := range []string{"home", "cluster", "home"} {
		if err := d.Put(t.Context(), sample(stage)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := d.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		got[i].Outputs = []byte(strings.Join(strings.Fields(string(got[i].Outputs)), ""))
	}
	if diff := cmp.Diff([]steps.Result{sample("cluster"), sample("home")}, got); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	var names []string
	err = filepath.WalkDir(d.Where(""), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := e.Info()
		if err == nil && st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %o", path, st.Mode().Perm())
		}
		names = append(names, e.Name())
		return err
	})
	if err != nil || len(names) != 3 {
		t.Errorf("temporary files are left: %v %v", names, err)
	}
}

func TestDirRefusesWhatIsNotItsResult(t *testing.T) {
	t.Parallel()
	const whole = `{"apiVersion":"pipectl.dev/v1","kind":"StageResult","pipeline":"blog","env":"","identity":"1/eu/blog","stage":"home"}`
	for name, c := range map[string]struct{ content, want string }{
		"truncated":               {whole[:60], "is no result, or only a piece of one"},
		"empty":                   {"", "is no result, or only a piece of one"},
		"something else":          {`{"kind":"Pod"}`, `is no result: kind "Pod"`},
		"of another version":      {strings.Replace(whole, "/v1", "/v9", 1), `has apiVersion "pipectl.dev/v9", known is pipectl.dev/v1`},
		"of another pipeline":     {strings.Replace(whole, `"blog"`, `"shop"`, 1), `belongs to pipeline "shop", not "blog"`},
		"of another environment":  {strings.Replace(whole, `"env":""`, `"env":"test"`, 1), `belongs to pipeline "blog" (env test), not "blog"`},
		"of another account":      {strings.Replace(whole, "1/eu", "2/eu", 1), "belongs to 2/eu/blog, not 1/eu/blog"},
		"of another stage":        {strings.Replace(whole, `"home"`, `"claim"`, 1), `is of stage "claim", not "home"`},
		"whole, with a new field": {strings.Replace(whole, `{`, `{"new":1,`, 1), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := NewDir(t.TempDir(), blog)
			path := d.Where("home")
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := d.Get(t.Context(), "home")
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var e *steps.Error
			if !errors.As(err, &e) || !strings.HasPrefix(e.Message, path+": "+c.want) || len(e.Hints) == 0 {
				t.Errorf("got %v, want %s: %s", err, path, c.want)
			}
		})
	}
}

// full writes some bytes and then has no room, as a full disk does.
type full struct{ w io.Writer }

func (f full) Write(p []byte) (int, error) {
	n, err := f.w.Write(p[:len(p)/2])
	return n, errors.Join(err, &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC})
}

func TestAFullDiskLeavesTheOldResultWhole(t *testing.T) {
	t.Parallel()
	d := NewDir(t.TempDir(), blog)
	if err := d.Put(t.Context(), sample("home")); err != nil {
		t.Fatal(err)
	}
	if err := d.Append(t.Context(), "r1", []byte(`{"event":"one"}`)); err != nil {
		t.Fatal(err)
	}
	d.through = func(w io.Writer) io.Writer { return full{w} }
	next := sample("home")
	next.RunID = "later"
	if err := d.Put(t.Context(), next); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("put: %v", err)
	}
	if err := d.Append(t.Context(), "r1", []byte(`{"event":"two"}`)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("append: %v", err)
	}
	d.through = func(w io.Writer) io.Writer { return w }
	if err := d.Append(t.Context(), "r1", []byte(`{"event":"three"}`)); err != nil {
		t.Error(err)
	}
	got, err := d.Get(t.Context(), "home")
	if err != nil || got.RunID != "r" {
		t.Errorf("got %+v, %v", got, err)
	}
	files, _ := os.ReadDir(d.Where(""))
	if len(files) != 2 {
		t.Errorf("half a file is left: %v", files)
	}
	lines, err := d.Journal(t.Context(), "r1")
	if err != nil || len(lines) != 2 || string(lines[1]) != `{"event":"three"}` {
		t.Errorf("journal: %s, %v", lines, err)
	}
	if runs, err := d.Runs(t.Context()); err != nil || !cmp.Equal(runs, []string{"r1"}) {
		t.Errorf("runs: %v, %v", runs, err)
	}
}
