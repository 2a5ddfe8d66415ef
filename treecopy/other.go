//go:build !linux

package treecopy

import "context"

// Copy is only for Linux: elsewhere it returns ErrUnsupported.
func Copy(context.Context, string, string, Options) (*Report, error) { return nil, unsupported() }

// CopyFrom is only for Linux: elsewhere it returns ErrUnsupported.
func CopyFrom(context.Context, Remote, string, Options) (*Report, error) { return nil, unsupported() }

// Verify is only for Linux: elsewhere it returns ErrUnsupported.
func Verify(context.Context, string, *Manifest, Options) (*Report, error) { return nil, unsupported() }

// VerifyFile is only for Linux: elsewhere it returns ErrUnsupported.
func VerifyFile(context.Context, string, string, Options) (*Report, error) { return nil, unsupported() }

// Digest is only for Linux: elsewhere it returns ErrUnsupported.
func Digest(context.Context, string, Options) (*Report, error) { return nil, unsupported() }

func unsupported() error {
	return hint(ErrUnsupported, "run the copy in a Linux container or on the node that has the volume")
}

// Tracker is only for Linux.
type Tracker struct{}

// Track is only for Linux: elsewhere it returns ErrUnsupported.
func Track(string) (*Tracker, error) { return nil, unsupported() }

// TrackRemote gives a Tracker that knows nothing.
func TrackRemote() *Tracker { return &Tracker{} }

// Method is Rescan.
func (*Tracker) Method() Method { return Rescan }

// Close does nothing.
func (*Tracker) Close() error { return nil }

type space struct{}

func statfs(int) (space, error) { return space{}, unsupported() }

func syncfs(int) error { return unsupported() }

// Tree is only for Linux.
type Tree struct{ Remote }

// OpenTree is only for Linux: elsewhere it returns ErrUnsupported.
func OpenTree(string) (*Tree, error) { return nil, unsupported() }

// Follow is only for Linux: elsewhere it returns ErrUnsupported.
func (*Tree) Follow() (Method, error) { return Rescan, unsupported() }

// Close does nothing.
func (*Tree) Close() error { return nil }
