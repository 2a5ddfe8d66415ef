package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pipectl.dev/treecopy"
	"pipectl.dev/treecopy/treetest"
)

const childEnv = "STREAM_TEST_CHILD" // address of a sender, in the process that gets killed

func TestMain(m *testing.M) {
	addr := os.Getenv(childEnv)
	if addr == "" {
		os.Exit(m.Run())
	}
	conn, err := net.Dial("tcp", addr)
	if err == nil {
		dst := os.Getenv(childEnv + "_DST")
		_, _, err = Receive(context.Background(), conn, dst, Options{Identity: ident}, options(dst))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func TestAReceiverKilledAnywhereEndsEqualWhenRunAgain(t *testing.T) {
	r := seed(t)
	base := scratch(t)
	src, dst := filepath.Join(base, "src"), filepath.Join(base, "dst")
	randomTree(t, r, src, 1200)
	before := digest(t, src)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	tree, err := treecopy.OpenTree(src)
	must(t, err)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = Serve(context.Background(), conn, tree, Options{Identity: ident}) }() // killed ones are errors
		}
	}()
	child := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Stderr = os.Stderr // why it failed, where it was not killed
		cmd.Env = append(os.Environ(), childEnv+"="+l.Addr().String(), childEnv+"_DST="+dst)
		must(t, cmd.Start())
		return cmd
	}
	began := time.Now()
	must(t, child().Wait())
	whole := time.Since(began)
	want := 40
	if testing.Short() {
		want = 10
	}
	killed, takes := 0, map[bool]time.Duration{true: whole, false: whole}
	for round := 0; killed < want; round++ {
		if round > 3*want {
			t.Fatalf("in %d rounds only %d were killed before their end", round, killed)
		}
		anew := r.IntN(2) == 0
		if anew {
			must(t, os.RemoveAll(dst))
		}
		cmd, began := child(), time.Now()
		timer := time.AfterFunc(time.Duration(r.Int64N(int64(takes[anew]))), func() { _ = cmd.Process.Kill() }) // it may be done already
		if cmd.Wait() != nil {
			killed++
		} else {
			takes[anew] = time.Since(began) // the machine's speed changes with what else it does
		}
		timer.Stop()
		if round%3 == 2 { // else the next one dies on what this one left
			must(t, child().Wait())
			equal(t, src, dst)
			noTemps(t, dst)
		}
	}
	must(t, child().Wait())
	equal(t, src, dst)
	if _, err := treecopy.VerifyFile(t.Context(), dst, filepath.Join(dst, treecopy.ManifestName), treecopy.Options{}); err != nil {
		t.Error(err)
	}
	if after := digest(t, src); after != before {
		t.Error("the source changed")
	}
	t.Logf("%d were killed before their end", killed)
}

func noTemps(t testing.TB, dir string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(filepath.Base(p), treecopy.TempPrefix) {
			t.Errorf("left over: %s", p)
		}
		return err
	}))
}

// far is a connection on which everything takes a while, and none waits for another.
type far struct {
	io.ReadWriteCloser
	delay time.Duration
	queue chan arrival
	once  sync.Once
}

type arrival struct {
	at time.Time
	b  []byte
}

func newFar(c io.ReadWriteCloser, delay time.Duration) *far {
	f := &far{ReadWriteCloser: c, delay: delay, queue: make(chan arrival, 1<<16)}
	go func() {
		for a := range f.queue {
			time.Sleep(time.Until(a.at))
			if _, err := c.Write(a.b); err != nil {
				return
			}
		}
		_ = c.Close()
	}()
	return f
}

func (f *far) Write(p []byte) (int, error) {
	f.queue <- arrival{time.Now().Add(f.delay), append([]byte(nil), p...)}
	return len(p), nil
}

func (f *far) Close() error {
	f.once.Do(func() { close(f.queue) })
	return nil
}

// TestDistanceCostsFewRoundTrips copies over 100 ms there and back, in virtual time: only waiting counts, so the time is round trips.
func TestDistanceCostsFewRoundTrips(t *testing.T) {
	base := scratch(t)
	src, dst := filepath.Join(base, "src"), filepath.Join(base, "dst")
	must(t, treetest.JenkinsHome(src, treetest.Options{Files: 3000, Seed: 9}))
	synctest.Test(t, func(t *testing.T) {
		tree, err := treecopy.OpenTree(src)
		must(t, err)
		a, b := net.Pipe()
		served := make(chan error, 1)
		go func() { served <- Serve(t.Context(), newFar(a, 50*time.Millisecond), tree, Options{Identity: ident}) }()
		began := time.Now()
		rep, _, err := Receive(t.Context(), newFar(b, 50*time.Millisecond), dst, Options{Identity: ident}, options(dst))
		if err != nil {
			t.Fatal(err)
		}
		trips := int(time.Since(began) / (100 * time.Millisecond))
		t.Logf("%d files in %d directories: %d round trips", rep.Seen.Files, rep.Seen.Dirs, trips)
		if trips > 60 {
			t.Errorf("%d round trips for %d directories", trips, rep.Seen.Dirs)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		_ = tree.Close()
	})
	equal(t, src, dst)
}

// TestASilentPeerIsGivenUp lets a connection go dead without a word, which no error tells.
func TestASilentPeerIsGivenUp(t *testing.T) {
	base := scratch(t)
	synctest.Test(t, func(t *testing.T) {
		tree, err := treecopy.OpenTree(base)
		must(t, err)
		a, b := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, b) }()
		began := time.Now()
		err = Serve(t.Context(), a, tree, Options{Identity: ident})
		if !errors.Is(err, treecopy.ErrLost) || !strings.Contains(err.Error(), "said nothing for 1m0s") || time.Since(began) != time.Minute {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		_ = tree.Close()
	})
}

// TestAQuietPeerIsNotGivenUp lets neither side have anything to say for an hour.
func TestAQuietPeerIsNotGivenUp(t *testing.T) {
	base := scratch(t)
	synctest.Test(t, func(t *testing.T) {
		conn, served := ends(t, base, same)
		from, err := Connect(t.Context(), conn, Options{Identity: ident})
		must(t, err)
		time.Sleep(time.Hour)
		if _, err := from.List(t.Context(), ".", false); err != nil {
			t.Error(err)
		}
		must(t, from.Close())
		must(t, <-served)
	})
}
