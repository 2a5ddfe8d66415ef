package engine

import (
	"gopkg.in/yaml.v3"

	"pipectl.dev/steps/spec"
)

// Document is the shape of a pipeline file; the published schema is made from it.
type Document struct {
	APIVersion string   `yaml:"apiVersion" json:"apiVersion" jsonschema:"required,enum=pipectl.dev/v1" jsonschema_description:"version of the format"`
	Kind       string   `yaml:"kind" json:"kind" jsonschema:"required,enum=Pipeline" jsonschema_description:"always Pipeline"`
	Metadata   Metadata `yaml:"metadata" json:"metadata" jsonschema:"required" jsonschema_description:"name of the pipeline"`
	Spec       Body     `yaml:"spec" json:"spec" jsonschema:"required" jsonschema_description:"what to run"`
}

// Metadata names a pipeline.
type Metadata struct {
	Name string `yaml:"name" json:"name" jsonschema:"required,pattern=^[a-z]([-a-z0-9]{0\\,38}[a-z0-9])?$" jsonschema_description:"part of the identity that everything made is tagged with: a new name is a new, empty world"`
}

// Body is what stands below spec.
type Body struct {
	Requires Requires             `yaml:"requires,omitempty" json:"requires,omitzero" jsonschema_description:"what the file needs of pipectl"`
	Region   string               `yaml:"region,omitempty" json:"region,omitempty" jsonschema_description:"AWS region; default: that of the environment"`
	Account  string               `yaml:"account,omitempty" json:"account,omitempty" jsonschema_description:"the only AWS account it may run in"`
	Params   map[string]ParamDoc  `yaml:"params,omitempty" json:"params,omitempty" jsonschema_description:"values given from outside, by name"`
	Stages   []StageDoc           `yaml:"stages" json:"stages" jsonschema:"required" jsonschema_description:"named uses of steps; a reference to another stage makes the order"`
	Finally  []StageDoc           `yaml:"finally,omitempty" json:"finally,omitempty" jsonschema_description:"stages that run after all others, however those ended"`
	Outputs  map[string]yaml.Node `yaml:"outputs,omitempty" json:"outputs,omitempty" jsonschema_description:"values that the run's result carries"`
	Env      map[string]EnvDoc    `yaml:"env,omitempty" json:"env,omitempty" jsonschema_description:"environments that --env may choose, and what differs in them"`
}

// Requires says what the file needs of pipectl.
type Requires struct {
	Pipectl string `yaml:"pipectl,omitempty" json:"pipectl,omitempty" jsonschema_description:"semantic version range, such as >=0.1"`
}

// ParamDoc declares a param.
type ParamDoc struct {
	Type        string    `yaml:"type,omitempty" json:"type,omitempty" jsonschema:"enum=string,enum=int,enum=bool,enum=list,enum=object,enum=secret,default=string" jsonschema_description:"type of the value"`
	Default     yaml.Node `yaml:"default,omitempty" json:"default,omitempty" jsonschema_description:"value when none is given"`
	From        *From     `yaml:"from,omitempty" json:"from,omitempty" jsonschema_description:"where the value is kept"`
	Optional    bool      `yaml:"optional,omitempty" json:"optional,omitempty" jsonschema_description:"may have no value"`
	Description string    `yaml:"description,omitempty" json:"description,omitempty" jsonschema_description:"for people"`
}

// StageDoc declares a stage.
type StageDoc struct {
	Name            string        `yaml:"name" json:"name" jsonschema:"required" jsonschema_description:"letters and digits, starting with a small letter"`
	Step            string        `yaml:"step" json:"step" jsonschema:"required" jsonschema_description:"the step it uses; see pipectl steps"`
	With            yaml.Node     `yaml:"with,omitempty" json:"with,omitempty" jsonschema_description:"the step's own spec"`
	Needs           []string      `yaml:"needs,omitempty" json:"needs,omitempty" jsonschema_description:"stages that go first although nothing of them is used"`
	When            string        `yaml:"when,omitempty" json:"when,omitempty" jsonschema_description:"condition; false skips the stage"`
	Timeout         spec.Duration `yaml:"timeout,omitempty" json:"timeout,omitzero" jsonschema_description:"longest time of one attempt"`
	Retries         int           `yaml:"retries,omitempty" json:"retries,omitempty" jsonschema:"minimum=0,maximum=10" jsonschema_description:"further attempts after an error that may pass"`
	ContinueOnError bool          `yaml:"continueOnError,omitempty" json:"continueOnError,omitempty" jsonschema_description:"later stages run although this one did not succeed; the run then ends partly failed"`
	Confirm         string        `yaml:"confirm,omitempty" json:"confirm,omitempty" jsonschema:"enum=ask" jsonschema_description:"ask before it changes anything"`
}

// EnvDoc is what differs in one environment.
type EnvDoc struct {
	Region  string               `yaml:"region,omitempty" json:"region,omitempty" jsonschema_description:"instead of spec.region"`
	Account string               `yaml:"account,omitempty" json:"account,omitempty" jsonschema_description:"instead of spec.account"`
	Params  map[string]yaml.Node `yaml:"params,omitempty" json:"params,omitempty" jsonschema_description:"instead of the params' defaults"`
}
