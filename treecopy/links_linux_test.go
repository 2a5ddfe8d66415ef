package treecopy

import (
	"os"
	"slices"
	"testing"
)

// TestLinksThatLeadOutAreCopiedAsTheyAreAndTold follows none of them, dangling or not.
func TestLinksThatLeadOutAreCopiedAsTheyAreAndTold(t *testing.T) {
	src, dst := tree(t, map[string]string{"jobs/a/1": "1", "inside": "2"})
	out := t.TempDir()
	must(t, os.WriteFile(out+"/other", []byte("not ours"), 0o600))
	links := map[string]struct {
		to      string
		escapes bool
	}{
		"jobs/a/last":  {"1", false},
		"jobs/up":      {"../inside", false},
		"jobs/gone":    {"nowhere", false},
		"jobs/out":     {"../../etc/passwd", true},
		"jobs/a/round": {"../../../src/inside", true}, // it leads back in, by a name that the target need not have
		"other":        {out + "/other", true},
		"dir":          {out, true},
		"dangling":     {"/nowhere/at/all", true},
	}
	var want []Name
	for name, l := range links {
		must(t, os.Symlink(l.to, src+"/"+name))
		if l.escapes {
			want = append(want, Name(name))
		}
	}
	rep := copyOK(t, src, dst, Options{})
	slices.Sort(want)
	slices.Sort(rep.Escaping.Names)
	if rep.Escaping.Count != int64(len(want)) || !slices.Equal(rep.Escaping.Names, want) || rep.Copied.Symlinks != int64(len(links)) {
		t.Errorf("told of %d: %q, want %q; copied %d", rep.Escaping.Count, rep.Escaping.Names, want, rep.Copied.Symlinks)
	}
	for name, l := range links {
		if to, err := os.Readlink(dst + "/" + name); err != nil || to != l.to {
			t.Errorf("%s: %q, %v", name, to, err)
		}
	}
	mustEqual(t, src, dst)
}
