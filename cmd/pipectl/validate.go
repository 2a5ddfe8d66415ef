package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"pipectl.dev/engine"
	"pipectl.dev/steps/spec"
)

// validity is what `validate -o json` tells.
type validity struct {
	File     string    `json:"file"`
	Valid    bool      `json:"valid"`
	Pipeline string    `json:"pipeline,omitempty"` // missing where the file is not valid
	Stages   []string  `json:"stages,omitempty"`   // their names, in file order; missing where the file is not valid
	Problems []problem `json:"problems,omitempty"` // in file order
}

// problem is one thing wrong with a file.
type problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`           // 1-based
	Column  int    `json:"column"`         // 1-based
	Path    string `json:"path,omitempty"` // of the field; missing for the file itself
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func (a *app) validateCommand() *cli.Command {
	return &cli.Command{
		Name: "validate", Usage: "check a pipeline file; needs no credentials and no network", ArgsUsage: "[FILE]",
		Description: "All problems are reported at once, as file:line:col. Params without a value are accepted: what uses them is checked by type.",
		Flags:       flags(fileFlags(), []cli.Flag{outputFlag(), &cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "say nothing when all is well"}}),
		Action: func(c *cli.Context) error {
			if err := oneOf(c, "output", "json", "yaml", "text"); err != nil {
				return err
			}
			p, err := a.load(c, newClients().catalog(), true)
			problems, listed := errors.AsType[spec.Problems](err)
			if err != nil && !listed {
				return err
			}
			if format := c.String("output"); format == "json" || format == "yaml" {
				return errors.Join(err, a.print(format, valid(p, problems)))
			}
			if err == nil && !c.Bool("quiet") {
				fmt.Fprintf(a.stdout, "%s: pipeline %s is valid, %d stages\n", p.File, p.Name, len(p.Stages))
			}
			return err
		},
	}
}

// valid is the report of a pipeline, or of the problems that keep its file from being one.
func valid(p *engine.Pipeline, problems spec.Problems) validity {
	if len(problems) == 0 {
		return validity{File: p.File, Valid: true, Pipeline: p.Name, Stages: names(p)}
	}
	v := validity{File: problems[0].File}
	for _, x := range problems {
		v.Problems = append(v.Problems, problem{File: x.File, Line: x.Line, Column: x.Col, Path: x.Path, Message: x.Message, Hint: x.Hint})
	}
	return v
}
