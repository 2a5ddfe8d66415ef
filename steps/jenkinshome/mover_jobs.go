package jenkinshome

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"pipectl.dev/steps"
	"pipectl.dev/treecopy"
)

// notEmptied refuses a source that has lost most of the jobs that were copied before, such as the directory of a Jenkins that came up on an
// empty disk: it looks like a home, and a pass that deletes what the source does not have would leave nothing of the good copy. Jobs that
// somebody deletes between two passes are fewer.
func notEmptied(src, dst string) error {
	return mostAreLeft(jobsIn(src), jobsIn(dst))
}

func mostAreLeft(have, had int) error {
	if 2*have >= had {
		return nil
	}
	return &steps.Error{Code: "JobsMissing", Category: steps.Precondition, Message: fmt.Sprintf("source: has %d jobs, the copy of it on the volume has %d: it is not the home that was copied", have, had),
		Hints: []string{"is the right disk mounted on the old node? If the jobs were deleted on purpose, begin anew with another volume"}}
}

// jobsIn counts the jobs and folders below a home or a folder. What cannot be read counts as none: the pass itself says why.
func jobsIn(home string) (n int) {
	all, _ := os.ReadDir(filepath.Join(home, "jobs"))
	for _, e := range all {
		if !e.IsDir() {
			continue
		}
		job := filepath.Join(home, "jobs", e.Name())
		if _, err := os.Lstat(filepath.Join(job, "config.xml")); err == nil {
			n += 1 + jobsIn(job)
		}
	}
	return n
}

// lister is a source that another mover serves.
type lister interface {
	List(ctx context.Context, dir string, cross bool) (*treecopy.Listing, error)
}

// notEmptiedFar is notEmptied of a source on another machine. Each directory that it asks for goes over the network and back while Jenkins
// stands still, so it asks for no more than it takes to know, and takes what has no config.xml for a job too.
func notEmptiedFar(ctx context.Context, src lister, dst string) error {
	had := jobsIn(dst)
	have, dirs := 0, []string{"jobs"}
	for ; len(dirs) > 0 && 2*have < had; dirs = dirs[1:] {
		l, err := src.List(ctx, dirs[0], false)
		if errors.Is(err, treecopy.ErrLost) || ctx.Err() != nil {
			return err
		}
		if err != nil { // a job that is no folder
			continue
		}
		for _, e := range l.Entries {
			if e.Error == nil && e.Stat.Mode&kindBits == kindDirectory {
				have++
				dirs = append(dirs, dirs[0]+"/"+e.Name+"/jobs")
			}
		}
	}
	return mostAreLeft(have, had)
}

// As in stat(2).
const kindBits, kindDirectory = 0o170000, 0o040000
