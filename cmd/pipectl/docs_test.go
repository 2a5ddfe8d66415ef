package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"pipectl.dev/cmd/pipectl/schema"
	"pipectl.dev/pipelines"
	"pipectl.dev/steps"
)

// docs is where the reference lies; this file writes it with -update and holds the tree to it without.
const docs = "../../docs"

func catalogOf(t *testing.T) []steps.Definition {
	t.Helper()
	return newClients().catalog()
}

func TestDocsOfSteps(t *testing.T) {
	all := catalogOf(t)
	var index strings.Builder
	index.WriteString("# Steps\n\nGenerated from the code; `pipectl steps NAME` prints the same.\n\n| step | what it does |\n|---|---|\n")
	keep := map[string]bool{"README.md": true}
	for _, d := range all {
		keep[d.Name+".md"] = true
		golden(t, filepath.Join(docs, "steps", d.Name+".md"), stepDoc(d))
		fmt.Fprintf(&index, "| [%s](%s.md) | %s |\n", d.Name, d.Name, strings.TrimSuffix(sentence(d.Summary), "."))
	}
	golden(t, filepath.Join(docs, "steps", "README.md"), index.String())
	noOthers(t, filepath.Join(docs, "steps"), keep)
}

func TestDocsOfSchemas(t *testing.T) {
	all := catalogOf(t)
	keep := map[string]bool{}
	page := func(name string, v any) {
		keep[name+".json"] = true
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			t.Fatal(err)
		}
		golden(t, filepath.Join(docs, "schema", name+".json"), b.String())
	}
	page("pipeline", schema.Pipeline(all))
	for _, d := range documents {
		page(d.name, schema.Document(d.name, d.title, d.typ))
	}
	for _, d := range all {
		page(d.Name, schema.Step(d))
	}
	noOthers(t, filepath.Join(docs, "schema"), keep)
}

func noOthers(t *testing.T, dir string, keep map[string]bool) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if keep[f.Name()] {
			continue
		}
		if !*update {
			t.Errorf("%s: nothing in the code makes it (make update removes it)", filepath.Join(dir, f.Name()))
		} else if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDocsOfVerbs(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Command line\n\nGenerated from the code; `pipectl VERB --help` prints the same. Flags may stand before or after the file.\n")
	a := testApp(t)
	for _, cmd := range a.Commands {
		if !cmd.Hidden {
			verbDoc(t, &b, cmd, "pipectl")
		}
	}
	golden(t, filepath.Join(docs, "cli.md"), b.String())
}

func verbDoc(t *testing.T, b *strings.Builder, cmd *cli.Command, parent string) {
	t.Helper()
	name := parent + " " + cmd.Name
	if len(cmd.Subcommands) > 0 {
		for _, sub := range cmd.Subcommands {
			verbDoc(t, b, sub, name)
		}
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n```\n%s\n```\n\n%s\n", name, strings.TrimSpace(name+" [flags] "+cmd.ArgsUsage), sentence(cmd.Usage))
	if cmd.Description != "" {
		fmt.Fprintf(b, "\n%s\n", cmd.Description)
	}
	if len(cmd.Flags) == 0 {
		return
	}
	b.WriteString("\n| flag | meaning |\n|---|---|\n")
	for _, f := range cmd.Flags {
		d, ok := f.(cli.DocGenerationFlag)
		if !ok {
			t.Fatalf("%s: flag %v documents nothing", name, f.Names())
		}
		b.WriteString(flagRow(f, d))
	}
}

func flagRow(f cli.Flag, d cli.DocGenerationFlag) string {
	var names []string
	for _, n := range f.Names() {
		if len(n) == 1 {
			names = append(names, "`-"+n+"`")
		} else {
			names = append(names, "`--"+n+"`")
		}
	}
	text := d.GetUsage()
	if def := d.GetDefaultText(); def != "" && d.TakesValue() && !strings.Contains(text, "(default") {
		text += " (default: " + strings.Trim(def, `"`) + ")"
	}
	if env := d.GetEnvVars(); len(env) > 0 {
		text += ", or $" + strings.Join(env, ", $")
	}
	return fmt.Sprintf("| %s | %s |\n", strings.Join(names, ", "), cell(text))
}

func TestGoldenHelp(t *testing.T) {
	for _, args := range [][]string{{"pipectl", "--help"}, {"pipectl", "run", "--help"}} {
		var out, stderr bytes.Buffer
		if code := run(t.Context(), args, strings.NewReader(""), &out, &stderr, nothing); code != 0 || stderr.Len() > 0 {
			t.Fatalf("%v: exit %d, stderr %q", args, code, stderr.String())
		}
		golden(t, filepath.Join("testdata", strings.Trim(strings.Join(args[1:], "-"), "-")+".txt"), out.String())
	}
}

func nothing(string) (string, bool) { return "", false }

// Every shipped pipeline is sound, and so is every example of a step.
func TestShippedPipelinesAreValid(t *testing.T) {
	t.Parallel()
	files, err := pipelines.Files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		if filepath.Ext(f.Name()) != ".yaml" {
			continue
		}
		n++
		var out, stderr bytes.Buffer
		args := []string{"pipectl", "validate", filepath.Join("../../pipelines", f.Name())}
		if code := run(context.Background(), args, strings.NewReader(""), &out, &stderr, nothing); code != 0 {
			t.Errorf("%s: exit %d\n%s", f.Name(), code, stderr.String())
		}
	}
	if n == 0 {
		t.Error("no pipeline is shipped")
	}
}
