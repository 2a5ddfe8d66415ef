package rehearsal

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// changesWhileRunning is what the old Jenkins itself writes while it runs and stops: builds, their numbers, its queue.
func changesWhileRunning(path string) bool {
	return strings.Contains(path, "/builds/") || strings.HasSuffix(path, "/builds") || strings.HasSuffix(path, "nextBuildNumber") ||
		path == "queue.xml" || strings.HasPrefix(path, "logs")
}

// digest is one hash over every file below dir: path, kind, mode and content, without times, and without what skip names. It is made
// apart from treecopy, which it judges.
func digest(dir string, skip func(path string) bool) (string, error) {
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || (skip != nil && skip(filepath.ToSlash(rel))) {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, err = fmt.Fprintf(sum, "%q dir\n", rel)
			return err
		}
		content, err := contentOf(path, info)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(sum, "%q %s %s\n", rel, info.Mode(), content)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil))[:16], err
}

func contentOf(path string, info fs.FileInfo) (string, error) {
	if info.Mode()&fs.ModeSymlink != 0 {
		return os.Readlink(path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	_, err = io.Copy(sum, f)
	return hex.EncodeToString(sum.Sum(nil)), err
}

// sameJobs compares the jobs of two Jenkins homes: names and next build numbers.
func sameJobs(a, b string) (ok bool, detail string) {
	x, errA := jobNumbers(a)
	y, errB := jobNumbers(b)
	if errA != nil || errB != nil {
		return false, fmt.Sprint(errA, errB)
	}
	var diff []string
	for job, n := range x {
		if y[job] != n {
			diff = append(diff, fmt.Sprintf("%s: %s and %s", job, n, y[job]))
		}
	}
	sort.Strings(diff)
	return len(diff) == 0 && len(x) == len(y) && len(x) > 0, strings.Join(diff, ", ")
}

func jobNumbers(dir string) (map[string]string, error) {
	jobs := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "nextBuildNumber" {
			return err
		}
		raw, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, filepath.Dir(path))
		jobs[rel] = strings.TrimSpace(string(raw))
		return err
	})
	return jobs, err
}
