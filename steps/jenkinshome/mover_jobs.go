package jenkinshome

import (
	"fmt"
	"os"
	"path/filepath"

	"pipectl.dev/steps"
)

// notEmptied refuses a source that has lost most of the jobs that were copied before, such as the directory of a Jenkins that came up on an
// empty disk: it looks like a home, and a pass that deletes what the source does not have would leave nothing of the good copy. Jobs that
// somebody deletes between two passes are fewer.
func notEmptied(src, dst string) error {
	have, had := jobsIn(src), jobsIn(dst)
	if had == 0 || 2*have >= had {
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
