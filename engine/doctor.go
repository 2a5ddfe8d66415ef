package engine

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"pipectl.dev/steps"
)

// DoctorReport is what the preflights of a pipeline looked at and found, as JSON.
type DoctorReport struct {
	APIVersion string        `json:"apiVersion"`
	Kind       string        `json:"kind"` // DoctorReport
	Pipeline   string        `json:"pipeline"`
	Env        string        `json:"env"`
	Identity   string        `json:"identity,omitempty"`
	Stages     []StageDoctor `json:"stages"`
	Errors     []StageError  `json:"errors,omitempty"` // all that stands in the way; the first decides the exit code
}

// StageDoctor is what was looked at for one stage.
type StageDoctor struct {
	Stage    string        `json:"stage"`
	Step     string        `json:"step"`
	Checks   []steps.Check `json:"checks,omitempty"`
	Notes    []string      `json:"notes,omitempty"`
	Deferred []Deferred    `json:"deferred,omitempty"` // what could not be looked at yet
}

// ExitCode is 0, or that of the first error.
func (d *DoctorReport) ExitCode() int { return exitCode(d.Errors) }

// Doctor looks at all that a run would need and lists every problem at once. It writes nothing and takes no lock.
func (r *Runner) Doctor(ctx context.Context, p *Pipeline) *DoctorReport {
	rep := &DoctorReport{APIVersion: steps.APIVersion, Kind: "DoctorReport", Pipeline: p.Name, Env: p.Env, Stages: []StageDoctor{}}
	x, err := r.start(ctx, p, "doctor")
	o := RunOptions{Force: true} // what is there already is looked at too
	if err == nil {
		err = x.choose(o)
	}
	rep.Identity = x.id.String()
	if err != nil {
		x.fault("", flatten(err)...)
		rep.Errors = x.errors
		return clean(x.redact, rep)
	}
	seen := map[string]*StageDoctor{}
	for _, s := range p.Stages {
		seen[s.Name] = &StageDoctor{Stage: s.Name, Step: s.Definition.Name}
	}
	x.stream.sink = Tee(r.Record, func(ev steps.Event) { seen[ev.Stage].note(ev) })
	x.open()
	x.survey(ctx, o)
	for _, s := range p.Stages {
		slices.SortFunc(seen[s.Name].Checks, func(a, b steps.Check) int { return strings.Compare(a.What, b.What) }) // they ran side by side
		seen[s.Name].Deferred = x.states[s.Name].plan.Deferred
		rep.Stages = append(rep.Stages, *seen[s.Name])
	}
	rep.Errors = weigh(x.errors)
	rep = clean(x.redact, rep)
	x.stream.record(steps.Event{Type: steps.Summary, Data: rep})
	return rep
}

// note takes what an event says of the stage; events of no stage say nothing here.
func (d *StageDoctor) note(ev steps.Event) {
	if d == nil {
		return
	}
	switch ev.Type {
	case steps.Checked:
		var c steps.Check // redaction has taken its type away
		if raw, err := json.Marshal(ev.Data); err == nil && json.Unmarshal(raw, &c) == nil {
			d.Checks = append(d.Checks, c)
		}
	case steps.Diagnostic:
		d.Notes = union(d.Notes, []string{ev.Message})
	}
}
