package results

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"pipectl.dev/steps"
)

func hasCode(err error, code string) bool {
	var e *steps.Error
	return errors.As(err, &e) && e.Code == code
}

// collect reads the results of stages in the order of their names; bad ones are errors beside the good ones.
func collect(stages []string, get func(stage string) (*steps.Result, error)) ([]steps.Result, error) {
	var out []steps.Result
	var errs []error
	for _, stage := range slices.Sorted(slices.Values(stages)) {
		r, err := get(stage)
		if err != nil {
			errs = append(errs, err)
		} else if r != nil {
			out = append(out, *r)
		}
	}
	return out, errors.Join(errs...)
}

// wholeLines are the lines of a journal; one that a crash cut off is left out.
func wholeLines(raw []byte) [][]byte {
	var out [][]byte
	for line := range bytes.Lines(raw) {
		if line = bytes.TrimSpace(line); json.Valid(line) {
			out = append(out, line)
		}
	}
	return out
}

// runsOf are the ids of the runs among names of journals, oldest first: ids begin with the time.
func runsOf(names []string, prefix string) []string {
	var out []string
	for _, n := range names {
		if id, ok := strings.CutSuffix(n, runKeyEnd); ok && strings.HasPrefix(id, prefix) {
			out = append(out, strings.TrimPrefix(id, prefix))
		}
	}
	slices.Sort(out)
	return out
}
