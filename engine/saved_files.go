package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// filesDigest is a digest of every file and directory that a stage names by a path relative to the pipeline: manifests, policies. A plan
// that was saved says nothing of what is in them.
func (p *Pipeline) filesDigest() (map[string]string, error) {
	out := map[string]string{}
	for _, s := range p.Stages {
		for _, name := range relativePaths(s.with) {
			if _, done := out[name]; done {
				continue
			}
			sum, err := digestTree(filepath.Join(p.Dir, name))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if sum != "" {
				out[name] = sum
			}
		}
	}
	return out, nil
}

// relativePaths are the texts in n that may be paths below the pipeline's directory, or beside it.
func relativePaths(n *yaml.Node) []string {
	if n.Kind == yaml.ScalarNode {
		name := n.Value
		local := name != "" && len(name) < 1000 && !filepath.IsAbs(name) && !strings.ContainsAny(name, "\n\x00") && !strings.Contains(name, "://")
		if clean := filepath.Clean(name); !local || clean == "." || clean == ".." || strings.HasPrefix(clean, "../..") {
			return nil
		}
		return []string{name}
	}
	var out []string
	for _, c := range n.Content {
		out = append(out, relativePaths(c)...)
	}
	return out
}

// digestTree digests a file, or the names and contents of all files below a directory; "" where nothing is there. Links are not followed.
func digestTree(path string) (string, error) {
	var all []string
	err := filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(path, name)
		all = append(all, rel+" "+digestOf(text))
		return err
	})
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(all) == 0 {
		return "", nil
	}
	slices.Sort(all)
	return digestOf([]byte(strings.Join(all, "\n"))), err
}
