package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"pipectl.dev/steps"
)

// flagsFirst moves the flags of a command line before its other arguments, since the flag package stops at the first argument: `run
// FILE --yes` and `--yes run FILE` both become `run --yes FILE`. After `--` nothing is moved.
func flagsFirst(c *cli.App, args []string) ([]string, error) {
	if len(args) == 0 {
		return args, nil
	}
	if cmd := c.Command(args[min(1, len(args)-1)]); cmd != nil && cmd.SkipFlagParsing {
		return args, nil // it reads its own
	}
	all := flagArity(c)
	var flags, rest []string
	i := 1
	for ; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			rest = append(rest, arg)
			continue
		}
		flags = append(flags, arg)
		name, _, joined := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !joined && all[name] {
			if i++; i == len(args) {
				verb := strings.Join(append([]string{c.Name}, rest[:verbPath(c.Commands, rest)]...), " ")
				return nil, &steps.Error{Code: "BadUsage", Category: steps.BadInput, Message: "flag needs an argument: " + arg, Hints: []string{"see `" + verb + " --help`"}}
			}
			flags = append(flags, args[i])
		}
	}
	out := []string{args[0]}
	verbs := verbPath(c.Commands, rest)
	out = append(out, rest[:verbs]...)
	out = append(out, flags...)
	if i < len(args) {
		out = append(out, "--")
		rest = append(rest, args[i+1:]...)
	}
	return append(out, rest[verbs:]...), nil
}

// verbPath is how many of the words name a verb and its sub-verbs.
func verbPath(cmds []*cli.Command, words []string) int {
	if len(words) == 0 {
		return 0
	}
	for _, cmd := range cmds {
		if cmd.HasName(words[0]) {
			return 1 + verbPath(cmd.Subcommands, words[1:])
		}
	}
	return 0
}

// flagArity tells for each flag of any verb whether it takes a value. A name means the same in every verb; a test checks that.
func flagArity(c *cli.App) map[string]bool {
	takes := map[string]bool{}
	var visit func([]*cli.Command)
	visit = func(cmds []*cli.Command) {
		for _, cmd := range cmds {
			for _, f := range cmd.Flags {
				_, isBool := f.(*cli.BoolFlag)
				for _, name := range f.Names() {
					takes[name] = !isBool
				}
			}
			visit(cmd.Subcommands)
		}
	}
	visit(c.Commands)
	return takes
}
