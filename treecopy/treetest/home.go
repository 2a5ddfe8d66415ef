// Package treetest writes synthetic file trees for tests, benchmarks and the rehearsal: Jenkins homes with the layout, file
// sizes and fan-out of real ones. The same Options give the same bytes, names, modes and times on every machine.
//
// It must not read an existing tree, write outside of the directory it is given, or contain a real secret: everything that
// looks like a key is derived from the seed.
package treetest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
)

// Options shape a home. The zero value is a home of about 20,000 files.
type Options struct {
	Files   int    // regular files to aim at; the result is within 2 % for 1,000 and more. Default 20,000.
	Seed    int64  // everything random derives from it
	Jobs    int    // jobs with builds. Default: one per 400 files, at least 3.
	Version string // Jenkins version in config.xml. Default "2.528.1".
	// TokenSHA256 lines (hex) go to users/tokens.sha256, where a stand-in for Jenkins finds the passwords it accepts.
	TokenSHA256 []string
	// Plugins to install. Default: 24 usual ones.
	Plugins []Plugin
}

// Plugin is one plugins/NAME.jpi with its exploded directory.
type Plugin struct{ Name, Version string }

// Stats counts what a home holds.
type Stats struct {
	Files, Dirs, Symlinks int
	Bytes                 int64
}

// epoch is the time of the newest file; fixed, so that trees are equal whenever they are made.
var epoch = time.Date(2026, time.March, 6, 17, 30, 0, 0, time.UTC)

func (o Options) withDefaults() Options {
	if o.Files <= 0 {
		o.Files = 20_000
	}
	if o.Jobs <= 0 {
		o.Jobs = max(3, o.Files/400)
	}
	if o.Version == "" {
		o.Version = "2.528.1"
	}
	if o.Plugins == nil {
		o.Plugins = usualPlugins
	}
	return o
}

// JenkinsHome writes a Jenkins home into dir, which is made when absent and must be empty.
func JenkinsHome(dir string, o Options) error {
	_, err := JenkinsHomeStats(dir, o)
	return err
}

// JenkinsHomeStats is JenkinsHome, and says what was written.
func JenkinsHomeStats(dir string, o Options) (Stats, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Stats{}, err
	}
	if names, err := os.ReadDir(dir); err != nil {
		return Stats{}, err
	} else if len(names) > 0 {
		return Stats{}, fmt.Errorf("%s: %w", dir, errNotEmpty)
	}
	o = o.withDefaults()
	p := newPlan(o)
	p.home()
	return p.stats, p.write(dir)
}

var errNotEmpty = errors.New("directory is not empty")

// write makes the directories, then the files in parallel, then sets directory times from the leaves up.
func (p *plan) write(dir string) error {
	for _, d := range p.dirs {
		if err := os.Mkdir(filepath.Join(dir, d.path), 0o700); err != nil {
			return err
		}
	}
	if err := p.writeFiles(dir); err != nil {
		return err
	}
	for _, l := range p.links {
		if err := os.Symlink(l.target, filepath.Join(dir, l.path)); err != nil {
			return err
		}
		if err := symlinkTime(filepath.Join(dir, l.path), l.mtime); err != nil {
			return err
		}
	}
	for i := len(p.dirs) - 1; i >= 0; i-- {
		if err := settle(filepath.Join(dir, p.dirs[i].path), p.dirs[i].mode, p.dirs[i].mtime); err != nil {
			return err
		}
	}
	return os.Chtimes(dir, epoch, epoch)
}

func (p *plan) writeFiles(dir string) error {
	var g errgroup.Group
	workers := max(2, runtime.GOMAXPROCS(0))
	for w := range workers {
		g.Go(func() error {
			var buf []byte
			for i := w; i < len(p.files); i += workers {
				f := &p.files[i]
				buf = p.content(buf[:0], f)
				if err := writeFile(filepath.Join(dir, f.path), buf, f.mode, f.mtime); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func settle(path string, mode fs.FileMode, mtime time.Time) error {
	if err := os.Chmod(path, mode); err != nil {
		return err
	}
	return os.Chtimes(path, mtime, mtime)
}
