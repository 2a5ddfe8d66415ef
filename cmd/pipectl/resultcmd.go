package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

func (a *app) resultCommand() *cli.Command {
	return &cli.Command{
		Name: "result", Usage: "read stored results",
		Subcommands: []*cli.Command{{
			Name: "get", Usage: "print one value of a stage's outputs, or the whole result", ArgsUsage: "STAGE[.PATH]",
			Description: "PATH is below outputs: `cluster.oidc.issuer` is outputs.oidc.issuer of stage cluster. Strings are printed without quotes.\n" +
				"Where the store has nothing, the outputs are derived from the world.",
			Flags:  flags(fileFlags(), []cli.Flag{&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Value: defaultFile, Usage: "the pipeline `FILE`"}}, storeFlags(), []cli.Flag{outputFlag()}),
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
	r, err := a.stored(c, stage)
	if err != nil {
		return err
	}
	if path == "" {
		return a.print(format(c), r)
	}
	v, err := dig(r.Outputs, path)
	if err != nil {
		return &steps.Error{Code: "NoSuchOutput", Category: steps.BadInput, Message: stage + ": " + err.Error(),
			Hints: []string{"`pipectl result get " + stage + "` shows all of it"}}
	}
	if s, ok := v.(string); ok && c.String("output") != "json" {
		_, err = fmt.Fprintln(a.stdout, s)
		return err
	}
	return a.print(format(c), v)
}

// stored reads a stage's result from the store; where that has none, its outputs are derived from the world.
func (a *app) stored(c *cli.Context, stage string) (*steps.Result, error) {
	clients := newClients()
	p, err := a.loadFile(c, c.String("file"), clients.catalog(), true)
	if err != nil {
		return nil, err
	}
	s, ok := p.Stage(stage)
	if !ok {
		return nil, &steps.Error{Code: "UnknownStage", Category: steps.BadInput, Message: fmt.Sprintf("%q: no such stage in %s", stage, p.File)}
	}
	clients.region = p.Region
	id := steps.Identity{Pipeline: p.Name, Env: p.Env}
	where := c.String("results")
	if where == "" { // the usual place is keyed by who we are
		if id, err = clients.identify(c.Context, p); err != nil {
			return nil, err
		}
	}
	store, err := openStore(where, id)
	if err != nil {
		return nil, err
	}
	if r, err := store.Get(c.Context, stage); r != nil || err != nil {
		return r, err
	}
	identify := func(ctx context.Context, p *engine.Pipeline) (steps.Identity, error) { return clients.identify(ctx, p) }
	runner := &engine.Runner{Store: store, Secrets: secretSource(clients.resolve), Identify: identify, Getenv: a.lookup, Tool: steps.Tool{Version: version, Commit: commit}}
	outputs, found, err := runner.Observe(c.Context, p, stage)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, &steps.Error{Code: "NotThere", Category: steps.Precondition, Message: stage + ": has no stored result, and what it makes does not exist",
			Hints: []string{"`pipectl run --stage " + stage + "` makes it"}}
	}
	return &steps.Result{APIVersion: steps.APIVersion, Kind: "StageResult", Pipeline: p.Name, Env: p.Env, Stage: stage, Step: s.Definition.Name,
		Identity: id.String(), Status: steps.Skipped, Outputs: outputs}, nil
}

func format(c *cli.Context) string {
	if c.String("output") == "yaml" {
		return "yaml"
	}
	return "json"
}

// dig follows a path of names and list indexes, such as nodeGroups.0.name, through JSON.
func dig(raw json.RawMessage, path string) (any, error) {
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if len(raw) == 0 {
		return nil, fmt.Errorf("has no outputs")
	}
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("outputs: %w", err)
	}
	done := "outputs"
	for _, key := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			next, ok := x[key]
			if !ok {
				return nil, fmt.Errorf("%s has no %q", done, key)
			}
			v = next
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(x) {
				return nil, fmt.Errorf("%s has %d items, no %q", done, len(x), key)
			}
			v = x[i]
		default:
			return nil, fmt.Errorf("%s is a single value, it has no %q", done, key)
		}
		done += "." + key
	}
	return v, nil
}
