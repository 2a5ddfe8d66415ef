package treecopy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"pipectl.dev/treecopy/treetest"
)

// trackers are the methods that this test may use: fanotify needs root.
func trackers(t *testing.T) []Method {
	if os.Geteuid() == 0 {
		return []Method{Fanotify, Inotify}
	}
	t.Log("not root: fanotify is not tested")
	return []Method{Inotify}
}

// tracked is a source with its tracker and the target of its passes.
type tracked struct {
	t        testing.TB
	src, dst string
	o        Options
	from     *Tree // of a source on another machine; nil: it is on this one
}

func newTracked(t testing.TB, src, dst string, m Method) *tracked {
	t.Helper()
	tr, err := track(src, m)
	must(t, err)
	if tr.Method() != m {
		t.Fatalf("method is %s, not %s: %s", tr.Method(), m, tr.reason)
	}
	return &tracked{t, src, dst, Options{Delete: true, Manifest: filepath.Join(dst, ManifestName), Tracker: tr}, nil}
}

// fromAfar has the source on another machine, which tells of its changes.
func (x *tracked) fromAfar() *tracked {
	x.t.Helper()
	tree, err := OpenTree(x.src)
	must(x.t, err)
	tree.changes.tracker, tree.changes.id = x.o.Tracker, "1"
	x.from, x.o.Tracker, x.o.Source = tree, TrackRemote(), "path:"+x.src
	return x
}

func (x *tracked) close() {
	must(x.t, x.o.Tracker.Close())
	if x.from != nil {
		must(x.t, x.from.Close())
	}
}

// copy makes a pass that has to succeed.
func (x *tracked) copy() *Report {
	x.t.Helper()
	if x.from == nil {
		return copyOK(x.t, x.src, x.dst, x.o)
	}
	rep, err := CopyFrom(x.t.Context(), x.from, x.dst, x.o)
	must(x.t, err)
	return rep
}

// pass copies what changed and holds the result against a look at everything.
func (x *tracked) pass(whole bool) *Report {
	x.t.Helper()
	rep := x.copy()
	if rep.Tracking == nil || rep.Tracking.Whole != "" != whole {
		x.t.Fatalf("tracking = %+v, want a whole pass: %t", rep.Tracking, whole)
	}
	mustEqual(x.t, x.src, x.dst)
	d, err := Digest(x.t.Context(), x.src, Options{})
	must(x.t, err)
	if rep.ManifestHash != d.ManifestHash || rep.Seen != d.Seen || rep.Bytes != d.Bytes {
		x.t.Fatalf("pass: %s, %+v, %d bytes\nlook: %s, %+v, %d bytes", rep.ManifestHash, rep.Seen, rep.Bytes, d.ManifestHash, d.Seen, d.Bytes)
	}
	m, err := OpenManifest(x.o.Manifest)
	must(x.t, err)
	defer m.Close()
	if m.Digest != rep.ManifestHash || m.Dirs != d.Seen.Dirs || m.Dirs != int64(len(m.index)) {
		x.t.Fatalf("manifest: %s, %d and %d directories; want %s, %d", m.Digest, m.Dirs, len(m.index), rep.ManifestHash, d.Seen.Dirs)
	}
	if _, err := Verify(x.t.Context(), x.dst, m, Options{}); err != nil {
		x.t.Fatal(err)
	}
	return rep
}

// TestAStoreThroughAMappingIsSeenWhenTheMappingGoes is on disk: tmpfs keeps the time of a file that is written to by mapping, and so
// no pass of any kind could know.
func TestAStoreThroughAMappingIsSeenWhenTheMappingGoes(t *testing.T) {
	for _, m := range trackers(t) {
		t.Run(string(m), func(t *testing.T) {
			base := t.TempDir()
			src := filepath.Join(base, "src")
			must(t, os.MkdirAll(src+"/d", 0o755))
			must(t, os.WriteFile(src+"/d/mapped", []byte("before"), 0o644))
			f, err := os.OpenFile(src+"/d/mapped", os.O_RDWR, 0)
			must(t, err)
			b, err := unix.Mmap(int(f.Fd()), 0, 6, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			must(t, err)
			must(t, f.Close())
			x := newTracked(t, src, filepath.Join(base, "dst"), m)
			defer x.close()
			x.pass(true)
			was, err := os.Stat(src + "/d/mapped")
			must(t, err)
			copy(b, "after!")
			must(t, unix.Munmap(b))
			now, err := os.Stat(src + "/d/mapped")
			must(t, err)
			if was.ModTime().Equal(now.ModTime()) {
				t.Skip("this file system does not tell of stores by time")
			}
			if rep := x.pass(false); rep.Copied.Files != 1 {
				t.Errorf("copied %+v", rep.Copied)
			}
		})
	}
}

func TestLostEventsLeadToALookAtEverything(t *testing.T) {
	for _, m := range trackers(t) {
		t.Run(string(m), func(t *testing.T) {
			src, dst := tree(t, map[string]string{"a/1": "1", "b/2": "2", "c/d/3": "3"})
			x := newTracked(t, src, dst, m)
			defer x.close()
			x.pass(true)
			tr := x.o.Tracker
			tr.mu.Lock() // nobody reads events now
			if m == Inotify {
				for i := range 10_000 { // two events each, of which no two that follow are equal; the queue takes 16,384
					must(t, os.WriteFile(src+"/a/"+string('p'+rune(i%2)), nil, 0o600))
				}
			} else {
				overflow := make([]byte, 24)
				overflow[0], overflow[6], overflow[9] = 24, 24, unix.FAN_Q_OVERFLOW>>8
				tr.source.(*fanotify).event(overflow)
			}
			must(t, os.MkdirAll(src+"/unseen/deep", 0o755))
			must(t, os.WriteFile(src+"/unseen/deep/f", []byte("f"), 0o600))
			tr.mu.Unlock()
			x.pass(true)
			must(t, os.WriteFile(src+"/unseen/deep/f", []byte("g"), 0o600)) // is watched since
			if rep := x.pass(false); rep.Copied.Files != 1 || rep.Tracking.Dirs != 1 {
				t.Errorf("copied %+v, looked into %d", rep.Copied, rep.Tracking.Dirs)
			}
		})
	}
}

func TestAPassThatFailedLosesNothing(t *testing.T) {
	for _, m := range trackers(t) {
		t.Run(string(m), func(t *testing.T) {
			src, dst := tree(t, map[string]string{"a/1": "1", "b/2": "2", "c/d/3": "3"})
			x := newTracked(t, src, dst, m)
			defer x.close()
			broken := x.o
			broken.syncfs = func(int) error { return unix.EIO }
			fail := func() {
				t.Helper()
				if _, err := Copy(t.Context(), src, dst, broken); !errors.Is(err, unix.EIO) {
					t.Fatalf("err = %v", err)
				}
				mk, err := ReadMarker(dst)
				must(t, err)
				mk.BootID = bootID() // as after any failure but this one, which is tested elsewhere
				must(t, mk.write(dst))
			}
			fail()
			x.pass(true)
			must(t, os.WriteFile(src+"/a/1", []byte("changed"), 0o644))
			must(t, os.RemoveAll(src+"/c"))
			fail()
			dry := x.o
			dry.DryRun = true
			must(t, os.WriteFile(src+"/b/2", []byte("changed too"), 0o644))
			if rep := copyOK(t, src, dst, dry); rep.Copied.Files != 1 || rep.Tracking.Whole != "" {
				t.Errorf("dry run: %+v, %+v", rep.Copied, rep.Tracking)
			}
			if rep := x.pass(false); rep.Copied.Files != 1 {
				t.Errorf("copied %+v", rep.Copied)
			}
			if rep := x.pass(false); rep.Tracking.Dirs != 0 || rep.Seen.Files != 2 {
				t.Errorf("nothing changed: %+v, seen %+v", rep.Tracking, rep.Seen)
			}
		})
	}
}

func TestOnlyTheSamePassIsShortened(t *testing.T) {
	src, dst := tree(t, map[string]string{"a/1": "1", "b/2": "2"})
	x := newTracked(t, src, dst, Inotify)
	defer x.close()
	x.pass(true)
	for name, change := range map[string]func(o *Options){
		"other excludes":   func(o *Options) { o.Excludes = []string{"*.tmp"} },
		"another hash":     func(o *Options) { o.Hash = BLAKE3 },
		"another manifest": func(o *Options) { o.Manifest = filepath.Join(filepath.Dir(dst), "m") },
		"a manifest that somebody else wrote": func(o *Options) {
			b, err := os.ReadFile(o.Manifest)
			must(t, err)
			must(t, os.WriteFile(o.Manifest, b, 0o600))
		},
	} {
		o := x.o
		change(&o)
		if rep := copyOK(t, src, dst, o); rep.Tracking.Whole == "" {
			t.Errorf("%s: %+v", name, rep.Tracking)
		}
		x.o.Manifest = filepath.Join(dst, ManifestName)
		copyOK(t, src, dst, x.o)
		x.pass(false)
	}
	other := dst + "-other"
	x.dst, x.o.Manifest = other, filepath.Join(other, ManifestName)
	x.pass(true)
}

func TestATrackerOfASystemWithoutMeans(t *testing.T) {
	src, dst := tree(t, map[string]string{"a/1": "1"})
	tr, err := track(src)
	must(t, err)
	if tr.Method() != Rescan {
		t.Errorf("method %s", tr.Method())
	}
	o := Options{Tracker: tr, Manifest: filepath.Join(dst, ManifestName)}
	copyOK(t, src, dst, o)
	must(t, os.WriteFile(src+"/a/2", nil, 0o600))
	if rep := copyOK(t, src, dst, o); rep.Copied.Files != 1 || rep.Tracking.Method != Rescan {
		t.Errorf("copied %+v, %+v", rep.Copied, rep.Tracking)
	}
	must(t, tr.Close())
	if _, err := Track(src + "/nowhere"); err == nil {
		t.Error("tracks what is not there")
	}
}

// TestALiveSourceIsCaughtUpWith changes the tree while passes run; the last one, after the writer has stopped, must be exact.
func TestALiveSourceIsCaughtUpWith(t *testing.T) {
	for _, m := range trackers(t) {
		t.Run(string(m), func(t *testing.T) {
			src, dst := tree(t, nil)
			must(t, treetest.JenkinsHome(filepath.Join(src, "home"), treetest.Options{Files: 1000, Seed: 5}))
			x := newTracked(t, src, dst, m)
			defer x.close()
			x.pass(true)
			stop, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					dir := fmt.Sprintf("%s/home/jobs/live-%d/builds/%d", src, i%7, i)
					_ = os.MkdirAll(dir, 0o755) // what of this fails, the last comparison does not mind
					_ = os.WriteFile(dir+"/build.xml", []byte(dir), 0o644)
					_ = os.Rename(dir+"/build.xml", dir+"/../../build.xml")
					_ = os.WriteFile(src+"/home/config.xml", []byte(dir), 0o644)
					if i%5 == 0 {
						_ = os.RemoveAll(fmt.Sprintf("%s/home/jobs/live-%d", src, i%3))
					}
				}
			}()
			live := x.o
			live.Live = true
			for range 5 {
				copyOK(t, src, dst, live)
			}
			close(stop)
			<-done
			x.pass(false)
		})
	}
}
