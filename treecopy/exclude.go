package treecopy

import (
	"fmt"
	"path"
	"strings"
)

// excludes decides which paths to leave out. The last pattern that matches wins. A pattern is as in .gitignore:
//
//	name     matches an entry of that name at any depth        *.tmp  '*' and '?' and [a-z] do not match '/'
//	dir/     matches directories only                          /a/b   with a slash inside or in front: from the root
//	a/**/b   '**' matches any number of directories            !keep  takes back an earlier pattern
//	# note   and empty lines are ignored                       \#x    a leading '#' or '!' itself
//
// What is below an excluded directory is not looked at, so it cannot be taken back.
type excludes struct{ rules []rule }

type rule struct {
	segments []string // of the pattern; an unanchored one starts with "**"
	literal  string   // set when the pattern is one name without wildcards, at any depth
	dirOnly  bool
	negate   bool
}

// parseExcludes compiles patterns; a malformed one is an error that names it.
func parseExcludes(patterns []string) (*excludes, error) {
	x := &excludes{}
	for _, p := range patterns {
		r, ok, err := parseRule(p)
		if err != nil {
			return nil, badOption(fmt.Errorf("exclude %q: %w", p, err), "write it as in .gitignore")
		}
		if ok {
			x.rules = append(x.rules, r)
		}
	}
	return x, nil
}

func parseRule(p string) (r rule, ok bool, err error) {
	if strings.TrimSpace(p) == "" || strings.HasPrefix(p, "#") {
		return r, false, nil
	}
	if s, found := strings.CutPrefix(p, "!"); found {
		p, r.negate = s, true
	}
	if strings.HasPrefix(p, `\#`) || strings.HasPrefix(p, `\!`) {
		p = p[1:]
	}
	if s, found := strings.CutSuffix(p, "/"); found {
		p, r.dirOnly = s, true
	}
	anchored := strings.Contains(p, "/")
	p = strings.TrimPrefix(p, "/")
	if p == "" {
		return r, false, fmt.Errorf("matches nothing")
	}
	r.segments = strings.Split(p, "/")
	for _, s := range r.segments {
		if s == "" || s == "." || s == ".." {
			return r, false, fmt.Errorf("empty, . or .. segment")
		}
		if _, err := path.Match(s, ""); err != nil {
			return r, false, err
		}
	}
	if !anchored {
		if !strings.ContainsAny(p, `*?[\`) {
			r.literal = p
		}
		r.segments = append([]string{"**"}, r.segments...)
	}
	return r, true, nil
}

// match says whether the entry at rel (relative to the root, '/' between names) is left out.
func (x *excludes) match(rel string, isDir bool) bool {
	if len(x.rules) == 0 {
		return false
	}
	names := strings.Split(rel, "/")
	for i := len(x.rules) - 1; i >= 0; i-- {
		r := &x.rules[i]
		if r.dirOnly && !isDir {
			continue
		}
		if r.literal != "" {
			if names[len(names)-1] != r.literal {
				continue
			}
		} else if !matchSegments(r.segments, names) {
			continue
		}
		return !r.negate
	}
	return false
}

func matchSegments(pattern, names []string) bool {
	for len(pattern) > 0 {
		if pattern[0] == "**" {
			if len(pattern) == 1 {
				return len(names) > 0
			}
			for i := range names {
				if matchSegments(pattern[1:], names[i:]) {
					return true
				}
			}
			return false
		}
		if len(names) == 0 {
			return false
		}
		if ok, _ := path.Match(pattern[0], names[0]); !ok { // checked by parseRule
			return false
		}
		pattern, names = pattern[1:], names[1:]
	}
	return len(names) == 0
}
