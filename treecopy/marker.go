package treecopy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Marker is the content of MarkerName in a target's root.
type Marker struct {
	APIVersion string `json:"apiVersion"` // "pipectl.dev/v1"
	Kind       string `json:"kind"`       // "TreeCopy"
	Source     string `json:"source"`     // identity, see Options.Source
	State      string `json:"state"`      // MarkerCopying or MarkerComplete
	Done
	BootID string `json:"bootId,omitempty"` // of the machine that copies, while state is copying; notWritten
	// Shared is set when the target held other things before the first pass: nothing is ever deleted from it.
	Shared bool `json:"shared,omitempty"`
	// Last is the newest pass that was complete, kept while another one runs.
	Last *Done `json:"last,omitempty"`
	// Verified is the ManifestHash of the newest state that was read back, see MarkVerified.
	Verified string `json:"verified,omitempty"`
}

// notWritten stands in place of a boot id when a write-back failed.
const notWritten = "write-back failed"

// Trusted says that the newest pass was complete and that what it left was read back. Else no later pass can be content with verifying
// what it writes itself.
func (m *Marker) Trusted() bool {
	return m.State == MarkerComplete && m.ManifestHash != "" && m.Verified == m.ManifestHash
}

// MarkVerified records in the marker of a target that the copy was read back as its manifest has it. The target must not have changed
// since. It is an error where the newest pass was not complete or wrote no manifest.
func MarkVerified(dir string) error {
	m, err := ReadMarker(dir)
	if err != nil {
		return err
	}
	if m.State != MarkerComplete || m.ManifestHash == "" {
		return fmt.Errorf("%s: no complete copy with a manifest", dir)
	}
	m.Verified = m.ManifestHash
	return m.write(dir)
}

// Done describes one pass.
type Done struct {
	RunID        string    `json:"runId"`
	Live         bool      `json:"live"` // such a copy is not consistent in itself
	StartedAt    time.Time `json:"startedAt"`
	FinishedAt   time.Time `json:"finishedAt,omitzero"`
	Hash         Hash      `json:"hash"`
	ManifestHash string    `json:"manifestHash,omitempty"`
	Files        int64     `json:"files"`
	Bytes        int64     `json:"bytes"`
}

// held is how many files the last complete pass left in the target.
func (m *Marker) held() int64 {
	switch {
	case m.State == MarkerComplete:
		return m.Files
	case m.Last != nil:
		return m.Last.Files
	}
	return 0
}

// States of a marker.
const (
	MarkerCopying  = "copying"
	MarkerComplete = "complete"
)

// ReadMarker reads the marker of a target; without one the error is fs.ErrNotExist.
func ReadMarker(dir string) (*Marker, error) {
	path := filepath.Join(dir, MarkerName)
	fi, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > 1<<20 {
		return nil, fmt.Errorf("%s: not a marker", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var m Marker
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if m.Kind != "TreeCopy" || m.Source == "" {
		return nil, fmt.Errorf("%s: not a marker of a tree copy", path)
	}
	return &m, nil
}

// readMarkerIf is ReadMarker that gives nil for an absent one.
func readMarkerIf(dir string) (*Marker, error) {
	m, err := ReadMarker(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return m, err
}

// write puts the marker in place durably. Its temporary name is one that the next run sweeps.
func (m *Marker) write(dir string) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, TempPrefix+m.RunID+"-marker")
	if err := writeDurably(tmp, append(b, '\n')); err != nil {
		return errors.Join(err, removeIf(tmp))
	}
	if err := os.Rename(tmp, filepath.Join(dir, MarkerName)); err != nil {
		return errors.Join(err, removeIf(tmp))
	}
	return syncDir(dir)
}

func writeDurably(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func removeIf(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
