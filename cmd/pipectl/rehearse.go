package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"pipectl.dev/engine"
	"pipectl.dev/rehearsal"
)

func (a *app) rehearseCommand() *cli.Command {
	return &cli.Command{
		Name: "rehearse", Usage: "run the whole pipeline on this machine: no account, no Docker", ArgsUsage: "[FILE]",
		Description: "Starts an emulated cloud and real control planes, runs the pipeline against them as `pipectl run` would, and judges what\n" +
			"is left. Minutes of cloud time pass in seconds. Clusters that the pipeline uses and does not make are there before it starts, with what\n" +
			"its stages presuppose: a Jenkins to be moved, Argo CD and its Applications, the EBS CSI driver.",
		Flags: flags(fileFlags(), []cli.Flag{
			&cli.BoolFlag{Name: "full-circle", Usage: "also run again, down, and run: nothing may change, then go, then be missing"},
			&cli.StringFlag{Name: "fault", Usage: "what goes wrong, as `SPEC`: eks:CreateNodegroup=throttle*3,iam:*=lost-response"},
			&cli.IntFlag{Name: "kill-at", Usage: "kill the client at its `N`th cloud call, then run it again", DefaultText: "never"},
			&cli.Int64Flag{Name: "seed", Value: 1, Usage: "`SEED` of durations, faults and trees"},
			&cli.BoolFlag{Name: "keep", Usage: "leave it running until Ctrl-C, to poke at"},
			&cli.BoolFlag{Name: "no-run", Usage: "start the world only and leave it running until Ctrl-C, for runs of your own"},
			&cli.Float64Flag{Name: "speed", Usage: "the cloud runs `N` times faster than real", DefaultText: "60"},
			&cli.StringSliceFlag{Name: "repo", Usage: "serve a directory as a Git repository, as `URL=DIR`; repeatable"},
			&cli.StringFlag{Name: "lab", Usage: "`PATH` of the lab binary (default: $PIPECTL_LAB, beside pipectl, bin/lab)"},
			&cli.StringFlag{Name: "iam-policy", Usage: "write the least-privilege policy of the calls made to `FILE`"},
			&cli.StringFlag{Name: "dir", Usage: "work in `DIR`, which must be empty and stays (default: a temporary one)"},
			&cli.StringFlag{Name: "results", Usage: "copy results, events and logs to `DIR`"},
		}, []cli.Flag{outputFlag()}, logFlags()),
		Action: a.rehearseAction,
	}
}

func (a *app) rehearseAction(c *cli.Context) error {
	if err := oneOf(c, "output", "json", "text"); err != nil {
		return err
	}
	if strings.Contains(c.String("results"), "://") {
		return usage(c, "rehearse: --results %s: expected a directory: a rehearsal leaves nothing elsewhere", c.String("results"))
	}
	if c.NArg() == 0 && a.defaultFile() == inlineFile {
		return usage(c, "rehearse: expected a FILE: what %s holds cannot be rehearsed", inlineFile)
	}
	p, err := a.load(c, newClients().catalog(), true)
	if err != nil {
		return err // found in a moment, before control planes are started
	}
	o := rehearsal.Options{
		File: defaultFile, Params: plainParams(p), Run: passedOn(c), Dir: c.String("dir"), Lab: c.String("lab"), Seed: c.Int64("seed"), Speed: c.Float64("speed"),
		Faults: c.String("fault"), KillAt: c.Int("kill-at"), FullCircle: c.Bool("full-circle"), Keep: c.Bool("keep"), NoRun: c.Bool("no-run"),
		Repos: map[string]string{}, IAMPolicy: c.String("iam-policy"), Results: c.String("results"), JSON: c.String("output") == "json",
		Terminal: isTerminal(a.stderr), Stdout: a.stdout, Stderr: a.stderr, Getenv: a.getenv,
	}
	if c.NArg() == 1 {
		o.File = c.Args().First()
	}
	for _, r := range c.StringSlice("repo") {
		i := strings.LastIndex(r, "=") // a URL may hold one itself
		if i <= 0 {
			return usage(c, "--repo %q: expected URL=DIR", r)
		}
		o.Repos[r[:i]] = r[i+1:]
	}
	if o.Self, err = os.Executable(); err != nil {
		return err
	}
	a.code, err = rehearsal.Main(c.Context, o)
	return err
}

// plainParams are the values of a pipeline's params that are no secrets.
func plainParams(p *engine.Pipeline) map[string]string {
	out := map[string]string{}
	for _, param := range p.Params {
		if !param.Secret() && param.Value != nil {
			out[param.Name] = fmt.Sprint(param.Value)
		}
	}
	return out
}

// passedOn is what the client under rehearsal is told as well. Files are named absolutely: it may run elsewhere.
func passedOn(c *cli.Context) []string {
	var out []string
	for _, v := range c.StringSlice("param") {
		out = append(out, "--param", v)
	}
	for _, v := range c.StringSlice("params") {
		if abs, err := filepath.Abs(v); err == nil {
			v = abs
		}
		out = append(out, "--params", v)
	}
	for _, name := range []string{"env", "log-format"} {
		if c.IsSet(name) {
			out = append(out, "--"+name, c.String(name))
		}
	}
	for _, name := range []string{"quiet", "verbose"} {
		if c.Bool(name) {
			out = append(out, "--"+name)
		}
	}
	return out
}
