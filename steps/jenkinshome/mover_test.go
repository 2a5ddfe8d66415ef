package jenkinshome

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/steps"
)

func TestAMoverOfAnotherVersionSaysSo(t *testing.T) {
	message := filepath.Join(t.TempDir(), "termination-log")
	if err := os.WriteFile(message, nil, 0o600); err != nil { // as the kubelet does
		t.Fatal(err)
	}
	exit := runMover(t.Context(), []string{"copy", "--of-a-later-version", "1"}, t.Output(), message, nil)
	if exit != steps.Precondition.ExitCode() {
		t.Errorf("exit %d", exit)
	}
	raw, err := os.ReadFile(message)
	if err != nil {
		t.Fatal(err)
	}
	var told moverResult
	if err := json.Unmarshal(raw, &told); err != nil || told.Error == nil {
		t.Fatal(err, string(raw))
	}
	want := steps.ErrorInfo{Code: "MoverVersion", Category: steps.Precondition, Message: "mover: flag provided but not defined: -of-a-later-version",
		Hint: "the mover's image is of another version than this pipectl: name one of its own by --mover-image"}
	if diff := cmp.Diff(want, *told.Error); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
