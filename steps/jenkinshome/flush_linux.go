package jenkinshome

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// flush writes back the file system that dir lies on, so that a snapshot of its disk has all of it.
func flush(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return errors.Join(fmt.Errorf("%s: syncfs: %w", dir, err), f.Close())
	}
	return f.Close()
}
