package treecopy

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestGuardsOfTheTarget(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare func(t *testing.T, src, dst string)
		options Options
		want    error
		hint    string
	}{
		"an empty directory is taken": {
			prepare: func(t *testing.T, _, dst string) { must(t, os.MkdirAll(filepath.Join(dst, "lost+found"), 0o700)) },
		},
		"a directory with content is refused": {
			prepare: func(t *testing.T, _, dst string) { must(t, os.MkdirAll(filepath.Join(dst, "theirs"), 0o700)) },
			want:    ErrNotEmpty, hint: "empty directory",
		},
		"unless that is allowed": {
			prepare: func(t *testing.T, _, dst string) { must(t, os.MkdirAll(filepath.Join(dst, "theirs"), 0o700)) },
			options: Options{AllowNonEmpty: true},
		},
		"but never together with delete": {
			prepare: func(t *testing.T, _, dst string) { must(t, os.MkdirAll(filepath.Join(dst, "theirs"), 0o700)) },
			options: Options{AllowNonEmpty: true, Delete: true}, want: ErrNotEmpty,
		},
		"the copy of another source is refused": {
			prepare: func(t *testing.T, src, dst string) { copyOK(t, src, dst, Options{Source: "other"}) },
			want:    ErrForeign, hint: "another target",
		},
		"the same source is welcome again": {
			prepare: func(t *testing.T, src, dst string) { copyOK(t, src, dst, Options{}) },
		},
		"a damaged marker is not guessed at": {
			prepare: func(t *testing.T, _, dst string) {
				must(t, os.Mkdir(dst, 0o700))
				must(t, os.WriteFile(filepath.Join(dst, MarkerName), []byte(`{"kind":`), 0o600))
			},
			want: errAny, hint: "marker",
		},
		"a parent that is not there": {
			prepare: func(t *testing.T, _, dst string) { must(t, os.Symlink("nowhere/at/all", dst)) },
			want:    errAny,
		},
		"a veto": {
			options: Options{Check: func(string, string) error { return ErrSwapped }}, want: ErrSwapped,
		},
	} {
		t.Run(name, func(t *testing.T) {
			src, dst := tree(t, map[string]string{"a": "1", "d/b": "2"})
			if tc.prepare != nil {
				tc.prepare(t, src, dst)
			}
			_, err := Copy(t.Context(), src, dst, tc.options)
			if errors.Is(tc.want, errAny) && err != nil {
				err = errAny2{err}
			}
			if !errors.Is(err, tc.want) {
				t.Fatalf("err = %v, want %v", err, tc.want)
			}
			var h *HintError
			if tc.hint != "" && (!errors.As(err, &h) || !strings.Contains(h.Hint(), tc.hint)) {
				t.Errorf("hint of %v does not say %q", err, tc.hint)
			}
		})
	}
}

var errAny = errors.New("any error")

type errAny2 struct{ error }

func (errAny2) Is(target error) bool { return target == errAny }
func (e errAny2) Unwrap() error      { return e.error }

func TestOverlapsAreRefused(t *testing.T) {
	src, dst := tree(t, map[string]string{"sub/a": "1"})
	must(t, os.Symlink(src, dst))
	for name, pair := range map[string][2]string{
		"the same directory":             {src, src},
		"the same by a link":             {src, dst},
		"target inside source":           {src, filepath.Join(src, "sub", "new")},
		"source inside target":           {filepath.Join(src, "sub"), src},
		"target inside source by a link": {src, filepath.Join(dst, "sub")},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Copy(t.Context(), pair[0], pair[1], Options{AllowNonEmpty: true}); !errors.Is(err, ErrOverlap) {
				t.Errorf("err = %v", err)
			}
		})
	}
}

func TestACopyIsNotCopiedBackOverItsSource(t *testing.T) {
	src, dst := tree(t, map[string]string{"a": "1"})
	copyOK(t, src, dst, Options{})
	if _, err := Copy(t.Context(), dst, src, Options{AllowNonEmpty: true}); !errors.Is(err, ErrSwapped) {
		t.Errorf("reversed: err = %v", err)
	}
	third := dst + "-third"
	copyOK(t, dst, third, Options{}) // a finished copy is a source like any other
	mustEqual(t, src, third)
	m, err := ReadMarker(dst)
	must(t, err)
	m.State = MarkerCopying
	must(t, m.write(dst))
	if _, err := Copy(t.Context(), dst, third+"2", Options{}); !errors.Is(err, ErrSwapped) {
		t.Errorf("unfinished source: err = %v", err)
	}
}

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
	if rep.Deleted != 5 {
		t.Errorf("deleted = %d, want 5", rep.Deleted)
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

func TestAFileThatChangesWhileItIsRead(t *testing.T) {
	src, dst := tree(t, map[string]string{"log": "0"})
	big := strings.Repeat("x", smallFile+10)
	for name, body := range map[string]string{"a small file": "1", "a large file": big} {
		t.Run(name, func(t *testing.T) {
			must(t, os.RemoveAll(dst))
			log := filepath.Join(src, "log")
			must(t, os.WriteFile(log, []byte(body), 0o644))
			times := 0
			grow := func(limit int) func(string) {
				times = 0
				return func(string) {
					if times++; times <= limit {
						body += "more"
						must(t, os.WriteFile(log, []byte(body), 0o644))
					}
				}
			}
			rep := copyOK(t, src, dst, Options{afterRead: grow(2)})
			if rep.Retried != 2 {
				t.Errorf("retried = %d, want 2", rep.Retried)
			}
			mustEqual(t, src, dst)

			body += "changed"
			must(t, os.WriteFile(log, []byte(body), 0o644))
			if _, err := Copy(t.Context(), src, dst, Options{afterRead: grow(99)}); !errors.Is(err, ErrChanged) {
				t.Errorf("final pass: err = %v", err)
			}
			rep = copyOK(t, src, dst, Options{Live: true, afterRead: grow(99), Manifest: filepath.Join(dst, ManifestName)})
			if rep.Dirty.Count != 1 || rep.ManifestHash != "" {
				t.Errorf("live pass: dirty = %+v, manifest hash %q", rep.Dirty, rep.ManifestHash)
			}
			if _, err := VerifyFile(t.Context(), dst, filepath.Join(dst, ManifestName), Options{}); err != nil {
				t.Errorf("a dirty file is no difference: %v", err)
			}
			if rep := copyOK(t, src, dst, Options{Manifest: filepath.Join(dst, ManifestName)}); rep.Copied.Files != 1 {
				t.Errorf("the pass after: copied = %+v", rep.Copied)
			}
			mustEqual(t, src, dst)
		})
	}
}

func TestEntriesThatVanish(t *testing.T) {
	for _, live := range []bool{true, false} {
		src, dst := tree(t, map[string]string{"a": "1", "b": "2", "c": "3"})
		first := ""
		o := Options{Live: live, Workers: 1, afterRead: func(p string) {
			if first == "" {
				first = p
				for _, n := range []string{"a", "b", "c"} {
					if n != p {
						must(t, os.Remove(filepath.Join(src, n)))
					}
				}
			}
		}}
		rep, err := Copy(t.Context(), src, dst, o)
		if live && (err != nil || rep.Vanished.Count != 2) {
			t.Errorf("live: %v, vanished %+v", err, rep.Vanished)
		}
		if !live && (!errors.Is(err, ErrVanished) || rep.Errors != 2) {
			t.Errorf("final: %v, %d errors", err, rep.Errors)
		}
	}
}

func TestAFirstNameThatVanishesLeavesTheOtherOne(t *testing.T) {
	src, dst := tree(t, map[string]string{"a/x": "1", "z": "zz"})
	must(t, os.Mkdir(filepath.Join(src, "b"), 0o755))
	must(t, os.Link(filepath.Join(src, "a/x"), filepath.Join(src, "b/y")))
	calls := 0
	o := Options{Live: true, Workers: 1, afterRead: func(p string) {
		if calls++; calls == 1 { // whatever is read first: the root's file comes before the directories
			must(t, os.Rename(filepath.Join(src, "a/x"), filepath.Join(src, "a/w")))
		}
	}}
	copyOK(t, src, dst, o)
	copyOK(t, src, dst, Options{Delete: true})
	mustEqual(t, src, dst)
}

func TestHolesAreKept(t *testing.T) {
	src, dst := tree(t, nil)
	f, err := os.Create(filepath.Join(src, "dump"))
	must(t, err)
	for _, at := range []int64{0, 30 << 20, 64<<20 - 3} {
		_, err := f.WriteAt([]byte("abc"), at)
		must(t, err)
	}
	must(t, f.Truncate(100<<20))
	must(t, f.Close())
	rep := copyOK(t, src, dst, Options{})
	mustEqual(t, src, dst)
	var st unix.Stat_t
	must(t, unix.Stat(filepath.Join(dst, "dump"), &st))
	if st.Blocks*512 > 1<<20 {
		t.Errorf("target takes %d bytes", st.Blocks*512)
	}
	if rep.SparseSaved < 99<<20 {
		t.Errorf("sparse saved = %d", rep.SparseSaved)
	}
}

func TestHardLinksFollowTheSource(t *testing.T) {
	src, dst := tree(t, map[string]string{"a/one": "1", "b/": ""})
	must(t, os.Link(filepath.Join(src, "a/one"), filepath.Join(src, "b/two")))
	must(t, os.Link(filepath.Join(src, "a/one"), filepath.Join(src, "three")))
	rep := copyOK(t, src, dst, Options{})
	if rep.Copied.Files != 1 || rep.Copied.HardLinks != 2 {
		t.Errorf("copied = %+v", rep.Copied)
	}
	mustEqual(t, src, dst)

	b, err := os.ReadFile(filepath.Join(src, "three")) // becomes a file of its own, with the same content and time
	must(t, err)
	fi, err := os.Stat(filepath.Join(src, "three"))
	must(t, err)
	must(t, os.Remove(filepath.Join(src, "three")))
	must(t, os.WriteFile(filepath.Join(src, "three"), b, 0o644))
	must(t, os.Chtimes(filepath.Join(src, "three"), fi.ModTime(), fi.ModTime()))
	copyOK(t, src, dst, Options{})
	mustEqual(t, src, dst)
}

func TestADryRunWritesNothing(t *testing.T) {
	src, dst := tree(t, map[string]string{"a": "1", "d/b": "2"})
	rep := copyOK(t, src, dst, Options{DryRun: true})
	if rep.Copied.Files != 2 || rep.Copied.Dirs != 1 || rep.BytesCopied != 2 {
		t.Errorf("copied = %+v, %d bytes", rep.Copied, rep.BytesCopied)
	}
	if _, err := os.Lstat(dst); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the target was made: %v", err)
	}
	copyOK(t, src, dst, Options{})
	before := snapshot(t, dst)
	must(t, os.WriteFile(filepath.Join(src, "new"), []byte("abc"), 0o644))
	must(t, os.Chmod(filepath.Join(src, "a"), 0o600))
	must(t, os.WriteFile(filepath.Join(dst, "surplus"), nil, 0o644))
	before["surplus"] = snapshot(t, dst)["surplus"]
	before["."] = snapshot(t, dst)["."]
	rep = copyOK(t, src, dst, Options{DryRun: true, Delete: true})
	if rep.Copied.Files != 1 || rep.Updated != 1 || rep.Deleted != 1 {
		t.Errorf("copied %+v, updated %d, deleted %d; want 1 each", rep.Copied, rep.Updated, rep.Deleted)
	}
	if d := cmp.Diff(before, snapshot(t, dst)); d != "" {
		t.Errorf("the target changed:\n%s", d)
	}
}

func TestACancelledPassLeavesNothingBehind(t *testing.T) {
	files := map[string]string{}
	for _, n := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
		files[n+"/f"] = strings.Repeat(n, smallFile+1)
	}
	src, dst := tree(t, files)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Copy(ctx, src, dst, Options{afterRead: func(string) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("err = %v", err)
	}
	copyOK(t, src, dst, Options{})
	mustEqual(t, src, dst)
	noTemps(t, dst)
}

func TestTheReportSurvivesJSON(t *testing.T) {
	src, dst := tree(t, map[string]string{"bad\xff\n%.tmp": "1", "a": "22"})
	var last Progress
	rep := copyOK(t, src, dst, Options{Excludes: []string{"*.tmp"}, Progress: func(p Progress) { last = p }})
	b, err := json.Marshal(rep)
	must(t, err)
	if !strings.Contains(string(b), `bad%FF%0A%25.tmp`) {
		t.Errorf("the name is not escaped in %s", b)
	}
	var back Report
	must(t, json.Unmarshal(b, &back))
	if d := cmp.Diff(rep, &back); d != "" {
		t.Errorf("changed on the way:\n%s", d)
	}
	if last.Files != 1 || last.Bytes != 2 {
		t.Errorf("last progress = %+v", last)
	}
}

func TestTheRootCanBeLeftAsItIs(t *testing.T) {
	src, dst := tree(t, map[string]string{"a": "1"})
	must(t, os.Mkdir(dst, 0o700))
	must(t, os.Chmod(dst, 0o2775|os.ModeSetgid))
	before := snapshot(t, dst)["."].Mode
	copyOK(t, src, dst, Options{KeepRoot: true})
	if got := snapshot(t, dst)["."].Mode; got != before {
		t.Errorf("mode of the root = %s, want %s", got, before)
	}
}

func TestACopyIsTrustedWhileItIsAsItWasReadBack(t *testing.T) {
	src, dst := tree(t, map[string]string{"a": "1"})
	o := Options{KeepRoot: true, Manifest: filepath.Join(dst, ManifestName)}
	trusted := func() bool {
		t.Helper()
		m, err := ReadMarker(dst)
		must(t, err)
		return m.Trusted()
	}
	if MarkVerified(dst) == nil {
		t.Error("marked what is no copy")
	}
	copyOK(t, src, dst, o)
	if trusted() {
		t.Error("trusted before it was read back")
	}
	must(t, MarkVerified(dst))
	copyOK(t, src, dst, o) // copies nothing
	if !trusted() {
		t.Error("not trusted after it was read back")
	}
	must(t, os.WriteFile(filepath.Join(src, "b"), []byte("2"), 0o600))
	copyOK(t, src, dst, o)
	if trusted() {
		t.Error("trusted with a new file that nobody read back")
	}
	copyOK(t, src, dst, Options{KeepRoot: true})
	if MarkVerified(dst) == nil {
		t.Error("marked a pass without a manifest")
	}
}

func TestRunIDsAndHashesAreChecked(t *testing.T) {
	src, dst := tree(t, nil)
	for name, o := range map[string]Options{
		"a slash in the run id": {RunID: "a/b"}, "a long run id": {RunID: strings.Repeat("r", 65)}, "an unknown hash": {Hash: "md5"},
		"a bad pattern": {Excludes: []string{"[a"}},
	} {
		if _, err := Copy(t.Context(), src, dst, o); !errors.Is(err, ErrBadOption) {
			t.Errorf("%s: err = %v", name, err)
		}
	}
}
