package catalog_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
)

const benchCluster = `
name: blog
network: {cidr: 10.0.0.0/16, nat: single}
endpoint: {public: true}
nodeGroups:
  - {name: node-group-1, instanceTypes: [t3.small], min: 1, desired: 2, max: 3, zones: [ap-northeast-2a]}
  - {name: node-group-2, instanceTypes: [t3.small], min: 1, desired: 1, max: 2}
`

// benchStages are all steps that make something in AWS.
var benchStages = []stage{{"data-volume", homeYAML}, {"provision-eks", benchCluster}, {"bind-irsa", roleYAML}, {"install-addon", strings.Replace(addonYAML, `, version: "1.33"`, "", 1)}}

// timed is how long something took, and the least that the emulator's durations allow.
type timed struct{ took, least time.Duration }

// timedLife makes the post's cluster and takes it down, with durations as published for seed 0, else drawn 20 % more or less.
func timedLife(t *testing.T, seed int64) (up, down timed) {
	t.Helper()
	w := cloudtest.New(t, emulator.Options{Seed: seed, Jitter: seed > 0})
	proc := client(w, w.Kube("blog", cloudtest.Node("ip-10-0-1-5")))
	d, in := proc.steps["provision-eks"], cloudtest.Input(t, benchCluster)
	began, mark := time.Now(), w.Mark()
	if _, err := w.Apply(t.Context(), d, in); err != nil {
		t.Fatal(err)
	}
	up = timed{time.Since(began), w.LowerBound(mark).Create}
	began, mark = time.Now(), w.Mark()
	if err := w.Down(t.Context(), d, in, false); err != nil {
		t.Fatal(err)
	}
	return up, timed{time.Since(began), w.LowerBound(mark).Delete}
}

// findNothingToDo plans all stages, as the engine does where a plan finds nothing: no preflight.
func findNothingToDo(t *testing.T, w *cloudtest.World, proc process) {
	t.Helper()
	for _, s := range benchStages {
		plan, err := proc.steps[s.step].Plan(t.Context(), w.Env(), cloudtest.Input(t, s.with))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range plan.Changes {
			if c.Action != "keep" {
				t.Errorf("%s: %s %s/%s", s.step, c.Action, c.Kind, c.Name)
			}
		}
	}
}

// TestSpeedIsHeld holds what bench/provision measures: on the virtual clock, against the bound that the emulator draws from its durations and
// true dependencies alone, and with nothing to do at 50 ms a call.
func TestSpeedIsHeld(t *testing.T) {
	for seed := range int64(5) {
		synctest.Test(t, func(t *testing.T) {
			up, down := timedLife(t, seed)
			if took, least := up.took.Seconds(), up.least.Seconds(); took > 1.03*least || took < least {
				t.Errorf("seed %d: create took %.0f s, want %.0f to 1.03 of it", seed, took, least)
			}
			if took, least := down.took.Seconds(), down.least.Seconds(); took > 1.05*least || took < least {
				t.Errorf("seed %d: down took %.0f s, want %.0f to 1.05 of it", seed, took, least)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 1, Latency: 50 * time.Millisecond})
		k := w.Kube("blog", cloudtest.Node("ip-10-0-1-5"))
		if err := (phase{stages: benchStages}).run(t.Context(), t, w, client(w, k)); err != nil {
			t.Fatal(err)
		}
		began, mark, proc := time.Now(), w.Mark(), client(w, k)
		findNothingToDo(t, w, proc)
		reads, writes := w.Count(mark)
		if took := time.Since(began); writes != 0 || reads > 40 || reads == 0 || took > 2*time.Second {
			t.Errorf("with nothing to do: %d reads, %d writes, %s; want at most 40, none, 2 s", reads, writes, took)
		}
	})
}
