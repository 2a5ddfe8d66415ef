//go:build bench

package catalog_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
)

// TestBenchTime makes the post's cluster and takes it down on the virtual clock, with durations as published, and with them drawn 20 % more
// or less: each against the bound that the emulator draws from durations and true dependencies alone.
func TestBenchTime(t *testing.T) {
	var up, down []float64
	for seed := range int64(13) {
		synctest.Test(t, func(t *testing.T) {
			made, gone := timedLife(t, seed)
			if seed == 0 {
				t.Logf("FIGURE create: %.0f s, lower bound %.0f s: %.3f x", made.took.Seconds(), made.least.Seconds(), made.ratio())
				t.Logf("FIGURE down: %.0f s, lower bound %.0f s: %.3f x", gone.took.Seconds(), gone.least.Seconds(), gone.ratio())
				return
			}
			up, down = append(up, made.ratio()), append(down, gone.ratio())
		})
	}
	t.Logf("FIGURE durations +-20 %%, %d seeds: create %s, down %s x the lower bound", len(up), spread(up), spread(down))
}

func (x timed) ratio() float64 { return x.took.Seconds() / x.least.Seconds() }

func spread(x []float64) string {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return fmt.Sprintf("%.3f (%.3f to %.3f)", sum/float64(len(x)), slices.Min(x), slices.Max(x))
}

// TestBenchCalls counts the calls of a run from nothing, of one with nothing to do, and of a down, where each call takes 50 ms. Stages run
// one after the other here; the engine runs those side by side that do not need each other.
func TestBenchCalls(t *testing.T) {
	stages := benchStages
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 1, Latency: 50 * time.Millisecond})
		k := w.Kube("blog", cloudtest.Node("ip-10-0-1-5"))
		for _, p := range []phase{{name: "create", stages: stages}, {name: "nothing to do", stages: stages}, {name: "down", stages: stages, down: true}} {
			began, mark := time.Now(), w.Mark()
			if p.name == "nothing to do" {
				findNothingToDo(t, w, client(w, k))
			} else if err := p.run(t.Context(), t, w, client(w, k)); err != nil {
				t.Fatal(err)
			}
			took := time.Since(began)
			reads, writes := w.Count(mark)
			services := map[string][2]int{}
			for _, c := range w.Since(mark) {
				n := services[c.Service]
				if c.Write {
					n[1]++
				} else {
					n[0]++
				}
				services[c.Service] = n
			}
			var parts []string
			for _, s := range slices.Sorted(maps.Keys(services)) {
				parts = append(parts, fmt.Sprintf("%s %d+%d", s, services[s][0], services[s][1]))
			}
			t.Logf("FIGURE %s: %d reads, %d writes, %.1f s at 50 ms a call; reads+writes by service: %s", p.name, reads, writes, took.Seconds(), strings.Join(parts, ", "))
		}
	})
}
