package treecopy

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Report says what a pass did. Counts are entries, sizes are bytes, durations are seconds.
type Report struct {
	RunID  string `json:"runId"`
	Source string `json:"source"` // identity, see Options.Source
	Live   bool   `json:"live"`
	DryRun bool   `json:"dryRun"`

	Seen      Counts `json:"seen"`              // in the source, without what was skipped
	Copied    Counts `json:"copied"`            // written (dry run: to be written)
	Unchanged int64  `json:"unchanged"`         // entries other than directories found equal
	Updated   int64  `json:"updated"`           // entries of which only mode, owner, attributes or the rest of a second were set
	Deleted   int64  `json:"deleted"`           // removed from the target (dry run: to be removed, subtrees counted as one)
	Removed   []Name `json:"removed,omitempty"` // the first 20 of what was deleted, or would be, each with all below it
	ToCopy    []Name `json:"toCopy,omitempty"`  // dry run: the first 20 files found to be copied
	Swept     int64  `json:"swept"`             // temporary files of earlier runs removed

	Bytes       int64 `json:"bytes"`       // total size of files seen
	BytesCopied int64 `json:"bytesCopied"` // size of files copied
	BytesRead   int64 `json:"bytesRead"`   // read from files, hashing included
	SparseSaved int64 `json:"sparseSaved"` // bytes of holes not written

	Skipped  []Skip    `json:"skipped,omitempty"`  // left out on purpose, by reason
	Vanished Sample    `json:"vanished"`           // gone between listing and reading
	Retried  int64     `json:"retried"`            // reads repeated because the file changed
	Dirty    Sample    `json:"dirty"`              // still changing after retries; copied as found (live passes)
	Escaping Sample    `json:"escaping"`           // symbolic links that are absolute or point out of the tree; copied as they are
	Problems []Problem `json:"problems,omitempty"` // the first 50 errors
	Errors   int64     `json:"errors"`             // all of them
	Notes    []string  `json:"notes,omitempty"`

	Tracking *Tracking `json:"tracking,omitempty"` // with Options.Tracker; Unchanged then counts only what was looked at

	Hash         Hash   `json:"hash"`
	ManifestHash string `json:"manifestHash,omitempty"` // of the whole tree: kinds, names, modes, owners, times, contents, links; see Digest
	OwnersKept   bool   `json:"ownersKept"`             // false when not privileged to give files away
	Workers      int    `json:"workers"`

	Phases  []Phase `json:"phases"`
	Seconds float64 `json:"seconds"`
}

// Counts are entries by kind. HardLinks are names beyond the first of a file.
type Counts struct {
	Files     int64 `json:"files"`
	Dirs      int64 `json:"dirs"`
	Symlinks  int64 `json:"symlinks"`
	FIFOs     int64 `json:"fifos"`
	HardLinks int64 `json:"hardLinks"`
}

// Skip counts entries left out for one reason and names the first of them.
type Skip struct {
	Reason string `json:"reason"`
	Sample
}

// Sample counts entries and names the first 20.
type Sample struct {
	Count int64  `json:"count"`
	Names []Name `json:"names,omitempty"`
}

// Problem is an entry that could not be handled.
type Problem struct {
	Path  Name   `json:"path"`
	Error string `json:"error"`
}

// Phase is a part of the pass and how long it took.
type Phase struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

const (
	sampleNames   = 20
	problemsNamed = 50
)

// counters are the parts of a Report that workers add to.
type counters struct {
	seen, copied                                                                                         counts
	unchanged, updated, deleted, swept, bytes, bytesCopied, bytesRead, saved, retried, entries, expected atomic.Int64
}

type counts struct{ files, dirs, symlinks, fifos, hardLinks atomic.Int64 }

func (c *counts) load() Counts {
	return Counts{c.files.Load(), c.dirs.Load(), c.symlinks.Load(), c.fifos.Load(), c.hardLinks.Load()}
}

// recorder gathers what workers find.
type recorder struct {
	counters
	mu     sync.Mutex
	rep    Report
	first  error // of the problems
	began  time.Time
	phase  string
	opened time.Time // when the phase began
}

// leaveOut records what is skipped on purpose.
func (r *recorder) leaveOut(reason, path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.rep.Skipped {
		if r.rep.Skipped[i].Reason == reason {
			r.rep.Skipped[i].add(path)
			return
		}
	}
	s := Skip{Reason: reason}
	s.add(path)
	r.rep.Skipped = append(r.rep.Skipped, s)
}

func (s *Sample) add(path string) {
	s.Count++
	if len(s.Names) < sampleNames {
		s.Names = append(s.Names, Name(path))
	}
}

// name adds to a list of names, while it is short.
func (r *recorder) name(list *[]Name, path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(*list) < sampleNames {
		*list = append(*list, Name(path))
	}
}

// sample adds to one of the report's samples.
func (r *recorder) sample(s *Sample, path string) {
	r.mu.Lock()
	s.add(path)
	r.mu.Unlock()
}

func (r *recorder) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rep.Notes = append(r.rep.Notes, fmt.Sprintf(format, args...))
}

// problem records an error at a path; the pass goes on.
func (r *recorder) problem(path string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rep.Errors++
	err = fmt.Errorf("%s: %w", EscapeName(path), err)
	if r.first == nil {
		r.first = err
	}
	if len(r.rep.Problems) < problemsNamed {
		r.rep.Problems = append(r.rep.Problems, Problem{Name(path), err.Error()})
	}
}

// enter ends the running phase and begins the next.
func (r *recorder) enter(phase string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.phase != "" {
		r.rep.Phases = append(r.rep.Phases, Phase{r.phase, now.Sub(r.opened).Seconds()})
	}
	r.phase, r.opened = phase, now
}

func (r *recorder) progress() Progress {
	r.mu.Lock()
	phase := r.phase
	r.mu.Unlock()
	return Progress{
		Phase: phase, Entries: r.entries.Load(), Expected: r.expected.Load(), Files: r.copied.files.Load(), Bytes: r.bytesRead.Load(),
		Seconds: time.Since(r.began).Seconds(),
	}
}

// report closes the last phase and gives the finished Report.
func (r *recorder) report() *Report {
	r.enter("")
	rep := r.rep
	rep.Seen, rep.Copied = r.seen.load(), r.copied.load()
	rep.Unchanged, rep.Updated, rep.Deleted, rep.Swept = r.unchanged.Load(), r.updated.Load(), r.deleted.Load(), r.swept.Load()
	rep.Bytes, rep.BytesCopied, rep.BytesRead = r.bytes.Load(), r.bytesCopied.Load(), r.bytesRead.Load()
	rep.SparseSaved, rep.Retried = r.saved.Load(), r.retried.Load()
	rep.Seconds = time.Since(r.began).Seconds()
	return &rep
}
