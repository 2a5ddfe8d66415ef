package stream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"pipectl.dev/treecopy"
	"pipectl.dev/treecopy/stream"
)

// ending is a source whose connection ends in the middle of each file, without an error of its own.
type ending struct{ *treecopy.Tree }

type endingFile struct{ treecopy.RemoteFile }

func (e ending) Open(ctx context.Context, dir, name string, cross bool, h treecopy.Hash) (treecopy.RemoteFile, error) {
	f, err := e.Tree.Open(ctx, dir, name, cross, h)
	return endingFile{f}, err
}

func (endingFile) Next() (int64, []byte, error) {
	return 0, nil, fmt.Errorf("%w: %w", treecopy.ErrLost, io.EOF)
}

func TestTheEndOfAConnectionIsNotTheEndOfAFile(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(src, "file"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	tree, err := treecopy.OpenTree(src)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	_, err = treecopy.CopyFrom(t.Context(), ending{tree}, dst, treecopy.Options{Live: true, Source: "a"})
	if !errors.Is(err, treecopy.ErrLost) {
		t.Errorf("a live pass takes a lost connection for a file that vanished: %v", err)
	}
	if err := stream.LostForTest(io.EOF); !errors.Is(err, treecopy.ErrLost) || errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}
