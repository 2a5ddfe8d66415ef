package main

import (
	"strings"
	"testing"
	"time"

	"pipectl.dev/cmd/pipectl/view"
	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

// TestANoteOfAPlanIsToldInOnePlace: the plan that is asked about tells it; without a question it stands above the picture once stages run.
func TestANoteOfAPlanIsToldInOnePlace(t *testing.T) {
	t.Parallel()
	note := steps.Event{Type: steps.Diagnostic, Stage: "a", Message: "support ends"}
	plan := &engine.PlanReport{Stages: []engine.StagePlan{{Stage: "a"}}}
	for name, c := range map[string]struct {
		verb  string
		asked bool
		want  int
	}{
		"a run that asks":     {verb: "run", asked: true, want: 0},
		"a run with --yes":    {verb: "run", want: 1},
		"a plan, which is it": {verb: "plan", want: 0},
	} {
		var screen strings.Builder
		m := view.NewModel("t", c.verb, nil)
		g := &progress{app: &app{stderr: &screen, lookup: func(string) (string, bool) { return "", false }}, model: m, plan: c.verb == "plan"}
		g.screen = view.NewScreen(&screen, m, func() view.Style { return view.Style{Width: 80, Height: 20} })
		g.picture(note)
		if strings.Contains(screen.String(), "support ends") {
			t.Errorf("%s: told before it is known where", name)
		}
		if c.asked {
			g.planned(plan)
		}
		for range 2 {
			g.picture(steps.Event{Type: steps.StageStart, Time: time.Now(), Stage: "a"})
		}
		g.picture(steps.Event{Type: steps.Summary, Time: time.Now()})
		g.screen.Close()
		if got := strings.Count(screen.String(), "support ends"); got != c.want {
			t.Errorf("%s: told %d times above the picture, want %d", name, got, c.want)
		}
	}
}
