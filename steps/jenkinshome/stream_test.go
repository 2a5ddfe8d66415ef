package jenkinshome

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/treecopy/stream"
)

// network plays the loopback of pods and the port-forwards to it.
type network struct {
	mu     sync.Mutex
	open   map[int]*mouth
	wire   bytes.Buffer       // all that went over port-forwards
	budget func(dial int) int // bytes of the n-th port-forward until it is cut; below 0: as many as it likes
	dials  int
	down   bool
}

// mouth is a listener.
type mouth struct {
	n    *network
	port int
	in   chan net.Conn
	once sync.Once
	gone chan struct{}
}

func (m *mouth) Accept() (net.Conn, error) {
	select {
	case c := <-m.in:
		return c, nil
	case <-m.gone:
		return nil, net.ErrClosed
	}
}

func (m *mouth) Close() error {
	m.once.Do(func() {
		close(m.gone)
		m.n.mu.Lock()
		delete(m.n.open, m.port)
		m.n.mu.Unlock()
	})
	return nil
}

func (m *mouth) Addr() net.Addr { return &net.TCPAddr{Port: m.port} }

func (s *stage) network() {
	n := &network{open: map[int]*mouth{}, budget: func(int) int { return -1 }}
	s.net = n
	listen, dial := listenOn, dialPod
	listenOn = func(_ context.Context, port int) (net.Listener, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.open[port] != nil {
			return nil, fmt.Errorf("port %d is in use", port)
		}
		m := &mouth{n: n, port: port, in: make(chan net.Conn), gone: make(chan struct{})}
		n.open[port] = m
		return m, nil
	}
	dialPod = func(ctx context.Context, _ *kube.Client, namespace, pod string, port int) (net.Conn, error) {
		if s.old.get("/api/v1/namespaces/"+namespace+"/pods/"+pod) == nil {
			return nil, errors.New("pod is gone")
		}
		return n.dial(ctx, port)
	}
	s.t.Cleanup(func() { listenOn, dialPod = listen, dial })
}

func (n *network) dial(ctx context.Context, port int) (net.Conn, error) {
	n.mu.Lock()
	m, down := n.open[port], n.down
	n.dials++
	left := n.budget(n.dials)
	n.mu.Unlock()
	if m == nil || down {
		return nil, errors.New("connection refused")
	}
	a, b := net.Pipe()
	select {
	case m.in <- b:
		return &tapped{Conn: a, n: n, left: left}, nil
	case <-m.gone:
	case <-ctx.Done():
	}
	return nil, errors.New("connection refused")
}

// tapped is a port-forward that somebody listens to.
type tapped struct {
	net.Conn
	n    *network
	left int
}

func (t *tapped) Read(p []byte) (int, error) {
	k, err := t.Conn.Read(p)
	t.n.mu.Lock()
	defer t.n.mu.Unlock()
	t.n.wire.Write(p[:k])
	if t.left >= 0 {
		if t.left -= k; t.left <= 0 {
			_ = t.Close()
			return 0, errors.New("cut")
		}
	}
	return k, err
}

// outside puts the old node outside of EC2: only a node of the target's side has to do with the volume.
func (s *stage) outside(t *testing.T) {
	t.Helper()
	s.apart(t)
	s.old.put("/api/v1/nodes/node-1", object(`{apiVersion: v1, kind: Node, metadata: {name: node-1}, status: {addresses: [{type: InternalIP, address: 192.168.7.5}]}}`))
}

// leftOfStream are the Jobs and Secrets of the route.
func (s *stage) leftOfStream() (left []string) {
	for _, p := range append(s.old.list("/apis/batch/"), append(s.old.list(oldNS+"/secrets/"), s.old.list("/api/v1/namespaces/"+copyIn+"/secrets/")...)...) {
		if !strings.HasSuffix(p, "/jenkins-token") {
			left = append(left, p)
		}
	}
	return left
}

func TestRouteStreamMovesAHomeFromOutsideOfEC2(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		s.outside(t)
		mark := "words that are in the home only, and long enough to be found on a wire"
		if err := os.WriteFile(filepath.Join(s.home(), "jobs", "early.xml"), []byte(strings.Repeat(mark, 10)), 0o640); err != nil {
			t.Fatal(err)
		}
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if pre.Move.Route != routeStream || pre.Move.Source.InstanceID != s.worker || s.state() != Precopied || !s.oldRuns() {
			t.Fatalf("after precopy: %s %+v", s.state(), pre.Move)
		}
		if left := s.leftOfStream(); len(left) > 0 {
			t.Errorf("left behind by the passes: %v", left)
		}
		s.on("the other mover has caught up", func() {
			if err := errors.Join(os.WriteFile(filepath.Join(s.home(), "jobs", "late.xml"), []byte("written after the last pass"), 0o600),
				os.Remove(filepath.Join(s.home(), "jobs", "early.xml"))); err != nil {
				t.Error(err)
			}
		})
		out, err := s.migrate(t.Context(), pre.Move, "run-1")
		if err != nil {
			t.Fatal(err)
		}
		s.sameHome(t)
		if s.state() != Moved || s.oldRuns() || out.Move.Hash == "" || out.Downtime.Total <= out.Downtime.Copy {
			t.Errorf("after migrate: %s, old runs: %v, %+v", s.state(), s.oldRuns(), out)
		}
		if left := s.leftOfStream(); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		for _, want := range []string{"following changes", "the other mover has caught up", `copied=1 deleted=1 seconds=0 looked="into 1 directories that changed, by `} {
			if !strings.Contains(s.log.String(), want) {
				t.Errorf("the log does not say %q", want)
			}
		}
		if passes, peers := strings.Count(s.log.String(), "msg=received"), strings.Count(s.log.String(), "peer served to its end"); peers != 3 || passes <= peers {
			t.Errorf("%d passes over %d connections: each of 3 movers should keep its own", passes, peers)
		}
		if s.net.wire.Len() == 0 || bytes.Contains(s.net.wire.Bytes(), []byte(mark)) || bytes.Contains(s.net.wire.Bytes(), []byte("config.xml")) {
			t.Errorf("of %d bytes on the wire some are readable", s.net.wire.Len())
		}
		s.startNew()
		if _, err := s.verify(t.Context(), pre.Move); err != nil || s.state() != Verified {
			t.Errorf("verify: %v %s", err, s.state())
		}
	})
}

func TestRouteStreamIsChosenAndExplained(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		s.outside(t)
		p, err := precopyStep{s.base()}.Plan(t.Context(), s.env("run-1"), s.precopySpec())
		if err != nil {
			t.Fatal(err)
		}
		if n := p.Forecast.Notes; len(n) != 4 || !strings.HasPrefix(n[0], "route stream: a mover on the old node node-1 serves the home to one on node node-2") {
			t.Errorf("notes: %q", n)
		}
	})
	bubble(t, func(t *testing.T, s *stage) { // forced, where attach could be had
		p := s.precopySpec()
		p.Route = routeStream
		s.old.edit("/api/v1/nodes/node-1", func(o map[string]any) {
			sub(o, "status")["conditions"] = []any{map[string]any{"type": "Ready", "status": "True"}}
		})
		out, err := precopyStep{s.base()}.Apply(t.Context(), s.env("run-1"), p)
		if err != nil || out.Move.Route != routeStream {
			t.Errorf("%v %+v", err, out.Move)
		}
		s.sameHome(t)
	})
}

// TestRouteStreamSurvivesCutConnections cuts port-forwards after random amounts.
func TestRouteStreamSurvivesCutConnections(t *testing.T) {
	seed := rand.Uint64()
	if text := os.Getenv("PIPECTL_SEED"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
	}
	t.Logf("PIPECTL_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	bubble(t, func(t *testing.T, s *stage) {
		s.outside(t)
		s.net.budget = func(dial int) int { return 1 + r.IntN(2000*(dial+1)) }
		s.toTheEnd(t.Context(), t)
		t.Logf("%d port-forwards", s.net.dials)
		if s.net.dials < 10 {
			t.Error("nothing was cut")
		}
	})
}

// TestRouteStreamSurvivesTheDeathOfItsOrchestrator ends the orchestrator at every event of a whole move.
func TestRouteStreamSurvivesTheDeathOfItsOrchestrator(t *testing.T) {
	total := 2
	for n := 1; n < total && !t.Failed(); n += 3 * stride() {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				s.outside(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				s.crashAt, s.crash = n, cancel
				s.toTheEnd(ctx, t)
				total = max(total, min(s.events, 80))
				if left := s.leftOfStream(); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			})
		})
	}
}

func TestRouteStreamTurnsBackWhenTheRelayIsLost(t *testing.T) {
	for name, c := range map[string]struct {
		at   moverOp
		lose func(s *stage, cancel func())
	}{
		"the laptop is closed":      {doAwaitAck, func(_ *stage, cancel func()) { cancel() }},
		"no port-forward is let in": {doBaseline, func(s *stage, _ func()) { s.net.mu.Lock(); s.net.down = true; s.net.mu.Unlock() }},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				s.outside(t)
				pre, err := s.precopy(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				s.on(string(c.at), func() { c.lose(s, cancel) })
				if _, err := s.migrate(ctx, pre.Move, "run-1"); err == nil {
					t.Fatal("a last pass that nobody made succeeds")
				}
				time.Sleep(30 * time.Minute)
				if !s.oldRuns() {
					t.Fatal("the old Jenkins is down")
				}
				s.net.mu.Lock()
				s.net.down = false
				s.net.mu.Unlock()
				s.toTheEnd(t.Context(), t)
			})
		})
	}
}

func TestAMoverRefusesKeysOfAnotherRun(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		s.outside(t)
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, other, err := stream.NewKeys("another", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		at := oldNS + "/secrets/" + pre.Move.streamKeys()
		s.old.deny = func(method, path string) bool { // somebody puts the keys of another run in place before ours are read
			if o := s.old.objs[at]; method == http.MethodGet && path == at && o != nil {
				for name, b := range keyFiles(other) {
					sub(o, "data")[name] = encode64(b)
				}
			}
			return false
		}
		_, err = s.migrate(t.Context(), pre.Move, "run-1")
		if code(err) != "KeysRefused" || !strings.Contains(err.Error(), "of another run") || steps.Classify(err).Category.ExitCode() != 10 {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Hour)
		if !s.oldRuns() {
			t.Error("the old Jenkins is down")
		}
	})
}

func TestKeysAreNowhereButInTheirSecrets(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		s.outside(t)
		seen, secrets := "", 0
		look := func() {
			for _, p := range s.old.list("/") {
				if strings.Contains(p, "/secrets/") {
					secrets++
				} else {
					seen += jsonText(s.old.get(p))
				}
			}
		}
		s.on("serving", look)
		s.on("received", look)
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.on(string(doAwaitAck), look)
		out, err := s.migrate(t.Context(), pre.Move, "run-1")
		if err != nil {
			t.Fatal(err)
		}
		all := seen + s.log.String() + fmt.Sprintf("%+v %+v", pre, out) + strings.Join(s.notes, "")
		for _, word := range []string{"PRIVATE KEY", encode64([]byte("-----BEGIN PRIVATE KEY"))[:24], "11aa"} {
			if strings.Contains(all, word) {
				t.Errorf("%q is in an object, a log or a result", word)
			}
		}
		if secrets < 4 {
			t.Errorf("looked at %d secrets", secrets)
		}
	})
}
