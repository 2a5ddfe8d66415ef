package treecopy

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDirectoriesThatVanishFromALivePass(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, src string){
		"removed": func(t *testing.T, src string) { must(t, os.RemoveAll(src+"/d")) },
		"replaced by a file": func(t *testing.T, src string) {
			must(t, os.RemoveAll(src+"/d"))
			must(t, os.WriteFile(src+"/d", nil, 0o600))
		},
		"a file by a directory": func(t *testing.T, src string) { must(t, os.Remove(src+"/f")); must(t, os.Mkdir(src+"/f", 0o755)) },
		"a file by a pipe":      func(t *testing.T, src string) { must(t, os.Remove(src+"/f")); must(t, unix.Mkfifo(src+"/f", 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, live := range []bool{true, false} {
				src, dst := tree(t, map[string]string{"d/x/y": "1", "f": "2", "first": "3"})
				setInodeOrder(t, src)
				done := false
				o := Options{Live: live, Workers: 1, afterRead: func(string) {
					if !done {
						done = true
						change(t, src)
					}
				}}
				rep, err := Copy(t.Context(), src, dst, o)
				if live && (err != nil || rep.Vanished.Count != 1) {
					t.Errorf("live: %v, vanished %+v", err, rep.Vanished)
				}
				if !live && !errors.Is(err, ErrVanished) {
					t.Errorf("final: %v", err)
				}
				copyOK(t, src, dst, Options{Delete: true})
				mustEqual(t, src, dst)
			}
		})
	}
	t.Run("removed while it is open", func(t *testing.T) {
		src, _ := tree(t, map[string]string{"d/": ""})
		e, err := newEngine(t.Context(), src, Options{Live: true})
		must(t, err)
		defer e.close()
		e.reading = true
		w := e.newWorker()
		n := &node{parent: &node{src: e.src}, path: "d", src: -1, dst: -1}
		if !w.openSource(n) {
			t.Fatal("not opened")
		}
		must(t, os.Remove(src+"/d"))
		if list, err := w.scan(n); err != nil && !errors.Is(err, errSourceGone) || len(list) > 0 {
			t.Errorf("scan gives %v, %v", list, err)
		}
		n.close()
	})
}

// setInodeOrder makes "first" the file with the lowest inode, which is read first.
func setInodeOrder(t *testing.T, src string) {
	t.Helper()
	b, err := os.ReadFile(src + "/f")
	must(t, err)
	must(t, os.Remove(src+"/f"))
	must(t, os.WriteFile(src+"/f2", b, 0o644))
	must(t, os.Rename(src+"/f2", src+"/f"))
}
