package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"pipectl.dev/treecopy"
	"pipectl.dev/treecopy/treetest"
)

// followed is a tree whose changes are followed, and how a peer connects to it.
func followed(t *testing.T, src string) (connect func(wrap func(io.ReadWriteCloser) io.ReadWriteCloser) (*Source, error)) {
	t.Helper()
	tree, err := treecopy.OpenTree(src)
	must(t, err)
	if m, err := tree.Follow(); err != nil || m == treecopy.Rescan {
		t.Fatalf("%s, %v", m, err)
	}
	t.Cleanup(func() { must(t, tree.Close()) })
	return func(wrap func(io.ReadWriteCloser) io.ReadWriteCloser) (*Source, error) {
		a, b := net.Pipe()
		go func() { _ = Serve(context.Background(), a, tree, Options{Identity: ident}) }() // those that are cut off are errors
		return Connect(t.Context(), wrap(b), Options{Identity: ident})
	}
}

func TestATrackedPassIsEqualThoughTheConnectionIsCutAnywhere(t *testing.T) {
	r := seed(t)
	base := scratch(t)
	src, dst := filepath.Join(base, "src"), filepath.Join(base, "dst")
	randomTree(t, r, src, 600)
	connect := followed(t, src)
	o := options(dst)
	o.Tracker = treecopy.TrackRemote()
	short, cuts := 0, 0
	for pass := range 12 {
		for budget := 1 + r.IntN(20_000); ; budget += r.IntN(4 * budget) {
			from, err := connect(func(c io.ReadWriteCloser) io.ReadWriteCloser { return &cutter{ReadWriteCloser: c, left: budget} })
			var rep *treecopy.Report
			if err == nil {
				rep, err = treecopy.CopyFrom(t.Context(), from, dst, o)
				must(t, from.Close())
			}
			if err == nil {
				if rep.Tracking.Whole == "" {
					short++
				} else if pass > 0 {
					t.Errorf("pass %d looked everywhere: %s", pass, rep.Tracking.Whole)
				}
				break
			}
			if cuts++; !errors.Is(err, treecopy.ErrLost) {
				t.Fatal(err)
			}
			if r.IntN(3) == 0 {
				change(t, r, src, 3)
			}
		}
		equal(t, src, dst)
		change(t, r, src, 1+r.IntN(12))
	}
	t.Logf("%d passes looked only where something changed, %d connections were cut", short, cuts)
	if cuts == 0 {
		t.Error("nothing was cut")
	}
}

// TestATrackedPassOverAStreamTouchesOnlyWhatChanged counts directories and bytes, and round trips at 100 ms each in virtual time.
func TestATrackedPassOverAStreamTouchesOnlyWhatChanged(t *testing.T) {
	base := scratch(t)
	src, dst := filepath.Join(base, "src"), filepath.Join(base, "dst")
	must(t, treetest.JenkinsHome(src, treetest.Options{Files: 3000, Seed: 9}))
	deep := filepath.Join(src, "jobs", "late", "builds", "7", "workflow")
	must(t, os.MkdirAll(deep, 0o755))
	synctest.Test(t, func(t *testing.T) {
		tree, err := treecopy.OpenTree(src)
		must(t, err)
		_, err = tree.Follow()
		must(t, err)
		a, b := net.Pipe()
		served := make(chan error, 1)
		go func() { served <- Serve(t.Context(), newFar(a, 50*time.Millisecond), tree, Options{Identity: ident}) }()
		from, err := Connect(t.Context(), newFar(b, 50*time.Millisecond), Options{Identity: ident})
		must(t, err)
		o := options(dst)
		o.Tracker = treecopy.TrackRemote()
		whole, err := treecopy.CopyFrom(t.Context(), from, dst, o)
		must(t, err)
		for i := range 20 {
			must(t, os.WriteFile(filepath.Join(deep, fmt.Sprint(i)), []byte("late"), 0o644))
		}
		before, began := from.Stats(), time.Now()
		rep, err := treecopy.CopyFrom(t.Context(), from, dst, o)
		must(t, err)
		trips, bytes := int(time.Since(began)/(100*time.Millisecond)), from.Stats().Raw-before.Raw
		t.Logf("of %d directories %d looked into, %d bytes, %d round trips", whole.Seen.Dirs, rep.Tracking.Dirs, bytes, trips)
		if rep.Tracking.Whole != "" || rep.Tracking.Dirs != 1 || rep.Copied.Files != 20 || rep.Seen.Files != whole.Seen.Files+20 {
			t.Errorf("%+v, copied %+v, seen %+v", rep.Tracking, rep.Copied, rep.Seen)
		}
		if trips > 6 || bytes > 64<<10 {
			t.Errorf("%d round trips, %d bytes", trips, bytes)
		}
		must(t, from.Close())
		must(t, <-served)
		must(t, tree.Close())
	})
	equal(t, src, dst)
}

func TestMoreChangesThanAFrameHoldsAreAChangeOfEverything(t *testing.T) {
	base := scratch(t)
	src, dst := filepath.Join(base, "src"), filepath.Join(base, "dst")
	must(t, os.Mkdir(src, 0o755))
	connect := followed(t, src)
	from, err := connect(same)
	must(t, err)
	o := options(dst)
	o.Tracker = treecopy.TrackRemote()
	must(t, os.WriteFile(filepath.Join(src, "x"), nil, 0o600))
	_, err = treecopy.CopyFrom(t.Context(), from, dst, o)
	must(t, err)
	for i := range 2500 {
		dir := filepath.Join(src, fmt.Sprintf("%0200d", i))
		must(t, os.Mkdir(dir, 0o755))
		must(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o600))
	}
	for _, whole := range []bool{true, false} {
		rep, err := treecopy.CopyFrom(t.Context(), from, dst, o)
		must(t, err)
		if rep.Tracking.Whole != "" != whole {
			t.Errorf("%+v, want everything: %t", rep.Tracking, whole)
		}
		equal(t, src, dst)
	}
	must(t, from.Close())
}

func TestAPeerIsToldWhenNothingWritesAnyMore(t *testing.T) {
	base := scratch(t)
	synctest.Test(t, func(t *testing.T) {
		tree, err := treecopy.OpenTree(base)
		must(t, err)
		still := make(chan struct{})
		o := Options{Identity: ident, Still: func(ctx context.Context) error {
			select {
			case <-still:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}}
		connect := func() (*Source, net.Conn) {
			a, b := net.Pipe()
			go func() { _ = Serve(t.Context(), a, tree, o) }() // one of them is cut off
			from, err := Connect(t.Context(), b, Options{Identity: ident})
			must(t, err)
			return from, a
		}
		from, conn := connect()
		time.AfterFunc(3*time.Hour, func() { _ = conn.Close() })
		if err := from.Still(t.Context()); !errors.Is(err, treecopy.ErrLost) {
			t.Errorf("a connection that was cut: %v", err)
		}
		must(t, from.Close())
		from, _ = connect()
		began := time.Now()
		time.AfterFunc(5*time.Hour, func() { close(still) })
		if err := from.Still(t.Context()); err != nil || time.Since(began) != 5*time.Hour {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		if err := from.Still(t.Context()); err != nil {
			t.Errorf("told again: %v", err)
		}
		must(t, from.Close())
		synctest.Wait()
		must(t, tree.Close())
	})
}
