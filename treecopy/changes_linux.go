package treecopy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
)

// TrackRemote is Track for a source on another machine: its Remote tells what changed there, and how that is learned of, so one tracker
// serves over many connections. A Remote that cannot tell makes every pass look everywhere.
func TrackRemote() *Tracker { return &Tracker{method: Rescan, remote: true} }

// takeChanges takes what changed since the pass before.
func (e *engine) takeChanges(t *Tracker) error {
	if e.far == nil {
		e.taken = t.take()
		return nil
	}
	t.mu.Lock()
	since := t.mark
	t.mu.Unlock()
	c, err := e.far.Changes(e.ctx, since)
	if err != nil {
		return fmt.Errorf("changes in the source: %w", err)
	}
	for dir := range c.Dirs {
		if !ValidPath(dir) {
			return fmt.Errorf("%w: a change in %q, which is no path", ErrLost, EscapeName(dir))
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.method, t.mark = c.Method, c.Mark
	e.taken = dirtySet{whole: c.Whole, dirs: c.Dirs}
	if len(c.Inodes) > 0 {
		e.taken.inodes = map[uint64]bool{}
		for _, ino := range c.Inodes {
			e.taken.inodes[ino] = true
		}
	}
	e.taken.merge(t.left)
	t.left = dirtySet{}
	return nil
}

// teller keeps what was told of changes until it is known to have arrived.
type teller struct {
	mu          sync.Mutex
	tracker     *Tracker // nil: nobody follows
	id          string   // of this teller: marks of another one mean nothing
	count       int
	since, mark string // what the last call was given, and what it gave
	told        dirtySet
}

// Follow begins to record what changes in the tree, for Changes; Close ends it. The method is Rescan where the system has no means.
func (t *Tree) Follow() (Method, error) {
	tracker, err := Track(t.dir)
	if err != nil {
		return Rescan, err
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	t.changes.mu.Lock()
	defer t.changes.mu.Unlock()
	t.changes.tracker, t.changes.id = tracker, hex.EncodeToString(b[:])
	return tracker.Method(), nil
}

// Changes is part of Remote.
func (t *Tree) Changes(_ context.Context, since string) (Changes, error) {
	c := &t.changes
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tracker == nil {
		return Changes{Method: Rescan, Whole: "changes in the source are not followed"}, nil
	}
	now := c.tracker.take()
	switch {
	case c.count > 0 && since == c.mark: // what was told last has arrived
		c.told = dirtySet{}
	case c.count > 0 && since == c.since: // it may not have
	case since == "":
		c.told = dirtySet{whole: "first pass"}
	default:
		c.told = dirtySet{whole: "what changed before is not known"}
	}
	c.told.merge(now)
	c.count++
	c.since, c.mark = since, c.id+"-"+strconv.Itoa(c.count)
	return Changes{Method: c.tracker.Method(), Whole: c.told.whole, Dirs: maps.Clone(c.told.dirs), Inodes: slices.Collect(maps.Keys(c.told.inodes)), Mark: c.mark}, nil
}

// stop ends the recording.
func (c *teller) stop() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tracker == nil {
		return nil
	}
	defer func() { c.tracker = nil }()
	return c.tracker.Close()
}
