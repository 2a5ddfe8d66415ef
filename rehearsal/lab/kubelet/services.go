package kubelet

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// service forwards one Service's ports from an address that stays to whichever pod runs behind it. Only services
// that a played program asks for by name exist: nothing else routes.
type service struct {
	object  *v1.Service
	address string

	mu        sync.Mutex
	listeners map[int]net.Listener
}

// ServiceAddr is serviceAddr for those outside, such as a test that talks to Argo CD's server; from then on the Service's port answers.
func (k *Kubelet) ServiceAddr(ctx context.Context, namespace, name string, port int) (string, error) {
	return k.serviceAddr(ctx, namespace, name, port)
}

// serviceAddr is host:port where a Service's port answers.
func (k *Kubelet) serviceAddr(ctx context.Context, namespace, name string, port int) (string, error) {
	object, err := k.client.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("service %s/%s: %w", namespace, name, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	key := types.NamespacedName{Namespace: namespace, Name: name}
	s := k.services[key]
	if s == nil {
		address, err := k.net.nextService()
		if err != nil {
			return "", err
		}
		s = &service{address: address, listeners: map[int]net.Listener{}}
		k.services[key] = s
	}
	return s.listen(object, port, func() string { return k.backend(s, port) })
}

func (s *service) listen(object *v1.Service, port int, backend func() string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.object = object
	addr := join(s.address, port)
	if s.listeners[port] != nil {
		return addr, nil
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return "", fmt.Errorf("service %s: %w", object.Name, err)
	}
	s.listeners[port] = listener
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go forward(conn, backend())
		}
	}()
	return addr, nil
}

func (s *service) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		_ = l.Close()
	}
}

// backend picks a running pod that the Service selects; "" where there is none.
func (k *Kubelet) backend(s *service, port int) string {
	s.mu.Lock()
	object := s.object
	s.mu.Unlock()
	selector := labels.SelectorFromSet(object.Spec.Selector)
	k.mu.Lock()
	workers := make([]*worker, 0, len(k.pods))
	for _, w := range k.pods {
		workers = append(workers, w)
	}
	k.mu.Unlock()
	for _, w := range workers {
		pod := w.current()
		if pod.Namespace != object.Namespace || pod.DeletionTimestamp != nil || !selector.Matches(labels.Set(pod.Labels)) || !w.isRunning() {
			continue
		}
		return w.addrOf(targetPort(object, pod, port))
	}
	return ""
}

// targetPort is the pod's port behind a Service's port.
func targetPort(object *v1.Service, pod *v1.Pod, port int) int {
	for _, p := range object.Spec.Ports {
		if int(p.Port) != port {
			continue
		}
		for i := range pod.Spec.Containers {
			if n := portNumber(&pod.Spec.Containers[i], p.TargetPort); n != 0 {
				return n
			}
		}
	}
	return port
}

// forward joins two connections until either ends.
func forward(from net.Conn, address string) {
	defer from.Close()
	if address == "" {
		return
	}
	to, err := net.DialTimeout("tcp", address, 2*time.Second)
	if err != nil {
		return
	}
	defer to.Close()
	splice(from, to)
}

// splice copies both ways; the end of one way is passed on, the end of both ends it.
func splice(a, b io.ReadWriter) {
	var both sync.WaitGroup
	both.Go(func() { copyAndClose(a, b) })
	both.Go(func() { copyAndClose(b, a) })
	both.Wait()
}

func copyAndClose(to io.Writer, from io.Reader) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	} else if closer, ok := to.(io.Closer); ok {
		_ = closer.Close()
	}
}
