package treecopy

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

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
	if !slices.Equal(rep.ToCopy, []Name{"new"}) || !slices.Equal(rep.Removed, []Name{"surplus"}) {
		t.Errorf("names %q to copy and %q to delete", rep.ToCopy, rep.Removed)
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
