package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

func (a *app) completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print a shell completion script", ArgsUsage: "bash|zsh|fish",
		Description: "bash: source <(pipectl completion bash)\nzsh:  pipectl completion zsh >\"${fpath[1]}/_pipectl\"\nfish: pipectl completion fish | source",
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usage(c, "completion: expected bash, zsh or fish")
			}
			script, ok := completions[c.Args().First()]
			if !ok {
				return usage(c, "completion: %q: expected bash, zsh or fish", c.Args().First())
			}
			_, err := fmt.Fprint(a.stdout, script(verbs(c.App.Commands)))
			return err
		},
	}
}

// shellVerb is what a shell needs to know of a verb.
type shellVerb struct {
	name, usage string
	flags       []shellFlag
}

type shellFlag struct {
	name, usage string
	value       bool
}

func verbs(cmds []*cli.Command) []shellVerb {
	var out []shellVerb
	for _, cmd := range cmds {
		if cmd.Hidden {
			continue
		}
		v := shellVerb{name: cmd.Name, usage: cmd.Usage}
		all := cmd.Flags
		for _, sub := range cmd.Subcommands {
			all = append(all, sub.Flags...)
		}
		for _, f := range all {
			_, isBool := f.(*cli.BoolFlag)
			help := ""
			if d, ok := f.(cli.DocGenerationFlag); ok {
				help = strings.ReplaceAll(d.GetUsage(), "`", "")
			}
			v.flags = append(v.flags, shellFlag{name: f.Names()[0], usage: help, value: !isBool})
		}
		out = append(out, v)
	}
	return out
}

var completions = map[string]func([]shellVerb) string{"bash": bash, "zsh": zsh, "fish": fish}

func bash(vs []shellVerb) string {
	var b strings.Builder
	b.WriteString("# bash completion for pipectl\n_pipectl() {\n\tlocal cur=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]} words=\n")
	b.WriteString("\tif ((COMP_CWORD == 1)); then\n\t\twords=\"")
	for i, v := range vs {
		if i > 0 {
			b.WriteString(" ")
		}
		b.WriteString(v.name)
	}
	b.WriteString("\"\n\telif [[ $cur == -* ]]; then\n\t\tcase $verb in\n")
	for _, v := range vs {
		fmt.Fprintf(&b, "\t\t%s) words=\"%s\" ;;\n", v.name, strings.Join(v.long(), " "))
	}
	b.WriteString("\t\tesac\n\tfi\n\tif [[ -n $words ]]; then\n\t\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n")
	b.WriteString("\telse\n\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n\tfi\n}\ncomplete -o filenames -F _pipectl pipectl\n")
	return b.String()
}

func (v shellVerb) long() []string {
	out := make([]string, len(v.flags))
	for i, f := range v.flags {
		out[i] = "--" + f.name
	}
	return out
}

func zsh(vs []shellVerb) string {
	var b strings.Builder
	b.WriteString("#compdef pipectl\n_pipectl() {\n\tlocal -a verbs\n\tverbs=(\n")
	for _, v := range vs {
		fmt.Fprintf(&b, "\t\t%s\n", quote(v.name+":"+v.usage))
	}
	b.WriteString("\t)\n\tif ((CURRENT == 2)); then\n\t\t_describe verb verbs\n\t\treturn\n\tfi\n\tcase $words[2] in\n")
	for _, v := range vs {
		fmt.Fprintf(&b, "\t%s) _arguments '*:file:_files'", v.name)
		for _, f := range v.flags {
			text := "--" + f.name + "[" + strings.NewReplacer("[", "(", "]", ")", ":", ";").Replace(f.usage) + "]"
			if f.value {
				text += ":" + f.name + ":_files"
			}
			b.WriteString(" " + quote(text))
		}
		b.WriteString(" ;;\n")
	}
	b.WriteString("\tesac\n}\ncompdef _pipectl pipectl\n")
	return b.String()
}

func fish(vs []shellVerb) string {
	var b strings.Builder
	b.WriteString("# fish completion for pipectl\n")
	for _, v := range vs {
		fmt.Fprintf(&b, "complete -c pipectl -n __fish_use_subcommand -f -a %s -d %s\n", v.name, quote(v.usage))
		for _, f := range v.flags {
			value := ""
			if f.value {
				value = " -r"
			}
			fmt.Fprintf(&b, "complete -c pipectl -n '__fish_seen_subcommand_from %s' -l %s%s -d %s\n", v.name, f.name, value, quote(f.usage))
		}
	}
	return b.String()
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
