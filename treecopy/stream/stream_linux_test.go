package stream

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pipectl.dev/treecopy"
	"pipectl.dev/treecopy/treetest"
)

func TestAnyTreeArrivesEqualThoughTheConnectionIsCutAnywhere(t *testing.T) {
	r := seed(t)
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	for range rounds {
		base := scratch(t)
		src, dst := filepath.Join(base, "src"), filepath.Join(base, "dst")
		randomTree(t, r, src, 100+r.IntN(400))
		before := digest(t, src)
		for pass := range 2 {
			cuts := 0
			for budget := 1 + r.IntN(40_000); ; budget += r.IntN(4 * budget) {
				rep, err := receive(t, src, dst, options(dst), func(c io.ReadWriteCloser) io.ReadWriteCloser { return &cutter{ReadWriteCloser: c, left: budget} })
				if err == nil {
					t.Logf("pass %d: %d cuts, then %d files sent, %d unchanged", pass, cuts, rep.Copied.Files, rep.Unchanged)
					break
				}
				if cuts++; !errors.Is(err, treecopy.ErrLost) {
					t.Fatal(err)
				}
				if m, err := treecopy.ReadMarker(dst); pass == 0 && err == nil && m.State == treecopy.MarkerComplete {
					t.Fatal("the marker vouches for a copy that was cut off")
				}
			}
			equal(t, src, dst)
			if _, err := treecopy.VerifyFile(t.Context(), dst, filepath.Join(dst, treecopy.ManifestName), treecopy.Options{}); err != nil {
				t.Fatal(err)
			}
			if pass == 0 {
				if after := digest(t, src); after != before {
					t.Fatal("the source changed")
				}
				change(t, r, src, 30)
			}
		}
	}
}

func TestWhatIsCompleteIsNotSentAgain(t *testing.T) {
	base := scratch(t)
	src, dst := filepath.Join(base, "src"), filepath.Join(base, "dst")
	must(t, treetest.JenkinsHome(src, treetest.Options{Files: 800, Seed: 5}))
	_, err := receive(t, src, dst, options(dst), func(c io.ReadWriteCloser) io.ReadWriteCloser { return &cutter{ReadWriteCloser: c, left: 900_000} })
	if !errors.Is(err, treecopy.ErrLost) {
		t.Fatal(err)
	}
	there := int64(0)
	must(t, filepath.WalkDir(dst, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && !strings.HasPrefix(d.Name(), ".pipectl-") {
			there++
		}
		return err
	}))
	rep, err := receive(t, src, dst, options(dst), same)
	must(t, err)
	if there < 5 || there > rep.Seen.Files-50 || rep.Copied.Files != rep.Seen.Files-there {
		t.Errorf("%d of %d files were there, %d were sent", there, rep.Seen.Files, rep.Copied.Files)
	}
	rep, err = receive(t, src, dst, options(dst), same)
	if err != nil || rep.Copied != (treecopy.Counts{}) || rep.Updated+rep.Deleted != 0 {
		t.Errorf("a second pass had work to do: %+v, %v", rep, err)
	}
	equal(t, src, dst)
}

func TestSeveralPassesOverOneConnectionSeeEachTimeWhatIsThere(t *testing.T) {
	r := seed(t)
	base := scratch(t)
	src, dst := filepath.Join(base, "src"), filepath.Join(base, "dst")
	randomTree(t, r, src, 300)
	conn, served := ends(t, src, same)
	from, err := Connect(t.Context(), conn, Options{Identity: ident})
	must(t, err)
	for range 4 {
		_, err := treecopy.CopyFrom(t.Context(), from, dst, options(dst))
		must(t, err)
		equal(t, src, dst)
		full := options(dst)
		full.BytesPerSecond = 1 // a pass that is given up, with much announced
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		change(t, r, src, 40)
		_, _ = treecopy.CopyFrom(ctx, from, dst, full)
		cancel()
		change(t, r, src, 40)
	}
	_, err = treecopy.CopyFrom(t.Context(), from, dst, options(dst))
	must(t, err)
	equal(t, src, dst)
	must(t, from.Close())
	must(t, <-served)
}

func TestALivePassToleratesAWriterAndTheFinalOneIsEqual(t *testing.T) {
	r := seed(t)
	base := scratch(t)
	src, dst := filepath.Join(base, "src"), filepath.Join(base, "dst")
	randomTree(t, r, src, 400)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				change(t, r, src, 3)
			}
		}
	}()
	live := options(dst)
	live.Live = true
	for range 3 {
		if _, err := receive(t, src, dst, live, same); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	<-stopped
	_, err := receive(t, src, dst, options(dst), same)
	must(t, err)
	equal(t, src, dst)
}

func TestOverTLS(t *testing.T) {
	r := seed(t)
	base := scratch(t)
	src, dst := filepath.Join(base, "src"), filepath.Join(base, "dst")
	randomTree(t, r, src, 300)
	source, target, err := NewKeys("run-1", time.Hour)
	must(t, err)
	tree, err := treecopy.OpenTree(src)
	must(t, err)
	a, b := net.Pipe()
	served := make(chan error, 1)
	go func() {
		c, err := Server(t.Context(), a, source)
		if err == nil {
			err = Serve(t.Context(), c, tree, Options{Identity: ident})
		}
		served <- err
	}()
	c, err := Client(t.Context(), b, target)
	must(t, err)
	_, _, err = Receive(t.Context(), c, dst, Options{Identity: ident}, options(dst))
	must(t, err)
	must(t, <-served)
	equal(t, src, dst)
}

func TestAPeerOfAnotherCopyIsRefusedByBoth(t *testing.T) {
	base := scratch(t)
	conn, served := ends(t, base, same)
	_, _, err := Receive(t.Context(), conn, filepath.Join(base, "dst"), Options{Identity: "another"}, treecopy.Options{Source: "another"})
	for who, err := range map[string]error{"target": err, "source": <-served} {
		if err == nil || !strings.Contains(err.Error(), "of another copy") {
			t.Errorf("%s: %v", who, err)
		}
	}
}
