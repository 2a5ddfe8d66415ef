package treecopy

import (
	"maps"
	"strings"
)

// Method is how a Tracker learns of changes.
type Method string

// The methods, best first. A Tracker takes the first one that the system permits.
const (
	Fanotify Method = "fanotify" // one mark for the file system; needs root, Linux 5.17
	Inotify  Method = "inotify"  // one watch for each directory
	Rescan   Method = "rescan"   // none: every pass looks everywhere
)

// Tracking says how a pass knew where to look.
type Tracking struct {
	Method Method `json:"method"`
	Dirs   int64  `json:"dirs"`            // directories looked into
	Whole  string `json:"whole,omitempty"` // why the pass looked everywhere; empty when it did not
}

// dirtySet says where something changed. The zero value says nowhere.
type dirtySet struct {
	whole  string          // not empty: anywhere, and why
	dirs   map[string]bool // path of a directory; true = and in all below it
	inodes map[uint64]bool // files that got or lost a name, possibly outside of the tree
}

func (d *dirtySet) add(dir string, deep bool) {
	if d.dirs == nil {
		d.dirs = map[string]bool{}
	}
	d.dirs[dir] = d.dirs[dir] || deep
}

func (d *dirtySet) merge(o dirtySet) {
	if d.whole == "" {
		d.whole = o.whole
	}
	for dir, deep := range o.dirs {
		d.add(dir, deep)
	}
	if d.inodes == nil {
		d.inodes = o.inodes
	} else {
		maps.Copy(d.inodes, o.inodes)
	}
}

// branch is a directory on the way to changes, or with changes. A nil branch stands for a directory to look into whole.
type branch struct {
	here  bool // its entries changed
	deep  bool // everything below may have
	below map[string]*branch
}

func (b *branch) add(dir string, deep bool) {
	if dir != "." {
		for name := range strings.SplitSeq(dir, "/") {
			next := b.below[name]
			if next == nil {
				next = &branch{}
				if b.below == nil {
					b.below = map[string]*branch{}
				}
				b.below[name] = next
			}
			b = next
		}
	}
	b.here, b.deep = true, b.deep || deep
}

// paths are the directories of all branches below this one, parents first.
func (b *branch) paths() []string {
	var out []string
	var walk func(b *branch, path string)
	walk = func(b *branch, path string) {
		out = append(out, path)
		for name, next := range b.below {
			walk(next, join(path, name))
		}
	}
	walk(b, ".")
	return out
}
