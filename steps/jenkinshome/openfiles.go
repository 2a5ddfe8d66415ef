package jenkinshome

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// procOf is the /proc of the node, as the mover of route attach sees it below the node's root; tests replace it. Movers of other routes see
// no processes but their own.
var procOf = func(host string) string { return filepath.Join(host, "proc") }

// openToWrite are processes that have files of a home open to write, as "NAME (pid N): PATH". A home on the node's own disk may be written to by what
// no API server knows of, such as a job of cron. Processes that end meanwhile have nothing open; where there is no /proc nobody is found.
func openToWrite(proc, home string) ([]string, error) {
	list, err := os.ReadDir(proc)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out []string
	for _, e := range list {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			out = append(out, openOf(filepath.Join(proc, e.Name()), pid, home)...)
		}
	}
	return out, nil
}

// openOf looks at one process.
func openOf(dir string, pid int, home string) (out []string) {
	fds, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil { // it has ended, or is one of the kernel's
		return nil
	}
	for _, fd := range fds {
		at := filepath.Join(dir, "fd", fd.Name())
		path, err := os.Readlink(at)
		if err != nil || !strings.HasPrefix(path, "/") || !writable(filepath.Join(dir, "fdinfo", fd.Name())) { // a socket, a pipe
			continue
		}
		if rel := below(home, path, at); rel != "" {
			out = append(out, fmt.Sprintf("%s (pid %d): %s", nameOf(dir), pid, rel))
		}
	}
	return out
}

// below finds an open file in the home, "" where it is not there. The path is one of the process's own file systems: in a container the home
// is mounted somewhere else, so any end of the path may be the one below the home. The open file itself is looked at last, and only where the
// home has one of that name: it may lie on a server that does not answer, and Jenkins stands still.
func below(home, path, open string) string {
	for rel := strings.TrimPrefix(path, "/"); rel != ""; _, rel, _ = strings.Cut(rel, "/") {
		here, err := os.Lstat(filepath.Join(home, rel))
		if err != nil || !here.Mode().IsRegular() {
			continue
		}
		if there, err := os.Stat(open); err == nil && os.SameFile(here, there) {
			return rel
		}
	}
	return ""
}

// writable reads from a descriptor's flags whether it can be written to.
func writable(info string) bool {
	f, err := os.Open(info)
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "flags:"); ok {
			flags, err := strconv.ParseUint(strings.TrimSpace(text), 8, 64)
			return err == nil && flags&3 != 0 // O_WRONLY, O_RDWR
		}
	}
	return false
}

func nameOf(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, "comm"))
	if err != nil {
		return "a process"
	}
	return strings.TrimSpace(string(b))
}

// writers are those of the node, where they can be seen.
func (c *cut) writers() ([]string, error) {
	if c.args.Host == "" {
		return nil, nil
	}
	who, err := openToWrite(procOf(c.args.Host), c.args.Source)
	if err != nil {
		return nil, fmt.Errorf("processes of the node: %w", err)
	}
	slices.Sort(who)
	return slices.Compact(who), nil
}
