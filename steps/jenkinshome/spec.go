package jenkinshome

import (
	"fmt"
	"strings"
	"time"

	"pipectl.dev/steps"
	"pipectl.dev/steps/spec"
)

// PrecopySpec is what precopy-jenkins-home is told.
type PrecopySpec struct {
	From    From              `yaml:"from" json:"from" jsonschema:"required" jsonschema_description:"the Jenkins to be moved"`
	Volume  string            `yaml:"volume" json:"volume" jsonschema:"required,pattern=^vol-[0-9a-f]+$" jsonschema_description:"id of the EBS volume that the home moves to"`
	Region  string            `yaml:"region,omitempty" json:"region,omitempty" jsonschema_description:"region of the volume; default: the pipeline's"`
	Route   string            `yaml:"route,omitempty" json:"route,omitempty" jsonschema:"enum=auto,enum=attach,enum=sameNode,enum=snapshot,enum=stream,default=auto" jsonschema_description:"attach: the volume is attached to the old EC2 node by API; sameNode: source and target are claims of one cluster; snapshot: another node copies from EBS snapshots of the disk that has the home; stream: a mover beside Jenkins sends the home, encrypted, through pipectl to one in the zone of the volume, for sources outside of EC2; auto takes the first of sameNode, attach, snapshot and stream that can be taken, and the plan says why"`
	Claim   string            `yaml:"claim,omitempty" json:"claim,omitempty" jsonschema_description:"route sameNode: claim in the source namespace that is bound to the volume; default: the one that is found there"`
	Copier  *steps.ClusterRef `yaml:"copyCluster,omitempty" json:"copyCluster,omitempty" jsonschema_description:"routes snapshot and stream: a cluster with a node in the volume's zone, where the copy runs; default: the source cluster"`
	Exclude Exclude           `yaml:"exclude,omitempty" json:"exclude,omitempty" jsonschema_description:"what is not copied"`
	FSGroup *int64            `yaml:"fsGroup,omitempty" json:"fsGroup,omitempty" jsonschema:"default=1000,minimum=0" jsonschema_description:"group that the home's root gets, so that the new pod's fsGroup starts no recursive chown"`
	Passes  int               `yaml:"maxPasses,omitempty" json:"maxPasses,omitempty" jsonschema:"default=4,minimum=1,maximum=20" jsonschema_description:"passes at most while Jenkins runs"`
	Small   int64             `yaml:"smallDelta,omitempty" json:"smallDelta,omitempty" jsonschema:"default=500,minimum=0" jsonschema_description:"a pass that copied at most so many files is the last one"`
}

// From names the old Jenkins.
type From struct {
	Cluster    steps.ClusterRef `yaml:"cluster" json:"cluster" jsonschema:"required" jsonschema_description:"the source cluster"`
	Namespace  string           `yaml:"namespace" json:"namespace" jsonschema:"required" jsonschema_description:"namespace of the workload"`
	Workload   string           `yaml:"workload" json:"workload" jsonschema:"required" jsonschema_description:"deployment/NAME or statefulset/NAME"`
	Container  string           `yaml:"container,omitempty" json:"container,omitempty" jsonschema_description:"container that runs Jenkins; default: the one named jenkins, else the first"`
	Home       string           `yaml:"home,omitempty" json:"home,omitempty" jsonschema_description:"path of the home in the container; default: its JENKINS_HOME, else /var/jenkins_home"`
	InstanceID string           `yaml:"instanceId,omitempty" json:"instanceId,omitempty" jsonschema:"pattern=^i-[0-9a-f]+$" jsonschema_description:"EC2 instance of the node, where neither its providerID nor its private address tells"`
}

// Exclude says what is not copied.
type Exclude struct {
	Defaults *bool    `yaml:"defaults,omitempty" json:"defaults,omitempty" jsonschema:"default=true" jsonschema_description:"leave out what Jenkins makes again: workspaces, caches, tools, logs, the unpacked war"`
	Also     []string `yaml:"also,omitempty" json:"also,omitempty" jsonschema_description:"more patterns, as in .gitignore"`
}

// defaultExcludes is what Jenkins makes again by itself, and what must not travel.
var defaultExcludes = []string{
	"/workspace/", "/jobs/**/workspace/", "/jobs/**/workspace@*/", "/caches/", "/.cache/", "/war/", "/tools/", "/logs/", "/updates/", "/monitoring/",
	"/.owner", "*-atomic*tmp", "atomic*.tmp",
}

func (e Exclude) patterns() []string {
	var out []string
	if e.Defaults == nil || *e.Defaults {
		out = append(out, defaultExcludes...)
	}
	return append(out, e.Also...)
}

// Validate checks what tags cannot say.
func (s *PrecopySpec) Validate() []spec.Problem {
	ps := checkJenkins("from", s.From.Cluster, s.From.Namespace, s.From.Workload)
	if s.Claim != "" && (s.Route == "attach" || copiesElsewhere(s.Route)) {
		ps = append(ps, spec.Problem{Path: "claim", Message: "route " + s.Route + " takes no claim", Hint: "leave it out, or use route sameNode"})
	}
	if s.Copier != nil {
		ps = append(ps, s.Copier.Check("copyCluster")...)
	}
	return ps
}

// JenkinsAccess says how to talk to a controller.
type JenkinsAccess struct {
	User  string       `yaml:"user,omitempty" json:"user,omitempty" jsonschema:"default=admin" jsonschema_description:"a user that may administer"`
	Token steps.Secret `yaml:"token,omitempty" json:"token,omitempty" jsonschema_description:"its API token (or password)"`
	Port  int          `yaml:"port,omitempty" json:"port,omitempty" jsonschema:"minimum=1,maximum=65535" jsonschema_description:"HTTP port of the container; default: its port named http, else 8080"`
	Path  string       `yaml:"path,omitempty" json:"path,omitempty" jsonschema_description:"context path, such as /jenkins"`
}

// Builds is what happens to builds that run when the cut-over begins.
type Builds struct {
	Wait spec.Duration `yaml:"wait,omitempty" json:"wait,omitempty" jsonschema:"default=15m" jsonschema_description:"how long running builds may take to end"`
	Then string        `yaml:"then,omitempty" json:"then,omitempty" jsonschema:"enum=fail,enum=abort,enum=proceed,default=fail" jsonschema_description:"afterwards: give up and go on as before; abort them; stop Jenkins all the same"`
}

// OldJenkins is access to the Jenkins that is stopped.
type OldJenkins struct {
	JenkinsAccess `yaml:",inline" json:",inline"`
	Builds        Builds `yaml:"builds,omitempty" json:"builds,omitempty" jsonschema_description:"what happens to running builds"`
}

// MigrateSpec is what migrate-jenkins-home is told.
type MigrateSpec struct {
	Move       Move              `yaml:"move" json:"move" jsonschema:"required" jsonschema_description:"output move of precopy-jenkins-home"`
	Jenkins    OldJenkins        `yaml:"jenkins,omitempty" json:"jenkins,omitempty" jsonschema_description:"access to the old Jenkins; not needed once the move is finished"`
	NewVersion string            `yaml:"newVersion,omitempty" json:"newVersion,omitempty" jsonschema:"pattern=^[0-9]+([.][0-9]+)+" jsonschema_description:"version of the Jenkins that the home moves to, or the tag of its image; an older one than the old Jenkins' is refused before anything stops"`
	Cluster    *steps.ClusterRef `yaml:"cluster,omitempty" json:"cluster,omitempty" jsonschema_description:"cluster of the new Jenkins: whether a node of it in the volume's zone has the CPU, memory and pods that the old Jenkins asks for is looked at before anything stops"`
	StopWithin spec.Duration     `yaml:"stopWithin,omitempty" json:"stopWithin,omitempty" jsonschema:"default=5m" jsonschema_description:"how long the old pod may take to end"`
	AckWithin  spec.Duration     `yaml:"ackWithin,omitempty" json:"ackWithin,omitempty" jsonschema:"default=10m" jsonschema_description:"how long the stopped Jenkins waits for the volume to be detached, before it is started again"`
	ArgoCD     string            `yaml:"argocdNamespace,omitempty" json:"argocdNamespace,omitempty" jsonschema:"default=argocd" jsonschema_description:"where Applications of the source cluster live"`
}

// Validate checks what tags cannot say.
func (s *MigrateSpec) Validate() []spec.Problem {
	ps := s.Move.Source.problems("move.source")
	if s.Cluster != nil {
		ps = append(ps, s.Cluster.Check("cluster")...)
	}
	return ps
}

// VerifySpec is what verify-jenkins-home is told.
type VerifySpec struct {
	Move      Move             `yaml:"move" json:"move" jsonschema:"required" jsonschema_description:"output move of precopy-jenkins-home"`
	Cluster   steps.ClusterRef `yaml:"cluster" json:"cluster" jsonschema:"required" jsonschema_description:"cluster of the new Jenkins"`
	Namespace string           `yaml:"namespace" json:"namespace" jsonschema:"required" jsonschema_description:"its namespace"`
	Workload  string           `yaml:"workload" json:"workload" jsonschema:"required" jsonschema_description:"deployment/NAME or statefulset/NAME"`
	Jenkins   JenkinsAccess    `yaml:"jenkins,omitempty" json:"jenkins,omitempty" jsonschema_description:"access to the new Jenkins; not needed once it is verified"`
	OnFailure string           `yaml:"onFailure,omitempty" json:"onFailure,omitempty" jsonschema:"enum=rollback,enum=report,default=rollback" jsonschema_description:"rollback: stop the new Jenkins and start the old one again"`
	Within    spec.Duration    `yaml:"within,omitempty" json:"within,omitempty" jsonschema:"default=10m" jsonschema_description:"how long the new Jenkins may take to answer"`
	ArgoCD    string           `yaml:"argocdNamespace,omitempty" json:"argocdNamespace,omitempty" jsonschema:"default=argocd" jsonschema_description:"where Applications of the target cluster live"`
}

// Validate checks what tags cannot say.
func (s *VerifySpec) Validate() []spec.Problem {
	return append(s.Move.Source.problems("move.source"), checkJenkins("", s.Cluster, s.Namespace, s.Workload)...)
}

// PrecopyOutputs is what precopy-jenkins-home leaves.
type PrecopyOutputs struct {
	Move    Move    `json:"move" jsonschema_description:"for migrate- and verify-jenkins-home"`
	Figures Figures `json:"figures" jsonschema_description:"what the copy measured"`
}

// MigrateOutputs is what migrate-jenkins-home leaves.
type MigrateOutputs struct {
	Move      Move     `json:"move" jsonschema_description:"as it came in, with hash and time"`
	Figures   Figures  `json:"figures" jsonschema_description:"of the copy before the cut-over"`
	Downtime  Downtime `json:"downtime" jsonschema_description:"measured, by phase"`
	OldValues string   `json:"oldValues" jsonschema_description:"values of the official chart that keep the old Jenkins stopped, to be committed where Git describes it: Argo CD would start it again once it is let to sync"`
}

// VerifyOutputs is what verify-jenkins-home leaves.
type VerifyOutputs struct {
	Version   string  `json:"version" jsonschema_description:"of the new Jenkins"`
	Jobs      int     `json:"jobs" jsonschema_description:"jobs compared"`
	Plugins   int     `json:"plugins" jsonschema_description:"plugins compared"`
	CheckedAt string  `json:"checkedAt" jsonschema_description:"RFC 3339"`
	Downtime  float64 `json:"downtimeSeconds" jsonschema_description:"from the stop of the old Jenkins until the new one was found equal; 0 when not known"`
}

func (o VerifyOutputs) tag() string {
	return fmt.Sprintf("version=%s jobs=%d plugins=%d downtime=%.1f at=%s", o.Version, o.Jobs, o.Plugins, o.Downtime, o.CheckedAt)
}

func parseChecked(tag string) VerifyOutputs {
	n := numbers(tag)
	o := VerifyOutputs{Jobs: int(n["jobs"]), Plugins: int(n["plugins"]), Downtime: n["downtime"]}
	for _, f := range strings.Fields(tag) {
		switch k, v, _ := strings.Cut(f, "="); k {
		case "version":
			o.Version = v
		case "at":
			o.CheckedAt = v
		}
	}
	return o
}

// expectDetach is what unmounting, detaching and writing the tags takes.
const expectDetach = 20 * time.Second
