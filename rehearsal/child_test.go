package rehearsal

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// echo answers like pipectl, and records the verb among its events.
const echo = `#!/bin/sh
verb=$1
while [ "$1" != --events ]; do shift; done
printf '{"message":"%s"}\n' "$verb" >"$2"
printf '{"status":"Succeeded"}\n'
`

func TestWhatEachRunOfTheClientRecordedIsSaved(t *testing.T) {
	dir, saved := t.TempDir(), filepath.Join(t.TempDir(), "out")
	self := filepath.Join(dir, "pipectl")
	syscall.ForkLock.RLock() // a process that is forked meanwhile would hold the file open: "text file busy"
	err := os.WriteFile(self, []byte(echo), 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	l, err := openLedger(filepath.Join(dir, "results", "ledger.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "rehearsal.log"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w := &world{dir: dir, ledger: l, kill: make(chan struct{}, 1), opts: Options{Self: self, Results: saved, Stderr: t.Output(), Getenv: func(string) string { return "" }}}
	for _, verb := range []string{"run", "run", "down"} {
		o, err := w.client(t.Context(), verb)
		if err != nil || o.Run.Status != "Succeeded" {
			t.Fatal(verb, o, err)
		}
	}
	if err := w.saveResults(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(saved, "events", "*"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		var event struct{ Message string }
		if err != nil || json.Unmarshal(raw, &event) != nil {
			t.Fatal(f, err, string(raw))
		}
		got[strings.TrimPrefix(f, saved)] = event.Message
	}
	want := map[string]string{"/events/1-run.ndjson": "run", "/events/2-run.ndjson": "run", "/events/3-down.ndjson": "down"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
