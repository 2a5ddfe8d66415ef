package engine

import (
	"encoding/json"
	"fmt"
	"strings"
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
	Deferred   []string     `json:"deferred,omitempty"`  // stages whose changes are known only later
	Cost       *steps.Cost  `json:"cost,omitempty"`      // of what exists after the run
	Seconds    float64      `json:"seconds"`             // expected, along the longest path through the graph
	Forgotten  []Forgotten  `json:"forgotten,omitempty"` // whose stage left the file; looked for by plan, status and run --prune
	Prune      bool         `json:"prune,omitempty"`     // the run removes them
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
	// InputsDigest is that of the evaluated with, secrets left out; "" while something of it is not known.
	InputsDigest string `json:"inputsDigest,omitempty"`
	Finally      bool   `json:"finally,omitempty"`
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
func (p *PlanReport) HasChanges() bool {
	return p.Changes.Any() || len(p.Deferred) > 0 || p.Prune && len(prunable(p.Forgotten)) > 0
}

// short tells one plan from another: what is to be done with which stage.
func (p *PlanReport) short() string {
	var b strings.Builder
	for _, s := range p.Stages {
		fmt.Fprintf(&b, "%s %s %v\n", s.Stage, s.State, s.Counts)
	}
	if p.Prune {
		for _, f := range prunable(p.Forgotten) {
			fmt.Fprintln(&b, f.Step, f.Things)
		}
	}
	return b.String()
}

// ExitCode is 0, or that of the first error. --detailed-exitcode (3) is the caller's business, by HasChanges.
func (p *PlanReport) ExitCode() int { return exitCode(p.Errors) }

// RunResult is one execution, as JSON on stdout. Exit is the exit code of the process, also when a signal ended it.
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
	SimulatedSeconds float64                    `json:"simulatedSeconds,omitempty"` // see steps.Result, where any stage's wait counts
	Changes          steps.Counts               `json:"changes"`
	Stages           []steps.Result             `json:"stages"` // in the order of the file
	Outputs          map[string]json.RawMessage `json:"outputs,omitempty"`
	Pruned           []steps.Change             `json:"pruned,omitempty"` // of stages that left the file
	Warnings         []string                   `json:"warnings,omitempty"`
	Cost             *steps.Cost                `json:"cost,omitempty"`      // of what exists now
	Errors           []StageError               `json:"errors,omitempty"`    // the first decided the exit code
	Untouched        bool                       `json:"untouched,omitempty"` // it did not succeed, and ended before it changed anything
	Next             *Next                      `json:"next,omitempty"`      // after a run that did not succeed
	Tool             steps.Tool                 `json:"tool"`
}

// Next says how to go on after a run that did not succeed. A run that changed nothing leaves nothing to carry on with or to remove: it has
// no commands, unless it waits for an approval.
type Next struct {
	Exists  []steps.Change `json:"exists,omitempty"`  // what is there now, as far as this run saw; unfinished ones are being made or removed
	AtMost  bool           `json:"atMost,omitempty"`  // the result's cost is that of whole stages, some of which are not whole
	Resume  string         `json:"resume,omitempty"`  // command that carries on
	BackOut string         `json:"backOut,omitempty"` // command that removes what exists
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
	Holdings   []Holding     `json:"holdings,omitempty"`  // what costs by the hour, by owner tag, whatever file it came from
	Cost       *steps.Cost   `json:"cost,omitempty"`      // of the holdings
	Forgotten  []Forgotten   `json:"forgotten,omitempty"` // whose stage left the file
	Warnings   []string      `json:"warnings,omitempty"`
	Errors     []StageError  `json:"errors,omitempty"`

	useOf func(kind, name string) (steps.Definition, steps.Least, bool)
}

// Holding is a thing of the pipeline that costs by the hour.
type Holding struct {
	Region    string     `json:"region"`
	Kind      string     `json:"kind"`
	Name      string     `json:"name"`
	ID        string     `json:"id"`
	Since     *time.Time `json:"since,omitempty"`     // when it was made, where the service tells
	HourlyUSD *float64   `json:"hourlyUSD,omitempty"` // at list prices; missing where the price is not known
	Data      bool       `json:"data,omitempty"`      // holds data: `down` keeps it
	Left      Left       `json:"left,omitempty"`
}

// Left says why something stands there that should not.
type Left string

// What is left.
const (
	LeftOver    Left = "leftover"  // its stage does not stand: of a down or a run that did not get through
	LeftByStage Left = "forgotten" // its stage left the file
)

// Judge marks holdings that are left over, or whose stage left the file, and the stages of those left over as partial.
func (s *StatusReport) Judge(all []Holding) {
	makers, left := map[use]*StageStatus{}, map[use]bool{}
	for i, st := range s.Stages {
		for _, id := range st.ids {
			kind, name, _ := strings.Cut(id, "/")
			if d, least, ok := s.useOf(kind, name); ok {
				makers[use{d.Name, least.With}] = &s.Stages[i]
			}
		}
	}
	for _, f := range s.Forgotten {
		for _, t := range f.Things {
			if d, least, ok := s.useOf(t.Kind, t.Name); ok && f.Kept == "" {
				left[use{d.Name, least.With}] = true
			}
		}
	}
	for i, h := range all {
		d, least, ok := s.useOf(h.Kind, h.Name)
		u := use{d.Name, least.With}
		switch maker, declared := makers[u]; {
		case !ok || h.Data:
		case left[u]:
			all[i].Left = LeftByStage
		case declared && !maker.Exists && !maker.Unknown:
			all[i].Left, maker.Partial = LeftOver, true
		}
	}
}

// StageStatus is what Observe and the store say of a stage.
type StageStatus struct {
	Stage   string          `json:"stage"`
	Step    string          `json:"step"`
	Exists  bool            `json:"exists"`
	Partial bool            `json:"partial,omitempty"` // does not exist as a whole, yet something of it costs
	Unknown bool            `json:"unknown,omitempty"` // could not be looked at
	Outputs json.RawMessage `json:"outputs,omitempty"`
	Drift   []steps.Change  `json:"drift,omitempty"` // what a run would change
	Last    *steps.Result   `json:"last,omitempty"`  // what its last run left

	ids []string // kind/name of what it makes
}

// ExitCode is 0, or that of the first error.
func (s *StatusReport) ExitCode() int { return exitCode(s.Errors) }

func exitCode(errs []StageError) int {
	if len(errs) == 0 {
		return 0
	}
	return errs[0].Category.ExitCode()
}
