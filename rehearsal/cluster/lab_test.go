package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A lab chooses free ports and uses them a moment later; another program may be faster.
func TestACollisionOfPortsIsTriedAgain(t *testing.T) {
	t.Parallel()
	for sentence, c := range map[string]struct {
		says   string
		fails  int
		starts int
		ok     bool
	}{
		"one collision is overcome":       {"listen tcp 127.0.0.1:1: bind: address already in use", 1, 2, true},
		"it gives up after three":         {"listen tcp 127.0.0.1:1: bind: address already in use", 9, 3, false},
		"another failure is not repeated": {"no space left on device", 1, 1, false},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			starts := filepath.Join(dir, "starts")
			script := fmt.Sprintf(`#!/bin/sh
echo x >>%[1]s
if [ $(wc -l <%[1]s) -le %[2]d ]; then echo "%[3]s" >&2; exit 1; fi
echo '{"endpoint":"https://127.0.0.1:1","control":"c"}'
cat >/dev/null
`, starts, c.fails, c.says)
			bin := filepath.Join(dir, "lab")
			syscall.ForkLock.RLock() // a child forked meanwhile would hold the file open for writing: "text file busy"
			err := os.WriteFile(bin, []byte(script), 0o755)
			syscall.ForkLock.RUnlock()
			if err != nil {
				t.Fatal(err)
			}
			cluster, err := Lab{Bin: bin, Dir: dir}.Start(t.Context(), "c", Options{})
			if (err == nil) != c.ok {
				t.Errorf("err is %v", err)
			}
			if cluster != nil {
				cluster.Stop()
			}
			raw, err := os.ReadFile(starts)
			if err != nil || strings.Count(string(raw), "x") != c.starts {
				t.Errorf("it was started %d times, want %d (%v)", strings.Count(string(raw), "x"), c.starts, err)
			}
		})
	}
}
