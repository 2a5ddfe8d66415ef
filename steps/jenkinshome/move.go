package jenkinshome

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/spec"
)

// Move is what one stage of a move hands to the next. All of it can be told from the volume's tags and the spec of the first stage, so that
// a finished move needs nobody else.
type Move struct {
	VolumeID string            `yaml:"volumeId" json:"volumeId" jsonschema:"required" jsonschema_description:"the data volume"`
	Region   string            `yaml:"region,omitempty" json:"region,omitempty" jsonschema_description:"region of the volume; empty: the pipeline's"`
	Route    string            `yaml:"route,omitempty" json:"route,omitempty" jsonschema:"enum=auto,enum=attach,enum=sameNode,enum=snapshot,enum=stream" jsonschema_description:"how the data travels"`
	Claim    string            `yaml:"claim,omitempty" json:"claim,omitempty" jsonschema_description:"route sameNode: the target claim in the source cluster and namespace"`
	Copier   *steps.ClusterRef `yaml:"copyCluster,omitempty" json:"copyCluster,omitempty" jsonschema_description:"routes snapshot and stream: cluster whose node copies; empty: the source cluster"`
	State    State             `yaml:"state,omitempty" json:"state,omitempty" jsonschema_description:"how far the move was when this was written; informative"`
	Hash     string            `yaml:"hash,omitempty" json:"hash,omitempty" jsonschema_description:"hash of the manifest of the home, once it is moved"`
	MovedAt  string            `yaml:"movedAt,omitempty" json:"movedAt,omitempty" jsonschema_description:"RFC 3339, once it is moved"`
	Source   MoveSource        `yaml:"source" json:"source" jsonschema:"required" jsonschema_description:"where the home comes from"`
	Exclude  []string          `yaml:"exclude,omitempty" json:"exclude,omitempty" jsonschema_description:"patterns of what is not copied"`
	FSGroup  int64             `yaml:"fsGroup,omitempty" json:"fsGroup,omitempty" jsonschema_description:"group that the home's root gets"`
}

// MoveSource is the old Jenkins.
type MoveSource struct {
	Cluster    steps.ClusterRef `yaml:"cluster" json:"cluster" jsonschema:"required" jsonschema_description:"the source cluster"`
	UID        string           `yaml:"uid,omitempty" json:"uid,omitempty" jsonschema_description:"UID of its kube-system namespace"`
	Namespace  string           `yaml:"namespace" json:"namespace" jsonschema:"required" jsonschema_description:"namespace of the workload"`
	Workload   string           `yaml:"workload" json:"workload" jsonschema:"required" jsonschema_description:"deployment/NAME or statefulset/NAME"`
	Container  string           `yaml:"container,omitempty" json:"container,omitempty" jsonschema_description:"container that runs Jenkins"`
	Home       string           `yaml:"home,omitempty" json:"home,omitempty" jsonschema_description:"path of the home in that container, where it was given"`
	Node       string           `yaml:"node,omitempty" json:"node,omitempty" jsonschema_description:"node that has the home"`
	InstanceID string           `yaml:"instanceId,omitempty" json:"instanceId,omitempty" jsonschema_description:"EC2 instance of that node"`
}

// Figures are what a copy measured.
type Figures struct {
	Files         int64   `json:"files" jsonschema_description:"regular files in the copy"`
	Bytes         int64   `json:"bytes" jsonschema_description:"their size"`
	Passes        int     `json:"passes" jsonschema_description:"passes while Jenkins ran"`
	Seconds       float64 `json:"seconds" jsonschema_description:"of all passes and the verification"`
	LastPass      float64 `json:"lastPassSeconds" jsonschema_description:"of the last of them: what a pass inside the downtime costs at least"`
	LastPassFiles int64   `json:"lastPassFiles" jsonschema_description:"files that the last of them copied"`
}

// Downtime is how long which part of a cut-over took, in seconds. Jenkins is down from Stop to Detach; until the new one answers it takes
// its start on top.
type Downtime struct {
	Quiet  float64 `json:"quiet" jsonschema_description:"no new builds, waiting for running ones; Jenkins still answers"`
	Stop   float64 `json:"stop" jsonschema_description:"from scaling to 0 until the pod was gone"`
	Copy   float64 `json:"copy" jsonschema_description:"last pass and the second look at the source"`
	Verify float64 `json:"verify" jsonschema_description:"reading back what the last pass wrote"`
	Detach float64 `json:"detach" jsonschema_description:"unmounting and detaching the volume"`
	Total  float64 `json:"total" jsonschema_description:"stop to detach"`
}

// Tags of the volume. Values have at most 256 characters.
const (
	tagState    = "pipectl.dev/move-state"
	tagSource   = "pipectl.dev/move-source"
	tagNode     = "pipectl.dev/move-node"
	tagRoute    = "pipectl.dev/move-route"
	tagFS       = "pipectl.dev/fs-type"  // attach-volume reads it
	tagOwner    = "pipectl.dev/fs-owner" // so does this: user and group
	tagHash     = "pipectl.dev/move-hash"
	tagTime     = "pipectl.dev/move-time"
	tagFigures  = "pipectl.dev/move-figures"
	tagCopied   = "pipectl.dev/move-copied" // when the last copy of a running Jenkins ended
	tagDowntime = "pipectl.dev/move-downtime"
	tagChecked  = "pipectl.dev/move-checked"
)

const tagLimit = 256

// sourceTag names a source and the instance that the volume was attached to: "UID namespace/deployment/name i-0abc".
func (s MoveSource) sourceTag() string {
	return strings.TrimSpace(s.UID + " " + s.Namespace + "/" + s.Workload + " " + s.InstanceID)
}

// parseSource reads what sourceTag wrote.
func parseSource(tag string) (uid, workload, instance string) {
	f := strings.Fields(tag)
	f = append(f, "", "", "")
	return f[0], f[1], f[2]
}

// sameSource refuses a volume that another Jenkins was, or is being, moved to. An unknown UID is not compared.
func (s MoveSource) sameSource(tag string) error {
	if tag == "" {
		return nil
	}
	uid, workload, _ := parseSource(tag)
	if workload == s.Namespace+"/"+s.Workload && (s.UID == "" || uid == s.UID) {
		return nil
	}
	return &steps.Error{Code: "OtherSource", Category: steps.Conflict, Message: "the data volume holds the home of " + workload + " (cluster " + uid + ")",
		Hints: []string{"use another volume (another data-volume name), or correct `from`"}}
}

func (f Figures) tag() string {
	return fmt.Sprintf("files=%d bytes=%d passes=%d seconds=%.1f last=%.1f lastFiles=%d", f.Files, f.Bytes, f.Passes, f.Seconds, f.LastPass, f.LastPassFiles)
}

func parseFigures(tag string) Figures {
	n := numbers(tag)
	return Figures{Files: int64(n["files"]), Bytes: int64(n["bytes"]), Passes: int(n["passes"]), Seconds: n["seconds"], LastPass: n["last"], LastPassFiles: int64(n["lastFiles"])}
}

func (d Downtime) tag() string {
	return fmt.Sprintf("quiet=%.2f stop=%.2f copy=%.2f verify=%.2f detach=%.2f total=%.2f", d.Quiet, d.Stop, d.Copy, d.Verify, d.Detach, d.Total)
}

func parseDowntime(tag string) Downtime {
	n := numbers(tag)
	return Downtime{n["quiet"], n["stop"], n["copy"], n["verify"], n["detach"], n["total"]}
}

// numbers reads "a=1 b=2.5". What is no number is 0: a tag can be edited by anybody, and these are figures only.
func numbers(tag string) map[string]float64 {
	m := map[string]float64{}
	for _, f := range strings.Fields(tag) {
		k, v, _ := strings.Cut(f, "=")
		if n, err := strconv.ParseFloat(v, 64); err == nil {
			m[k] = n
		}
	}
	return m
}

// copyIdentity is what treecopy keeps in the target's marker: the source and the volume, so that neither another home nor another volume
// mounted by mistake is ever written to.
func (m Move) copyIdentity() string {
	uid, workload, _ := parseSource(m.Source.sourceTag())
	return "jenkins " + uid + " " + workload + " to " + m.VolumeID
}

// names of what a move makes in the source cluster.
func (m Move) recordName() string { return objectName("pipectl-move-", m.Source.Workload) }
func (m Move) copyJob() string    { return objectName("pipectl-precopy-", m.Source.Workload) }
func (m Move) cutJob() string     { return objectName("pipectl-cutover-", m.Source.Workload) }

// objectName keeps within the 63 characters of a label: a Job's name becomes one.
func objectName(prefix, workload string) string {
	_, name, _ := strings.Cut(workload, "/")
	if n := prefix + name; len(n) <= 50 {
		return n
	}
	return prefix + strings.TrimRight(name[:16], "-.") + "-" + short(name)
}

func timeTag(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// problems of a move's source that its tags cannot tell.
func (s MoveSource) problems(path string) []spec.Problem {
	return checkJenkins(path, s.Cluster, s.Namespace, s.Workload)
}

// checkJenkins says what is wrong with where a Jenkins is said to run; what is empty is left to the tags.
func checkJenkins(path string, cluster steps.ClusterRef, namespace, workload string) []spec.Problem {
	ps := cluster.Check(spec.Join(path, "cluster"))
	if kind, name, ok := strings.Cut(workload, "/"); workload != "" && (!ok || name == "" || (kind != "deployment" && kind != "statefulset")) {
		ps = append(ps, spec.Problem{Path: spec.Join(path, "workload"), Message: fmt.Sprintf("expected deployment/NAME or statefulset/NAME, got %q", workload)})
	}
	return append(ps, kube.CheckNamespace(spec.Join(path, "namespace"), namespace)...)
}
