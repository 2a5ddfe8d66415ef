// Package results keeps what stages leave behind: in a directory, in a ConfigMap or in S3.
//
// A store is a cache and a record, never the truth. This package must not know how a pipeline runs; it checks that what it reads was
// written by pipectl, for this pipeline, in a version it knows.
package results

import (
	"encoding/json"
	"fmt"

	"pipectl.dev/steps"
)

// Owner is the pipeline a store belongs to. A result of another one is refused.
type Owner struct {
	Pipeline string
	Env      string
	Identity string // as in owner tags; "" when it is not known, as for `result get` without credentials
}

// Codes of results that cannot be used. A foreign one must not be overwritten, a bad one may.
const (
	BadResult     = "BadResult"
	ForeignResult = "ForeignResult"
)

// Decode reads a result that stood at where (a path or URL) and checks that it is what was expected.
func Decode(where string, raw []byte, owner Owner, stage string) (*steps.Result, error) {
	bad := func(code, what, hint string) error {
		return &steps.Error{
			Code: code, Category: steps.Precondition, Message: fmt.Sprintf("%s: %s", where, what),
			Hints: []string{hint + "; without it the outputs are found out again from what exists"},
		}
	}
	var r steps.Result
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, bad(BadResult, "is no result, or only a piece of one: "+err.Error(), "remove it")
	}
	const otherPlace = "remove it, or choose another place by --results"
	switch {
	case r.Kind != "StageResult":
		return nil, bad(ForeignResult, fmt.Sprintf("is no result: kind %q", r.Kind), otherPlace)
	case r.APIVersion != steps.APIVersion:
		return nil, bad(ForeignResult, fmt.Sprintf("has apiVersion %q, known is %s", r.APIVersion, steps.APIVersion), "use the pipectl that wrote it, or remove it")
	case r.Pipeline != owner.Pipeline || r.Env != owner.Env:
		return nil, bad(ForeignResult, fmt.Sprintf("belongs to pipeline %s, not %s", title(r.Pipeline, r.Env), title(owner.Pipeline, owner.Env)), otherPlace)
	case owner.Identity != "" && r.Identity != "" && r.Identity != owner.Identity:
		return nil, bad(ForeignResult, fmt.Sprintf("belongs to %s, not %s", r.Identity, owner.Identity), otherPlace)
	case r.Stage != stage:
		return nil, bad(BadResult, fmt.Sprintf("is of stage %q, not %q", r.Stage, stage), "remove it")
	}
	return &r, nil
}

func title(pipeline, env string) string {
	if env == "" {
		return fmt.Sprintf("%q", pipeline)
	}
	return fmt.Sprintf("%q (env %s)", pipeline, env)
}
