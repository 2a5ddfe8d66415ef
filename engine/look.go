package engine

import (
	"context"
	"errors"

	"pipectl.dev/steps"
)

// Look is a stage as it would run now: what its step is told, as far as that can be known from the world, and its surroundings.
type Look struct {
	Stage *Stage
	Input steps.Input
	Env   steps.Env
}

// Looks prepares the stages that want chooses without running any: outputs of others are derived from the world, secrets are resolved where
// they can be. It is for verbs that act on what a step made, beside the stages. What is not known is in Input.Partial, and problem says
// why, where an error does.
func (r *Runner) Looks(ctx context.Context, p *Pipeline, want func(step string) bool) (looks []Look, problem error, err error) {
	x, err := r.start(ctx, p, "status")
	if err != nil {
		return nil, nil, err
	}
	var names []string
	for name, st := range x.states {
		if want(st.stage.Definition.Name) {
			names = append(names, name)
		}
	}
	needed := x.p.closure(names, func(s *Stage) []string { return s.References })
	missing := x.resolve(ctx, func(st *state) bool { return want(st.stage.Definition.Name) })
	x.observe(ctx, func(s *Stage) bool { return needed[s.Name] })
	var problems []error
	for _, e := range x.errors {
		if !want(x.stepOf(e.Stage)) {
			problems = append(problems, errors.New(e.Stage+": "+e.Message))
		}
	}
	for _, s := range p.Stages {
		if st := x.states[s.Name]; want(s.Definition.Name) && st.in.With != nil {
			looks = append(looks, Look{Stage: s, Input: st.in.Input, Env: x.env(st)})
		}
	}
	return looks, errors.Join(append(problems, missing...)...), ctx.Err()
}

func (x *run) stepOf(stage string) string {
	if st := x.states[stage]; st != nil {
		return st.stage.Definition.Name
	}
	return ""
}
