package main

import (
	"fmt"
	"runtime"

	"github.com/urfave/cli/v2"
)

func (a *app) versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "print the version of this build",
		Flags: []cli.Flag{outputFlag()},
		Action: func(c *cli.Context) error {
			if err := atMost(c, 0); err != nil {
				return err
			}
			if err := oneOf(c, "output", "json", "yaml", "text"); err != nil {
				return err
			}
			if format := c.String("output"); format == "json" || format == "yaml" {
				return a.print(format, map[string]string{"version": version, "commit": commit, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
			}
			_, err := fmt.Fprintf(a.stdout, "pipectl %s (%s, %s, %s/%s)\n", version, short(commit), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

func short(commit string) string { return commit[:min(len(commit), 12)] }
