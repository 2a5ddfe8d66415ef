package main

import (
	"reflect"

	"github.com/urfave/cli/v2"

	"pipectl.dev/cloud"
	"pipectl.dev/cmd/pipectl/schema"
	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

// documents are the JSON documents that pipectl writes, by the name that `schema` knows them by.
var documents = []struct {
	name, title string
	typ         reflect.Type
}{
	{"result", "result of a stage", reflect.TypeFor[steps.Result]()},
	{"event", "event of a run", reflect.TypeFor[steps.Event]()},
	{"run", "result of a run", reflect.TypeFor[engine.RunResult]()},
	{"plan", "plan", reflect.TypeFor[engine.PlanReport]()},
	{"savedplan", "saved plan", reflect.TypeFor[engine.SavedPlan]()},
	{"validity", "report of validate", reflect.TypeFor[validity]()},
	{"status", "status", reflect.TypeFor[engine.StatusReport]()},
	{"doctor", "report of the preflights", reflect.TypeFor[engine.DoctorReport]()},
	{"prices", "price file", reflect.TypeFor[cloud.PriceList]()},
}

func (a *app) schemaCommand() *cli.Command {
	return &cli.Command{
		Name: "schema", Usage: "print a JSON Schema", ArgsUsage: "pipeline|result|event|run|plan|savedplan|validity|status|doctor|prices|STEP",
		Description: "Editors check a pipeline file by it: pipectl schema pipeline >.pipectl/schema.json, and in the file's first line\n" +
			"# yaml-language-server: $schema=.pipectl/schema.json",
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "outputs", Usage: "of a step: what it leaves, not what it takes"}},
		Action: a.schemaAction,
	}
}

func (a *app) schemaAction(c *cli.Context) error {
	if c.NArg() != 1 {
		return usage(c, "schema: expected the name of one document or step")
	}
	name, all := c.Args().First(), newClients().catalog()
	if name == "pipeline" {
		return a.print("json", schema.Pipeline(all))
	}
	for _, d := range documents {
		if d.name == name {
			return a.print("json", schema.Document(d.name, d.title, d.typ))
		}
	}
	d, err := find(all, name)
	if err != nil {
		return err
	}
	if c.Bool("outputs") {
		return a.print("json", schema.Outputs(d))
	}
	return a.print("json", schema.Step(d))
}
