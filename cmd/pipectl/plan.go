package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"pipectl.dev/cmd/pipectl/view"
	"pipectl.dev/engine"
)

// exitChanges is the exit code of `plan --detailed-exitcode` when something would change.
const exitChanges = 3

func (a *app) planCommand() *cli.Command {
	return &cli.Command{
		Name: "plan", Usage: "show what a run would change, what it costs and how long it takes", ArgsUsage: "[FILE]",
		Description: "Writes nothing and takes no lock.",
		Flags: flags(fileFlags(), selectFlags(), []cli.Flag{
			&cli.BoolFlag{Name: "detailed-exitcode", Usage: "exit 3 when something would change"},
			&cli.StringFlag{Name: "out", Usage: "save the plan to `FILE` for `run --plan FILE`"},
		}, storeFlags(), []cli.Flag{outputFlag(), priceFlag()}, logFlags()),
		Action: a.planAction,
	}
}

func (a *app) planAction(c *cli.Context) error {
	if err := oneOf(c, "output", "json", "yaml", "text"); err != nil {
		return err
	}
	s, err := a.open(c, "plan")
	if err != nil {
		return err
	}
	p := s.runner.Plan(c.Context, s.pipeline, engine.RunOptions{Stages: c.StringSlice("stage"), From: c.String("from"), Until: c.String("until")})
	s.show.discard()
	if format := c.String("output"); format == "json" || format == "yaml" {
		err = a.print(format, p)
	} else {
		view.Plan(a.stdout, p, a.style(a.stdout))
	}
	a.code = p.ExitCode()
	if out := c.String("out"); out != "" && a.code == 0 && err == nil {
		err = s.save(out, p)
	}
	if a.code == 0 && c.Bool("detailed-exitcode") && p.HasChanges() {
		a.code = exitChanges
	}
	a.complainAll(p.Errors)
	return err
}

// complainAll tells every error, and in one line which stages were never started: they have no error of their own.
func (a *app) complainAll(errs []engine.StageError) {
	var waiting []string
	for _, e := range errs {
		if e.Code == "NotStarted" && e.Stage != "" {
			waiting = append(waiting, e.Stage)
			continue
		}
		message := e.Message
		if e.Stage != "" {
			message = e.Stage + ": " + message
		}
		a.complain(message, e.Hint)
	}
	if len(waiting) > 0 {
		fmt.Fprintln(a.stderr, "not started:", strings.Join(waiting, ", "))
	}
}
