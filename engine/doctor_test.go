package engine_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

func TestDoctorListsEveryCheckAndEveryProblemAndChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.things["ta"] = 1 // all is there: it is looked at all the same
	w.on["preflight ta"] = func(_ context.Context, env steps.Env) error {
		env.Checked("quota", "1 of 5 used", true)
		env.Note("small")
		return nil
	}
	w.on["preflight tb"] = func(_ context.Context, env steps.Env) error {
		env.Checked("zone", "none", false)
		return &steps.Error{Code: "NoZone", Category: steps.Precondition, Message: "no zone"}
	}
	w.things["td"] = 1 // has nothing to do, so that what it would need anew stands in nobody's way
	w.on["preflight td"] = func(context.Context, steps.Env) error {
		return &steps.Error{Code: "NoOld", Category: steps.Precondition, Message: "the old one is gone"}
	}
	rep := runner(newMemory()).Doctor(t.Context(), load(t, w, head+`  stages:
    - {name: a, step: make-thing, with: {name: ta}}
    - {name: b, step: make-thing, with: {name: tb}}
    - {name: c, step: make-thing, with: {name: tc, cluster: "${{ stages.b.outputs.cluster }}"}}
    - {name: d, step: make-thing, with: {name: td}}
    - {name: e, step: make-thing, with: {name: te, cluster: "${{ stages.d.outputs.cluster }}"}}
`))
	want := []engine.StageDoctor{
		{Stage: "a", Step: "make-thing", Checks: []steps.Check{{What: "quota", Detail: "1 of 5 used", OK: true}}, Notes: []string{"small"}},
		{Stage: "b", Step: "make-thing", Checks: []steps.Check{{What: "zone", Detail: "none"}}},
		{Stage: "c", Step: "make-thing", Deferred: []engine.Deferred{{Path: "cluster", After: []string{"b"}}}},
		{Stage: "d", Step: "make-thing", Notes: []string{"nothing to do, but to do it again: the old one is gone"}},
		{Stage: "e", Step: "make-thing"},
	}
	if d := cmp.Diff(want, rep.Stages); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if len(rep.Errors) != 1 || rep.Errors[0].Code != "NoZone" || rep.ExitCode() != 10 {
		t.Errorf("errors %+v, exit %d", rep.Errors, rep.ExitCode())
	}
	if n := w.count("apply"); n != 0 {
		t.Errorf("%d applies", n)
	}
}
