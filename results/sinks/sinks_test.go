package sinks_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/engine"
	"pipectl.dev/results/sinks"
	"pipectl.dev/steps"
)

func result(stages int) *engine.RunResult {
	res := &engine.RunResult{
		APIVersion: steps.APIVersion, Kind: "RunResult", Verb: "run", Pipeline: "blog", RunID: "20260101-000000", Status: steps.Failed, Exit: 17,
		StartedAt: time.Unix(0, 0), DurationSeconds: 61.5, Cost: &steps.Cost{HourlyUSD: 0.25, PricesAsOf: "2026-01-01"},
		Outputs:  map[string]json.RawMessage{"jenkinsUrl": json.RawMessage(`"http://it's"`), "zones": json.RawMessage("[ \"a\",\n \"b\" ]"), "evil": json.RawMessage(`"x\nEND_20260101000000\nadmin=1"`)},
		Errors:   []engine.StageError{{Stage: "apps", ErrorInfo: steps.ErrorInfo{Code: "Degraded", Category: steps.Unhealthy, Message: "jenkins | is <Degraded>", Hint: "look"}}},
		Warnings: []string{"newer exists"}, Next: &engine.Next{Resume: "pipectl run --resume", BackOut: "pipectl down"},
	}
	for i := range stages {
		res.Stages = append(res.Stages, steps.Result{Stage: fmt.Sprintf("s%d", i), Step: "make", Status: steps.Succeeded, DurationSeconds: 2, Changes: steps.Counts{Create: 3, Keep: 1},
			Resources: []steps.Change{{Kind: "ec2:Vpc", Name: strings.Repeat("v", 10*i)}}})
	}
	res.Stages = append(res.Stages,
		steps.Result{Stage: "apps", Step: "sync", Status: steps.Failed, Error: &res.Errors[0].ErrorInfo,
			Resources: []steps.Change{{Kind: "argocd:Application", Name: "blog", Action: "keep", DurationSeconds: 1.5}, {Kind: "argocd:Application", Name: "jenkins", Action: "update", Unfinished: true}},
			Failed:    []steps.Change{{Kind: "argocd:Application", Name: "jenkins", Action: "update", Error: "is Degraded"}}},
		steps.Result{Stage: "odd", Step: "sync", Status: steps.Errored, Error: &steps.ErrorInfo{Code: "Internal", Message: "odd"}},
		steps.Result{Stage: "last", Step: "sync", Status: steps.Blocked, Error: &steps.ErrorInfo{Message: "not started"}})
	return res
}

func TestTerminationMessageFitsAndIsValidAtEverySize(t *testing.T) {
	t.Parallel()
	for _, stages := range []int{0, 3, 10, 30, 300} {
		for _, limit := range []int{sinks.TerminationLimit, 1000, 300} {
			raw, err := sinks.Termination(result(stages), limit)
			if err != nil {
				t.Fatal(err)
			}
			var back engine.RunResult
			if err := json.Unmarshal(raw, &back); err != nil || len(raw) > limit {
				t.Fatalf("%d stages: %d bytes of %d, %v", stages, len(raw), limit, err)
			}
			if back.Status != steps.Failed || back.Exit != 17 || back.RunID == "" {
				t.Errorf("%d stages in %d bytes: the end of the run is lost: %s", stages, limit, raw)
			}
			if limit == sinks.TerminationLimit && stages <= 30 && (len(back.Stages) != stages+3 || len(back.Errors) != 1 || back.Errors[0].Message == "") {
				t.Errorf("%d stages: more was dropped than needed: %s", stages, raw)
			}
		}
	}
}

func TestOutputsForOtherSystems(t *testing.T) {
	t.Parallel()
	var github, dotenv bytes.Buffer
	if err := sinks.GitHubOutput(&github, result(0)); err != nil {
		t.Fatal(err)
	}
	if err := sinks.Dotenv(&dotenv, result(0)); err != nil {
		t.Fatal(err)
	}
	wantGithub := "evil<<END_20260101000000_\nx\nEND_20260101000000\nadmin=1\nEND_20260101000000_\njenkinsUrl<<END_20260101000000\nhttp://it's\nEND_20260101000000\n" +
		"runId<<END_20260101000000\n20260101-000000\nEND_20260101000000\nstatus<<END_20260101000000\nFailed\nEND_20260101000000\nzones<<END_20260101000000\n[\"a\",\"b\"]\nEND_20260101000000\n"
	if d := cmp.Diff(wantGithub, github.String()); d != "" {
		t.Errorf("GITHUB_OUTPUT (-want +got):\n%s", d)
	}
	wantDotenv := "EVIL='x\nEND_20260101000000\nadmin=1'\nJENKINS_URL='http://it'\\''s'\nRUN_ID='20260101-000000'\nSTATUS='Failed'\nZONES='[\"a\",\"b\"]'\n"
	if d := cmp.Diff(wantDotenv, dotenv.String()); d != "" {
		t.Errorf("dotenv (-want +got):\n%s", d)
	}
	dir := t.TempDir()
	if err := sinks.Tekton(dir, result(0)); err != nil {
		t.Fatal(err)
	}
	if raw, err := os.ReadFile(filepath.Join(dir, "zones")); err != nil || string(raw) != `["a","b"]` {
		t.Errorf("tekton: %s, %v", raw, err)
	}
	if err := sinks.Tekton(filepath.Join(dir, "none"), result(0)); err == nil {
		t.Error("a directory that does not exist is no error")
	}
}

func TestJUnitCountsWhatItLists(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := sinks.JUnit(&b, result(1)); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
		Skipped  int `xml:"skipped,attr"`
		Cases    []struct {
			Name    string `xml:"name,attr"`
			Failure string `xml:"failure"`
		} `xml:"testcase"`
	}
	if err := xml.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Tests != 7 || len(got.Cases) != 7 || got.Failures != 2 || got.Errors != 1 || got.Skipped != 1 {
		t.Errorf("%+v", got)
	}
	var names []string
	for _, c := range got.Cases {
		names = append(names, c.Name+": "+c.Failure)
	}
	want := []string{"s0: ", "ec2:Vpc/: ", "apps: error: jenkins | is <Degraded>\nhint: look", "argocd:Application/jenkins: error: is Degraded", "argocd:Application/blog: ", "odd: ", "last: "}
	if d := cmp.Diff(want, names); d != "" {
		t.Errorf("cases (-want +got):\n%s", d)
	}
}

func TestMarkdownEscapesWhatItQuotes(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := sinks.Markdown(&b, result(1)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"### pipectl run blog: Failed", "| s0 | make | Succeeded | 3 created, 1 kept | 2s |", `- **apps** jenkins \| is &lt;Degraded&gt;`, "Costs 0.250 USD per hour", "| zones | [\"a\",\"b\"] |", "Carry on: `pipectl run --resume`"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
}
