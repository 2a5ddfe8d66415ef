package treecopy

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func TestAnyNameSurvivesEscaping(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := string(rapid.SliceOf(rapid.Byte()).Draw(t, "name"))
		for _, spaces := range []bool{false, true} {
			s := string(appendEscaped(nil, name, spaces))
			back, err := UnescapeName(s)
			if err != nil || back != name {
				t.Fatalf("%q became %q became %q, %v", name, s, back, err)
			}
			for _, c := range []byte(s) {
				if c < ' ' || c == 0x7f || spaces && c == ' ' {
					t.Fatalf("%q became %q", name, s)
				}
			}
		}
	})
	for in, want := range map[string]string{"plain": "plain", "ü": "ü", "a b": "a b", "100%": "100%25", "\xff\n": "%FF%0A"} {
		if got := EscapeName(in); got != want {
			t.Errorf("EscapeName(%q) = %q, want %q", in, got, want)
		}
	}
	for _, bad := range []string{"%", "%4", "%zz"} {
		if _, err := UnescapeName(bad); err == nil {
			t.Errorf("UnescapeName(%q) succeeded", bad)
		}
	}
}

func TestExcludePatterns(t *testing.T) {
	for name, tc := range map[string]struct {
		patterns []string
		out      []string // excluded; a trailing slash marks a directory
		in       []string
	}{
		"a name at any depth":              {[]string{"x"}, []string{"x", "a/x", "a/b/x/"}, []string{"xx", "x/y"}},
		"a directory only":                 {[]string{"x/"}, []string{"x/", "a/x/"}, []string{"x", "a/x"}},
		"from the root":                    {[]string{"/x"}, []string{"x"}, []string{"a/x"}},
		"a slash inside anchors":           {[]string{"a/x"}, []string{"a/x"}, []string{"b/a/x", "x"}},
		"a star stays in its name":         {[]string{"/a/*.log"}, []string{"a/1.log"}, []string{"a/b/1.log", "a/log"}},
		"two stars cross directories":      {[]string{"a/**/z"}, []string{"a/z", "a/b/z", "a/b/c/z"}, []string{"z", "b/z"}},
		"two stars at the end":             {[]string{"a/**"}, []string{"a/b", "a/b/c"}, []string{"a/"}},
		"the last match wins":              {[]string{"*.xml", "!config.xml"}, []string{"a.xml"}, []string{"config.xml", "j/config.xml"}},
		"comments and empty lines":         {[]string{"# x", "", "y"}, []string{"y"}, []string{"x", "# x"}},
		"escaped marks":                    {[]string{`\#x`, `\!y`}, []string{"#x", "!y"}, []string{"x", "y"}},
		"classes and question marks":       {[]string{"[ab]?"}, []string{"a1", "d/b2"}, []string{"c1", "a"}},
		"jenkins' atomic temporary files":  {[]string{"*-atomic*tmp"}, []string{"jobs/j/config.xml-atomic123tmp"}, []string{"config.xml"}},
		"bytes that are not UTF-8 match *": {[]string{"a*"}, []string{"a\xff"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			x, err := parseExcludes(tc.patterns)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range slices.Concat(tc.out, tc.in) {
				dir := p[len(p)-1] == '/'
				rel := p
				if dir {
					rel = p[:len(p)-1]
				}
				if got, want := x.match(rel, dir), slices.Contains(tc.out, p); got != want {
					t.Errorf("%q excluded = %t, want %t", p, got, want)
				}
			}
		})
	}
	for _, bad := range []string{"[a", "a//b", "../x", "/", "!"} {
		if _, err := parseExcludes([]string{bad}); err == nil {
			t.Errorf("pattern %q was accepted", bad)
		}
	}
}

func TestTheLimiterKeepsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(1000)
		began := time.Now()
		for range 100 {
			if err := l.wait(t.Context(), 100); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(began); d < 9700*time.Millisecond || d > 10*time.Second {
			t.Errorf("10,000 units at 1,000 a second took %v", d)
		}
	})
}

func TestTheDigestDoesNotDependOnOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.StringN(1, 9, 30).Filter(func(s string) bool { return s != "." }) // the root, whose own facts do not count
		names := rapid.SliceOfNDistinct(name, 1, 20, rapid.ID[string]).Draw(rt, "names")
		shuffled := rapid.Permutation(names).Draw(rt, "order")
		var a, b, c digest
		add := func(d *digest, names []string) {
			for i, n := range names {
				r := record{kind: 'l', name: n, target: n}
				if d == &c && i == 0 {
					r.target += "!"
				}
				d.add(&r, ".", n, nil)
			}
		}
		add(&a, names)
		add(&b, shuffled)
		add(&c, names)
		if a != b || a == c {
			rt.Fatalf("%s, shuffled %s, changed %s", &a, &b, &c)
		}
	})
}
