// Package engine loads a pipeline, checks it, orders it, runs its stages, and keeps results and the journal.
//
// It knows no step by name, no SDK and no terminal: steps come as steps.Definition, everything outside comes by the interfaces and
// functions in Runner. Loading is pure: every mistake in a file is found, with its line and column, before anything is called.
package engine

import (
	"context"
	"time"

	"pipectl.dev/steps"
)

// Store keeps the result of every stage and the journal of every run. It is a cache and a record, not the truth: an empty one costs
// an Observe, nothing else. Implementations write atomically: a reader sees the old or the new result, never a half.
type Store interface {
	// Get returns the result of a stage, or nil when there is none. A result that is truncated is an error that names the file; one of
	// another pipeline or of an unknown apiVersion is a steps.Error with code ForeignResult: the run then stops rather than overwrite it.
	Get(ctx context.Context, stage string) (*steps.Result, error)
	Put(ctx context.Context, r steps.Result) error
	List(ctx context.Context) ([]steps.Result, error)
	// Append adds one line of JSON to the journal of a run; Journal reads them back; Runs lists run ids, oldest first.
	Append(ctx context.Context, runID string, line []byte) error
	Journal(ctx context.Context, runID string) ([][]byte, error)
	Runs(ctx context.Context) ([]string, error)
	// Where names the place of a stage's result (a path or URL) for people; "" names the store itself.
	Where(stage string) string
}

// Vault is the part of a Store that keeps the values of sensitive outputs (steps.Sensitive) apart from results. An implementation must let
// nobody read them but those who may read the store's owner's secrets (a file of mode 0600, a Kubernetes Secret, an encrypted object of
// its own), must write as atomically as Put, and must never return them by Get or List. A store without it refuses sensitive outputs.
type Vault interface {
	// PutSensitive keeps values by name in place of all that were kept for the stage before; none removes them.
	PutSensitive(ctx context.Context, stage string, values map[string]string) error
	// Sensitive returns what is kept for the stage; an empty map when there is nothing.
	Sensitive(ctx context.Context, stage string) (map[string]string, error)
}

// Locker keeps two runs from working on one stage of one identity at once.
type Locker interface {
	// Lock waits up to wait for key ("<identity>/<stage>"), then fails with steps.Locked, which names the holder.
	Lock(ctx context.Context, key string, by steps.Holder, wait time.Duration) (steps.Lease, error)
	// Look tells how the locks of keys stand for by: a holder that by would not have to wait for is none. It only reads, in as few calls
	// as the service allows: a run with nothing to do asks twice for all of its stages. Keys that nobody ever locked may be left out.
	Look(ctx context.Context, keys []string, by steps.Holder) (map[string]steps.LockState, error)
	// Unlock frees key whoever holds it, and tells who did; nil when nobody did.
	Unlock(ctx context.Context, key string) (*steps.Holder, error)
}

// LockKey is the key under which a stage is locked.
func LockKey(id steps.Identity, stage string) string { return id.String() + "/" + stage }

// SecretSource reads secrets from where they are kept. Sources env and file are read by the engine itself.
type SecretSource interface {
	Resolve(ctx context.Context, from From) (string, error)
}

// From says where a param's value is kept: exactly one field is set.
type From struct {
	Env            string   `yaml:"env,omitempty" json:"env,omitempty" jsonschema_description:"environment variable"`
	File           string   `yaml:"file,omitempty" json:"file,omitempty" jsonschema_description:"file, relative to the pipeline file; one trailing newline is cut"`
	SSM            string   `yaml:"ssm,omitempty" json:"ssm,omitempty" jsonschema_description:"SSM parameter, decrypted"`
	SecretsManager string   `yaml:"secretsmanager,omitempty" json:"secretsmanager,omitempty" jsonschema_description:"Secrets Manager secret: name or ARN, with #key for one key of a JSON secret"`
	K8s            *FromK8s `yaml:"k8s,omitempty" json:"k8s,omitempty" jsonschema_description:"key of a Kubernetes Secret"`
}

// FromK8s names one key of a Kubernetes Secret.
type FromK8s struct {
	Cluster   steps.ClusterRef `yaml:"cluster,omitempty" json:"cluster,omitzero" jsonschema_description:"cluster that has it; default: the one pipectl runs in, else the current context"`
	Namespace string           `yaml:"namespace" json:"namespace" jsonschema:"required" jsonschema_description:"namespace of the Secret"`
	Name      string           `yaml:"name" json:"name" jsonschema:"required" jsonschema_description:"name of the Secret"`
	Key       string           `yaml:"key" json:"key" jsonschema:"required" jsonschema_description:"key in its data"`
}

// QuestionKind says what is asked.
type QuestionKind string

// The questions.
const (
	AskPlan    QuestionKind = "plan"    // apply this plan?
	AskStage   QuestionKind = "stage"   // start this stage (confirm: ask)?
	AskDown    QuestionKind = "down"    // remove all but data?
	AskDestroy QuestionKind = "destroy" // remove all, data too?
)

// Question is something a person decides. Plan is set for AskPlan and AskDown; Stage and Text for AskStage.
type Question struct {
	Kind  QuestionKind
	Stage string
	Text  string // what there is to know first, such as the expected downtime
	Plan  *PlanReport
}
