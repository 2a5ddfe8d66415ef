package syncargocd_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// breaker passes connections on, until it is told to break them all.
type breaker struct {
	port string

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]bool
}

func newBreaker(t *testing.T, to string) *breaker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // lives as long as the process: it serves all tests
	if err != nil {
		t.Fatal(err)
	}
	b := &breaker{conns: map[net.Conn]bool{}}
	if _, b.port, err = net.SplitHostPort(l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go b.pass(in, to)
		}
	}()
	return b
}

func (b *breaker) pass(in net.Conn, to string) {
	defer in.Close()
	out, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer out.Close()
	b.mu.Lock()
	if b.down {
		b.mu.Unlock()
		return
	}
	b.conns[in], b.conns[out] = true, true
	b.mu.Unlock()
	go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
	_, _ = io.Copy(in, out)
	b.mu.Lock()
	delete(b.conns, in)
	delete(b.conns, out)
	b.mu.Unlock()
}

// set breaks all connections and refuses new ones, or lets them through again.
func (b *breaker) set(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = down
	for c := range b.conns {
		_ = c.Close()
	}
}
