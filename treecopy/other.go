//go:build !linux

package treecopy

import "context"

// Copy is only for Linux: elsewhere it returns ErrUnsupported.
func Copy(context.Context, string, string, Options) (*Report, error) { return nil, unsupported() }

// Verify is only for Linux: elsewhere it returns ErrUnsupported.
func Verify(context.Context, string, *Manifest, Options) (*Report, error) { return nil, unsupported() }

// VerifyFile is only for Linux: elsewhere it returns ErrUnsupported.
func VerifyFile(context.Context, string, string, Options) (*Report, error) { return nil, unsupported() }

// Digest is only for Linux: elsewhere it returns ErrUnsupported.
func Digest(context.Context, string, Options) (*Report, error) { return nil, unsupported() }

func unsupported() error {
	return hint(ErrUnsupported, "run the copy in a Linux container or on the node that has the volume")
}

type space struct{}

func statfs(int) (space, error) { return space{}, unsupported() }
