package treecopy

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestDeleteRemovesWhatLeftTheSource(t *testing.T) {
	src, dst := tree(t, map[string]string{"keep/a": "1", "gone/b": "2", "gone/deep/c": "3", "d": "4"})
	copyOK(t, src, dst, Options{})
	must(t, os.RemoveAll(filepath.Join(src, "gone")))
	must(t, os.Remove(filepath.Join(src, "d")))
	copyOK(t, src, dst, Options{})
	if _, err := os.Stat(filepath.Join(dst, "gone/deep/c")); err != nil {
		t.Fatal("deleted without being asked")
	}
	if rep := copyOK(t, src, dst, Options{Delete: true, DryRun: true}); rep.Deleted != 2 {
		t.Errorf("dry run: deleted = %d, want 2 trees", rep.Deleted)
	}
	rep := copyOK(t, src, dst, Options{Delete: true})
	if rep.Deleted != 5 || len(rep.Removed) != 2 || len(rep.ToCopy) != 0 {
		t.Errorf("deleted = %d, want 5; named %q", rep.Deleted, rep.Removed)
	}
	mustEqual(t, src, dst)
}

func TestNothingIsDeletedFromASharedTarget(t *testing.T) {
	src, dst := tree(t, map[string]string{"a": "1"})
	must(t, os.MkdirAll(filepath.Join(dst, "theirs"), 0o755))
	copyOK(t, src, dst, Options{AllowNonEmpty: true})
	if _, err := Copy(t.Context(), src, dst, Options{Delete: true}); err == nil {
		t.Error("delete was accepted")
	}
	must(t, os.MkdirAll(filepath.Join(dst, "b"), 0o755))
	must(t, os.WriteFile(filepath.Join(src, "b"), nil, 0o644))
	if _, err := Copy(t.Context(), src, dst, Options{}); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("a directory of others was replaced: %v", err)
	}
}

func TestAFailedPassDeletesNothing(t *testing.T) {
	src, dst := tree(t, map[string]string{"a": "1", "b": "2"})
	copyOK(t, src, dst, Options{})
	must(t, os.Remove(filepath.Join(src, "b")))
	must(t, os.WriteFile(filepath.Join(src, "a"), []byte("new"), 0o644))
	o := Options{Delete: true, afterRead: func(p string) { must(t, os.WriteFile(filepath.Join(src, p), []byte(time.Now().String()), 0o644)) }}
	if _, err := Copy(t.Context(), src, dst, o); !errors.Is(err, ErrChanged) || !errors.Is(err, ErrIncomplete) {
		t.Fatalf("err = %v", err)
	}
	if _, err := os.Stat(filepath.Join(dst, "b")); err != nil {
		t.Error("deleted after an error")
	}
	if m, err := ReadMarker(dst); err != nil || m.State != MarkerCopying || m.Last == nil {
		t.Errorf("marker %+v, %v: want copying, with the last complete pass", m, err)
	}
	noTemps(t, dst)
}

func TestExcludedEntriesStayOutAndStayAlone(t *testing.T) {
	src, dst := tree(t, map[string]string{"a": "1", "workspace/x": "2", "jobs/j/workspace/y": "3", "jobs/j/config.xml": "4", "t.tmp": "5"})
	must(t, os.Mkdir(dst, 0o755))
	o := Options{Delete: true, Excludes: []string{"workspace/", "*.tmp"}}
	rep := copyOK(t, src, dst, o)
	if len(rep.Skipped) != 1 || rep.Skipped[0].Count != 3 || rep.Skipped[0].Reason != "excluded" {
		t.Errorf("skipped = %+v", rep.Skipped)
	}
	must(t, os.MkdirAll(filepath.Join(dst, "old", "workspace"), 0o755))
	must(t, os.WriteFile(filepath.Join(dst, "old", "file"), nil, 0o644))
	must(t, os.WriteFile(filepath.Join(dst, "mine.tmp"), nil, 0o644))
	copyOK(t, src, dst, o)
	var got []string
	for p := range snapshot(t, dst) {
		got = append(got, p)
	}
	want := map[string]bool{".": true, "a": true, "jobs": true, "jobs/j": true, "jobs/j/config.xml": true, "mine.tmp": true, "old": true, "old/workspace": true}
	for _, p := range got {
		if !want[p] {
			t.Errorf("%s should not be in the target", p)
		}
		delete(want, p)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

func TestASourceThatGoesAwayTakesNothingFromTheTarget(t *testing.T) {
	src, dst := tree(t, map[string]string{"a": "1", "b": "2"})
	copyOK(t, src, dst, Options{})
	gone, asked := errors.New("gone"), 0
	o := Options{Delete: true, Confirm: func() error { asked++; return gone }}
	if _, err := Copy(t.Context(), src, dst, o); err != nil || asked != 0 {
		t.Errorf("nothing is to be removed: %v, asked %d times", err, asked)
	}
	must(t, os.Remove(filepath.Join(src, "b")))
	if _, err := Copy(t.Context(), src, dst, o); !errors.Is(err, gone) || asked != 1 {
		t.Errorf("err = %v, asked %d times", err, asked)
	}
	if _, err := os.Stat(filepath.Join(dst, "b")); err != nil {
		t.Error("removed all the same")
	}
	if m, err := ReadMarker(dst); err != nil || m.State != MarkerCopying {
		t.Errorf("marker %+v, %v", m, err)
	}
	o.Confirm = func() error { return nil }
	if rep := copyOK(t, src, dst, o); rep.Deleted != 1 {
		t.Errorf("then %d removed", rep.Deleted)
	}
}
