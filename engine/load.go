package engine

import (
	"pipectl.dev/steps"
	"pipectl.dev/steps/spec"
)

// LoadOptions is everything Load looks at. It reads no file and no environment by itself.
type LoadOptions struct {
	File    string             // shown in problems; its directory is what relative paths are relative to
	Source  []byte             // content of File
	Catalog []steps.Definition // steps that may be used
	Params  map[string]string  // --param k=v
	// ParamFiles are --params FILE, later ones win: YAML maps, or `terraform output -json`.
	ParamFiles []ParamFile
	Env        string                      // --env NAME
	Getenv     func(string) (string, bool) // os.LookupEnv; nil: an empty environment
	Tool       string                      // version of this build, for requires.pipectl; "" or a development build satisfies all
	// AllowMissing accepts required params that have no value, as `validate` does: what depends on them is checked by type only.
	AllowMissing bool
}

// ParamFile is one file of params.
type ParamFile struct {
	Name   string
	Source []byte
}

// Load reads a pipeline and finds everything wrong with it at once, sorted by position. The pipeline is nil when there are problems.
// Load is pure.
func Load(o LoadOptions) (*Pipeline, spec.Problems) {
	return nil, nil
}
