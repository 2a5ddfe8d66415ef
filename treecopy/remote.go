package treecopy

import (
	"context"
	"errors"
)

// Remote is a source that lies on another machine; CopyFrom reads it. Paths are relative to its root, which is ".", with "/" between
// names; names are bytes. An error that wraps ErrLost ends the pass, any other is about one entry. An error of the source's system must
// be an errno (ENOENT: vanished). All methods may be called from many goroutines.
type Remote interface {
	// Begin begins a pass: it tells what the root is now, and forgets what was announced before.
	Begin(ctx context.Context) (RemoteAbout, error)
	// List gives a directory and what is in it. With cross, it may be on another file system than the root, else that is EXDEV.
	List(ctx context.Context, dir string, cross bool) (*Listing, error)
	// Open opens a file to read it from its beginning.
	Open(ctx context.Context, dir, name string, cross bool, h Hash) (RemoteFile, error)
	// Sum hashes a file where it is; nil when it is not of this size.
	Sum(ctx context.Context, dir, name string, size int64, h Hash) ([]byte, error)
	// Measure adds up what all but the excluded takes, in blocks of this size.
	Measure(ctx context.Context, block int64, excludes []string, cross bool) (Usage, error)
	// Changes tells where the tree changed since the call that gave the mark since; "" is the beginning. It is asked only by passes that
	// have a tracker (see TrackRemote).
	Changes(ctx context.Context, since string) (Changes, error)
	// AheadDirs and AheadFiles say what will be listed and opened soon. They need not do anything.
	AheadDirs(dirs []string, cross bool)
	AheadFiles(dir string, names []string, cross bool, h Hash)
}

// RemoteFile is one file on its way.
type RemoteFile interface {
	// Opened is the file as it was before it was read, and its attributes.
	Opened() (Stat, []Attr)
	// Next gives the next stretch of data, which is valid until the call after; io.EOF after the last. Stretches ascend; what is between
	// them are holes.
	Next() (off int64, data []byte, err error)
	// Closed is what was found after reading; only after Next said io.EOF.
	Closed() FileEnd
	// Close lets go of a file, read to its end or not.
	Close()
}

// FileEnd is what the source found after it had read a file.
type FileEnd struct {
	Stat  Stat
	Racy  bool   // written so shortly before the reading that another write may carry the same time
	Sum   []byte // of all that was read, holes included; nil with NoHash
	Bytes int64  // read, holes not included
}

// RemoteAbout is what a source tells about its root.
type RemoteAbout struct {
	Name    string // what messages call it
	Root    Stat
	Space   Space
	Alone   bool     // the root is the root of its file system, too
	Swapped *Marker  // of a copy into it, when there was one
	Foreign []string // attributes of the root that are its own machine's policy, and not copied
}

// Space is the capacity of a file system: bytes and inodes used; UsedNodes is 0 where that is not known.
type Space struct{ UsedBytes, UsedNodes int64 }

// Usage is what a tree takes: bytes of whole blocks, entries, and the bytes of the largest file.
type Usage struct{ Bytes, Nodes, Largest int64 }

// Changes says where a tree changed. A call with the mark of the call before acknowledges its answer; one with an older mark, whose answer
// was lost on its way, is told the same and what came since. What nobody can tell any more is Whole.
type Changes struct {
	Method Method          // how changes are learned of
	Whole  string          // not empty: anywhere, and why
	Dirs   map[string]bool // directories with entries that changed; true = and anything below
	Inodes []uint64        // files that got or lost a name
	Mark   string          // for the next call
}

// Listing is a directory and its entries, sorted by name, no name twice.
type Listing struct {
	Dir     Stat
	Attrs   []Attr
	Entries []RemoteEntry
}

// RemoteEntry is a name in a directory.
type RemoteEntry struct {
	Name   string
	Stat   Stat
	Attrs  []Attr
	Target string // of a symbolic link
	Error  error  // why nothing else is known of it
}

// Attr is an extended attribute; ACLs are such.
type Attr struct {
	Name  string
	Value []byte
}

// Stat is what the source's system says of an entry. Mode is as in stat(2), with the kind.
type Stat struct {
	Mode, UID, GID, Nlink uint32
	Dev, Ino              uint64
	Size, Blocks          int64 // bytes; units of 512 bytes
	MTime, CTime          Time
}

// Time is a moment as the system keeps it.
type Time struct{ Sec, Nsec int64 }

// ErrLost says that the source cannot be read any more; another pass over a new connection carries on.
var ErrLost = errors.New("the connection to the source is lost")

// maxName is the longest name that Linux knows.
const maxName = 255

// ValidName says whether a name that another machine sent can be an entry of a directory.
func ValidName(name string) bool {
	if name == "" || name == "." || name == ".." || len(name) > maxName {
		return false
	}
	for i := range len(name) {
		if name[i] == '/' || name[i] == 0 {
			return false
		}
	}
	return true
}

// ValidPath says whether a path that another machine sent leads to something below a root, or is the root itself.
func ValidPath(path string) bool {
	if path == "." {
		return true
	}
	for from, i := 0, 0; i <= len(path); i++ {
		if i == len(path) || path[i] == '/' {
			if !ValidName(path[from:i]) {
				return false
			}
			from = i + 1
		}
	}
	return true
}
