package main

import (
	"github.com/urfave/cli/v2"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

func (a *app) downCommand() *cli.Command {
	return &cli.Command{
		Name: "down", Usage: "remove everything but data; `run` brings it back", ArgsUsage: "[FILE]",
		Description: "Stops what runs, lets go of volumes and load balancers, then deletes what carries the pipeline's owner tag. Works on a\n" +
			"half-built or half-gone world, without any stored result.",
		Flags:  flags(fileFlags(), downFlags(), storeFlags(), sinkFlags(), lockFlags(), []cli.Flag{resultFlag(), priceFlag()}, logFlags()),
		Action: func(c *cli.Context) error { return a.down(c, "") },
	}
}

func (a *app) destroyCommand() *cli.Command {
	return &cli.Command{
		Name: "destroy", Usage: "remove everything, data too", ArgsUsage: "--with-data NAME [FILE]",
		Description: "Data volumes go as well, and those of claims in clusters that go, each after a last snapshot, which stays (`finalSnapshot: false`\n" +
			"of data-volume and `finalSnapshots: false` of provision-eks take none). The pipeline's name is typed as proof that it is meant.",
		Flags: flags(fileFlags(), []cli.Flag{
			&cli.StringFlag{Name: "with-data", Usage: "`NAME` of the pipeline whose data is to be removed (required)"},
		}, downFlags(), storeFlags(), sinkFlags(), lockFlags(), []cli.Flag{resultFlag(), priceFlag()}, logFlags()),
		Action: a.destroyAction,
	}
}

func downFlags() []cli.Flag {
	return []cli.Flag{
		yesFlag("do not ask"),
		&cli.BoolFlag{Name: "force", Usage: "go on where a stage could not let go"},
	}
}

func (a *app) destroyAction(c *cli.Context) error {
	name := c.String("with-data")
	if name == "" {
		return &steps.Error{Code: "BadUsage", Category: steps.BadInput, Message: "destroy: removes data, so the pipeline's name must be typed",
			Hints: []string{"pipectl destroy --with-data NAME; `pipectl down` keeps data"}}
	}
	return a.down(c, name)
}

func (a *app) down(c *cli.Context, withData string) error {
	if err := oneOf(c, "output", "json", "yaml", "text"); err != nil {
		return err
	}
	if !c.Bool("yes") && !a.someone() {
		return &steps.Error{Code: "NotConfirmed", Category: steps.BadInput, Message: c.Command.Name + ": nobody is there to be asked",
			Hints: []string{"--yes confirms it"}}
	}
	s, err := a.open(c, c.Command.Name)
	if err != nil {
		return err
	}
	if withData != "" && withData != s.pipeline.Name {
		s.show.discard()
		return &steps.Error{Code: "WrongName", Category: steps.BadInput, Message: "--with-data " + withData + ": this pipeline is " + s.pipeline.Name,
			Hints: []string{"the name typed must be metadata.name of the file"}}
	}
	return s.finish(s.runner.Down(c.Context, s.pipeline, engine.DownOptions{
		WithData: withData, Yes: c.Bool("yes"), Force: c.Bool("force"), LockWait: s.lockWait(),
	}))
}
