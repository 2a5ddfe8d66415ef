package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"pipectl.dev/cmd/pipectl/report"
	"pipectl.dev/steps"
)

func (a *app) reportCommand() *cli.Command {
	return &cli.Command{
		Name: "report", Usage: "draw an HTML report from the events of a run", ArgsUsage: "EVENTS",
		Description: "EVENTS is what `run --events` wrote, `-` is stdin. The page goes to stdout and needs nothing else to be looked at.",
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usage(c, "report: expected one file of events")
			}
			in := a.stdin
			if name := c.Args().First(); name != "-" {
				f, err := os.Open(name)
				if err != nil {
					return &steps.Error{Code: "NoFile", Category: steps.BadInput, Err: err}
				}
				defer f.Close()
				in = f
			}
			events, err := readEvents(in)
			if err != nil {
				return err
			}
			return report.HTML(a.stdout, events)
		},
	}
}

// readEvents reads NDJSON. A last line that was cut off, as a killed run leaves one, is passed over.
func readEvents(r io.Reader) ([]steps.Event, error) {
	var out []steps.Event
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	var broken error
	for n := 1; lines.Scan(); n++ {
		if broken != nil {
			return nil, broken
		}
		var ev steps.Event
		if err := json.Unmarshal(lines.Bytes(), &ev); err != nil {
			broken = &steps.Error{Code: "BadEvents", Category: steps.BadInput, Message: fmt.Sprintf("events: line %d", n), Err: err}
			continue
		}
		out = append(out, ev)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(out) == 0 || out[0].Type != steps.Version {
		return nil, &steps.Error{Code: "BadEvents", Category: steps.BadInput, Message: "events: does not begin with a version",
			Hints: []string{"name a file that `pipectl run --events FILE` wrote"}}
	}
	return out, nil
}
