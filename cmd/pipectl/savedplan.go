package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

// save writes a plan for `run --plan`, readable by nobody else: it tells what there is.
func (s *session) save(path string, plan *engine.PlanReport) error {
	c := s.c
	saved, err := engine.SavePlan(s.pipeline, plan, s.runner.Tool, engine.Arguments{
		File: s.pipeline.File, Env: c.String("env"), Params: c.StringSlice("param"), ParamFiles: c.StringSlice("params"),
		Stages: c.StringSlice("stage"), From: c.String("from"), Until: c.String("until"),
	})
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(saved, "", "  ")
	if err == nil {
		err = writePrivate(path, append(text, '\n'))
	}
	if err != nil {
		return &steps.Error{Code: "PlanNotSaved", Category: steps.BadInput, Message: "--out " + path, Err: err}
	}
	fmt.Fprintf(s.app.stderr, "saved: `pipectl run --plan %s` applies exactly this, and refuses when anything moved\n", path)
	if n := len(plan.Deferred); n > 0 {
		fmt.Fprintf(s.app.stderr, "not in it: what becomes of %s. That is known only after other stages; the run plans it then, by the file as it is now\n", strings.Join(plan.Deferred, ", "))
	}
	return nil
}

// writePrivate writes a file of mode 0600 whole or not at all.
func writePrivate(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone when it was renamed
	if _, err = f.Write(text); err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// notWithPlan are flags whose values are in a saved plan, or that would make another run of it.
var notWithPlan = []string{"param", "params", "env", "stage", "from", "until", "resume", "force", "prune"}

// saved reads the plan that --plan names and sets what it was made with, as if it had been given to this call; nil without --plan.
func (a *app) saved(c *cli.Context) (*engine.SavedPlan, error) {
	path := c.String("plan")
	if path == "" {
		return nil, nil
	}
	if c.NArg() > 0 {
		return nil, usage(c, "--plan: the pipeline file is in the plan, unexpected argument %q", c.Args().First())
	}
	for _, name := range notWithPlan {
		if c.IsSet(name) {
			return nil, usage(c, "--plan: --%s cannot be changed any more, the plan is made", name)
		}
	}
	src, err := readFile(path)
	if err != nil {
		return nil, err
	}
	s, err := engine.ReadPlan(path, src)
	if err != nil {
		return nil, err
	}
	a.file = s.Arguments.File
	one := map[string]string{"env": s.Arguments.Env, "from": s.Arguments.From, "until": s.Arguments.Until}
	many := map[string][]string{"param": s.Arguments.Params, "params": s.Arguments.ParamFiles, "stage": s.Arguments.Stages}
	for name, value := range one {
		if value != "" {
			many[name] = []string{value}
		}
	}
	for name, values := range many {
		for _, v := range values {
			if err := c.Set(name, v); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", path, name, err)
			}
		}
	}
	return s, nil
}
