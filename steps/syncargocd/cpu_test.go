//go:build bench

package syncargocd_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pipectl.dev/kube/labtest"
)

// ticks is how the kernel counts in /proc: a hundred a second on every architecture that Go runs on.
const ticks = 100

// processors tells how much processor time each program of the lab has had so far, its children that ended among it, and this process.
func processors(t *testing.T) map[string]time.Duration {
	t.Helper()
	dir, out := labtest.Cluster(t).Dir, map[string]time.Duration{}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		command, _ := os.ReadFile(filepath.Join(p, "cmdline")) // one that has just ended has none
		environ, _ := os.ReadFile(filepath.Join(p, "environ"))
		words := strings.Split(string(command), "\x00")
		if len(words) < 2 || !strings.HasPrefix(filepath.Base(words[0]), "lab") || !strings.Contains(string(command)+string(environ), dir) {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(p, "stat"))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		for _, f := range fields[11:15] { // utime, stime, and those of children
			n, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			out[words[1]] += time.Duration(n) * time.Second / ticks
		}
	}
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		t.Fatal(err)
	}
	out["this process"] = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	return out
}

// spent is what was had between two looks, most first.
func spent(before, after map[string]time.Duration) string {
	for name := range after {
		after[name] -= before[name]
	}
	names := slices.SortedFunc(maps.Keys(after), func(a, b string) int { return int(after[b] - after[a]) })
	var out []string
	for _, name := range names {
		if after[name] >= 100*time.Millisecond {
			out = append(out, fmt.Sprintf("%s %.1f s", name, after[name].Seconds()))
		}
	}
	return strings.Join(out, ", ")
}
