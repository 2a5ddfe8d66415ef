package rehearsal

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"
)

// outline is what a rehearsal must know of a pipeline to make a world for it: what it asks people and secret stores for. Everything
// else is the engine's business, in the child.
type outline struct {
	Values   map[string]string `yaml:"-"` // of the params that are not secret, as the engine found them
	Metadata struct {
		Name string `yaml:"name"`
	} `yaml:"metadata"`
	Spec struct {
		Region  string           `yaml:"region"`
		Account string           `yaml:"account"`
		Params  map[string]param `yaml:"params"`
		Stages  []stage          `yaml:"stages"`
	} `yaml:"spec"`
}

type param struct {
	Type    string    `yaml:"type"`
	Default yaml.Node `yaml:"default"`
	From    struct {
		SSM string `yaml:"ssm"`
		Env string `yaml:"env"`
	} `yaml:"from"`
}

type stage struct {
	Name    string    `yaml:"name"`
	Step    string    `yaml:"step"`
	Confirm string    `yaml:"confirm"`
	With    yaml.Node `yaml:"with"`
}

func readOutline(file string) (outline, error) {
	var o outline
	raw, err := os.ReadFile(file)
	if err != nil {
		return o, err
	}
	if err := yaml.Unmarshal(raw, &o); err != nil {
		return o, fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	if o.Spec.Region == "" {
		o.Spec.Region = "ap-northeast-2"
	}
	return o, nil
}

// gitURLs are the defaults of string params that name a Git repository: a rehearsal has none of the network, so each is replaced by
// a local directory.
func (o outline) gitURLs() map[string]string {
	urls := map[string]string{}
	for name, p := range o.Spec.Params {
		if v := p.Default.Value; p.Type == "string" && strings.HasPrefix(v, "https://") && strings.Contains(v, "git") {
			urls[name] = v
		}
	}
	return urls
}

// zone is where a data volume of the pipeline is to be, else the first of the region.
func (o outline) zone() string {
	r := reader{o: o, n: &needs{Params: map[string]string{}}}
	for _, s := range o.Spec.Stages {
		if zone := r.text(at(&s.With, "zone"), ""); s.Step == "data-volume" && zone != "" {
			return zone
		}
	}
	return o.Spec.Region + "a"
}

// approvals are the stages that ask before they act. In a rehearsal nothing can be lost, so all are approved.
func (o outline) approvals() []string {
	var names []string
	for _, s := range o.Spec.Stages {
		if s.Confirm != "" {
			names = append(names, s.Name)
		}
	}
	return names
}
