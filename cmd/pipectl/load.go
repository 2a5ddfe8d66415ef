package main

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

// load reads and checks the pipeline that a verb names.
func (a *app) load(c *cli.Context, catalog []steps.Definition, allowMissing bool) (*engine.Pipeline, error) {
	if err := atMost(c, 1); err != nil {
		return nil, err
	}
	file := a.defaultFile()
	switch {
	case c.NArg() == 1:
		file = c.Args().First()
	case a.file != "":
		file = a.file
	}
	return a.loadFile(c, file, catalog, allowMissing)
}

// inlineFile names the variable that may hold the whole pipeline, for a hook that is one manifest; also in messages, where a file's name
// would stand. Paths in it are relative to the working directory.
const inlineFile = "PIPECTL_PIPELINE"

// defaultFile is the pipeline where none is named.
func (a *app) defaultFile() string {
	if strings.TrimSpace(a.getenv(inlineFile)) != "" {
		return inlineFile
	}
	return defaultFile
}

func (a *app) loadFile(c *cli.Context, file string, catalog []steps.Definition, allowMissing bool) (*engine.Pipeline, error) {
	o := engine.LoadOptions{
		File: file, Catalog: catalog, Env: c.String("env"), Getenv: a.lookup, Tool: version, AllowMissing: allowMissing,
		Params: map[string]string{},
	}
	var err error
	if file == inlineFile {
		o.Source = []byte(a.getenv(inlineFile))
	} else if o.Source, err = readFile(file); err != nil {
		return nil, err
	}
	for _, p := range c.StringSlice("param") {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return nil, usage(c, "--param %q: expected NAME=VALUE", p)
		}
		o.Params[name] = value
	}
	for _, name := range c.StringSlice("params") {
		src, err := readFile(name)
		if err != nil {
			return nil, err
		}
		o.ParamFiles = append(o.ParamFiles, engine.ParamFile{Name: name, Source: src})
	}
	p, problems := engine.Load(o)
	return p, problems.Err()
}

func readFile(name string) ([]byte, error) {
	src, err := os.ReadFile(name)
	if err == nil {
		return src, nil
	}
	e := &steps.Error{Code: "NoFile", Category: steps.BadInput, Err: err}
	if errors.Is(err, fs.ErrNotExist) {
		e.Message, e.Err = name+": no such file", nil
		if name == defaultFile {
			e.Hints = []string{"name a pipeline file, or make " + defaultFile + "; `pipectl schema pipeline` describes one"}
		}
	}
	return nil, e
}
