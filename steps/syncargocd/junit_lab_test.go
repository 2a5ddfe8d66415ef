package syncargocd_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/engine"
	"pipectl.dev/results"
	"pipectl.dev/results/sinks"
	"pipectl.dev/steps"
	"pipectl.dev/steps/syncargocd"
)

// report is what Jenkins reads of a JUnit file.
type report struct {
	Tests    int `xml:"tests,attr"`
	Failures int `xml:"failures,attr"`
	Errors   int `xml:"errors,attr"`
	Skipped  int `xml:"skipped,attr"`
	Cases    []struct {
		Class   string `xml:"classname,attr"`
		Name    string `xml:"name,attr"`
		Failure *struct {
			Message string `xml:"message,attr"`
			Text    string `xml:",chardata"`
		} `xml:"failure"`
		Out string `xml:"system-out"`
	} `xml:"testcase"`
}

// runs runs a pipeline of one stage by the engine, and reads the JUnit report of it.
func (a *argo) runs(with string) (int, report) {
	a.t.Helper()
	p, problems := engine.Load(engine.LoadOptions{
		File: "p.yaml", Tool: "1.0.0", Getenv: func(string) (string, bool) { return "", false },
		Catalog: []steps.Definition{syncargocd.New(a.opener, syncargocd.Options{})},
		Source: []byte("apiVersion: pipectl.dev/v1\nkind: Pipeline\nmetadata: {name: web}\nspec:\n  stages:\n    - name: apps\n      step: sync-argocd\n      with:\n        " +
			strings.ReplaceAll(strings.TrimSpace(a.access()+with), "\n", "\n        ") + "\n"),
	})
	if err := problems.Err(); err != nil {
		a.t.Fatal(err)
	}
	r := &engine.Runner{
		Store:    results.NewDir(a.t.TempDir(), results.Owner{Pipeline: "web", Identity: identity.String()}),
		Identify: func(context.Context, *engine.Pipeline) (steps.Identity, error) { return identity, nil },
	}
	res := r.Run(a.t.Context(), p, engine.RunOptions{Yes: true})
	var text bytes.Buffer
	if err := sinks.JUnit(&text, res); err != nil {
		a.t.Fatal(err)
	}
	var out report
	if err := xml.Unmarshal(text.Bytes(), &out); err != nil {
		a.t.Fatalf("%v:\n%s", err, text.String())
	}
	return res.Exit, out
}

func TestJUnitHasOneCasePerApplication(t *testing.T) {
	ways(t, func(a *argo) {
		t, s := a.t, "-"+a.way
		a.commit(map[string]string{"good/cm.yaml": config("c", "x"), "bad/cm.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 99999999}]}\n"})
		for name, path := range map[string]string{"passes": "good", "fails": "bad", "depends": "good", "labelled": "good"} {
			a.app(name+s, path, "")
		}
		with := strings.ReplaceAll("apps:\n- {name: passes%}\n- {name: fails%}\n- {name: depends%, dependsOn: [fails%]}\n- {selector: 'test=labelled%', dependsOn: [fails%]}\nhealthyFor: 100ms\n", "%", s)
		exit, got := a.runs(with)
		says := map[string]string{} // by case; "" where it passed
		for _, c := range got.Cases {
			class := strings.TrimPrefix(c.Class, "pipectl.web.")
			if _, twice := says[class+" "+c.Name]; twice {
				t.Errorf("two cases %s %s", class, c.Name)
			}
			says[class+" "+c.Name] = ""
			if c.Failure != nil {
				says[class+" "+c.Name] = c.Failure.Message
			}
		}
		for name, want := range map[string]string{
			"sync-argocd apps":                     "3 of 4 applications failed",
			"apps argocd:Application/passes" + s:   "",
			"apps argocd:Application/fails" + s:    "99999999",
			"apps argocd:Application/depends" + s:  "was not synced, since application fails" + s + " failed",
			"apps argocd:Application/labelled" + s: "was not synced, since application fails" + s + " failed",
		} {
			said, found := says[name]
			if !found || !strings.Contains(said, want) || (said == "") != (want == "") {
				t.Errorf("case %s: %v %q, want %q", name, found, said, want)
			}
			delete(says, name)
		}
		if diff := cmp.Diff(map[string]string{}, says); diff != "" || exit != 17 || got.Tests != 5 || got.Failures != 4 || got.Errors+got.Skipped != 0 {
			t.Errorf("exit %d, %d tests, %d failures, %d errors; more cases (-want +got):\n%s", exit, got.Tests, got.Failures, got.Errors, diff)
		}
		a.commit(map[string]string{"bad/cm.yaml": config("c", "mended")})
		exit, got = a.runs(with)
		outs := map[string]string{}
		for _, c := range got.Cases {
			outs[c.Name] = c.Out
		}
		want := map[string]string{"apps": "3 updated, 1 kept", "argocd:Application/passes" + s: "keep", "argocd:Application/fails" + s: "update",
			"argocd:Application/depends" + s: "update", "argocd:Application/labelled" + s: "update"}
		if diff := cmp.Diff(want, outs); diff != "" || exit != 0 || got.Tests != 5 || got.Failures+got.Errors+got.Skipped != 0 {
			t.Errorf("mended: exit %d, %+v (-want +got):\n%s", exit, got, diff)
		}
	})
}
