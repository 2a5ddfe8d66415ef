package steps

import (
	"log/slog"
	"slices"
	"strings"
	"time"

	"pipectl.dev/steps/reconcile"
	"pipectl.dev/steps/wait"
)

// Env is what every step is given besides its spec. It is closed: a step that needs more takes it by its constructor.
type Env struct {
	Identity Identity
	Stage    string
	RunID    string
	Dir      string // directory of the pipeline file; relative paths in a spec are relative to it
	Log      *slog.Logger
	Record   func(Event) // never nil; redacts secrets and adds time, sequence number, run, stage
	Partial  []string    // paths of the spec that are not known yet, see Step
	Prune    bool        // what left the spec goes, also where that is felt
	// Sensitive receives the values of sensitive outputs under the names that their JSON refers to; nil drops them. Definition calls it,
	// steps need not.
	Sensitive func(name, value string)
}

// Unknown reports whether the field at path, or something below or above it, is not known yet.
func (e Env) Unknown(path string) bool {
	return slices.ContainsFunc(e.Partial, func(p string) bool {
		return p == path || strings.HasPrefix(p, path+".") || strings.HasPrefix(p, path+"[") ||
			strings.HasPrefix(path, p+".") || strings.HasPrefix(path, p+"[")
	})
}

// Report passes on progress of one change; it fits reconcile.Options.Report. A Done progress is what the result counts and lists.
func (e Env) Report(p Progress) {
	t := map[reconcile.Phase]EventType{
		reconcile.Start: ChangeStart, reconcile.Wait: ChangeProgress, reconcile.Done: ChangeDone, reconcile.Failed: ChangeFailed,
	}[p.Phase]
	ev := Event{Type: t, Change: &p.Change, Message: p.Detail, ElapsedSeconds: p.Elapsed.Seconds(), ExpectSeconds: p.Expect.Seconds(), Speed: faster(p.Speed), Undone: p.Undone}
	if p.Err != nil {
		ev.Message = p.Err.Error()
	}
	e.Record(ev)
}

// Note tells the reader something worth keeping, as a warning in the result.
func (e Env) Note(message string) { e.Record(Event{Type: Diagnostic, Message: message}) }

// Waiting is the heartbeat of a wait that belongs to no single change, such as "waiting for 2 builds". Its times are real ones.
func (e Env) Waiting(message string, elapsed, expect time.Duration) {
	e.Record(Event{Type: Waiting, Message: message, ElapsedSeconds: elapsed.Seconds(), ExpectSeconds: expect.Seconds()})
}

// WaitingFor is Waiting for a wait of package wait, whose times may be those of a rehearsal's cloud.
func (e Env) WaitingFor(message string, p wait.Progress) {
	e.Record(Event{Type: Waiting, Message: message, ElapsedSeconds: p.Elapsed.Seconds(), ExpectSeconds: p.Expect.Seconds(), Speed: faster(p.Speed)})
}

// faster is a speed as events tell it: nothing where the clock is the real one.
func faster(speed float64) float64 {
	if speed <= 1 {
		return 0
	}
	return speed
}

// Identity is what owner tags and locks are keyed by: account, region, pipeline and environment, or, for a pipeline without
// AWS, a cluster. Resources are keyed by identity, kind and their own name, never by stage.
type Identity struct {
	Account  string `json:"account,omitempty"`
	Region   string `json:"region,omitempty"`
	Cluster  string `json:"cluster,omitempty"` // UID of kube-system and name, when there is no account
	Pipeline string `json:"pipeline"`
	Env      string `json:"env,omitempty"` // --env
}

// String is the identity as it stands in owner tags: "123456789012/ap-northeast-2/blog" or ".../blog/staging".
func (i Identity) String() string {
	parts := []string{i.Account, i.Region}
	if i.Account == "" {
		parts = []string{i.Cluster}
	}
	parts = append(parts, i.Pipeline)
	if i.Env != "" {
		parts = append(parts, i.Env)
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "/")
}

// Prefix starts the names of things whose name is their key: "blog" or "blog-staging".
func (i Identity) Prefix() string {
	if i.Env == "" {
		return i.Pipeline
	}
	return i.Pipeline + "-" + i.Env
}
