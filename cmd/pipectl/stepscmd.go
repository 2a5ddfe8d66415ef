package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"pipectl.dev/steps"
)

func (a *app) stepsCommand() *cli.Command {
	return &cli.Command{
		Name: "steps", Usage: "list the built-in steps, or explain one", ArgsUsage: "[STEP]",
		Flags: []cli.Flag{outputFlag()},
		Action: func(c *cli.Context) error {
			if err := atMost(c, 1); err != nil {
				return err
			}
			if err := oneOf(c, "output", "json", "yaml", "text"); err != nil {
				return err
			}
			all := newClients().catalog()
			if c.NArg() == 1 {
				d, err := find(all, c.Args().First())
				if err != nil {
					return err
				}
				_, err = fmt.Fprint(a.stdout, stepDoc(d))
				return err
			}
			if format := c.String("output"); format == "json" || format == "yaml" {
				return a.print(format, stepList(all))
			}
			for _, d := range all {
				fmt.Fprintf(a.stdout, "%-24s %s\n", d.Name, d.Summary)
			}
			return nil
		},
	}
}

type stepInfo struct {
	Name    string `json:"name"`
	Summary string `json:"summary"`
	AWS     bool   `json:"aws"`
}

func stepList(all []steps.Definition) []stepInfo {
	out := make([]stepInfo, len(all))
	for i, d := range all {
		out[i] = stepInfo{d.Name, d.Summary, d.AWS}
	}
	return out
}

func find(all []steps.Definition, name string) (steps.Definition, error) {
	var names []string
	for _, d := range all {
		if d.Name == name {
			return d, nil
		}
		names = append(names, d.Name)
	}
	return steps.Definition{}, &steps.Error{Code: "UnknownStep", Category: steps.BadInput, Message: fmt.Sprintf("%q: unknown step", name),
		Hints: []string{fmt.Sprintf("steps: %v", names)}}
}
