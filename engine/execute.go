package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pipectl.dev/steps"
)

// execute runs the selected stages along the graph.
func (x *run) execute(ctx context.Context, o RunOptions) {
	x.executing = true
	for _, st := range x.states {
		st.foreseen = nil
	}
	x.p.walk(x.p.Stages, x.p.before, x.parallel(), func(s *Stage) {
		st := x.states[s.Name]
		if !st.selected || st.done {
			return
		}
		if err := x.guard(st, func() error { x.one(ctx, st, o); return nil }); err != nil { // a panic outside of the step
			x.fault(s.Name, err)
		}
	})
}

// one does one stage and writes its result.
func (x *run) one(ctx context.Context, st *state, o RunOptions) {
	x.head(st)
	status, err := steps.Blocked, x.obstacle(ctx, st)
	if err == nil {
		status, err = x.stage(st.cloud.With(ctx), st, o)
	}
	if errors.Is(err, errOvertaken) { // it is not over with: the run plans it again
		x.mu.Lock()
		x.overtaken = true
		x.mu.Unlock()
		return
	}
	x.finish(ctx, st, status, err)
}

// unstarted leaves results for a run that ended before its first write: stages whose plan or preflight failed say so.
func (x *run) unstarted(ctx context.Context) {
	for _, s := range x.p.Stages {
		st := x.states[s.Name]
		if !st.selected || st.plan.State != PlanFailed {
			continue
		}
		x.head(st)
		first := slices.IndexFunc(x.errors, func(e StageError) bool { return e.Stage == s.Name })
		if first < 0 {
			continue
		}
		info := x.errors[first].ErrorInfo
		x.mu.Lock()
		st.done = true
		x.fill(st, steps.Failed)
		x.mu.Unlock()
		st.result.Error = &info
		x.put(ctx, st)
	}
}

// head starts a result.
func (x *run) head(st *state) {
	st.result = steps.Result{
		APIVersion: steps.APIVersion, Kind: "StageResult", Pipeline: x.p.Name, Env: x.p.Env, Identity: x.id.String(),
		Stage: st.stage.Name, Step: st.stage.Definition.Name, RunID: x.runID, Tool: x.r.Tool,
	}
}

// obstacle says why a stage does not start; nil lets it.
func (x *run) obstacle(ctx context.Context, st *state) error {
	if ctx.Err() != nil {
		return notStarted("the run was cancelled", steps.Interrupted)
	}
	x.mu.Lock()
	overtaken := x.overtaken
	x.mu.Unlock()
	if overtaken {
		return errOvertaken
	}
	if st.stage.Finally {
		return nil
	}
	for _, n := range st.stage.Needs {
		if up := x.states[n]; up.selected && !up.stage.Continue && !ended(up.result.Status) {
			return notStarted(fmt.Sprintf("stage %q did not succeed", n), steps.Partial)
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.failed != "" && st.plan.State != AllKeep && st.plan.State != WhenFalse {
		return notStarted(fmt.Sprintf("stage %q did not succeed", x.failed), steps.Partial)
	}
	return nil
}

func ended(s steps.Status) bool { return s == steps.Succeeded || s == steps.Skipped }

func notStarted(why string, c steps.Category) error {
	return &steps.Error{Code: "NotStarted", Category: c, Message: "not started: " + why}
}

// stage does one stage, from its condition to its last attempt.
func (x *run) stage(ctx context.Context, st *state, o RunOptions) (status steps.Status, err error) {
	err = x.guard(st, func() error {
		status, err = x.stageSteps(ctx, st, o)
		return err
	})
	if err != nil && status == "" {
		status = x.statusOf(ctx, err)
	}
	return status, err
}

func (x *run) stageSteps(ctx context.Context, st *state, o RunOptions) (steps.Status, error) {
	st.begin()
	if err := x.undisturbed(ctx, st); err != nil {
		return "", err
	}
	if st.plan.State == IsDeferred || x.outdated(st) {
		x.forget(st)
		if err := x.planAgain(ctx, st, o.Force); err != nil {
			return "", err
		}
		if err := x.stillSaved(st, o.Saved); err != nil {
			return "", err
		}
		if err := x.obstacle(ctx, st); err != nil { // what was to be kept may now have changes
			return "", err
		}
	}
	if st.plan.State == WhenFalse || st.plan.State == AllKeep && !o.Force {
		return steps.Skipped, nil
	}
	if err := x.approved(ctx, st, o); err != nil {
		return "", err
	}
	if err := errors.Join(x.undisturbed(ctx, st), x.hold(ctx, st)); err != nil {
		return "", err
	}
	x.mu.Lock()
	st.status = "" // whatever the plan promised, it is being worked on
	x.mu.Unlock()
	x.touch()
	x.journal(ctx, entry{Event: "stage_start", Stage: st.stage.Name})
	x.say(st, steps.Event{Type: steps.StageStart, ExpectSeconds: x.expected(st)})
	raw, err := x.attempts(ctx, st)
	if err != nil {
		return "", err
	}
	if err := x.setOutputs(ctx, st, raw); err != nil {
		return "", err
	}
	return steps.Succeeded, nil
}

// stillSaved holds a stage that had to be planned again to the saved plan. One that could not be planned then had no plan to hold it to.
func (x *run) stillSaved(st *state, s *SavedPlan) error {
	if s == nil || s.stage(st.stage.Name).State == IsDeferred {
		return nil
	}
	if moved := stageMoved(s.stage(st.stage.Name), clean(x.redact, st.plan)); len(moved) > 0 {
		return movedError(moved, x.command("plan"))
	}
	return nil
}

// touch notes that from here on something may be changed.
func (x *run) touch() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.touched = true
}

// outdated reports whether a stage was planned with other values than there are now: outputs that were foreseen, or those of a stage that
// was to be kept and was applied after all.
func (x *run) outdated(st *state) bool {
	v := x.values()
	if w := st.stage.when; w != nil {
		val, err := w.Eval(v.vars, v.unknown)
		if err != nil || (val == false) != (st.plan.State == WhenFalse) {
			return true
		}
	}
	if st.plan.State == WhenFalse {
		return false
	}
	in, problems := st.stage.evaluate(x.p, v)
	return len(problems) > 0 || len(in.Partial) > 0 || in.digest != st.in.digest
}

// forget takes back what a plan promised of a stage.
func (x *run) forget(st *state) {
	x.mu.Lock()
	defer x.mu.Unlock()
	st.known, st.outputs, st.raw, st.status = false, nil, nil, ""
	st.plan.Changes, st.plan.Outputs, st.plan.Counts, st.plan.Forecast = nil, nil, steps.Counts{}, steps.Forecast{}
}

// planAgain plans a stage whose inputs were not all known before.
func (x *run) planAgain(ctx context.Context, st *state, force bool) error {
	st.plan.State = ""
	if err := x.plan(ctx, st, force); err != nil {
		return err
	}
	if st.plan.State == IsDeferred {
		var missing []string
		for _, d := range st.plan.Deferred {
			missing = append(missing, d.After...)
		}
		slices.Sort(missing)
		return notStarted("no outputs of "+strings.Join(slices.Compact(missing), ", "), steps.Partial)
	}
	x.say(st, steps.Event{Type: steps.StagePlanned, Data: st.plan})
	return nil
}

// approved asks about a stage with `confirm: ask`, unless it was approved by name.
func (x *run) approved(ctx context.Context, st *state, o RunOptions) error {
	if !st.stage.Confirm || slices.Contains(o.Approve, st.stage.Name) {
		return nil
	}
	name := st.stage.Name
	waits := &steps.Error{
		Code: "NeedsApproval", Category: steps.Approval, Message: strings.TrimSuffix("waits for approval: "+st.plan.Forecast.Confirm, ": "),
		Hints: []string{x.command("run", "--approve", name)},
	}
	if x.r.Confirm == nil || o.Saved != nil {
		return waits
	}
	x.ask.Lock()
	defer x.ask.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	x.say(st, steps.Event{Type: steps.Waiting, Message: waits.Message})
	yes, err := x.r.Confirm(ctx, Question{Kind: AskStage, Stage: name, Text: st.plan.Forecast.Confirm})
	if err != nil {
		return fmt.Errorf("confirm: %w", err)
	}
	if !yes {
		return waits
	}
	return nil
}

// statusOf tells how a stage ended by its error. Failed means the world said no, Errored that we could not tell.
func (x *run) statusOf(ctx context.Context, err error) steps.Status {
	e := steps.Classify(err)
	switch {
	case e.Code == "NotStarted" || e.Category == steps.Approval:
		return steps.Blocked
	case ctx.Err() != nil && e.Category != steps.Internal, e.Category == steps.Interrupted:
		return steps.Canceled
	case e.Category == steps.Timeout:
		return steps.TimedOut
	case e.Category == steps.Internal || e.Category == steps.Transient:
		return steps.Errored
	default:
		return steps.Failed
	}
}

// finish writes the result of a stage, whatever happened.
func (x *run) finish(ctx context.Context, st *state, status steps.Status, err error) {
	started := true
	if err != nil {
		started = steps.Classify(err).Code != "NotStarted"
	}
	if !started && ctx.Err() != nil {
		status = steps.Canceled
	}
	x.mu.Lock()
	st.done, st.status = true, status
	x.fill(st, status)
	if stops(status, err) && !st.stage.Continue && x.failed == "" {
		x.failed = st.stage.Name
	}
	x.mu.Unlock()
	if err != nil {
		info := x.info(err)
		st.result.Error = &info
		x.fault(st.stage.Name, err)
		if st.stage.Continue {
			x.warn(fmt.Sprintf("stage %s did not succeed, going on: %s", st.stage.Name, info.Message))
		}
	}
	if started {
		x.put(ctx, st)
		x.journal(ctx, entry{Event: "stage_done", Stage: st.stage.Name, Status: status, Attempt: st.result.Attempt})
	}
	if len(st.result.Outputs) > 0 {
		x.say(st, steps.Event{Type: steps.Output, Data: json.RawMessage(st.result.Outputs)})
	}
	done := steps.Event{Type: steps.StageDone, Status: status, ElapsedSeconds: st.result.DurationSeconds}
	if st.result.Error != nil {
		done.Message = st.result.Error.Message
	}
	x.say(st, done)
}

// stops reports whether a stage's end keeps new stages from starting. One that waits for a person holds up only what needs it.
func stops(s steps.Status, err error) bool {
	return err != nil && s != steps.Blocked
}

// fill writes what is known of a stage into its result.
func (x *run) fill(st *state, status steps.Status) {
	r := &st.result
	r.Status, r.InputsDigest, r.Warnings = status, st.in.digest, st.notes
	for _, key := range st.order {
		if c, ok := st.progress[key]; ok {
			r.Resources = append(r.Resources, c)
		}
	}
	if len(r.Resources) == 0 && ended(status) { // a step that reports nothing, or had nothing to do
		r.Resources = st.plan.Changes
	}
	for _, key := range slices.Sorted(maps.Keys(st.failed)) {
		r.Failed = append(r.Failed, st.failed[key])
	}
	r.Changes = count(r.Resources)
	r.Changed = (r.Changes.Any() || slices.ContainsFunc(r.Resources, unfinished)) && status != steps.Skipped
	if ended(status) {
		r.Outputs = st.raw
	}
	if f := st.plan.Forecast; f.Cost != nil || f.Seconds > 0 {
		r.Forecast, r.Cost = &f, f.Cost
	}
	st.end(x.r.Speed)
}

func unfinished(c steps.Change) bool { return c.Unfinished }
