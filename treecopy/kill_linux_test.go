package treecopy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"pipectl.dev/treecopy/treetest"
)

const childEnv = "TREECOPY_TEST_CHILD" // SRC of a copy to DST, in the process that gets killed

func TestMain(m *testing.M) {
	if src := os.Getenv(childEnv); src != "" {
		dst := os.Getenv(childEnv + "_DST")
		if err := refuseFromNowOn(os.Getenv(childEnv + "_REFUSE")); err != nil {
			fmt.Fprintln(os.Stderr, "refuse:", err)
			os.Exit(2)
		}
		_, err := Copy(context.Background(), src, dst, Options{Delete: true, Manifest: filepath.Join(dst, ManifestName)})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			var h interface{ Hint() string }
			if errors.As(err, &h) {
				fmt.Fprintln(os.Stderr, "hint:", h.Hint())
			}
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child starts a copy in a process of its own.
func child(t *testing.T, src, dst string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+src, childEnv+"_DST="+dst)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	return cmd
}

// kills is how many copies are to be killed before their end: 20 with -short, 60 otherwise, or TREECOPY_KILLS (CI: 200).
func kills(t *testing.T) int {
	if s := os.Getenv("TREECOPY_KILLS"); s != "" {
		n, err := strconv.Atoi(s)
		must(t, err)
		return n
	}
	if testing.Short() {
		return 20
	}
	return 60
}

func TestACopyKilledAnywhereEndsEqualWhenRunAgain(t *testing.T) {
	base := scratch(t)
	src, dst := filepath.Join(base, "src"), filepath.Join(base, "dst")
	must(t, treetest.JenkinsHome(src, treetest.Options{Files: 1200, Seed: 3}))
	oddEntries(t, src)
	before := snapshot(t, src)

	began := time.Now()
	must(t, child(t, src, dst).Wait())
	whole := time.Since(began)
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d, an undisturbed copy takes %v", seed, whole)

	killed, want, takes := 0, kills(t), map[int]time.Duration{emptied: whole, damaged: whole, asItWas: whole}
	for i := 0; killed < want; i++ {
		if i > 2*want {
			t.Fatalf("seed %d: of %d rounds only %d copies were killed before their end", seed, i, killed)
		}
		left := prepare(t, r, dst)
		for range 1 + r.IntN(3) { // several deaths may meet the same target
			cmd, began := child(t, src, dst), time.Now()
			timer := time.AfterFunc(time.Duration(r.Int64N(int64(takes[left]))), func() { _ = cmd.Process.Kill() }) // it may be done already
			if cmd.Wait() != nil {
				killed++
			} else {
				takes[left], left = time.Since(began), asItWas // the machine's speed changes with what else it does
			}
			timer.Stop()
		}
		if _, err := Copy(t.Context(), src, dst, Options{Delete: true, Manifest: filepath.Join(dst, ManifestName)}); err != nil {
			t.Fatalf("seed %d, round %d: %v", seed, i, err)
		}
		if d := cmp.Diff(before, snapshot(t, dst)); d != "" { // the source itself is looked at again in the end
			t.Fatalf("seed %d, round %d: source and target differ (-source +target):\n%s", seed, i, d)
		}
		noTemps(t, dst)
		if t.Failed() {
			t.Fatalf("seed %d, round %d", seed, i)
		}
	}
	if d := cmp.Diff(before, snapshot(t, src)); d != "" {
		t.Errorf("the source changed:\n%s", d)
	}
	t.Logf("%d copies were killed before their end", killed)
	if _, err := VerifyFile(t.Context(), dst, filepath.Join(dst, ManifestName), Options{}); err != nil {
		t.Error(err)
	}
}

// oddEntries adds what a Jenkins home does not have.
func oddEntries(t *testing.T, src string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(src, "large"), make([]byte, 5<<20), 0o600))
	must(t, os.Link(filepath.Join(src, "large"), filepath.Join(src, "jobs", "large again")))
	must(t, unix.Mkfifo(filepath.Join(src, "pipe"), 0o644))
	f, err := os.Create(filepath.Join(src, "sparse"))
	must(t, err)
	_, err = f.WriteAt([]byte("end"), 6<<20)
	must(t, err)
	must(t, f.Close())
}

// How much of the target is left, by which the time differs that a copy takes.
const (
	emptied = iota
	damaged
	asItWas
)

// prepare leaves the target of the former round as it is, empties it, or damages it.
func prepare(t *testing.T, r *rand.Rand, dst string) (left int) {
	t.Helper()
	left = r.IntN(3)
	switch left {
	case emptied:
		must(t, os.RemoveAll(dst))
	case damaged:
		must(t, os.RemoveAll(filepath.Join(dst, "jobs")))
		must(t, os.MkdirAll(filepath.Join(dst, "surplus", "deep"), 0o755))
		must(t, os.WriteFile(filepath.Join(dst, "surplus", "deep", TempPrefix+"dead-1"), nil, 0o600))
	}
	return left
}
