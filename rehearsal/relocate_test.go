package rehearsal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAHomeComesBackInAnotherZone goes down in one zone and up in another: the home travels by a snapshot, and its files are the same.
func TestAHomeComesBackInAnotherZone(t *testing.T) {
	file := filepath.Join(shipped(t), "blog.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const as, with = `size: 20Gi, snapshots: 3}`, `size: 20Gi, snapshots: 3, relocate: true}`
	if strings.Count(string(text), as) != 1 {
		t.Fatalf("%s has not %q once", file, as)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), as, with, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := readOutline(file)
	if err != nil {
		t.Fatal(err)
	}
	o.Values = map[string]string{"zone": o.zone()}
	w := newWorld(t, o, file)
	p := &play{world: w, seeded: w.seeded()}
	act := func(title, verb string) outcome {
		t.Helper()
		got, err := p.act(t.Context(), title, verb)
		if err != nil || got.Exit != 0 {
			t.Fatalf("%s: exit %d, %v", title, got.Exit, err)
		}
		return got
	}
	act("run", "run")
	first, zone := p.output("home", "volumeId"), p.output("home", "zone")
	act("down", "down")
	before, err := digest(w.lab.VolumeFS(first), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.opts.Run = []string{"--param", "zone=" + besides(zone)}
	act("run in another zone", "run")
	second, now := p.output("home", "volumeId"), p.output("home", "zone")
	if second == "" || second == first || now != besides(zone) {
		t.Fatalf("the home is on %s in %s, was on %s in %s", second, now, first, zone)
	}
	after, err := digest(w.lab.VolumeFS(second), nil)
	if err != nil || after != before {
		t.Errorf("the files are others: %s after, %s before, %v", after, before, err)
	}
	if ok, detail := sameJobs(filepath.Join(w.oldHome(), "jobs"), filepath.Join(w.lab.VolumeFS(second), "jobs")); !ok {
		t.Error(detail)
	}
	if err := p.inspect(t.Context(), "run in another zone"); err != nil {
		t.Fatal(err)
	}
	for _, c := range p.checks {
		if !c.OK {
			t.Errorf("%s: %s", c.What, c.Detail)
		}
	}
	if got := act("again", "run"); got.Tally.Writes != 0 {
		t.Errorf("again: %d writes: %v", got.Tally.Writes, got.Tally.Wrote)
	}
}
