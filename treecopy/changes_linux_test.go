package treecopy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// forgetful loses answers on their way.
type forgetful struct {
	*Tree
	lose int
}

func (f *forgetful) Changes(ctx context.Context, since string) (Changes, error) {
	c, err := f.Tree.Changes(ctx, since)
	if f.lose > 0 {
		f.lose--
		return Changes{}, ErrLost
	}
	return c, err
}

func TestChangesWhoseAnswerWasLostAreToldAgain(t *testing.T) {
	src, dst := tree(t, map[string]string{"a/1": "1", "b/2": "2", "c/3": "3"})
	x := newTracked(t, src, dst, Inotify).fromAfar()
	defer x.close()
	x.pass(true)
	from := &forgetful{Tree: x.from, lose: 2}
	for _, name := range []string{"a/1", "b/2"} {
		must(t, os.WriteFile(filepath.Join(src, name), []byte("changed "+name), 0o644))
		if _, err := CopyFrom(t.Context(), from, dst, x.o); !errors.Is(err, ErrLost) {
			t.Fatalf("err = %v", err)
		}
	}
	if rep := x.pass(false); rep.Copied.Files != 2 || rep.Tracking.Dirs != 2 {
		t.Errorf("copied %+v, looked into %d", rep.Copied, rep.Tracking.Dirs)
	}
	if rep := x.pass(false); rep.Tracking.Dirs != 0 {
		t.Errorf("looked into %d though nothing changed", rep.Tracking.Dirs)
	}
}

// TestNobodyBuildsOnWhatAnotherWasTold lets the source's side, or the target's, begin anew.
func TestNobodyBuildsOnWhatAnotherWasTold(t *testing.T) {
	src, dst := tree(t, map[string]string{"a/1": "1", "b/2": "2"})
	x := newTracked(t, src, dst, Inotify).fromAfar()
	defer x.close()
	x.pass(true)
	must(t, os.WriteFile(src+"/a/1", []byte("before"), 0o644))
	must(t, x.from.Close())
	tree, err := OpenTree(src)
	must(t, err)
	if m, err := tree.Follow(); err != nil || m == Rescan {
		t.Fatalf("%s, %v", m, err)
	}
	x.from = tree
	if rep := x.pass(true); rep.Copied.Files != 1 || rep.Tracking.Method == Rescan {
		t.Errorf("another mover at the source: %+v, %+v", rep.Copied, rep.Tracking)
	}
	x.pass(false)
	x.o.Tracker = TrackRemote()
	x.pass(true)
	x.pass(false)
}

func TestASourceThatNobodyFollowsIsLookedAtWhole(t *testing.T) {
	src, dst := tree(t, map[string]string{"a/1": "1"})
	tree, err := OpenTree(src)
	must(t, err)
	defer tree.Close()
	o := Options{Tracker: TrackRemote(), Manifest: filepath.Join(dst, ManifestName), Source: "s"}
	for range 2 {
		rep, err := CopyFrom(t.Context(), tree, dst, o)
		if err != nil || rep.Tracking.Method != Rescan || rep.Tracking.Whole == "" {
			t.Errorf("%+v, %v", rep.Tracking, err)
		}
	}
	if _, err := Copy(t.Context(), src, dst, o); !errors.Is(err, ErrBadOption) {
		t.Errorf("a local copy by a remote tracker: %v", err)
	}
	near, err := Track(src)
	must(t, err)
	defer near.Close()
	o.Tracker = near
	if _, err := CopyFrom(t.Context(), tree, dst, o); !errors.Is(err, ErrBadOption) {
		t.Errorf("a remote copy by a local tracker: %v", err)
	}
}

// TestChangesLeadNowhereElse has a source that lies about where it changed.
func TestChangesLeadNowhereElse(t *testing.T) {
	src, dst := tree(t, map[string]string{"a/1": "1"})
	x := newTracked(t, src, dst, Inotify).fromAfar()
	defer x.close()
	x.pass(true)
	for i, dir := range []string{"..", "a/../..", "/etc", "a//1", "a\x00"} {
		x.from.changes.told.add(dir, true)
		x.from.changes.since = x.o.Tracker.mark // so that it is told
		x.from.changes.mark = fmt.Sprint("other ", i)
		if _, err := CopyFrom(t.Context(), x.from, dst, x.o); !errors.Is(err, ErrLost) {
			t.Errorf("%q: %v", dir, err)
		}
		x.from.changes.told = dirtySet{}
	}
}
