package steps

import (
	"encoding/json"
	"time"
)

// APIVersion is the version of results and pipelines.
const APIVersion = "pipectl.dev/v1"

// Status is how a stage ended.
type Status string

// The statuses. Failed means the world said no, Errored that we could not tell.
const (
	Succeeded Status = "Succeeded"
	Failed    Status = "Failed"
	Errored   Status = "Errored"
	Skipped   Status = "Skipped"
	Blocked   Status = "Blocked"
	Canceled  Status = "Canceled"
	TimedOut  Status = "TimedOut"
	Planned   Status = "Planned"
	Destroyed Status = "Destroyed"
)

// Result is what a stage leaves behind, as JSON. Readers ignore fields they do not know and refuse an apiVersion they do not know.
type Result struct {
	APIVersion      string    `json:"apiVersion"`
	Kind            string    `json:"kind"` // StageResult
	Pipeline        string    `json:"pipeline"`
	Env             string    `json:"env"`
	Identity        string    `json:"identity,omitempty"`
	Stage           string    `json:"stage"`
	Step            string    `json:"step"`
	RunID           string    `json:"runId"`
	Attempt         int       `json:"attempt"`
	Status          Status    `json:"status"`
	Changed         bool      `json:"changed"`
	Changes         Counts    `json:"changes"`
	StartedAt       time.Time `json:"startedAt"`
	FinishedAt      time.Time `json:"finishedAt"`
	DurationSeconds float64   `json:"durationSeconds"`
	// SimulatedSeconds is, in a rehearsal, how long it would have taken with the cloud at its real pace: time in which something was
	// waited for that the cloud does counts as often as the cloud is faster, all other time (Kubernetes, copying, calls) as it was.
	SimulatedSeconds float64         `json:"simulatedSeconds,omitempty"`
	InputsDigest     string          `json:"inputsDigest,omitempty"`
	Tool             Tool            `json:"tool"`
	Outputs          json.RawMessage `json:"outputs,omitempty"`
	Resources        []Change        `json:"resources,omitempty"`
	Failed           []Change        `json:"failed,omitempty"` // resources whose change failed, with their errors
	Warnings         []string        `json:"warnings,omitempty"`
	Forecast         *Forecast       `json:"forecast,omitempty"`
	Cost             *Cost           `json:"cost,omitempty"`
	Error            *ErrorInfo      `json:"error,omitempty"`
}

// Counts says how many resources took which verb.
type Counts struct {
	Create int `json:"create"`
	Update int `json:"update"`
	Delete int `json:"delete"`
	Keep   int `json:"keep"`
}

// Add counts one change.
func (c *Counts) Add(v Verb) {
	switch v {
	case "create":
		c.Create++
	case "update":
		c.Update++
	case "delete":
		c.Delete++
	case "keep":
		c.Keep++
	}
}

// Any reports whether anything was changed.
func (c Counts) Any() bool { return c.Create+c.Update+c.Delete > 0 }

// Tool says which build of pipectl made a result.
type Tool struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
}
