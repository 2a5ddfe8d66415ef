package syncargocd

import (
	"fmt"
	"regexp"
	"slices"

	"pipectl.dev/steps"
	"pipectl.dev/steps/spec"
)

// Spec is the step's `with:`.
type Spec struct {
	Cluster       steps.ClusterRef `yaml:"cluster" json:"cluster" jsonschema:"required" jsonschema_description:"cluster that Argo CD runs in"`
	Namespace     string           `yaml:"namespace,omitempty" json:"namespace,omitempty" jsonschema:"default=argocd" jsonschema_description:"namespace of Argo CD and the Applications"`
	Apps          []App            `yaml:"apps" json:"apps" jsonschema:"required" jsonschema_description:"Applications to sync; independent ones in parallel"`
	MaxParallel   int              `yaml:"maxParallel,omitempty" json:"maxParallel,omitempty" jsonschema:"default=10,minimum=1" jsonschema_description:"how many are synced at once"`
	Prune         bool             `yaml:"prune,omitempty" json:"prune,omitempty" jsonschema_description:"also remove what Git no longer holds; an Application whose own automatic sync prunes does so anyway"`
	SyncOptions   []string         `yaml:"syncOptions,omitempty" json:"syncOptions,omitempty" jsonschema_description:"sync options such as ServerSideApply=true, beside those of the Application"`
	Appear        spec.Duration    `yaml:"appear,omitempty" json:"appear,omitempty" jsonschema:"default=3m" jsonschema_description:"how long an Application that does not exist yet is waited for, such as one that an app of apps brings"`
	HealthyFor    spec.Duration    `yaml:"healthyFor,omitempty" json:"healthyFor,omitempty" jsonschema:"default=20s" jsonschema_description:"how long an Application must stay healthy after a change before that counts"`
	DegradedGrace spec.Duration    `yaml:"degradedGrace,omitempty" json:"degradedGrace,omitempty" jsonschema:"default=1m" jsonschema_description:"how long it may be Degraded before that is a failure"`
	Timeout       spec.Duration    `yaml:"timeout,omitempty" json:"timeout,omitempty" jsonschema:"default=15m" jsonschema_description:"longest time for one Application, without waiting for those it depends on"`
}

// App is one Application.
type App struct {
	Name      string   `yaml:"name" json:"name" jsonschema:"required" jsonschema_description:"name of the Application"`
	DependsOn []string `yaml:"dependsOn,omitempty" json:"dependsOn,omitempty" jsonschema_description:"Applications in the list that must be synced and healthy first"`
	Revision  string   `yaml:"revision,omitempty" json:"revision,omitempty" jsonschema_description:"commit, tag or branch to sync; a full commit id is also what must be live in the end. Default: what the Application follows"`
}

// Outputs is what the step leaves for later stages.
type Outputs struct {
	Apps map[string]AppResult `json:"apps" jsonschema_description:"the Applications by name"`
	URLs map[string]string    `json:"urls" jsonschema_description:"where each Application answers, by name: an Ingress or load balancer, else its Service inside the cluster; empty when it has none"`
}

// AppResult is how one Application ended.
type AppResult struct {
	Changed         bool       `json:"changed" jsonschema_description:"whether a sync was made for it"`
	Revision        string     `json:"revision" jsonschema_description:"revision that is live (of the first source)"`
	Revisions       []string   `json:"revisions" jsonschema_description:"revisions that are live, one a source"`
	Sync            string     `json:"sync" jsonschema_description:"Synced, OutOfSync or Unknown"`
	Health          string     `json:"health" jsonschema_description:"Healthy, Progressing, Degraded, Suspended, Missing or Unknown"`
	Resources       []Resource `json:"resources" jsonschema_description:"what the sync did, resource by resource; empty when none was made"`
	Images          []string   `json:"images" jsonschema_description:"container images that it uses"`
	URLs            []string   `json:"urls" jsonschema_description:"addresses that Argo CD knows of it, or that were found"`
	DurationSeconds float64    `json:"durationSeconds" jsonschema_description:"how long it took"`
}

// Resource is what a sync did to one resource.
type Resource struct {
	Kind      string `json:"kind" jsonschema_description:"kind, with its group where it has one"`
	Namespace string `json:"namespace" jsonschema_description:"namespace, empty for a cluster-wide kind"`
	Name      string `json:"name" jsonschema_description:"name"`
	Action    string `json:"action" jsonschema_description:"Synced, SyncFailed, Pruned, PruneSkipped, or the phase of a hook"`
	Hook      string `json:"hook" jsonschema_description:"PreSync, Sync, PostSync or SyncFail for a hook, else empty"`
	Message   string `json:"message" jsonschema_description:"what Argo CD says of it"`
}

var appName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

// Validate checks names and the order of applications.
func (s *Spec) Validate() []spec.Problem {
	out := s.Cluster.Check("cluster")
	if len(s.Apps) == 0 {
		out = append(out, spec.Problem{Path: "apps", Message: "expected at least one Application"})
	}
	seen := map[string]bool{}
	for i, a := range s.Apps {
		at := spec.Join(spec.Index("apps", i), "name")
		switch {
		case a.Name == "": // reported as missing, or not known yet
		case !appName.MatchString(a.Name):
			out = append(out, spec.Problem{Path: at, Message: fmt.Sprintf("expected the name of an Application, got %q", a.Name)})
		case seen[a.Name]:
			out = append(out, spec.Problem{Path: at, Message: a.Name + " is given twice"})
		}
		seen[a.Name] = true
	}
	for i, a := range s.Apps {
		for j, d := range a.DependsOn {
			if !seen[d] {
				at := spec.Index(spec.Join(spec.Index("apps", i), "dependsOn"), j)
				out = append(out, spec.Problem{Path: at, Message: fmt.Sprintf("%q is not in apps", d), Hint: "an Application that somebody else syncs needs no order here"})
			}
		}
	}
	if at, cycle := circle(s.Apps); cycle != "" {
		out = append(out, spec.Problem{Path: spec.Join(spec.Index("apps", at), "dependsOn"), Message: "is a circle: " + cycle})
	}
	return out
}

// ResourceKeys names the Applications: two stages that sync the same one would wait for each other's operations.
func (s *Spec) ResourceKeys() []string {
	if s.Cluster.IsZero() {
		return nil
	}
	var out []string
	for _, a := range s.Apps {
		if a.Name != "" {
			out = append(out, "argocd:Application/"+s.Cluster.String()+"/"+s.Namespace+"/"+a.Name)
		}
	}
	return out
}

// circle finds Applications that wait for each other, and where one of them stands.
func circle(apps []App) (index int, names string) {
	byName := map[string]int{}
	for i, a := range apps {
		byName[a.Name] = i
	}
	const visiting, done = 1, 2
	mark := make([]int, len(apps))
	var walk func(i int, path []string) string
	walk = func(i int, path []string) string {
		name := apps[i].Name
		if mark[i] == visiting {
			from := slices.Index(path, name)
			text := ""
			for _, p := range path[from:] {
				text += p + " -> "
			}
			return text + name
		}
		if mark[i] == done {
			return ""
		}
		mark[i] = visiting
		for _, d := range apps[i].DependsOn {
			if j, ok := byName[d]; ok {
				if found := walk(j, append(path, name)); found != "" {
					return found
				}
			}
		}
		mark[i] = done
		return ""
	}
	for i := range apps {
		if found := walk(i, nil); found != "" {
			return i, found
		}
	}
	return 0, ""
}
