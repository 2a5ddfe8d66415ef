package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"pipectl.dev/steps"
	"pipectl.dev/steps/spec"
)

// app is one call of the command: its streams, its environment, and the exit code of a verb that ended without an error.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	lookup         func(string) (string, bool)
	code           int
	file           string // the pipeline, where something else than the arguments names it
	told           bool   // the pod's termination message is written
}

func (a *app) getenv(key string) string {
	v, _ := a.lookup(key)
	return v
}

// run is main without a process: it returns the exit code. stdout receives the result only.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, lookup func(string) (string, bool)) (code int) {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, lookup: lookup}
	defer func() {
		if p := recover(); p != nil {
			err := crash(p)
			code = a.report(err)
			a.lastWords(verbOf(args), err, code)
		}
	}()
	cmd := a.command()
	args, err := flagsFirst(cmd, args)
	if err == nil {
		err = cmd.RunContext(ctx, args)
	}
	if err != nil {
		code = a.report(err)
		a.lastWords(verbOf(args), err, code)
		return code
	}
	return a.code
}

func verbOf(args []string) string {
	if len(args) < 2 {
		return ""
	}
	return args[1]
}

func (a *app) command() *cli.App {
	c := &cli.App{
		Name:  "pipectl",
		Usage: "pipelines for clusters: provision EKS, bind IAM roles, move Jenkins, sync Argo CD",
		Description: "Each verb explains itself: pipectl VERB --help. The pipeline file is pipectl.yaml unless another is named.\n\n" +
			"Exit codes: 0 done, 1 a bug, 2 bad input, 3 plan --detailed-exitcode: changes, 10 precondition or quota, 11 credentials or\n" +
			"permission, 12 locked or in conflict, 13 waits for an approval, 14 passing trouble: the same command carries on, 15 timed out,\n" +
			"16 partly failed or leftovers, 17 unhealthy, 18 verification failed, 130 Ctrl-C, 143 SIGTERM.",
		Writer:          a.stdout,
		ErrWriter:       a.stderr,
		HideHelpCommand: true,
		HideVersion:     true,

		DisableSliceFlagSeparator: true,                         // --param list=a,b is one param
		ExitErrHandler:            func(*cli.Context, error) {}, // run reports, once
		OnUsageError:              badUsage,
		Commands:                  a.commands(),
		Action:                    a.noVerb,
	}
	for _, cmd := range c.Commands {
		finish(cmd)
	}
	return c
}

func (a *app) commands() []*cli.Command {
	return []*cli.Command{
		a.runCommand(), a.planCommand(), a.doctorCommand(), a.downCommand(), a.destroyCommand(), a.statusCommand(), a.validateCommand(), a.rehearseCommand(),
		a.stepsCommand(), a.schemaCommand(), a.resultCommand(), a.reportCommand(), a.unlockCommand(), a.moveCommand(),
		a.kubeconfigCommand(), a.tokenCommand(), a.copyCommand(), a.moverCommand(), a.versionCommand(), a.completionCommand(),
	}
}

// finish sets on every verb what must not be forgotten on any.
func finish(cmd *cli.Command) {
	cmd.OnUsageError = badUsage
	cmd.HideHelpCommand = true
	if strings.HasSuffix(cmd.ArgsUsage, "[FILE]") {
		cmd.Description = strings.TrimSpace(cmd.Description + "\nFILE is the pipeline (default: " + defaultFile + ").")
	}
	for _, f := range cmd.Flags {
		if b, ok := f.(*cli.BoolFlag); ok {
			b.DisableDefaultText = true // "(default: false)" says nothing
		}
	}
	for _, sub := range cmd.Subcommands {
		finish(sub)
	}
}

// badUsage says what the flag package says, in the form in which flags are written here.
func badUsage(c *cli.Context, err error, _ bool) error {
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return usage(c, "%s", err)
	}
	var known []string
	for _, f := range c.Command.Flags {
		known = append(known, f.Names()...)
	}
	e := usage(c, "unknown flag --%s", strings.TrimPrefix(name, "-"))
	if near := spec.Nearest(name, known); strings.HasPrefix(near, "did you mean") {
		e.Hints = append([]string{strings.Replace(near, `"`, `"--`, 1)}, e.Hints...)
	}
	return e
}

// usage is a mistake in the command line.
func usage(c *cli.Context, format string, args ...any) *steps.Error {
	hint := "pipectl --help"
	if c != nil && c.Command != nil && c.Command.Name != "" && c.Command.Name != "pipectl" {
		hint = cmp.Or(c.Command.HelpName, "pipectl "+c.Command.Name) + " --help"
	}
	return &steps.Error{Code: "BadUsage", Category: steps.BadInput, Message: fmt.Sprintf(format, args...), Hints: []string{"see `" + hint + "`"}}
}

func (a *app) noVerb(c *cli.Context) error {
	if c.NArg() == 0 {
		return cli.ShowAppHelp(c)
	}
	return unknownVerb(c.App, c.Args().First())
}

func unknownVerb(c *cli.App, name string) error {
	var names []string
	for _, cmd := range c.Commands {
		if !cmd.Hidden {
			names = append(names, cmd.Name)
		}
	}
	slices.Sort(names)
	return &steps.Error{Code: "BadUsage", Category: steps.BadInput, Message: fmt.Sprintf("%q: unknown verb", name),
		Hints: []string{"verbs: " + strings.Join(names, ", ")}}
}

// report writes an error for people, once, and returns the exit code.
func (a *app) report(err error) int {
	if problems, ok := errors.AsType[spec.Problems](err); ok {
		for _, p := range problems {
			a.complain(p.Error(), p.Hint)
		}
		return steps.BadInput.ExitCode()
	}
	e := steps.Classify(err)
	a.complain(e.Message, e.Hints...)
	return e.Category.ExitCode()
}

func (a *app) complain(message string, hints ...string) {
	fmt.Fprintln(a.stderr, "error:", message)
	for _, h := range hints {
		if h != "" {
			fmt.Fprintln(a.stderr, "hint: ", h)
		}
	}
}
