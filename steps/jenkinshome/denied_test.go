package jenkinshome

import (
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"pipectl.dev/steps"
	"pipectl.dev/treecopy"
)

// TestWhatAMoverIsRefusedIsTold gives the errors of a copy their kind and their way out.
func TestWhatAMoverIsRefusedIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		code string
		exit int
		hint string
	}{
		"root may not read":   {copyError(fmt.Errorf("3 entries were not copied: secrets/master.key: %w", syscall.EACCES)), "CopyDenied", 11, ""},
		"nor give files away": {copyError(fmt.Errorf("set owner: %w", syscall.EPERM)), "CopyDenied", 11, ""},
		"nor look into the home": {homeUnreadable(&fs.PathError{Op: "lstat", Path: "/pipectl/source/config.xml", Err: syscall.EACCES}), "HomeUnreadable", 11,
			"root_squash"},
		"a quota is used up": {copyError(&treecopy.SpaceError{Path: "a", Cause: syscall.EDQUOT}), "NoSpace", 10, "raise the quota"},
		"the disk is full":   {copyError(&treecopy.SpaceError{Path: "a", Cause: syscall.ENOSPC}), "NoSpace", 10, "raise `size` of the data-volume stage"},
	} {
		e := steps.Classify(c.err)
		if e.Code != c.code || e.Category.ExitCode() != c.exit || !strings.Contains(strings.Join(e.Hints, "\n"), c.hint) {
			t.Errorf("%s: %s, exit %d, %q", name, e.Code, e.Category.ExitCode(), e.Hints)
		}
	}
}
