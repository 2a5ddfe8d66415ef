package applymanifests

import (
	"fmt"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/spec"
)

// Spec is the step's `with:`.
type Spec struct {
	Cluster   steps.ClusterRef `yaml:"cluster" json:"cluster" jsonschema:"required" jsonschema_description:"cluster to apply to"`
	Paths     []string         `yaml:"paths,omitempty" json:"paths,omitempty" jsonschema_description:"files, directories (all *.yaml in it, or its kustomization) and https URLs; relative to the pipeline file"`
	Namespace string           `yaml:"namespace,omitempty" json:"namespace,omitempty" jsonschema:"default=default" jsonschema_description:"namespace of objects that name none"`
	Secrets   []SecretSpec     `yaml:"secrets,omitempty" json:"secrets,omitempty" jsonschema_description:"Secrets made from parameters; a namespace that is missing is made"`
	Set       []Setting        `yaml:"set,omitempty" json:"set,omitempty" jsonschema_description:"fields of objects in paths that follow parameters"`
	Wait      *bool            `yaml:"wait,omitempty" json:"wait,omitempty" jsonschema:"default=true" jsonschema_description:"wait until workloads are healthy"`
	Timeout   spec.Duration    `yaml:"timeout,omitempty" json:"timeout,omitempty" jsonschema:"default=10m" jsonschema_description:"longest wait for health"`
	Prune     bool             `yaml:"prune,omitempty" json:"prune,omitempty" jsonschema_description:"remove objects that this stage's paths brought earlier and no longer hold"`
}

// SecretSpec is one Secret. When the manifests hold a Secret of that name, the values are put into it.
type SecretSpec struct {
	Namespace string                  `yaml:"namespace" json:"namespace" jsonschema:"required" jsonschema_description:"namespace, made when missing"`
	Name      string                  `yaml:"name" json:"name" jsonschema:"required" jsonschema_description:"name of the Secret"`
	Labels    map[string]string       `yaml:"labels,omitempty" json:"labels,omitempty" jsonschema_description:"labels, such as those by which Argo CD finds repositories"`
	Type      string                  `yaml:"type,omitempty" json:"type,omitempty" jsonschema:"default=Opaque" jsonschema_description:"type of the Secret"`
	Data      map[string]steps.Secret `yaml:"data,omitempty" json:"data,omitempty" jsonschema_description:"values; never shown in plans, events or results"`
	Generate  []string                `yaml:"generate,omitempty" json:"generate,omitempty" jsonschema_description:"keys that get a random value once and keep it, such as server.secretkey of argocd-secret"`
}

// Setting puts a value into one field of one object.
type Setting struct {
	Kind      string `yaml:"kind" json:"kind" jsonschema:"required" jsonschema_description:"kind of the object"`
	Name      string `yaml:"name" json:"name" jsonschema:"required" jsonschema_description:"name of the object"`
	Namespace string `yaml:"namespace,omitempty" json:"namespace,omitempty" jsonschema_description:"namespace, where kind and name do not suffice"`
	Field     string `yaml:"field" json:"field" jsonschema:"required" jsonschema_description:"path of the field, such as spec.source.repoURL or spec.template.spec.containers[0].image"`
	Value     any    `yaml:"value" json:"value" jsonschema:"required" jsonschema_description:"value of the field"`
}

// Outputs is what the step leaves for later stages.
type Outputs struct {
	Objects int      `json:"objects" jsonschema_description:"number of objects that the manifests hold"`
	Applied []string `json:"applied" jsonschema_description:"the objects, as Kind namespace/name"`
	Images  []string `json:"images" jsonschema_description:"container images that the manifests name"`
}

// Validate checks what tags cannot say.
func (s *Spec) Validate() []spec.Problem {
	out := append(s.Cluster.Check("cluster"), kube.CheckNamespace("namespace", s.Namespace)...)
	if len(s.Paths) == 0 && len(s.Secrets) == 0 {
		out = append(out, spec.Problem{Path: "paths", Message: "expected at least one path or secret"})
	}
	for i, p := range s.Paths {
		if p == "" {
			out = append(out, spec.Problem{Path: spec.Index("paths", i), Message: "expected a path, got nothing"})
		}
	}
	seen := map[string]bool{}
	for i, x := range s.Secrets {
		at := spec.Index("secrets", i)
		out = append(out, kube.CheckNamespace(spec.Join(at, "namespace"), x.Namespace)...)
		out = append(out, kube.CheckName(spec.Join(at, "name"), x.Name)...)
		if len(x.Data) == 0 && len(x.Generate) == 0 {
			out = append(out, spec.Problem{Path: spec.Join(at, "data"), Message: "expected a value here or a key in generate"})
		}
		for j, key := range x.Generate {
			if _, both := x.Data[key]; both {
				out = append(out, spec.Problem{Path: spec.Index(spec.Join(at, "generate"), j), Message: fmt.Sprintf("%q has a value in data", key)})
			}
		}
		if id := x.Namespace + "/" + x.Name; seen[id] && x.Name != "" {
			out = append(out, spec.Problem{Path: at, Message: "secret " + id + " is given twice"})
		} else {
			seen[id] = true
		}
	}
	for i, x := range s.Set {
		if _, err := parseField(x.Field); err != nil {
			out = append(out, spec.Problem{Path: spec.Join(spec.Index("set", i), "field"), Message: err.Error()})
		}
	}
	return out
}

// ResourceKeys names the Secrets, so that two stages cannot make the same.
func (s *Spec) ResourceKeys() []string {
	if s.Cluster.IsZero() {
		return nil
	}
	var out []string
	for _, x := range s.Secrets {
		if x.Namespace != "" && x.Name != "" {
			out = append(out, "k8s:Secret/"+s.Cluster.String()+"/"+x.Namespace+"/"+x.Name)
		}
	}
	return out
}

func (s *Spec) waits() bool { return s.Wait == nil || *s.Wait }
