package main

import (
	"github.com/urfave/cli/v2"

	"pipectl.dev/cmd/pipectl/view"
)

func (a *app) doctorCommand() *cli.Command {
	return &cli.Command{
		Name: "doctor", Usage: "check all that a run would need: versions, quotas, zones, permissions, credentials", ArgsUsage: "[FILE]",
		Description: "Runs the preflight of every stage, also of those that have nothing to do, and lists every problem at once. Writes nothing and takes\n" +
			"no lock. `run` does the same before its first write.",
		Flags: flags(fileFlags(), storeFlags(), []cli.Flag{outputFlag()}, logFlags()),
		Action: func(c *cli.Context) error {
			if err := oneOf(c, "output", "json", "yaml", "text"); err != nil {
				return err
			}
			s, err := a.open(c, "plan")
			if err != nil {
				return err
			}
			r := s.runner.Doctor(c.Context, s.pipeline)
			s.show.discard()
			if format := c.String("output"); format == "json" || format == "yaml" {
				err = a.print(format, r)
			} else {
				view.Doctor(a.stdout, r, a.style(a.stdout))
			}
			a.code = r.ExitCode()
			a.complainAll(r.Errors)
			return err
		},
	}
}
