package treecopy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// shake changes a tree in every way that the kernel tells of.
func (g *grower) shake(outside string, m Method) {
	at := func(p string) string { return filepath.Join(g.root, p) }
	some := func(list []string) string { return rapid.SampledFrom(list).Draw(g.t, "of") }
	ops := []string{"grow", "grow", "change", "append", "move file", "move dir", "remove dir", "out and in", "exchange", "truncate", "touch dir", "swap dirs"}
	if m == Fanotify {
		ops = append(ops, "link out") // of which inotify knows nothing
	}
	op := rapid.SampledFrom(ops).Draw(g.t, "op")
	file := op == "append" || op == "move file" || op == "truncate" || op == "link out" || op == "exchange"
	if file && len(g.files) == 0 || strings.Contains(op, "dir") && op != "touch dir" && len(g.dirs) < 2 || op == "out and in" && len(g.dirs) < 2 {
		op = "grow"
	}
	switch op {
	case "grow":
		g.grow(rapid.IntRange(1, 4).Draw(g.t, "n"))
	case "change":
		g.change(1)
	case "append":
		f, err := os.OpenFile(at(some(g.files)), os.O_WRONLY|os.O_APPEND, 0)
		must(g.tb, err)
		_, err = f.WriteString("more\n")
		must(g.tb, errors.Join(err, f.Close()))
	case "truncate":
		must(g.tb, os.Truncate(at(some(g.files)), rapid.Int64Range(1, 50).Draw(g.t, "to")))
	case "move file":
		i := rapid.IntRange(0, len(g.files)-1).Draw(g.t, "which")
		to := filepath.Join(some(g.dirs), g.name())
		if fi, err := os.Lstat(at(to)); err != nil || fi.Mode().IsRegular() && !contains(g.files, to) {
			must(g.tb, os.Rename(at(g.files[i]), at(to)))
			g.files[i] = to
		}
	case "move dir", "out and in", "swap dirs":
		g.moveDir(op, outside)
	case "remove dir":
		d := some(g.dirs[1:])
		removeTree(g.tb, at(d))
	case "touch dir":
		must(g.tb, os.Chtimes(at(some(g.dirs)), time.Unix(7, 8), time.Unix(9, int64(rapid.IntRange(0, 99).Draw(g.t, "ns")))))
	case "exchange":
		a, b := at(some(g.files)), at(some(g.dirs))
		if b != g.root && !strings.HasPrefix(a, b+"/") {
			must(g.tb, unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE))
			g.relist()
		}
	case "link out":
		f := at(some(g.files))
		to := filepath.Join(outside, fmt.Sprint(time.Now().UnixNano()))
		must(g.tb, os.Link(f, to))
		must(g.tb, os.WriteFile(to, []byte("written through a name outside"), 0o644))
		if rapid.Bool().Draw(g.t, "keep") {
			must(g.tb, os.Remove(to))
		}
	}
}

func (g *grower) moveDir(op, outside string) {
	from := filepath.Join(g.root, rapid.SampledFrom(g.dirs[1:]).Draw(g.t, "dir"))
	switch op {
	case "move dir":
		to := filepath.Join(g.root, rapid.SampledFrom(g.dirs).Draw(g.t, "into"))
		name := filepath.Join(to, "moved"+rapid.StringMatching(`[ab]`).Draw(g.t, "name"))
		if _, err := os.Lstat(name); err == nil || to == from || strings.HasPrefix(to, from+"/") {
			return
		}
		must(g.tb, os.Rename(from, name))
	case "out and in": // changed while it was elsewhere
		away := filepath.Join(outside, "away")
		must(g.tb, os.Rename(from, away))
		removeTree(g.tb, filepath.Join(away, "made outside")) // which may have become a directory since
		must(g.tb, os.WriteFile(filepath.Join(away, "made outside"), []byte(time.Now().String()), 0o600))
		must(g.tb, os.Rename(away, from))
	case "swap dirs":
		away := filepath.Join(outside, "away")
		must(g.tb, os.Rename(from, away))
		must(g.tb, os.MkdirAll(filepath.Join(from, "new inside"), 0o755))
		must(g.tb, os.WriteFile(filepath.Join(from, "new inside", "f"), []byte("f"), 0o600))
		removeTree(g.tb, away)
	}
	g.relist()
}

// relist looks up what there is.
func (g *grower) relist() {
	g.dirs, g.files = []string{"."}, nil
	must(g.tb, filepath.WalkDir(g.root, func(p string, d os.DirEntry, err error) error {
		rel, _ := filepath.Rel(g.root, p)
		switch {
		case err != nil || rel == "." || rel == "anchor":
			return err
		case d.IsDir():
			g.dirs = append(g.dirs, rel)
		case d.Type().IsRegular():
			g.files = append(g.files, rel)
		}
		return nil
	}))
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func TestATrackedPassEqualsALookAtEverything(t *testing.T) {
	trackedPasses(t, func(x *tracked) *tracked { return x })
}

func TestATrackedPassFromARemoteSourceEqualsALookAtEverything(t *testing.T) {
	trackedPasses(t, (*tracked).fromAfar)
}

func trackedPasses(t *testing.T, from func(*tracked) *tracked) {
	for _, m := range trackers(t) {
		t.Run(string(m), func(t *testing.T) {
			base := scratch(t)
			rapid.Check(t, func(rt *rapid.T) {
				run, err := os.MkdirTemp(base, "")
				must(t, err)
				defer removeTree(t, run)
				src, outside := filepath.Join(run, "src"), filepath.Join(run, "outside")
				must(t, os.Mkdir(src, 0o750))
				must(t, os.Mkdir(outside, 0o750))
				must(t, os.WriteFile(filepath.Join(src, "anchor"), nil, 0o600))
				g := &grower{t: rt, tb: t, root: src, dirs: []string{"."}}
				g.grow(rapid.IntRange(0, 30).Draw(rt, "entries"))
				x := from(newTracked(t, src, filepath.Join(run, "dst"), m))
				defer x.close()
				x.pass(true)
				g.relist()
				for range rapid.IntRange(1, 4).Draw(rt, "passes") {
					for range rapid.IntRange(0, 6).Draw(rt, "changes") {
						g.shake(outside, m)
						g.relist()
					}
					x.pass(false)
				}
			})
		})
	}
}
