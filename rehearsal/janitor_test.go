package rehearsal

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

const nobody = 65534

func TestTheJanitorRemovesADirectory(t *testing.T) {
	t.Parallel()
	for how, end := range map[string]func(t *testing.T, dir string){
		"when the rehearsal ends well": func(_ *testing.T, dir string) { janitor(dir)() },
		"when the rehearsal is killed, which ends the pipe": func(t *testing.T, dir string) {
			cmd := exec.CommandContext(t.Context(), "sh", "-c", sweep, dir) // its standard input is at its end
			if os.Geteuid() == 0 {
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}} // root needs no permission
			}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			parent, err := os.MkdirTemp("", "janitor-") // t.TempDir's are closed to others
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(parent) })
			dir := filepath.Join(parent, "it's -here")
			closed := filepath.Join(dir, "a", "closed")
			if err := os.MkdirAll(filepath.Join(closed, "b"), 0o755); err != nil {
				t.Fatal(err)
			}
			if os.Geteuid() == 0 {
				for _, d := range []string{parent, dir, filepath.Dir(closed), closed, filepath.Join(closed, "b")} {
					if err := os.Chown(d, nobody, nobody); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := os.Chmod(closed, 0); err != nil {
				t.Fatal(err)
			}
			end(t, dir)
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("it is still there (%v)", err)
			}
		})
	}
}
