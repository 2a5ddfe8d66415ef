package kube

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"

	"pipectl.dev/steps"
)

// PortForward connects to a port of a pod through the API server. Nothing listens locally: the connection is the stream itself.
func (c *Client) PortForward(ctx context.Context, namespace, pod string, port int) (net.Conn, error) {
	path := fmt.Sprintf("port-forward pod/%s/%s:%d", namespace, pod, port)
	transport, upgrader, err := spdy.RoundTripperFor(c.Config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	url := c.Typed.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	type dialed struct {
		conn httpstream.Connection
		err  error
	}
	done := make(chan dialed, 1)
	go func() {
		conn, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
		done <- dialed{conn, err}
	}()
	select {
	case <-ctx.Done():
		go func() { // the dialer knows no context
			if d := <-done; d.conn != nil {
				_ = d.conn.Close()
			}
		}()
		return nil, fmt.Errorf("%s: %w", path, context.Cause(ctx))
	case d := <-done:
		if d.err != nil {
			return nil, fmt.Errorf("%s: %w", path, Explain(d.err))
		}
		conn, err := streams(d.conn, port)
		if err != nil {
			_ = d.conn.Close()
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return conn, nil
	}
}

// streams opens the pair of streams that carries one forwarded connection. The error stream must be created first.
func streams(conn httpstream.Connection, port int) (net.Conn, error) {
	headers := http.Header{}
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	headers.Set(corev1.PortHeader, strconv.Itoa(port))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	errStream, err := conn.CreateStream(headers)
	if err != nil {
		return nil, fmt.Errorf("error stream: %w", err)
	}
	_ = errStream.Close() // we send nothing on it
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := conn.CreateStream(headers)
	if err != nil {
		return nil, fmt.Errorf("data stream: %w", err)
	}
	f := &forwarded{conn: conn, data: data, port: port, told: make(chan struct{})}
	go f.listen(errStream)
	return f, nil
}

// forwarded is a forwarded connection as a net.Conn.
type forwarded struct {
	conn httpstream.Connection
	data httpstream.Stream
	port int

	told    chan struct{} // closed when the error stream has ended
	refused error         // what it said; read after told
	once    sync.Once
}

// listen reads what the node says against the connection, such as "connection refused", which otherwise looks like an empty answer.
func (f *forwarded) listen(errs io.Reader) {
	defer close(f.told)
	text, err := io.ReadAll(io.LimitReader(errs, 4096))
	if err == nil && len(text) > 0 {
		f.refused = &steps.Error{Code: "PortForwardRefused", Category: steps.Transient, Retryable: true,
			Message: fmt.Sprintf("port %d: %s", f.port, text)}
	}
}

// Read gives the node a moment to say why, when the stream ends: its two streams arrive in no order.
func (f *forwarded) Read(p []byte) (int, error) {
	n, err := f.data.Read(p)
	if err == nil || n > 0 {
		return n, err
	}
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-f.told:
		if f.refused != nil {
			return 0, f.refused
		}
	case <-timer.C:
	}
	return 0, err
}

func (f *forwarded) Write(p []byte) (int, error) { return f.data.Write(p) }

// Close ends both streams and the connection below, which serves nobody else.
func (f *forwarded) Close() error {
	var err error
	f.once.Do(func() {
		_ = f.data.Reset()
		err = f.conn.Close()
	})
	return err
}

type forwardAddr string

func (forwardAddr) Network() string  { return "portforward" }
func (a forwardAddr) String() string { return string(a) }

func (f *forwarded) LocalAddr() net.Addr              { return forwardAddr("local") }
func (f *forwarded) RemoteAddr() net.Addr             { return forwardAddr(":" + strconv.Itoa(f.port)) }
func (f *forwarded) SetDeadline(time.Time) error      { return nil } // bounded by the request's context, which closes the connection
func (f *forwarded) SetReadDeadline(time.Time) error  { return nil }
func (f *forwarded) SetWriteDeadline(time.Time) error { return nil }

// PodTransport is an HTTP transport whose every connection goes to one port of one pod through the API server, whatever host a
// request names. Close its idle connections when done.
func (c *Client) PodTransport(namespace, pod string, port int) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return c.PortForward(ctx, namespace, pod, port)
		},
		IdleConnTimeout:       30 * time.Second,
		ResponseHeaderTimeout: time.Minute,
	}
}
