// Package calls finds the calls to AWS that source code makes, for tests which hold lists of calls against it. It reads files as text and must
// import nothing of ours: tests of any package may use it.
package calls

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Call is one place that makes a call.
type Call struct {
	Service string // package of the SDK, such as cloudwatchlogs
	Action  string // such as PutRetentionPolicy
	File    string
}

// IAM names the call as policies do, such as logs:PutRetentionPolicy.
func (c Call) IAM() string {
	switch c.Service {
	case "elb", "elbv2":
		return "elasticloadbalancing:" + c.Action
	case "cloudwatchlogs":
		return "logs:" + c.Action
	}
	return c.Service + ":" + c.Action
}

// made is how a call stands in source code: by its input.
var made = regexp.MustCompile(`\b([a-z0-9]+)\.(\w+)Input\{`)

// In lists the calls in files, as Each names them.
func In(t *testing.T, where ...string) []Call {
	t.Helper()
	var out []Call
	Each(t, made, func(file string, m []string) {
		out = append(out, Call{Service: m[1], Action: m[2], File: file})
	}, where...)
	return out
}

// Each gives every match of a pattern in Go files other than tests. They are named by patterns of path/filepath, or by directories, of which all
// below is meant.
func Each(t *testing.T, pattern *regexp.Regexp, use func(file string, match []string), where ...string) {
	t.Helper()
	for _, w := range where {
		roots, err := filepath.Glob(w)
		if err != nil {
			t.Fatal(err)
		}
		for _, root := range roots {
			if err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
					return err
				}
				text, err := os.ReadFile(file)
				for _, m := range pattern.FindAllStringSubmatch(string(text), -1) {
					use(file, m)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
}
