package treecopy

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Names that belong to the copy itself. They are never copied out of a source.
const (
	MarkerName   = ".pipectl-copy.json" // in the target's root: which source, which state
	ManifestName = ".pipectl-manifest"  // the usual place for Options.Manifest in the target's root
	TempPrefix   = ".pipectl-tmp-"      // of a file not yet renamed; followed by the run id
)

// MountPolicy says what to do with a mount point inside the source.
type MountPolicy string

// The policies. The zero value refuses: data on another volume is neither lost in silence nor copied by surprise.
const (
	MountsRefuse MountPolicy = ""
	MountsSkip   MountPolicy = "skip"
	MountsCross  MountPolicy = "cross"
)

// Options steer Copy, Verify and Digest. The zero value makes a final, hashed copy into an empty or absent directory.
type Options struct {
	Workers  int      // concurrent entries; default 4 per CPU, from 8 to 32
	Excludes []string // patterns as in .gitignore, see Excludes; their counterparts in the target are left alone
	Delete   bool     // remove from the target what the source no longer has
	Live     bool     // the source is in use: vanished and changing files are not errors
	Hash     Hash     // content hash; default XXH3
	DryRun   bool     // say what would be done; writes nothing, no marker either

	// Manifest is the file that holds the manifest. A former one makes the pass short and is replaced at the end.
	// Without it unchanged files are not read, so Report.ManifestHash is known only when every file was copied.
	Manifest string
	// DeltaManifest receives a manifest of only what this pass wrote: Verify against it proves the delta.
	DeltaManifest string

	// Tracker knows where the source changed since the pass before, so that this one looks only there. It needs Manifest.
	Tracker *Tracker

	BytesPerSecond int64 // read limit; 0 = none
	OpsPerSecond   int64 // entries per second; 0 = none

	Source string // identity of the source, kept in the marker; default "path:" + absolute path
	RunID  string // default random; at most 64 of [A-Za-z0-9_-]

	AllowNonEmpty bool        // accept a target with foreign content (never together with Delete)
	KeepRoot      bool        // leave mode, owner, attributes and times of the target's root as they are
	Mounts        MountPolicy // mount points inside the source
	ContentOnly   bool        // Verify: compare names, kinds, sizes and content, not mode, owner and times

	// Confirm is asked once the source was read, before anything that it does not have is removed from the target. An error ends the pass: a
	// source that is itself being removed looks like one that has little left.
	Confirm func() error
	// Check may veto the pair of directories before anything is written, for example when they look swapped.
	Check func(src, dst string) error
	// Progress is called from one goroutine, about every ProgressEvery (default 500 ms) and once at the end.
	Progress      func(Progress)
	ProgressEvery time.Duration

	statfs    func(fd int) (space, error) // test seam: capacity of a file system
	syncfs    func(fd int) error          // test seam: write back a file system
	afterRead func(path string)           // test seam: between reading a file and checking that it did not change
}

// Progress is a moment of a running pass.
type Progress struct {
	Phase    string  `json:"phase"`
	Entries  int64   `json:"entries"`            // looked at
	Expected int64   `json:"expected,omitempty"` // entries there will be, going by the former pass or the file system; 0 = not known
	Files    int64   `json:"files"`              // regular files copied or, in Verify, read
	Bytes    int64   `json:"bytes"`              // read from files
	Seconds  float64 `json:"seconds"`
}

func (o Options) withDefaults(src string) (Options, error) {
	if o.Workers <= 0 {
		o.Workers = min(32, max(8, 4*runtime.GOMAXPROCS(0)))
	}
	if o.Hash == "" {
		o.Hash = XXH3
	}
	if !o.Hash.valid() {
		return o, badOption(fmt.Errorf("hash %q: unknown", o.Hash), "use xxh3-128, blake3 or none")
	}
	if o.ProgressEvery <= 0 {
		o.ProgressEvery = 500 * time.Millisecond
	}
	if o.RunID == "" {
		var b [6]byte
		_, _ = rand.Read(b[:]) // never fails
		o.RunID = hex.EncodeToString(b[:])
	}
	if !validRunID(o.RunID) {
		return o, badOption(fmt.Errorf("run id %q: not usable in file names", o.RunID), "use at most 64 letters, digits, - and _")
	}
	if o.Source == "" {
		abs, err := filepath.Abs(src)
		if err != nil {
			return o, err
		}
		o.Source = "path:" + abs
	}
	if o.statfs == nil {
		o.statfs = statfs
	}
	if o.syncfs == nil {
		o.syncfs = syncfs
	}
	return o, nil
}

func validRunID(s string) bool {
	return len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
}
