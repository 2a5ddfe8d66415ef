package lock

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"pipectl.dev/steps"
)

// File locks by flock on a file per key. The kernel frees the lock when the process ends, however it ends, so there is no expiry and no
// heartbeat; the file's content only says who holds it.
type File struct{ dir string }

// NewFile returns a lock whose files are in dir, which is made when it is needed.
func NewFile(dir string) *File { return &File{dir} }

// poll is how often a held lock is tried again: flock has no wait that ends with a context.
const poll = 200 * time.Millisecond

type fileLease struct {
	f      *os.File
	before string
}

// path turns a key into a file name that people recognise and that two keys never share.
func (l *File) path(key string) string {
	sum := sha256.Sum256([]byte(key))
	safe := strings.Map(func(r rune) rune {
		if strings.ContainsRune("/\\:", r) || r < ' ' {
			return '_'
		}
		return r
	}, key)
	if len(safe) > 100 {
		safe = safe[len(safe)-100:]
	}
	return filepath.Join(l.dir, safe+"."+hex.EncodeToString(sum[:4])+".lock")
}

// Lock implements engine.Locker.
func (l *File) Lock(ctx context.Context, key string, by steps.Holder, wait time.Duration) (steps.Lease, error) {
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	f, err := os.OpenFile(l.path(key), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	lease, err := steps.AwaitLock(ctx, key, wait, poll, func() (steps.Lease, steps.LockState, error) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
			other, _ := read(f) // a holder that is just writing its name is nobody yet
			return nil, steps.LockState{Holder: &other, Alive: true}, nil
		}
		if err != nil {
			return nil, steps.LockState{}, fmt.Errorf("%s: %w", f.Name(), err)
		}
		before := ""
		if last, err := read(f); err == nil {
			before = last.Turn()
		}
		if err := write(f, by); err != nil {
			return nil, steps.LockState{}, fmt.Errorf("%s: %w", f.Name(), err)
		}
		return &fileLease{f, before}, steps.LockState{}, nil
	})
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return lease, nil
}

// Look implements engine.Locker. Trying a lock would be to hold it for a moment, which another process could meet; so the kernel is
// asked by a shared lock, which keeps out only who tries at the same moment, and is tried again by it.
func (l *File) Look(_ context.Context, keys []string, _ steps.Holder) (map[string]steps.LockState, error) {
	out := make(map[string]steps.LockState, len(keys))
	for _, key := range keys {
		f, err := os.Open(l.path(key))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
		var st steps.LockState
		last, readErr := read(f)
		if readErr == nil {
			st.Turn = last.Turn()
		}
		if errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK) {
			st.Holder, st.Alive = &last, true
		}
		out[key] = st
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
	}
	return out, nil
}

func write(f *os.File, by steps.Holder) error {
	raw, err := json.Marshal(by)
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(raw, 0)
	return err
}

func read(f *os.File) (steps.Holder, error) {
	var h steps.Holder
	raw, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<16))
	if err == nil {
		err = json.Unmarshal(raw, &h)
	}
	return h, err
}

// Unlock implements engine.Locker. A lock that a living process holds cannot be taken from it here; it says which process to end.
func (l *File) Unlock(_ context.Context, key string) (*steps.Holder, error) {
	f, err := os.OpenFile(l.path(key), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		return nil, nil
	}
	h, err := read(f)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return &h, &steps.Error{
		Code: "Locked", Category: steps.Conflict, Message: fmt.Sprintf("%s: held by %s, which is alive", key, h),
		Hints: []string{fmt.Sprintf("end process %d: its lock goes with it", h.PID)},
	}
}

// Release implements steps.Lease. The file keeps its content: who had the lock last.
func (l *fileLease) Release(context.Context) error {
	if l.f == nil {
		return nil
	}
	f := l.f
	l.f = nil
	return f.Close()
}

// Before implements steps.Lease.
func (l *fileLease) Before() string { return l.before }

// Lost implements steps.Lease: the kernel takes a file lock from nobody.
func (l *fileLease) Lost() <-chan struct{} { return nil }
