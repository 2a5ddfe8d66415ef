package report

import (
	"strings"
	"testing"
	"time"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

func TestPageTellsTheRunAndEscapesIt(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return time.Date(2026, 1, 2, 9, 0, s, 0, time.UTC) }
	vpc := &steps.Change{Kind: "ec2:Vpc", Name: "<b>", Action: "create"}
	kept := &steps.Change{Kind: "iam:Role", Name: "kept", Action: "keep"}
	var b strings.Builder
	err := HTML(&b, []steps.Event{
		{Type: steps.Version, Time: at(0), Version: "1.0"},
		{Type: steps.RunStart, Time: at(0), Message: "run blog"},
		{Type: steps.StageStart, Time: at(1), Stage: "cluster", Step: "provision-eks"},
		{Type: steps.StageStart, Time: at(8), Stage: "cluster", Step: "provision-eks", Message: "delete"},
		{Type: steps.ChangeStart, Time: at(1), Stage: "cluster", Change: vpc},
		{Type: steps.ChangeDone, Time: at(5), Stage: "cluster", Change: vpc},
		{Type: steps.ChangeDone, Time: at(5), Stage: "cluster", Change: kept},
		{Type: steps.StageDone, Time: at(9), Stage: "cluster", Status: steps.Failed, Message: "no & never"},
		{Type: steps.StageDone, Time: at(10), Stage: "apps", Status: steps.Blocked},
		{Type: steps.Summary, Time: at(10), Status: steps.Failed, Data: &engine.RunResult{
			Verb: "run", Pipeline: "blog", Status: steps.Failed, Changes: steps.Counts{Create: 1, Keep: 7}, SimulatedSeconds: 90}},
	})
	if err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, want := range []string{"run blog", "ec2:Vpc &lt;b&gt;", "no &amp; never", "Failed", "Blocked", ">1</b>", ">7</b>", "1 min 30 s", "8 s</span>"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, not := range []string{"<b>,", "iam:Role kept", "http://", "https://", "<script"} {
		if strings.Contains(page, not) {
			t.Errorf("the page holds %q", not)
		}
	}
}

func TestRunThatWasCutOff(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 1, 2, 9, 0, 0, 0, time.UTC)
	s := collect([]steps.Event{
		{Type: steps.StageStart, Time: began, Stage: "cluster"},
		{Type: steps.Diagnostic, Time: began.Add(90 * time.Second), Message: "the last that was heard"},
	})
	if got := s.Stages[0]; got.Took != 90*time.Second || got.Good || !got.Open {
		t.Errorf("got %+v", got)
	}
	if len(s.Ticks) < 3 || len(s.Ticks) > 11 {
		t.Errorf("%d ticks", len(s.Ticks))
	}
}
