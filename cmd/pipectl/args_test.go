package main

import (
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

func testApp(t *testing.T) *cli.App {
	t.Helper()
	a := &app{stdout: io.Discard, stderr: io.Discard, lookup: func(string) (string, bool) { return "", false }}
	return a.command()
}

func TestFlagsFirst(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ in, want []string }{
		"flags after the file":           {[]string{"pipectl", "run", "f.yaml", "--yes"}, []string{"pipectl", "run", "--yes", "f.yaml"}},
		"flags before the verb":          {[]string{"pipectl", "--quiet", "run", "f.yaml"}, []string{"pipectl", "run", "--quiet", "f.yaml"}},
		"a value stays with its flag":    {[]string{"pipectl", "run", "f.yaml", "--param", "a=b", "-o", "json"}, []string{"pipectl", "run", "--param", "a=b", "-o", "json", "f.yaml"}},
		"a joined value":                 {[]string{"pipectl", "run", "f.yaml", "--env=x"}, []string{"pipectl", "run", "--env=x", "f.yaml"}},
		"a value that looks like a flag": {[]string{"pipectl", "run", "f.yaml", "--param", "--yes"}, []string{"pipectl", "run", "--param", "--yes", "f.yaml"}},
		"a bool does not eat the file":   {[]string{"pipectl", "run", "--yes", "f.yaml"}, []string{"pipectl", "run", "--yes", "f.yaml"}},
		"a verb with sub-verbs":          {[]string{"pipectl", "result", "get", "a.b", "-f", "x"}, []string{"pipectl", "result", "get", "-f", "x", "a.b"}},
		"all after a double dash stays":  {[]string{"pipectl", "copy", "--delete", "--", "-a", "--b"}, []string{"pipectl", "copy", "--delete", "--", "-a", "--b"}},
		"a single dash is an argument":   {[]string{"pipectl", "report", "-", "--help"}, []string{"pipectl", "report", "--help", "-"}},
		"an unknown flag is left":        {[]string{"pipectl", "run", "f.yaml", "--nope"}, []string{"pipectl", "run", "--nope", "f.yaml"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := flagsFirst(testApp(t), tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFlagWithoutItsValue(t *testing.T) {
	t.Parallel()
	if _, err := flagsFirst(testApp(t), []string{"pipectl", "run", "f.yaml", "--param"}); err == nil {
		t.Error("accepted a flag without its value")
	}
}

// flagsFirst looks a flag up by its name alone, so a name must take a value in all verbs or in none.
func TestAFlagMeansTheSameInEveryVerb(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	var visit func(string, []*cli.Command)
	visit = func(path string, cmds []*cli.Command) {
		for _, cmd := range cmds {
			for _, f := range cmd.Flags {
				_, isBool := f.(*cli.BoolFlag)
				for _, name := range f.Names() {
					if was, ok := seen[name]; ok && was != isBool {
						t.Errorf("%s %s: --%s takes a value in some verbs and none in others", path, cmd.Name, name)
					}
					seen[name] = isBool
				}
			}
			visit(path+" "+cmd.Name, cmd.Subcommands)
		}
	}
	visit("pipectl", testApp(t).Commands)
}
