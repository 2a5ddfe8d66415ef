package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
	"pipectl.dev/steps/spec"
)

func (a *app) resultCommand() *cli.Command {
	return &cli.Command{
		Name: "result", Usage: "read stored results",
		Subcommands: []*cli.Command{{
			Name: "get", Usage: "print one value of a stage's outputs, or the whole result", ArgsUsage: "STAGE[.PATH]",
			Description: "PATH is below outputs: `cluster.oidc.issuer` is outputs.oidc.issuer of stage cluster, `cluster.zones.0` the first of a list.\n" +
				"Strings are printed without quotes. Where the store has nothing, the outputs are derived from the world. A sensitive output\n" +
				"is printed as a reference, {\"sensitive\": NAME}, unless --reveal asks for its value.",
			Flags: flags(fileFlags(), []cli.Flag{&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Value: defaultFile, Usage: "the pipeline `FILE`"}}, storeFlags(), []cli.Flag{
				&cli.BoolFlag{Name: "reveal", Usage: "print the values of sensitive outputs"}, outputFlag(),
			}),
			Action: a.resultGet,
		}},
	}
}

func (a *app) resultGet(c *cli.Context) error {
	if c.NArg() != 1 {
		return usage(c, "result get: expected STAGE or STAGE.PATH")
	}
	if err := oneOf(c, "output", "json", "yaml", "text"); err != nil {
		return err
	}
	stage, path, _ := strings.Cut(c.Args().First(), ".")
	r, private, err := a.stored(c, stage)
	if err != nil {
		return err
	}
	if c.Bool("reveal") {
		if r.Outputs, err = reveal(r.Outputs, stage, private); err != nil {
			return err
		}
	}
	if path == "" {
		return a.print(format(c), r)
	}
	v, there, err := dig(r.Outputs, path)
	if err != nil {
		hint := "`pipectl result get " + stage + "` shows all of it"
		if len(there) > 0 {
			hint = spec.Nearest(path[strings.LastIndex(path, ".")+1:], there)
		}
		return &steps.Error{Code: "NoSuchOutput", Category: steps.BadInput, Message: stage + ": " + err.Error(), Hints: []string{hint}}
	}
	if s, ok := v.(string); ok && c.String("output") != "json" {
		_, err = fmt.Fprintln(a.stdout, s)
		return err
	}
	return a.print(format(c), v)
}

// stored reads a stage's result from the store; where that has none, its outputs are derived from the world. private are the values that
// its sensitive outputs refer to, read only when they are to be shown.
func (a *app) stored(c *cli.Context, stage string) (r *steps.Result, private map[string]string, err error) {
	clients := newClients()
	file := a.defaultFile()
	if c.IsSet("file") {
		file = c.String("file")
	}
	p, err := a.loadFile(c, file, clients.catalog(), true)
	if err != nil {
		return nil, nil, err
	}
	s, ok := p.Stage(stage)
	if !ok {
		return nil, nil, &steps.Error{Code: "UnknownStage", Category: steps.BadInput, Message: fmt.Sprintf("%q: no such stage in %s", stage, p.File),
			Hints: []string{spec.Nearest(stage, names(p))}}
	}
	clients.region = p.Region
	id := steps.Identity{Pipeline: p.Name, Env: p.Env}
	where := c.String("results")
	if where == "" { // the usual place is keyed by who we are
		if id, err = clients.identify(c.Context, p); err != nil {
			return nil, nil, err
		}
	}
	store, err := clients.store(c.Context, where, id)
	if err != nil {
		return nil, nil, err
	}
	vault, hasVault := store.(engine.Vault)
	if hasVault && c.Bool("reveal") {
		if private, err = vault.Sensitive(c.Context, stage); err != nil {
			return nil, nil, err
		}
	}
	if r, err := store.Get(c.Context, stage); r != nil || err != nil {
		return r, private, err
	}
	identify := func(ctx context.Context, p *engine.Pipeline) (steps.Identity, error) { return clients.identify(ctx, p) }
	runner := &engine.Runner{Store: store, Secrets: secretSource(clients.resolve), Identify: identify, Getenv: a.lookup, Tool: steps.Tool{Version: version, Commit: commit}}
	outputs, found, err := runner.Observe(c.Context, p, stage)
	if err != nil {
		return nil, nil, err
	}
	if !found {
		return nil, nil, &steps.Error{Code: "NotThere", Category: steps.Precondition, Message: stage + ": has no stored result, and what it makes does not exist",
			Hints: []string{"`pipectl run --stage " + stage + "` makes it"}}
	}
	return &steps.Result{APIVersion: steps.APIVersion, Kind: "StageResult", Pipeline: p.Name, Env: p.Env, Stage: stage, Step: s.Definition.Name,
		Identity: id.String(), Status: steps.Skipped, Outputs: outputs}, private, nil
}

func names(p *engine.Pipeline) []string {
	out := make([]string, len(p.Stages))
	for i, s := range p.Stages {
		out[i] = s.Name
	}
	return out
}

// reveal puts values in the place of references to them.
func reveal(outputs json.RawMessage, stage string, private map[string]string) (json.RawMessage, error) {
	if len(outputs) == 0 {
		return outputs, nil
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(outputs))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("outputs: %w", err)
	}
	var lost error
	var replace func(v any) any
	replace = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			if name, ok := v["sensitive"].(string); ok && len(v) == 1 {
				value, kept := private[name]
				if !kept {
					lost = &steps.Error{Code: "NotKept", Category: steps.Precondition, Message: stage + ": the value of " + name + " is not kept here",
						Hints: []string{"`pipectl run --stage " + stage + " --force` makes it again"}}
				}
				return value
			}
			for k := range v {
				v[k] = replace(v[k])
			}
		case []any:
			for i := range v {
				v[i] = replace(v[i])
			}
		}
		return v
	}
	v = replace(v)
	if lost != nil {
		return nil, lost
	}
	return json.Marshal(v)
}

func format(c *cli.Context) string {
	if c.String("output") == "yaml" {
		return "yaml"
	}
	return "json"
}

// dig follows a path of names and list indexes, such as nodeGroups.0.name, through JSON. Where a name is missing it tells those that there are.
func dig(raw json.RawMessage, path string) (v any, there []string, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if len(raw) == 0 {
		return nil, nil, fmt.Errorf("has no outputs")
	}
	if err := d.Decode(&v); err != nil {
		return nil, nil, fmt.Errorf("outputs: %w", err)
	}
	done := "outputs"
	for _, key := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			next, ok := x[key]
			if !ok {
				return nil, slices.Sorted(maps.Keys(x)), fmt.Errorf("%s has no %q", done, key)
			}
			v = next
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(x) {
				return nil, nil, fmt.Errorf("%s has %d items, no %q", done, len(x), key)
			}
			v = x[i]
		default:
			return nil, nil, fmt.Errorf("%s is a single value, it has no %q", done, key)
		}
		done += "." + key
	}
	return v, nil, nil
}
