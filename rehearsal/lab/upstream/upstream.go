// Package upstream hands out the manifests that Argo CD publishes with the release that the lab is built with. The
// files are copied from the module at build time (upstream.sh) and committed nowhere.
package upstream

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

//go:embed all:files
var embedded embed.FS

// Main prints the files named by args, or lists all where there are none.
func Main(_ context.Context, args []string) error {
	files, err := fs.Sub(embedded, "files")
	if err != nil {
		return err
	}
	return Print(os.Stdout, files, args)
}

// Print writes the files called names to w; without names, the names of all files, one a line.
func Print(w io.Writer, files fs.FS, names []string) error {
	if len(names) == 0 {
		return fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || path.Base(name) == "README" {
				return err
			}
			_, err = fmt.Fprintln(w, name)
			return err
		})
	}
	for _, name := range names {
		data, err := fs.ReadFile(files, path.Clean(strings.TrimPrefix(name, "/")))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("upstream %s: not embedded; `lab upstream` lists what is, rehearsal/lab/upstream.sh copies more before a build", name)
		}
		if err != nil {
			return fmt.Errorf("upstream %s: %w", name, err)
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
	}
	return nil
}
