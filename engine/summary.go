package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

// planReport draws up what the survey found.
func (x *run) planReport() *PlanReport {
	rep := &PlanReport{
		APIVersion: steps.APIVersion, Kind: "PlanReport", Pipeline: x.p.Name, Env: x.p.Env, Identity: x.id.String(),
		Warnings: x.warnings, Errors: x.errors, Stages: []StagePlan{}, Forgotten: x.left,
	}
	seconds := map[string]float64{}
	for _, s := range x.p.Stages {
		st := x.states[s.Name]
		rep.Stages = append(rep.Stages, st.plan)
		if st.plan.State == IsDeferred {
			rep.Deferred = append(rep.Deferred, s.Name)
		}
		c := st.plan.Counts
		rep.Changes = steps.Counts{
			Create: rep.Changes.Create + c.Create, Update: rep.Changes.Update + c.Update,
			Delete: rep.Changes.Delete + c.Delete, Keep: rep.Changes.Keep + c.Keep,
		}
		rep.Cost = rep.Cost.Plus(st.plan.Forecast.Cost)
		seconds[s.Name] = x.expected(st)
	}
	rep.Seconds = x.p.longest(seconds)
	return rep
}

// expected is the time a stage should take: by its plan, or as its step usually takes where it cannot be planned yet.
func (x *run) expected(st *state) float64 {
	switch {
	case !st.selected || st.plan.State == AllKeep || st.plan.State == WhenFalse:
		return 0
	case st.plan.State == IsDeferred || st.plan.Forecast.Seconds == 0:
		return st.stage.Definition.Expect.Seconds()
	default:
		return st.plan.Forecast.Seconds
	}
}

func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// runResult draws up how a run ended.
func (x *run) runResult(ctx context.Context) *RunResult {
	now := time.Now()
	res := &RunResult{
		APIVersion: steps.APIVersion, Kind: "RunResult", Verb: x.verb, Pipeline: x.p.Name, Env: x.p.Env, Identity: x.id.String(), RunID: x.runID,
		StartedAt: x.began.UTC(), FinishedAt: now.UTC(), DurationSeconds: now.Sub(x.began).Seconds(), Tool: x.r.Tool, Stages: []steps.Result{},
	}
	res.SimulatedSeconds = simulated(res.DurationSeconds, &x.cloud, x.r.Speed)
	for _, s := range x.p.Stages {
		st := x.states[s.Name]
		if st.result.Stage == "" {
			continue
		}
		r := st.result
		res.Stages = append(res.Stages, r)
		c := r.Changes
		res.Changes = steps.Counts{
			Create: res.Changes.Create + c.Create, Update: res.Changes.Update + c.Update,
			Delete: res.Changes.Delete + c.Delete, Keep: res.Changes.Keep + c.Keep,
		}
		if ended(r.Status) || r.Changed || x.verb != "run" && r.Status != steps.Destroyed || len(x.existing(st)) > 0 {
			res.Cost = res.Cost.Plus(r.Cost)
		}
	}
	res.Pruned = x.pruned
	res.Changes.Delete += count(x.pruned).Delete
	x.mu.Lock()
	res.Warnings, res.Errors = x.warnings, weigh(x.errors)
	x.mu.Unlock()
	res.Status, res.Exit = x.verdict(res)
	if signal, ok := errors.AsType[exitCoder](context.Cause(ctx)); ok && res.Status == steps.Canceled {
		res.Exit = signal.ExitCode()
	}
	if res.Exit != 0 {
		res.Untouched, res.Next = !x.touched, x.next(res)
	}
	return res
}

// exitCoder is the cause of a context that ended by a signal: SIGTERM's exit code is not that of Ctrl-C.
type exitCoder interface {
	error
	ExitCode() int
}

// weigh puts what decides the exit code first: real failures, then what waits for approval; stages that were not started say nothing new.
func weigh(errs []StageError) []StageError {
	rank := func(e StageError) int {
		switch {
		case e.Code == "NotStarted":
			return 2
		case e.Category == steps.Approval || e.Code == "ResultNotKept":
			return 1
		default:
			return 0
		}
	}
	out := slices.Clone(errs)
	slices.SortStableFunc(out, func(a, b StageError) int { return rank(a) - rank(b) })
	return out
}

func (x *run) verdict(res *RunResult) (steps.Status, int) {
	var hard []StageError
	for _, e := range res.Errors {
		if s, ok := x.p.Stage(e.Stage); ok && s.Continue {
			continue
		}
		hard = append(hard, e)
	}
	switch {
	case len(hard) == 0 && len(res.Errors) > 0:
		return steps.Failed, steps.Partial.ExitCode() // only stages with continueOnError
	case len(hard) == 0 && x.verb != "run":
		return steps.Destroyed, 0
	case len(hard) == 0:
		return steps.Succeeded, 0
	}
	first := hard[0]
	status := map[steps.Category]steps.Status{
		steps.Interrupted: steps.Canceled, steps.Timeout: steps.TimedOut, steps.Approval: steps.Blocked, steps.Internal: steps.Errored, steps.Transient: steps.Errored,
	}[first.Category]
	if status == "" {
		status = steps.Failed
	}
	return status, first.Category.ExitCode()
}

// next says what exists now and how to go on or back; nil where there is nothing to say.
func (x *run) next(res *RunResult) *Next {
	n := &Next{}
	var approve []string
	for _, e := range res.Errors {
		if e.Code == "NeedsApproval" {
			approve = append(approve, "--approve", e.Stage)
		}
	}
	switch {
	case x.verb == "run" && (x.touched || len(approve) > 0):
		n.Resume = x.command("run", append([]string{"--resume"}, approve...)...)
	case x.touched:
		n.Resume = x.command(x.verb)
	}
	if x.touched {
		n.BackOut = x.command("down")
	}
	if x.touched || x.verb != "run" {
		for _, s := range x.p.Stages {
			st := x.states[s.Name]
			there := x.existing(st)
			n.Exists = append(n.Exists, there...)
			n.AtMost = n.AtMost || len(there) > 0 && st.result.Cost != nil && !ended(st.result.Status)
		}
	}
	if n.Resume == "" && len(n.Exists) == 0 {
		return nil
	}
	return n
}

// existing is what is there of a stage, as far as this run saw: what it made or kept or had not come to, and what it had begun to make or
// to remove.
func (x *run) existing(st *state) []steps.Change {
	down := x.verb != "run"
	var out []steps.Change
	seen := map[string]bool{}
	for _, c := range st.result.Resources {
		seen[c.Kind+"/"+c.Name] = true
		if c.Action != reconcile.Refuse && (c.Action != reconcile.Delete || c.Unfinished) {
			out = append(out, c)
		}
	}
	for _, c := range st.plan.Changes {
		if seen[c.Kind+"/"+c.Name] || c.Action == reconcile.Create || c.Action == reconcile.Refuse || c.Action == reconcile.Delete && !down {
			continue
		}
		if down { // what a declined or refused down would have removed is there
			c.Action = reconcile.Keep
		}
		out = append(out, c)
	}
	return out
}

// command is how to call again, as a line for a shell.
func (x *run) command(verb string, flags ...string) string {
	args := x.r.Command
	if len(args) == 0 {
		args = []string{x.p.File}
		if x.p.Env != "" {
			args = append(args, "--env", x.p.Env)
		}
	}
	words := append([]string{"pipectl", verb}, args...)
	for i, w := range append(words, flags...) {
		if i >= len(words) {
			words = append(words, w)
		}
		if w == "" || strings.ContainsAny(w, " \t\n\"'$`\\*?[]{}()<>|&;#~!") {
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

// outputs evaluates the pipeline's outputs as far as they are known.
func (x *run) outputs() map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	v := x.values()
	for _, o := range x.p.Outputs {
		in, problems := o.stage.evaluate(x.p, v)
		if len(problems) > 0 {
			x.warn(fmt.Sprintf("output %s: %s", o.Name, problems[0].Message))
			continue
		}
		if len(in.Partial) > 0 {
			continue
		}
		val, err := plain(in.With)
		if err != nil {
			x.warn(fmt.Sprintf("output %s: %v", o.Name, err))
			continue
		}
		if raw, err := json.Marshal(val); err == nil {
			out[o.Name] = raw
		}
	}
	return out
}
