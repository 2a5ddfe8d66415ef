package engine

import (
	"reflect"
	"time"

	"gopkg.in/yaml.v3"

	"pipectl.dev/engine/expr"
	"pipectl.dev/steps"
)

var stringType = reflect.TypeFor[string]()

// Pipeline is a file that was found to be sound.
type Pipeline struct {
	File    string
	Digest  string // of the file's text
	Dir     string // relative paths are relative to it
	Name    string
	Env     string // --env
	Region  string // of the pipeline; "" leaves it to the environment
	Account string // the only account it may run in; "" allows any
	Params  []Param
	// Stages are in file order, those of `finally` last.
	Stages  []*Stage
	Outputs []PipelineOutput

	byName  map[string]*Stage
	catalog []steps.Definition
}

// Stage is one named use of a step.
type Stage struct {
	Name       string
	Definition steps.Definition
	Needs      []string // every stage it waits for: by reference or by `needs`, in file order
	References []string // those of Needs whose outputs or status it uses
	Finally    bool
	Confirm    bool          // confirm: ask
	Timeout    time.Duration // zero: none
	Retries    int
	Continue   bool // continueOnError
	Line, Col  int

	with     *yaml.Node
	fields   []field
	when     *expr.Expr
	whenNode *yaml.Node
}

// Param is a declared param with the value it got.
type Param struct {
	Name        string
	Type        string // string, int, bool, list, object, secret
	Description string
	Source      string // where the value came from: "--param", a file name, "PIPECTL_PARAM_X", "from", "default"; "" when it has none
	Value       any    // nil for secrets, which are resolved when a run needs them, and for params without a value
	From        *From
	Optional    bool
	Line, Col   int

	secret string // value of a secret that came by a file or an environment variable
}

// Secret reports whether the value must not be seen.
func (p Param) Secret() bool { return p.Type == "secret" }

// PipelineOutput is a named value that the run's result carries.
type PipelineOutput struct {
	Name  string
	stage *Stage // its value is evaluated as a `with` is
}

// Stage returns the stage of that name.
func (p *Pipeline) Stage(name string) (*Stage, bool) {
	s, ok := p.byName[name]
	return s, ok
}

// AWS reports whether any step needs an account, so that the identity is account and region.
func (p *Pipeline) AWS() bool {
	for _, s := range p.Stages {
		if s.Definition.AWS {
			return true
		}
	}
	return false
}
