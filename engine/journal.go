package engine

import (
	"context"
	"encoding/json"
	"time"

	"pipectl.dev/steps"
)

// entry is one line of a run's journal: enough to tell what finished, so that --resume need not do it again.
type entry struct {
	Time    time.Time    `json:"time"`
	Event   string       `json:"event"` // run_start, stage_start, stage_done, run_done
	Verb    string       `json:"verb,omitempty"`
	Stage   string       `json:"stage,omitempty"`
	Status  steps.Status `json:"status,omitempty"`
	Attempt int          `json:"attempt,omitempty"`
	Exit    int          `json:"exitCode,omitempty"`
}

// How long it may take to write down what happened: others may write to the same place, one after the other. A run that was cancelled must
// end, and has less.
const (
	recordWithin        = time.Minute
	recordWhenCancelled = 5 * time.Second
)

// recording is a context that outlives a cancelled run for the moment it takes to write down what happened.
func recording(ctx context.Context) (context.Context, context.CancelFunc) {
	inner, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordWithin)
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(recordWhenCancelled, cancel) })
	return inner, func() { stop(); cancel() }
}

func (x *run) journal(ctx context.Context, e entry) {
	ctx, cancel := recording(ctx)
	defer cancel()
	e.Time = time.Now().UTC()
	raw, err := json.Marshal(e)
	if err == nil {
		err = x.store.Append(ctx, x.runID, raw)
	}
	if err != nil {
		x.warn(err.Error())
	}
}

// put keeps a result. One that cannot be kept does not undo the work, but the run says so by its exit code.
func (x *run) put(ctx context.Context, st *state) {
	ctx, cancel := recording(ctx)
	defer cancel()
	r := st.result
	err := x.keepPrivate(ctx, st)
	if err == nil {
		err = x.store.Put(ctx, clean(x.redact, r))
	}
	if err != nil {
		x.fault(r.Stage, &steps.Error{
			Code: "ResultNotKept", Category: steps.Partial, Message: "result", Err: err,
			Hints: []string{"make room or choose another place by --results; a later run finds out again what exists"},
		})
	}
}

// ownStore refuses a store that holds another pipeline's results, before they are overwritten. A result that cannot be read is only told.
func (x *run) ownStore(ctx context.Context) error {
	for _, s := range x.p.Stages {
		_, err := x.store.Get(ctx, s.Name)
		if err == nil {
			continue
		}
		if steps.Classify(err).Code == "ForeignResult" {
			return err
		}
		x.warn(err.Error())
	}
	return nil
}

// resume takes over the id of the last run, and what it finished.
func (x *run) resume(ctx context.Context) error {
	runs, err := x.store.Runs(ctx)
	if err != nil || len(runs) == 0 {
		return err
	}
	last := runs[len(runs)-1]
	lines, err := x.store.Journal(ctx, last)
	if err != nil {
		return err
	}
	verb := ""
	finished := map[string]bool{}
	for _, line := range lines {
		var e entry
		if json.Unmarshal(line, &e) != nil {
			continue // the line that a crash cut off
		}
		switch e.Event {
		case "run_start":
			verb = e.Verb
		case "stage_done":
			finished[e.Stage] = ended(e.Status)
		}
	}
	if verb != "run" {
		return nil
	}
	x.runID, x.stream.runID = last, last
	for name, st := range x.states {
		st.finished = finished[name]
	}
	return nil
}
