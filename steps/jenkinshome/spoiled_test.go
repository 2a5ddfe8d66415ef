package jenkinshome

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pipectl.dev/steps"
)

// spoil changes a byte of a file on the volume behind everybody's back: size and time stay.
func (s *stage) spoil(name string) {
	path := filepath.Join(s.disk(), name)
	fi, err := os.Stat(path)
	if err != nil {
		s.t.Error(err)
		return
	}
	b, _ := os.ReadFile(path)
	b[0] ^= 1
	_ = os.WriteFile(path, b, fi.Mode())
	_ = os.Chtimes(path, fi.ModTime(), fi.ModTime())
}

// What a pass wrote and nobody read back is in no delta of a later pass: that one must read everything.
func TestASpoiledFileIsFoundByEveryLaterRun(t *testing.T) {
	for name, dies := range map[string]bool{"the first run tells it": false, "the first mover dies before it can tell": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				pre, err := s.precopy(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				killed := !dies
				s.kill = func(line string) bool {
					kill := !killed && strings.Contains(line, "last pass done")
					killed = killed || kill
					return kill
				}
				s.on("caught up", func() { _ = os.WriteFile(filepath.Join(s.home(), "queue.xml"), []byte("changed"), 0o600) })
				s.on("last pass done", func() { s.spoil("queue.xml") })
				for run := range 3 {
					_, err := s.migrate(t.Context(), pre.Move, fmt.Sprint("run-", run))
					if (code(err) != "CopyDiffers" || !strings.Contains(strings.Join(steps.Classify(err).Hints, "\n"), "begin anew with another volume")) && (run > 0 || !dies) {
						t.Errorf("run %d: got %v", run, err)
					}
					s.await("the old Jenkins", s.oldRuns)
					if s.state() != Precopied {
						t.Errorf("run %d: state %q", run, s.state())
					}
				}
			})
		})
	}
}
