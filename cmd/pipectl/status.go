package main

import (
	"github.com/urfave/cli/v2"

	"pipectl.dev/cmd/pipectl/view"
)

func (a *app) statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "show what exists, how it differs from the file, and what it costs", ArgsUsage: "[FILE]",
		Description: "Looks at the world, not at stored results. A line for each thing says what a run would do to it. What costs by the hour is found by\n" +
			"owner tag: also what a down left over, and what no stage of the file makes any more. Writes nothing and takes no lock.",
		Flags: flags(fileFlags(), []cli.Flag{&cli.BoolFlag{Name: "all-regions", Usage: "look for what costs in all regions of the account"}}, storeFlags(), []cli.Flag{outputFlag(), priceFlag()}, logFlags()),
		Action: func(c *cli.Context) error {
			if err := oneOf(c, "output", "json", "yaml", "text"); err != nil {
				return err
			}
			s, err := a.open(c, "status")
			if err != nil {
				return err
			}
			r := s.runner.Status(c.Context, s.pipeline)
			r.Holdings, r.Cost, err = s.holdings(c.Context, c.Bool("all-regions"))
			s.show.discard()
			if err != nil {
				return err
			}
			r.Judge(r.Holdings)
			if format := c.String("output"); format == "json" || format == "yaml" {
				err = a.print(format, r)
			} else {
				view.Status(a.stdout, r, a.style(a.stdout))
			}
			a.code = r.ExitCode()
			a.complainAll(r.Errors)
			return err
		},
	}
}
