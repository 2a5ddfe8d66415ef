package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// defaultFile is the pipeline that a verb takes when none is named.
const defaultFile = "pipectl.yaml"

// Flags that mean the same in every verb that has them.
func fileFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "param", Usage: "set a param, as `NAME=VALUE`; repeatable"},
		&cli.StringSliceFlag{Name: "params", Usage: "read params from a YAML `FILE` or `terraform output -json`; repeatable, later ones win"},
		&cli.StringFlag{Name: "env", Usage: "run as environment `NAME`: its resources, locks and results are its own"},
	}
}

func storeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "results", Usage: "keep results in `PLACE`: a directory (default: .pipectl/IDENTITY), configmap://NAMESPACE/NAME or s3://BUCKET/PREFIX"},
	}
}

// priceFlag is of verbs that say what things cost.
func priceFlag() cli.Flag {
	return &cli.StringFlag{Name: "prices", Usage: "lay the list prices in `FILE` (YAML or JSON) over the built-in ones", EnvVars: []string{"PIPECTL_PRICES"}}
}

func outputFlag() cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write the result as `FORMAT`: json, yaml or text"}
}

// resultFlag is outputFlag for verbs whose result a script reads unless a person looks on.
func resultFlag() cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write the result as `FORMAT`: json, yaml or text", DefaultText: "text on a terminal, else json"}
}

func logFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no progress; warnings and errors only"},
		&cli.StringFlag{Name: "log-format", Value: "text", Usage: "write logs and progress on stderr as `FORMAT`: text or json"},
		&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "log what steps do in detail"},
	}
}

func selectFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "stage", Usage: "only stage `NAME`; repeatable. What it needs is looked up, not run"},
		&cli.StringFlag{Name: "from", Usage: "stage `NAME` and all that need it"},
		&cli.StringFlag{Name: "until", Usage: "stage `NAME` and all that it needs"},
	}
}

func lockFlags() []cli.Flag {
	return []cli.Flag{
		&cli.DurationFlag{Name: "lock-wait", Usage: "wait `TIME` for another run that holds a stage, then exit 12 and name it", DefaultText: "0s on a terminal, 5m elsewhere"},
		&cli.StringFlag{Name: "lock", Value: "auto", Usage: "`KIND` of lock: auto (SSM, or a Lease without AWS) or none"},
		lockNamespaceFlag(),
		&cli.IntFlag{Name: "max-parallel", Usage: "at most `N` stages at once", DefaultText: "8"},
		&cli.StringFlag{Name: "mover-image", Usage: "`IMAGE` of the mover pods (default: the own pod's image, else the release's)", EnvVars: []string{"PIPECTL_MOVER_IMAGE"}},
	}
}

// lockNamespaceFlag matters where hooks in many namespaces run one pipeline: they must meet at one Lease.
func lockNamespaceFlag() cli.Flag {
	return &cli.StringFlag{Name: "lock-namespace", Usage: "`NAMESPACE` of the Leases", DefaultText: "the own pod's, else default", EnvVars: []string{"PIPECTL_LOCK_NAMESPACE"}}
}

func sinkFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "events", Usage: "write events as JSON lines to `FILE`"},
		&cli.StringFlag{Name: "junit", Usage: "write a JUnit report to `FILE`"},
		&cli.StringFlag{Name: "summary", Usage: "write a Markdown summary to `FILE`"},
		&cli.StringFlag{Name: "dotenv", Usage: "write outputs as NAME='value' lines to `FILE`"},
		&cli.StringFlag{Name: "report", Usage: "write an HTML report to `FILE`"},
	}
}

func yesFlag(usage string) cli.Flag {
	return &cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: usage}
}

func flags(groups ...[]cli.Flag) []cli.Flag { return slices.Concat(groups...) }

func oneOf(c *cli.Context, flag string, allowed ...string) error {
	v := c.String(flag)
	if v == "" || slices.Contains(allowed, v) {
		return nil
	}
	return usage(c, "--%s %q: expected %s", flag, v, strings.Join(allowed, " or "))
}

// atMost refuses arguments that a verb would ignore.
func atMost(c *cli.Context, n int) error {
	if c.NArg() <= n {
		return nil
	}
	return usage(c, "%s: unexpected argument %q", c.Command.Name, c.Args().Get(n))
}
