// Package sinks writes the result of a run in the forms that other systems read: a Kubernetes termination message, GitHub and Tekton
// outputs, dotenv, JUnit XML, Markdown.
//
// Each is a pure view of a RunResult that is finished and free of secrets; none decides anything or looks at the world.
package sinks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"pipectl.dev/engine"
)

// values are the pipeline's outputs as text, in the order of their names: strings as they are, all else as JSON.
func values(res *engine.RunResult) (names []string, text map[string]string) {
	text = map[string]string{}
	for name, raw := range res.Outputs {
		var s string
		if json.Unmarshal(raw, &s) != nil {
			var b bytes.Buffer
			if json.Compact(&b, raw) != nil {
				continue
			}
			s = b.String()
		}
		text[name] = s
	}
	text["status"], text["runId"] = string(res.Status), res.RunID
	return slices.Sorted(maps.Keys(text)), text
}

// GitHubOutput appends outputs as $GITHUB_OUTPUT wants them, with status and runId.
func GitHubOutput(w io.Writer, res *engine.RunResult) error {
	names, text := values(res)
	for _, n := range names {
		end := "END_" + strings.ReplaceAll(res.RunID, "-", "")
		for strings.Contains(text[n], end) { // a value must not be able to end itself and set others
			end += "_"
		}
		if _, err := fmt.Fprintf(w, "%s<<%s\n%s\n%s\n", n, end, text[n], end); err != nil {
			return fmt.Errorf("github output: %w", err)
		}
	}
	return nil
}

// Dotenv writes outputs as NAME='value' lines: jenkinsUrl becomes JENKINS_URL.
func Dotenv(w io.Writer, res *engine.RunResult) error {
	names, text := values(res)
	for _, n := range names {
		quoted := "'" + strings.ReplaceAll(text[n], "'", `'\''`) + "'"
		if _, err := fmt.Fprintf(w, "%s=%s\n", constant(n), quoted); err != nil {
			return fmt.Errorf("dotenv: %w", err)
		}
	}
	return nil
}

// constant spells jenkinsUrl as JENKINS_URL.
func constant(name string) string {
	var b strings.Builder
	lower := false
	for _, r := range name {
		if lower && unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		lower = unicode.IsLower(r) || unicode.IsDigit(r)
		if r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			r = '_'
		}
		b.WriteRune(unicode.ToUpper(r))
	}
	return b.String()
}

// Tekton writes one file per output into dir, as /tekton/results wants them.
func Tekton(dir string, res *engine.RunResult) error {
	names, text := values(res)
	var errs []error
	for _, n := range names {
		errs = append(errs, os.WriteFile(filepath.Join(dir, filepath.Base(n)), []byte(text[n]), 0o600))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("tekton results: %w", err)
	}
	return nil
}
