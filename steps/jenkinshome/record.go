package jenkinshome

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/jenkinshome/jenkins"
)

// record is the state ConfigMap of a critical section. Every write is a compare-and-swap on the version that was read.
type record struct {
	kube  *kube.Client
	owner steps.Identity
	at    kube.Record

	Phase Phase
	RunID string
	Abort bool
	Cut   cutState
}

// cutState is what must not be lost when a mover or an orchestrator dies.
type cutState struct {
	VolumeID string                   `json:"volumeId"`
	Replicas int32                    `json:"replicas"`             // before scaling; 0: not scaled yet
	Parked   *parked                  `json:"parked,omitempty"`     // instead of scaling, where the home is in the pod
	Paused   []kube.PausedApplication `json:"paused,omitempty"`     // how to let Argo CD heal again
	PausedAt []kube.PausedApplication `json:"pausedNew,omitempty"`  // the same of the target, while a move is turned back
	Kept     *keptClaim               `json:"kept,omitempty"`       // how to put the old claim back
	Disk     string                   `json:"disk,omitempty"`       // route snapshot: EBS volume that has the home
	DiskDir  string                   `json:"diskDir,omitempty"`    // and the directory on it
	Home     homePlace                `json:"home"`                 // where the old home lies
	StopAt   string                   `json:"stoppedAt,omitempty"`  // RFC 3339
	Hash     string                   `json:"hash,omitempty"`       // of the whole home after the last pass
	Files    int64                    `json:"files,omitempty"`      //
	Bytes    int64                    `json:"bytes,omitempty"`      //
	Down     Downtime                 `json:"downtime"`             //
	Why      *steps.ErrorInfo         `json:"error,omitempty"`      // why it was turned back
	Notes    []string                 `json:"notes,omitempty"`      //
	Figures  Figures                  `json:"figures"`              // of the pass before the cut-over
	ToldAt   string                   `json:"baselineAt,omitempty"` // RFC 3339
}

const (
	keyPhase    = "phase"
	keyRun      = "runId"
	keyAbort    = "abort"
	keyCut      = "state.json"
	keyBaseline = "baseline.json.gz" // base64: an installation of thousands of jobs would not fit otherwise
)

// errStale says that somebody else wrote the record since it was read.
var errStale = errors.New("the move went on meanwhile")

// readRecord reads the ConfigMap; one that does not exist has NoPhase.
func readRecord(ctx context.Context, k *kube.Client, owner steps.Identity, namespace, name string) (*record, error) {
	r := &record{kube: k, owner: owner, at: kube.Record{Namespace: namespace, Name: name}}
	return r, r.reload(ctx)
}

func (r *record) reload(ctx context.Context) error {
	at, err := r.kube.ReadRecord(ctx, r.at.Namespace, r.at.Name)
	if err != nil {
		return err
	}
	return r.take(at)
}

func (r *record) take(at kube.Record) error {
	r.at = at
	r.Phase, r.RunID, r.Abort, r.Cut = Phase(at.Data[keyPhase]), at.Data[keyRun], at.Data[keyAbort] == "true", cutState{}
	if text := at.Data[keyCut]; text != "" {
		if err := json.Unmarshal([]byte(text), &r.Cut); err != nil {
			return &steps.Error{Code: "StateDamaged", Category: steps.Precondition, Err: err,
				Message: fmt.Sprintf("configmap %s/%s: %s", at.Namespace, at.Name, keyCut),
				Hints:   []string{"see what the old Jenkins does; remove the ConfigMap once it runs, then run again"}}
		}
	}
	return nil
}

// write stores phase and state, provided that nobody wrote since the record was read; else it is a conflict, and nothing is written.
func (r *record) write(ctx context.Context, phase Phase, more map[string]*string) error {
	raw, err := json.Marshal(r.Cut)
	if err != nil {
		return fmt.Errorf("configmap %s/%s: %w", r.at.Namespace, r.at.Name, err)
	}
	p, state := string(phase), string(raw)
	changes := map[string]*string{keyPhase: &p, keyCut: &state}
	for k, v := range more {
		changes[k] = v
	}
	at, err := r.kube.WriteRecord(ctx, r.at, changes, r.owner)
	if kube.HasCode(err, kube.CodeConflict) {
		return fmt.Errorf("%w: %w", errStale, err)
	}
	if err != nil {
		return err
	}
	return r.take(at)
}

func (r *record) setBaseline(ctx context.Context, phase Phase, inv jenkins.Inventory) error {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	err := errors.Join(json.NewEncoder(z).Encode(inv), z.Close())
	if err != nil {
		return fmt.Errorf("baseline: %w", err)
	}
	text := base64.StdEncoding.EncodeToString(buf.Bytes())
	r.Cut.ToldAt = timeTag(time.Now())
	return r.write(ctx, phase, map[string]*string{keyBaseline: &text})
}

var errNoBaseline = &steps.Error{Code: "NoBaseline", Category: steps.Precondition, Message: "the source cluster has no record of what the old Jenkins held",
	Hints: []string{"the state ConfigMap was removed; compare by hand, then set `onFailure: report`"}}

func (r *record) baseline() (jenkins.Inventory, error) {
	var inv jenkins.Inventory
	text := r.at.Data[keyBaseline]
	if text == "" {
		return inv, errNoBaseline
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return inv, fmt.Errorf("baseline: %w", err)
	}
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return inv, fmt.Errorf("baseline: %w", err)
	}
	if err := json.NewDecoder(io.LimitReader(z, 64<<20)).Decode(&inv); err != nil {
		return inv, fmt.Errorf("baseline: %w", err)
	}
	return inv, nil
}

// info keeps of an error what a record, or a termination message, should tell.
func info(err error) *steps.ErrorInfo {
	e := steps.Classify(err)
	i := &steps.ErrorInfo{Code: e.Code, Category: e.Category, Retryable: e.Retryable, Message: e.Message}
	if len(e.Hints) > 0 {
		i.Hint = e.Hints[0]
	}
	return i
}

// asError is the error again, on the other side.
func asError(i *steps.ErrorInfo, before string) *steps.Error {
	e := &steps.Error{Code: i.Code, Category: i.Category, Retryable: i.Retryable, Message: before + i.Message}
	if i.Hint != "" {
		e.Hints = []string{i.Hint}
	}
	return e
}

func short(s string) string { return fmt.Sprintf("%08x", fnv32(s)) }

func fnv32(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}
