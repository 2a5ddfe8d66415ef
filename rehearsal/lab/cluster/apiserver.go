package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"pipectl.dev/rehearsal/lab/spawn"
)

// apiserver is the one role that can be stopped and started again while the cluster runs.
const apiserver = "kube-apiserver"

// errState is the wish to stop what does not run, or to start what does.
var errState = errors.New("is that already")

// setAPIServer kills the API server, as the loss of its machine would, or starts it again at the same port over the same data and waits
// until it is ready. All else goes on meanwhile.
func (p *controlPlane) setAPIServer(ctx context.Context, running bool) error {
	if running == (p.runningAPIServer() != nil) {
		return fmt.Errorf("%s: %w", apiserver, errState)
	}
	if running {
		if err := p.child(apiserver, p.apiserver...); err != nil {
			return err
		}
		return p.ready(ctx)
	}
	p.mu.Lock()
	i := slices.Index(p.names, apiserver)
	process := p.children[i]
	p.asked[process] = true
	p.children, p.names = slices.Delete(p.children, i, i+1), slices.Delete(p.names, i, i+1)
	p.mu.Unlock()
	process.Signal(unix.SIGKILL)
	<-process.Done()
	return nil
}

// runningAPIServer is nil while it is stopped.
func (p *controlPlane) runningAPIServer() *spawn.Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.names, apiserver); i >= 0 {
		return p.children[i]
	}
	return nil
}

// heldPort is a port of loopback that nobody else is given, whether somebody listens on it or not: a socket is bound to it and never
// listens. Who does listen must share the port.
type heldPort struct {
	number int
	socket int
	once   sync.Once
}

func holdPort() (*heldPort, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("free port: %w", err)
	}
	h := &heldPort{socket: socket}
	err = errors.Join(
		unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
		unix.Bind(socket, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}),
	)
	if err == nil {
		var at unix.Sockaddr
		if at, err = unix.Getsockname(socket); err == nil {
			h.number = at.(*unix.SockaddrInet4).Port
			return h, nil
		}
	}
	h.free()
	return nil, fmt.Errorf("free port: %w", err)
}

func (h *heldPort) free() {
	if h != nil {
		h.once.Do(func() { _ = unix.Close(h.socket) })
	}
}
