package main

import (
	"github.com/urfave/cli/v2"

	"pipectl.dev/steps/jenkinshome"
)

// moverCommand is what runs in the pods of a Jenkins move; people have no use for it.
func (a *app) moverCommand() *cli.Command {
	return &cli.Command{
		Name: "mover", Hidden: true, SkipFlagParsing: true,
		Action: func(c *cli.Context) error {
			a.code = jenkinshome.Mover(c.Context, c.Args().Slice(), a.stderr)
			return nil
		},
	}
}
