package main

import (
	"github.com/urfave/cli/v2"

	"pipectl.dev/cmd/pipectl/view"
	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

func (a *app) runCommand() *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "bring the world to what the pipeline says", ArgsUsage: "[FILE]",
		Description: "Checks everything, shows what would change, asks, and does it. The same command again carries on where an interrupted one\n" +
			"stopped, and changes nothing where nothing has to change. The result on stdout is JSON unless stdout is a terminal.",
		Flags: flags(fileFlags(), selectFlags(), []cli.Flag{
			yesFlag("do not ask about the plan; stages with confirm: ask still wait for --approve"),
			&cli.StringSliceFlag{Name: "approve", Usage: "let `STAGE` with confirm: ask start; repeatable"},
			&cli.StringFlag{Name: "plan", Usage: "apply the plan that `plan --out` wrote to `FILE`, exactly; ask nothing, and refuse (exit 10) when anything moved since"},
			&cli.BoolFlag{Name: "resume", Usage: "carry on with the last run: its finished stages are looked at, not planned again"},
			&cli.BoolFlag{Name: "prune", Usage: "also remove what is left of stages that the file does not have any more; never data"},
			&cli.BoolFlag{Name: "force", Usage: "apply also where nothing has to change"},
		}, storeFlags(), sinkFlags(), lockFlags(), []cli.Flag{resultFlag(), priceFlag()}, logFlags()),
		Action: a.runAction,
	}
}

func (a *app) runAction(c *cli.Context) error {
	if err := oneOf(c, "output", "json", "yaml", "text"); err != nil {
		return err
	}
	if err := a.mayPrune(c); err != nil {
		return err
	}
	saved, err := a.saved(c)
	if err != nil {
		return err
	}
	s, err := a.open(c, "run")
	if err != nil {
		return err
	}
	r := s.runner.Run(c.Context, s.pipeline, engine.RunOptions{
		Stages: c.StringSlice("stage"), From: c.String("from"), Until: c.String("until"),
		Resume: c.Bool("resume"), Force: c.Bool("force"), Yes: c.Bool("yes"), Approve: c.StringSlice("approve"), LockWait: s.lockWait(),
		Saved: saved, Prune: c.Bool("prune"),
	})
	return s.finish(r)
}

// mayPrune refuses what would remove things that nobody was shown.
func (a *app) mayPrune(c *cli.Context) error {
	if !c.Bool("prune") {
		return nil
	}
	for _, name := range []string{"stage", "from", "until", "resume"} {
		if c.IsSet(name) {
			return usage(c, "--prune: needs the whole file, not --%s", name)
		}
	}
	if !c.Bool("yes") && !a.someone() {
		return &steps.Error{Code: "NotConfirmed", Category: steps.BadInput, Message: "run --prune: nobody is there to be asked",
			Hints: []string{"look at `pipectl plan`; --yes confirms it"}}
	}
	return nil
}

// finish shows how a run ended: the result on stdout, errors and the ways on on stderr, reports where asked.
func (s *session) finish(r *engine.RunResult) error {
	s.show.close()
	a := s.app
	a.code = r.ExitCode()
	reportErr := s.reports.finish(r)
	format := s.c.String("output")
	if format == "" {
		format = "json"
		if isTerminal(a.stdout) {
			format = "text"
		}
	}
	if format == "text" {
		view.Summary(a.stdout, r, a.style(a.stdout))
	} else if err := a.print(format, r); err != nil {
		return err
	}
	a.complainAll(r.Errors)
	view.Next(a.stderr, r, a.style(a.stderr))
	return reportErr
}
