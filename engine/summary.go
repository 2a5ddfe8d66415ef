package engine

import (
	"encoding/json"
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
		Warnings: x.warnings, Errors: x.errors, Stages: []StagePlan{},
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
		rep.Cost = plus(rep.Cost, st.plan.Forecast.Cost)
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

// plus adds two costs.
func plus(a, b *steps.Cost) *steps.Cost {
	if a == nil || b == nil {
		if a == nil {
			a = b
		}
		return a
	}
	return &steps.Cost{
		HourlyUSD: a.HourlyUSD + b.HourlyUSD, PricesAsOf: max(a.PricesAsOf, b.PricesAsOf), Items: slices.Concat(a.Items, b.Items),
		NotCounted: union(a.NotCounted, b.NotCounted), Unknown: union(a.Unknown, b.Unknown),
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
func (x *run) runResult() *RunResult {
	now := time.Now()
	res := &RunResult{
		APIVersion: steps.APIVersion, Kind: "RunResult", Verb: x.verb, Pipeline: x.p.Name, Env: x.p.Env, Identity: x.id.String(), RunID: x.runID,
		StartedAt: x.began.UTC(), FinishedAt: now.UTC(), DurationSeconds: now.Sub(x.began).Seconds(), Tool: x.r.Tool, Stages: []steps.Result{},
	}
	if x.r.Speed > 1 {
		res.SimulatedSeconds = res.DurationSeconds * x.r.Speed
	}
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
		if ended(r.Status) || r.Changed || x.verb != "run" && r.Status != steps.Destroyed {
			res.Cost = plus(res.Cost, r.Cost)
		}
	}
	x.mu.Lock()
	res.Warnings, res.Errors = x.warnings, weigh(x.errors)
	x.mu.Unlock()
	res.Status, res.Exit = x.verdict(res)
	if res.Exit != 0 {
		res.Next = x.next(res)
	}
	return res
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
	case len(hard) == 0 && x.verb == "down":
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

// next says what exists now and how to go on or back.
func (x *run) next(res *RunResult) *Next {
	n := &Next{Resume: x.command(x.verb), BackOut: x.command("down")}
	if x.verb == "run" {
		var extra []string
		for _, e := range res.Errors {
			if e.Code == "NeedsApproval" {
				extra = append(extra, "--approve", e.Stage)
			}
		}
		n.Resume = x.command("run", append([]string{"--resume"}, extra...)...)
	}
	for _, s := range x.p.Stages {
		st := x.states[s.Name]
		have, planned := st.result.Resources, false
		if len(have) == 0 {
			planned = x.verb != "run" // down forgets its plans once it begins: what they would delete is there
			have = st.plan.Changes
			have = slices.DeleteFunc(slices.Clone(have), func(c steps.Change) bool { return c.Action == reconcile.Create })
		}
		for _, c := range have {
			if planned && c.Action == reconcile.Delete {
				c.Action = reconcile.Keep
			}
			if c.Action != reconcile.Delete && c.Action != reconcile.Refuse {
				n.Exists = append(n.Exists, c)
			}
		}
	}
	return n
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
