package treecopy

import (
	"errors"
	"fmt"
	"syscall"
)

// Errors to test for with errors.Is.
var (
	ErrUnsupported = errors.New("tree copy is not supported on this system")
	ErrNotEmpty    = errors.New("target is not empty")
	ErrForeign     = errors.New("target holds the copy of another source")
	ErrOverlap     = errors.New("source and target overlap")
	ErrSwapped     = errors.New("source and target look swapped")
	ErrEmptySource = errors.New("source is empty, and was not at the last pass")
	ErrInSource    = errors.New("would be written into the source")
	ErrNoSpace     = errors.New("not enough space")
	ErrChanged     = errors.New("changed while being read")
	ErrVanished    = errors.New("vanished during the pass")
	ErrMount       = errors.New("is a mount point")
	ErrDevice      = errors.New("is a device")
	ErrIncomplete  = errors.New("entries were not copied")
	ErrMismatch    = errors.New("target differs from the manifest")
	ErrBadManifest = errors.New("not a whole manifest")
)

// ErrBadOption is what a mistake in Options is.
var ErrBadOption = errors.New("bad option")

type optionError struct{ error }

func (optionError) Is(target error) bool { return target == ErrBadOption }
func (e optionError) Unwrap() error      { return e.error }

func badOption(err error, format string, args ...any) error {
	return hint(optionError{err}, format, args...)
}

// HintError is an error that a user can fix; Hint says how.
type HintError struct {
	Err  error
	hint string
}

func (e *HintError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *HintError) Unwrap() error { return e.Err }

// Hint is one sentence that names what to change.
func (e *HintError) Hint() string { return e.hint }

func hint(err error, format string, args ...any) error {
	return &HintError{Err: err, hint: fmt.Sprintf(format, args...)}
}

// doing names the operation that err came from; paths are added where the error is recorded.
func doing(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// SpaceError says what the target lacks. It is an ErrNoSpace. Numbers that were not determined are 0.
type SpaceError struct {
	Path                  string
	NeedBytes, FreeBytes  int64
	NeedInodes, FreeNodes int64
	Cause                 error // ENOSPC or EDQUOT when a write was refused; nil when foreseen
}

func (e *SpaceError) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s: %v (free: %d bytes, %d inodes)", e.Path, e.Cause, e.FreeBytes, e.FreeNodes)
	}
	return fmt.Sprintf("%s: not enough space: need %d bytes, have %d; need %d inodes, have %d",
		e.Path, e.NeedBytes, e.FreeBytes, e.NeedInodes, e.FreeNodes)
}

// Is makes every SpaceError an ErrNoSpace.
func (e *SpaceError) Is(target error) bool { return target == ErrNoSpace }

// Unwrap gives the system's refusal, if there was one.
func (e *SpaceError) Unwrap() error { return e.Cause }

// Quota says that it was a quota that refused, not the file system that is full.
func (e *SpaceError) Quota() bool { return errors.Is(e.Cause, syscall.EDQUOT) }

// Hint proposes a way out.
func (e *SpaceError) Hint() string {
	if e.Quota() {
		return "raise the quota of the files' owner, group or project on the target, then run again: the copy resumes"
	}
	return "enlarge the target volume (inodes are made at format time on ext4: one per 16 KiB by default), then run again: the copy resumes"
}
