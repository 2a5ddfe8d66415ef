package syncargocd

import (
	"cmp"
	"fmt"
	"slices"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	"k8s.io/apimachinery/pkg/labels"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/spec"
)

// Spec is the step's `with:`.
type Spec struct {
	Cluster         steps.ClusterRef `yaml:"cluster,omitempty" json:"cluster,omitempty" jsonschema_description:"cluster that Argo CD runs in, for the way by custom resources; else server"`
	Server          *Server          `yaml:"server,omitempty" json:"server,omitempty" jsonschema_description:"argocd-server, for the way by its REST API; else cluster"`
	Namespace       string           `yaml:"namespace,omitempty" json:"namespace,omitempty" jsonschema:"default=argocd" jsonschema_description:"namespace of Argo CD, and of Applications that name none"`
	Apps            []App            `yaml:"apps" json:"apps" jsonschema:"required" jsonschema_description:"Applications to sync; independent ones in parallel"`
	MaxParallel     int              `yaml:"maxParallel,omitempty" json:"maxParallel,omitempty" jsonschema:"default=10,minimum=1" jsonschema_description:"how many are synced at once; comparing is not limited"`
	OnFailure       string           `yaml:"onFailure,omitempty" json:"onFailure,omitempty" jsonschema:"default=continue,enum=continue,enum=failFast" jsonschema_description:"continue: sync what does not depend on a failed one. failFast: begin no other sync"`
	Refresh         string           `yaml:"refresh,omitempty" json:"refresh,omitempty" jsonschema:"default=normal,enum=normal,enum=hard,enum=shared" jsonschema_description:"hard: generate manifests anew, past Argo CD's cache. shared: one comparison for all Applications of the same sources"`
	Prune           bool             `yaml:"prune,omitempty" json:"prune,omitempty" jsonschema_description:"also remove what Git no longer holds; an Application whose own automatic sync prunes does so anyway"`
	DryRun          bool             `yaml:"dryRun,omitempty" json:"dryRun,omitempty" jsonschema_description:"have Argo CD try the sync without changing anything; health is not waited for"`
	ServerSideApply bool             `yaml:"serverSideApply,omitempty" json:"serverSideApply,omitempty" jsonschema_description:"short for the sync option ServerSideApply=true"`
	Force           bool             `yaml:"force,omitempty" json:"force,omitempty" jsonschema_description:"delete and make anew what cannot be changed in place"`
	SyncOptions     []string         `yaml:"syncOptions,omitempty" json:"syncOptions,omitempty" jsonschema_description:"sync options such as Validate=false, laid over those of the Application"`
	Retry           *Retry           `yaml:"retry,omitempty" json:"retry,omitempty" jsonschema_description:"how Argo CD tries a failed sync again; default: what the Application says"`
	Appear          spec.Duration    `yaml:"appear,omitempty" json:"appear,omitempty" jsonschema:"default=3m" jsonschema_description:"how long an Application that does not exist yet is waited for, such as one that an app of apps brings"`
	HealthyFor      spec.Duration    `yaml:"healthyFor,omitempty" json:"healthyFor,omitempty" jsonschema:"default=20s" jsonschema_description:"how long an Application must stay healthy after a change before that counts"`
	DegradedGrace   spec.Duration    `yaml:"degradedGrace,omitempty" json:"degradedGrace,omitempty" jsonschema:"default=1m" jsonschema_description:"how long it may be Degraded, or a pod of it without image or in a crash loop, before that is a failure"`
	Timeout         spec.Duration    `yaml:"timeout,omitempty" json:"timeout,omitempty" jsonschema:"default=15m" jsonschema_description:"longest time for one Application, without waiting for those it depends on"`
}

// Server is where argocd-server answers.
type Server struct {
	URL      string       `yaml:"url" json:"url" jsonschema:"required" jsonschema_description:"https://HOST[:PORT][/ROOTPATH]"`
	Token    steps.Secret `yaml:"token" json:"token" jsonschema:"required" jsonschema_description:"token of an account or project role that may get and sync the Applications, from a secret parameter"`
	CA       string       `yaml:"ca,omitempty" json:"ca,omitempty" jsonschema_description:"PEM of the authority that signed its certificate; default: those that this machine trusts"`
	CAFile   string       `yaml:"caFile,omitempty" json:"caFile,omitempty" jsonschema_description:"path of the same"`
	Insecure bool         `yaml:"insecure,omitempty" json:"insecure,omitempty" jsonschema_description:"do not check the certificate, or speak plain http"`
}

// Retry is how Argo CD tries a failed sync again.
type Retry struct {
	Limit       int           `yaml:"limit" json:"limit" jsonschema:"required,minimum=-1" jsonschema_description:"how often; -1 is without end"`
	Duration    spec.Duration `yaml:"duration,omitempty" json:"duration,omitempty" jsonschema:"default=5s" jsonschema_description:"first pause"`
	Factor      int           `yaml:"factor,omitempty" json:"factor,omitempty" jsonschema:"default=2,minimum=1" jsonschema_description:"each pause is so many times the one before"`
	MaxDuration spec.Duration `yaml:"maxDuration,omitempty" json:"maxDuration,omitempty" jsonschema:"default=3m" jsonschema_description:"longest pause"`
}

// App is one Application, or a selection of them.
type App struct {
	Name           string   `yaml:"name,omitempty" json:"name,omitempty" jsonschema_description:"name of the Application; or one of selector, project, applicationSet; or namespace alone, for all in it"`
	Group          string   `yaml:"group,omitempty" json:"group,omitempty" jsonschema_description:"name of the selection, for dependsOn"`
	Namespace      string   `yaml:"namespace,omitempty" json:"namespace,omitempty" jsonschema_description:"namespace of the Applications, where it is not that of Argo CD"`
	Selector       string   `yaml:"selector,omitempty" json:"selector,omitempty" jsonschema_description:"label selector, such as team=web,tier!=db"`
	Project        string   `yaml:"project,omitempty" json:"project,omitempty" jsonschema_description:"all Applications of the AppProject, with selector those of them that it matches"`
	ApplicationSet string   `yaml:"applicationSet,omitempty" json:"applicationSet,omitempty" jsonschema_description:"all Applications that the ApplicationSet has made, once it has made all it wants to"`
	Expect         int      `yaml:"expect,omitempty" json:"expect,omitempty" jsonschema:"minimum=0" jsonschema_description:"how many Applications a selection must find, within appear; default: at least one"`
	Wave           int      `yaml:"wave,omitempty" json:"wave,omitempty" jsonschema_description:"entries of a lower wave are done first"`
	DependsOn      []string `yaml:"dependsOn,omitempty" json:"dependsOn,omitempty" jsonschema_description:"names or groups in the list that must be synced and healthy first"`
	Revision       string   `yaml:"revision,omitempty" json:"revision,omitempty" jsonschema_description:"commit, tag or branch to sync; a full commit id is also what must be live in the end. Default: what the Application follows"`
	Revisions      []string `yaml:"revisions,omitempty" json:"revisions,omitempty" jsonschema_description:"as revision, for an Application of several sources: one each, empty for what the source follows"`
	Want           Want     `yaml:"want,omitempty" json:"want,omitempty" jsonschema_description:"what must be live in the end, beside being synced and healthy"`
	Resources      []string `yaml:"resources,omitempty" json:"resources,omitempty" jsonschema_description:"sync only these, as [!]GROUP:KIND:[NAMESPACE/]NAME, * for any; hooks do not run then"`
	Children       string   `yaml:"children,omitempty" json:"children,omitempty" jsonschema:"default=wait,enum=wait,enum=sync,enum=ignore" jsonschema_description:"Applications that this one consists of, and theirs: wait until they are synced by themselves and healthy, sync them too, or ignore them"`
}

// Want is what must be live in the end.
type Want struct {
	Commit string   `yaml:"commit,omitempty" json:"commit,omitempty" jsonschema_description:"exactly this commit; full id"`
	Pushed string   `yaml:"pushed,omitempty" json:"pushed,omitempty" jsonschema_description:"this commit, or what the branch's head has become since it was pushed, by git ls-remote from here; full id"`
	Images []string `yaml:"images,omitempty" json:"images,omitempty" jsonschema_description:"images that the Application must use, with tag or digest as it stands in its pods"`
}

// Validate checks where Argo CD is, what is selected, and the order of applications.
func (s *Spec) Validate() []spec.Problem {
	var out []spec.Problem
	switch {
	case s.Server == nil:
		if out = s.Cluster.Check("cluster"); len(out) > 0 && s.Cluster.IsZero() {
			out[0].Message, out[0].Hint = "expected cluster or server", "`cluster: {context: NAME}` reaches Argo CD by kubeconfig, `server: {url: ..., token: ...}` by argocd-server"
		}
	case !s.Cluster.IsZero():
		out = append(out, spec.Problem{Path: "server", Message: "stands beside cluster", Hint: "one way to Argo CD is enough: leave out the other"})
	case s.Server.CA != "" && s.Server.CAFile != "":
		out = append(out, spec.Problem{Path: "server.caFile", Message: "stands beside ca"})
	}
	out = append(out, kube.CheckNamespace("namespace", s.Namespace)...)
	if len(s.Apps) == 0 {
		out = append(out, spec.Problem{Path: "apps", Message: "expected at least one Application"})
	}
	seen := map[string]bool{}
	for i, a := range s.Apps {
		at := spec.Index("apps", i)
		out = append(out, a.check(at)...)
		if key := a.key(); key != "" {
			if seen[key] {
				out = append(out, spec.Problem{Path: spec.Join(at, "name"), Message: key + " is given twice"})
			}
			seen[key] = true
		}
	}
	nameless := slices.ContainsFunc(s.Apps, func(a App) bool { return a.key() == "" && !a.selects() && a.Namespace == "" }) // not known yet
	for i, a := range s.Apps {
		for j, d := range a.DependsOn {
			if !seen[d] && !nameless {
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

// key is what dependsOn calls an entry by, "" for none.
func (a App) key() string {
	if a.Group != "" {
		return a.Group
	}
	return a.Name
}

// selects reports an entry that may be more than one Application.
func (a App) selects() bool { return a.Selector != "" || a.Project != "" || a.ApplicationSet != "" }

func (a App) check(at string) []spec.Problem {
	var out []spec.Problem
	bad := func(field, message, hint string) {
		out = append(out, spec.Problem{Path: spec.Join(at, field), Message: message, Hint: hint})
	}
	switch {
	case a.Name == "" && !a.selects() && a.Namespace == "":
		bad("name", "expected name, selector, project, applicationSet or namespace", "`namespace: NAME` alone is all Applications in it")
	case a.Name != "" && a.selects(), a.ApplicationSet != "" && (a.Selector != "" || a.Project != ""):
		bad("name", "expected one of name, selector and project, applicationSet", "make it an entry of its own")
	case a.Name != "" && (a.Group != "" || a.Expect != 0):
		bad("name", "group and expect are for selections", "dependsOn takes the name")
	}
	out = append(out, kube.CheckName(spec.Join(at, "name"), a.Name)...)
	out = append(out, kube.CheckNamespace(spec.Join(at, "namespace"), a.Namespace)...)
	if _, err := labels.Parse(a.Selector); err != nil {
		bad("selector", "expected a label selector: "+err.Error(), "such as team=web,tier!=db")
	}
	for field, sha := range map[string]string{"want.commit": a.Want.Commit, "want.pushed": a.Want.Pushed} {
		if sha != "" && !commit.MatchString(sha) {
			bad(field, fmt.Sprintf("expected a full commit id, got %q", sha), "`git rev-parse HEAD` prints it")
		}
	}
	if a.Want.Commit != "" && a.Want.Pushed != "" {
		bad("want.pushed", "stands beside commit", "a commit that must be live exactly leaves nothing else")
	}
	if a.Want.Pushed != "" && a.Revision != "" {
		bad("want.pushed", "stands beside revision", "pushed is for what the Application follows by itself")
	}
	for i, r := range a.Resources {
		if _, ok := parseFilter(r); !ok {
			bad(spec.Index("resources", i), fmt.Sprintf("expected [!]GROUP:KIND:[NAMESPACE/]NAME, got %q", r), "such as apps:Deployment:web or :ConfigMap:* (no group)")
		}
	}
	return out
}

// ResourceKeys names the Applications: two stages that sync the same one would wait for each other's operations. What a selection will
// find is not known yet.
func (s *Spec) ResourceKeys() []string {
	where := s.Cluster.String()
	if s.Server != nil {
		where = s.Server.URL
	} else if s.Cluster.IsZero() {
		return nil
	}
	var out []string
	for _, a := range s.Apps {
		if a.Name != "" {
			out = append(out, "argocd:Application/"+where+"/"+cmp.Or(a.Namespace, s.Namespace)+"/"+a.Name)
		}
	}
	return out
}

// options are the sync options that the fields make.
func (s Spec) options() []string {
	if s.ServerSideApply {
		return merged(s.SyncOptions, []string{"ServerSideApply=true"})
	}
	return s.SyncOptions
}

// strategy is the retry as Argo CD spells it.
func (r *Retry) strategy() *argo.RetryStrategy {
	if r == nil {
		return nil
	}
	factor := int64(r.Factor)
	return &argo.RetryStrategy{Limit: int64(r.Limit), Backoff: &argo.Backoff{Duration: r.Duration.String(), Factor: &factor, MaxDuration: r.MaxDuration.String()}}
}

// filter reads resources; Validate has refused what cannot be read.
func (a App) filter() filter {
	var out filter
	for _, r := range a.Resources {
		if p, ok := parseFilter(r); ok {
			out = append(out, p)
		}
	}
	return out
}
