package view

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

var update = flag.Bool("update", false, "write golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (make update writes it again):\n%s", path, diff)
	}
}

var start = time.Date(2026, 1, 2, 9, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

// underway is the blog's move six minutes in.
func underway() *Model {
	m := NewModel("blog · 123456789012/ap-northeast-2", "run", []Stage{
		{Name: "home", Step: "data-volume", Expect: 10 * time.Second, Changes: 1},
		{Name: "cluster", Step: "provision-eks", Needs: []string{"home"}, Expect: 12 * time.Minute, Changes: 41},
		{Name: "precopy", Step: "precopy-jenkins-home", Needs: []string{"home"}, Expect: 4 * time.Minute, Changes: 1},
		{Name: "ebsCsiRole", Step: "bind-irsa", Needs: []string{"cluster"}, Expect: 15 * time.Second, Deferred: true},
		{Name: "ebsCsi", Step: "install-addon", Needs: []string{"cluster", "ebsCsiRole"}, Expect: time.Minute, Deferred: true},
		{Name: "argocd", Step: "apply-manifests", Needs: []string{"cluster"}, Expect: time.Minute, Deferred: true},
		{Name: "cutover", Step: "migrate-jenkins-home", Needs: []string{"precopy", "ebsCsi", "argocd"}, Expect: 2 * time.Minute, Deferred: true, Asks: true},
		{Name: "apps", Step: "sync-argocd", Needs: []string{"cutover"}, Expect: time.Minute, Deferred: true},
	})
	m.Planned(engine.StagePlan{Stage: "cluster", State: engine.HasChanges, Counts: steps.Counts{Create: 41}, Forecast: steps.Forecast{Seconds: 720, Cost: &steps.Cost{HourlyUSD: 0.249}}})
	event := func(t float64, typ steps.EventType, stage string, c *steps.Change, message string, elapsed, expect float64) {
		m.Apply(steps.Event{Time: at(t), Type: typ, Stage: stage, Change: c, Message: message, ElapsedSeconds: elapsed, ExpectSeconds: expect})
	}
	volume := &steps.Change{Kind: "ec2:Volume", Name: "jenkins-home", Action: "create"}
	event(0, steps.StageStart, "home", nil, "", 0, 0)
	event(0, steps.ChangeStart, "home", volume, "", 0, 5)
	event(4, steps.ChangeDone, "home", volume, "", 4, 5)
	m.Apply(steps.Event{Time: at(4), Type: steps.StageDone, Stage: "home", Status: steps.Succeeded})
	event(4, steps.StageStart, "cluster", nil, "", 0, 0)
	event(4, steps.StageStart, "precopy", nil, "", 0, 0)
	for _, n := range []string{"a", "b", "c"} {
		event(6, steps.ChangeDone, "cluster", &steps.Change{Kind: "ec2:Subnet", Name: n, Action: "create"}, "", 1, 1)
	}
	event(6, steps.ChangeDone, "cluster", &steps.Change{Kind: "iam:Role", Name: "blog", Action: "keep"}, "", 1, 1)
	event(10, steps.ChangeProgress, "cluster", &steps.Change{Kind: "eks:Cluster", Name: "blog", Action: "create"}, "CREATING", 3, 540)
	event(300, steps.ChangeProgress, "cluster", &steps.Change{Kind: "ec2:NatGateway", Name: "blog", Action: "create"}, "pending", 20, 115)
	event(355, steps.Waiting, "precopy", nil, "pass 1: 8,120 of 20,000 files", 351, 0)
	return m
}

func TestGoldenFrame(t *testing.T) {
	t.Parallel()
	for name, st := range map[string]Style{
		"frame-80x24.txt":  {UTF8: true, Width: 80, Height: 24},
		"frame-ascii.txt":  {Width: 80, Height: 24},
		"frame-60x10.txt":  {UTF8: true, Width: 60, Height: 10},
		"frame-120x40.txt": {UTF8: true, Width: 120, Height: 40},
		"frame-colour.txt": {UTF8: true, Color: true, Width: 80, Height: 24},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			golden(t, name, strings.Join(underway().Frame(at(360), st), "\n")+"\n")
		})
	}
}

func TestFrameFitsEveryTerminal(t *testing.T) {
	t.Parallel()
	for width := 40; width <= 200; width += 7 {
		for height := 6; height <= 50; height += 5 {
			lines := underway().Frame(at(360), Style{UTF8: true, Color: true, Width: width, Height: height})
			if len(lines) > height {
				t.Errorf("%dx%d: %d lines", width, height, len(lines))
			}
			for _, l := range lines {
				if n := ansi.StringWidth(l); n > width {
					t.Errorf("%dx%d: a line of %d cells: %q", width, height, n, ansi.Strip(l))
				}
			}
		}
	}
}

func TestTimeLeft(t *testing.T) {
	t.Parallel()
	stages := []Stage{
		{Name: "a", Expect: 10 * time.Second, Changes: 1},
		{Name: "b", Expect: 60 * time.Second, Changes: 1, Needs: []string{"a"}},
		{Name: "c", Expect: 5 * time.Second, Changes: 1, Needs: []string{"a"}},
	}
	for name, tt := range map[string]struct {
		change  func([]Stage)
		events  []steps.Event
		speed   float64
		at      float64
		want    time.Duration
		atLeast bool
	}{
		"the longest path before the start": {want: 70 * time.Second},
		"less what a running stage has done": {
			events: []steps.Event{{Time: at(0), Type: steps.StageStart, Stage: "a"}}, at: 4, want: 66 * time.Second,
		},
		"a late stage is about to end": {
			events: []steps.Event{{Time: at(0), Type: steps.StageStart, Stage: "a"}}, at: 400, want: 60 * time.Second,
		},
		"a finished stage takes no more": {
			events: []steps.Event{{Time: at(3), Type: steps.StageDone, Stage: "a", Status: steps.Succeeded}}, at: 3, want: 60 * time.Second,
		},
		"a faster cloud hurries the stages that work on it": {
			change: func(s []Stage) { s[0].Cloud = true }, speed: 10, want: 61 * time.Second,
		},
		"but not their waits for something else": {
			change: func(s []Stage) { s[0].Cloud = true }, speed: 10, at: 4, want: 66 * time.Second,
			events: []steps.Event{{Time: at(0), Type: steps.StageStart, Stage: "a"}, {Time: at(1), Type: steps.Waiting, Stage: "a"}},
		},
		"a stage that turns out to wait for the cloud is hurried": {
			speed: 10, at: 5, want: 60500 * time.Millisecond,
			events: []steps.Event{{Time: at(4.5), Type: steps.StageStart, Stage: "a"}, {Time: at(5), Type: steps.Waiting, Stage: "a", Speed: 10}},
		},
		"an unknown stage: a lower bound": {change: func(s []Stage) { s[1].Expect, s[1].Deferred = 0, true }, want: 15 * time.Second, atLeast: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mine := append([]Stage(nil), stages...)
			if tt.change != nil {
				tt.change(mine)
			}
			m := NewModel("t", "run", mine)
			if tt.speed > 0 {
				m.Speed = tt.speed
			}
			for _, ev := range tt.events {
				m.Apply(ev)
			}
			left, atLeast := m.Left(at(tt.at))
			if left != tt.want || atLeast != tt.atLeast {
				t.Errorf("got %v, at least: %v", left, atLeast)
			}
		})
	}
}

func TestGoldenPlan(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	Plan(&b, &engine.PlanReport{
		Pipeline: "blog", Identity: "123456789012/ap-northeast-2/blog", Seconds: 1020, Deferred: []string{"ebsCsiRole"},
		Changes:   steps.Counts{Create: 6, Update: 1, Keep: 2},
		Forgotten: []engine.Forgotten{{Step: "bind-irsa", Things: []engine.Thing{{Kind: "iam:Role", Name: "blog-old-1a2b3c4d", DailyUSD: new(float64)}}}},
		Cost: steps.Cost{PricesAsOf: "2026-11-01", NotCounted: []string{"traffic"},
			Items: []steps.CostItem{{What: "volume", HourlyUSD: 0.0025, Data: true}, {What: "the rest", HourlyUSD: 0.2465}, {What: "2 x x9.huge", Unknown: true}}}.Sum(),
		Warnings: []string{"AWS_PROFILE is set and so is AWS_ACCESS_KEY_ID: the key wins"},
		Stages: []engine.StagePlan{
			{Stage: "home", Step: "data-volume", State: engine.AllKeep, Counts: steps.Counts{Keep: 2}},
			{Stage: "cluster", Step: "provision-eks", State: engine.HasChanges, Counts: steps.Counts{Create: 6, Update: 1},
				Changes: []steps.Change{
					{Kind: "ec2:Vpc", Name: "blog", Action: "create"},
					{Kind: "ec2:Subnet", Name: "private-1", Action: "create"}, {Kind: "ec2:Subnet", Name: "private-2", Action: "create"},
					{Kind: "ec2:Subnet", Name: "public-1", Action: "create"}, {Kind: "ec2:Subnet", Name: "public-2", Action: "create"},
					{Kind: "eks:Cluster", Name: "blog", Action: "create"},
					{Kind: "eks:Nodegroup", Name: "node-group-1", Action: "update", Drift: []string{"max: have 3, want 4"}},
				},
				Forecast: steps.Forecast{Seconds: 690, Notes: []string{"1.35 is out; the cluster stays at 1.34, since nothing is upgraded unasked"}}},
			{Stage: "ebsCsiRole", Step: "bind-irsa", State: engine.IsDeferred, Deferred: []engine.Deferred{{Path: "cluster", After: []string{"cluster"}}}},
			{Stage: "cutover", Step: "migrate-jenkins-home", State: engine.HasChanges, Confirm: true,
				Forecast: steps.Forecast{Confirm: "Jenkins stands still for about 2 minutes while the last changes are copied and the volume moves over to the new cluster"}},
			{Stage: "other", Step: "sync-argocd", State: engine.NotPlanned},
		},
	}, Style{UTF8: true, Width: 80})
	golden(t, "plan.txt", b.String())
}

func TestLinesTellWhatMatters(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	l := NewLines(&b, Style{Width: 80})
	c := &steps.Change{Kind: "eks:Cluster", Name: "blog", Action: "create"}
	for _, ev := range []steps.Event{
		{Time: at(0), Type: steps.StageStart, Stage: "cluster", Step: "provision-eks"},
		{Time: at(0), Type: steps.ChangeDone, Stage: "cluster", Change: &steps.Change{Kind: "ec2:Vpc", Name: "old", Action: "keep"}},
		{Time: at(1), Type: steps.ChangeProgress, Stage: "cluster", Change: c, Message: "CREATING", ElapsedSeconds: 1, ExpectSeconds: 540},
		{Time: at(6), Type: steps.ChangeProgress, Stage: "cluster", Change: c, Message: "CREATING", ElapsedSeconds: 6, ExpectSeconds: 540},
		{Time: at(31), Type: steps.ChangeProgress, Stage: "cluster", Change: c, Message: "CREATING", ElapsedSeconds: 31, ExpectSeconds: 540},
		{Time: at(40), Type: steps.Waiting, Stage: "cutover", Message: "waiting for 2 builds", ElapsedSeconds: 1},
		{Time: at(41), Type: steps.Waiting, Stage: "cutover", Message: "waiting for 1 build", ElapsedSeconds: 2},
		{Time: at(500), Type: steps.ChangeDone, Stage: "cluster", Change: &steps.Change{Kind: "eks:Cluster", Name: "blog", ID: "blog", Action: "create"}, ElapsedSeconds: 500},
		{Time: at(501), Type: steps.ChangeFailed, Stage: "cluster", Change: &steps.Change{Kind: "eks:Nodegroup", Name: "n"}, Message: "no\ncapacity"},
		{Time: at(502), Type: steps.StageDone, Stage: "cluster", Status: steps.Failed, Message: "nodegroup/n: no capacity", ElapsedSeconds: 502},
	} {
		l.Apply(ev)
	}
	golden(t, "lines.txt", b.String())
}

func TestSpan(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]time.Duration{
		"0 s": 0, "0.4 s": 400 * time.Millisecond, "42 s": 42 * time.Second, "6 min 38 s": 398 * time.Second, "2 min": 2 * time.Minute, "1 h 2 min": 62 * time.Minute,
	} {
		if got := Span(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}
