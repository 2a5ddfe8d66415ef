package engine

import (
	"encoding/json"
	"time"

	"pipectl.dev/steps"
)

// PlanReport is what Run would do, as JSON.
type PlanReport struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"` // PlanReport
	Pipeline   string       `json:"pipeline"`
	Env        string       `json:"env"`
	Identity   string       `json:"identity,omitempty"`
	Stages     []StagePlan  `json:"stages"`
	Changes    steps.Counts `json:"changes"`
	Deferred   []string     `json:"deferred,omitempty"` // stages whose changes are known only later
	Cost       *steps.Cost  `json:"cost,omitempty"`     // of what exists after the run
	Seconds    float64      `json:"seconds"`            // expected, along the longest path through the graph
	Warnings   []string     `json:"warnings,omitempty"`
	Errors     []StageError `json:"errors,omitempty"`
}

// PlanState says what a plan found out about a stage.
type PlanState string

// The states of a stage in a plan.
const (
	HasChanges PlanState = "changes"
	AllKeep    PlanState = "keep"
	IsDeferred PlanState = "deferred"    // known after other stages
	WhenFalse  PlanState = "skipped"     // its `when` is false
	NotPlanned PlanState = "notSelected" // outside of --stage, --from, --until
	PlanFailed PlanState = "failed"
)

// StagePlan is the plan of one stage.
type StagePlan struct {
	Stage    string          `json:"stage"`
	Step     string          `json:"step"`
	State    PlanState       `json:"state"`
	Needs    []string        `json:"needs,omitempty"`
	Changes  []steps.Change  `json:"changes,omitempty"`
	Counts   steps.Counts    `json:"counts"`
	Deferred []Deferred      `json:"deferred,omitempty"`
	Forecast steps.Forecast  `json:"forecast,omitzero"`
	Confirm  bool            `json:"confirm,omitempty"` // it will be asked about
	Outputs  json.RawMessage `json:"outputs,omitempty"` // when all is kept
	Finally  bool            `json:"finally,omitempty"`
}

// Deferred is a field whose value is not known yet.
type Deferred struct {
	Path  string   `json:"path"`  // below `with`; "when" for the condition
	After []string `json:"after"` // stages that must run first
}

// StageError is an error with the stage it belongs to; Stage is "" for the run's own.
type StageError struct {
	Stage string `json:"stage,omitempty"`
	steps.ErrorInfo
}

// HasChanges reports whether Run would, or might, change anything.
func (p *PlanReport) HasChanges() bool { return p.Changes.Any() || len(p.Deferred) > 0 }

// ExitCode is 0, or that of the first error. --detailed-exitcode (3) is the caller's business, by HasChanges.
func (p *PlanReport) ExitCode() int { return exitCode(p.Errors) }

// RunResult is one execution, as JSON on stdout.
type RunResult struct {
	APIVersion       string                     `json:"apiVersion"`
	Kind             string                     `json:"kind"` // RunResult
	Verb             string                     `json:"verb"` // run, down
	Pipeline         string                     `json:"pipeline"`
	Env              string                     `json:"env"`
	Identity         string                     `json:"identity,omitempty"`
	RunID            string                     `json:"runId"`
	Status           steps.Status               `json:"status"`
	Exit             int                        `json:"exitCode"`
	StartedAt        time.Time                  `json:"startedAt"`
	FinishedAt       time.Time                  `json:"finishedAt"`
	DurationSeconds  float64                    `json:"durationSeconds"`
	SimulatedSeconds float64                    `json:"simulatedSeconds,omitempty"`
	Changes          steps.Counts               `json:"changes"`
	Stages           []steps.Result             `json:"stages"` // in the order of the file
	Outputs          map[string]json.RawMessage `json:"outputs,omitempty"`
	Warnings         []string                   `json:"warnings,omitempty"`
	Cost             *steps.Cost                `json:"cost,omitempty"`   // of what exists now
	Errors           []StageError               `json:"errors,omitempty"` // the first decided the exit code
	Next             *Next                      `json:"next,omitempty"`   // after a run that did not succeed
	Tool             steps.Tool                 `json:"tool"`
}

// Next says how to go on after a run that did not succeed.
type Next struct {
	Exists  []steps.Change `json:"exists,omitempty"` // what is there now, as far as this run saw
	Resume  string         `json:"resume"`           // command that carries on
	BackOut string         `json:"backOut"`          // command that removes what exists
}

// ExitCode is the process's exit code for this result.
func (r *RunResult) ExitCode() int { return r.Exit }

// StatusReport is what exists, as JSON.
type StatusReport struct {
	APIVersion string        `json:"apiVersion"`
	Kind       string        `json:"kind"` // StatusReport
	Pipeline   string        `json:"pipeline"`
	Env        string        `json:"env"`
	Identity   string        `json:"identity,omitempty"`
	Stages     []StageStatus `json:"stages"`
	Errors     []StageError  `json:"errors,omitempty"`
}

// StageStatus is what Observe and the store say of a stage.
type StageStatus struct {
	Stage   string          `json:"stage"`
	Step    string          `json:"step"`
	Exists  bool            `json:"exists"`
	Unknown bool            `json:"unknown,omitempty"` // could not be looked at
	Outputs json.RawMessage `json:"outputs,omitempty"`
	Last    *steps.Result   `json:"last,omitempty"` // what its last run left
}

// ExitCode is 0, or that of the first error.
func (s *StatusReport) ExitCode() int { return exitCode(s.Errors) }

func exitCode(errs []StageError) int {
	if len(errs) == 0 {
		return 0
	}
	return errs[0].Category.ExitCode()
}
