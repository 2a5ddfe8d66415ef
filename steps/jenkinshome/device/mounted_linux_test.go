package device

import (
	"errors"
	"os"
	"testing"
)

func TestWhatSomebodyElseMountedIsTheVolume(t *testing.T) {
	t.Run("rehearsal", func(t *testing.T) {
		devices, volume, other := t.TempDir(), t.TempDir(), t.TempDir()
		if err := errors.Join(os.Mkdir(volume+"/fs", 0o755), os.Symlink(volume, devices+"/vol-1")); err != nil {
			t.Fatal(err)
		}
		d := rehearsal{devices}
		if err := d.Mounted("vol-1", volume+"/fs", other); err != nil {
			t.Error(err)
		}
		for what, err := range map[string]error{"another directory": d.Mounted("vol-1", other, other), "not attached": d.Mounted("vol-2", volume+"/fs", other)} {
			if err == nil {
				t.Error(what)
			}
		}
	})
	t.Run("system", func(t *testing.T) {
		dir := t.TempDir()
		if err := system("").Mounted("vol-1", dir, t.TempDir()); err == nil {
			t.Error("a directory of the node's own disk is taken for a volume")
		}
		if err := system("").Mounted("vol-1", "/proc", dir); err != nil {
			t.Error("another file system, whose device tells nothing:", err)
		}
	})
	for serial, ok := range map[string]bool{"vol0a1": true, "vol0b2": false, "Elastic Block Store": true, "": true} {
		if err := serves("vol-0a1", "/x", serial); (err == nil) != ok {
			t.Errorf("%q: %v", serial, err)
		}
	}
}
