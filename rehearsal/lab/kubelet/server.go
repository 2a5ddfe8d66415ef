package kubelet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubelet/pkg/cri/streaming/portforward"
)

// How long a port-forward may be idle, and how long its streams may take to come.
const (
	forwardIdle   = 4 * time.Hour
	forwardCreate = 30 * time.Second
)

// serve answers the API server's requests for logs and port-forwards; only its client certificate may ask.
func (k *Kubelet) serve(listener net.Listener) (*http.Server, error) {
	pair, err := k.opts.Authority.Server(k.net.kubelet())
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		return nil, err
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(k.opts.Authority.PEM)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", k.serveLogs)
	mux.HandleFunc("/portForward/{namespace}/{pod}", k.servePortForward)
	mux.HandleFunc("/portForward/{namespace}/{pod}/{uid}", k.servePortForward)
	mux.HandleFunc("/exec/", k.serveRefusal)
	mux.HandleFunc("/attach/", k.serveRefusal)
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
		// HTTP/2 cannot be upgraded to SPDY.
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"http/1.1"}},
	}
	go func() { _ = server.Serve(tls.NewListener(listener, server.TLSConfig)) }()
	return server, nil
}

func (k *Kubelet) serveRefusal(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "the lab's nodes run no commands in containers; logs and port-forward work", http.StatusNotImplemented)
}

func (k *Kubelet) serveLogs(w http.ResponseWriter, r *http.Request) {
	pod := k.worker(r.PathValue("namespace"), r.PathValue("pod"))
	if pod == nil {
		http.Error(w, "pod is not here", http.StatusNotFound)
		return
	}
	path, ended, err := pod.log(r.PathValue("container"), r.FormValue("previous") == "true")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	options, err := logQuery(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	if err := copyLog(r.Context(), w, path, options, ended); err != nil && !errors.Is(err, os.ErrNotExist) {
		k.opts.Log.Warn("logs", "pod", pod.name, "error", err)
	}
}

func logQuery(r *http.Request) (logOptions, error) {
	o := logOptions{timestamps: r.FormValue("timestamps") == "true", follow: r.FormValue("follow") == "true"}
	for name, into := range map[string]**int64{"tailLines": &o.tail, "limitBytes": &o.limit} {
		if text := r.FormValue(name); text != "" {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return o, fmt.Errorf("%s: %w", name, err)
			}
			*into = &n
		}
	}
	if text := r.FormValue("sinceSeconds"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return o, fmt.Errorf("sinceSeconds: %w", err)
		}
		o.since = time.Now().Add(-time.Duration(n) * time.Second)
	}
	if text := r.FormValue("sinceTime"); text != "" {
		var at metav1.Time
		if err := at.UnmarshalQueryParameter(text); err != nil {
			return o, fmt.Errorf("sinceTime: %w", err)
		}
		o.since = at.Time
	}
	return o, nil
}

// log is the file of a container's last run (or the one before), and a channel that is closed when that run is over.
// A container that runs nothing has an empty log.
func (w *worker) log(container string, previous bool) (path string, ended <-chan struct{}, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.containers[container]
	if c == nil {
		return "", nil, fmt.Errorf("container %q is not in pod %q", container, w.name)
	}
	run := c.restarts
	if previous {
		if run--; run < 0 {
			return "", nil, fmt.Errorf("previous terminated container %q in pod %q not found", container, w.name)
		}
	}
	if c.state.Running == nil || c.addr == nil || previous {
		closed := make(chan struct{})
		close(closed)
		return w.logPath(container, run), closed, nil
	}
	return w.logPath(container, run), c.over(), nil
}

func (k *Kubelet) servePortForward(w http.ResponseWriter, r *http.Request) {
	pod := k.worker(r.PathValue("namespace"), r.PathValue("pod"))
	if pod == nil {
		http.Error(w, "pod is not here", http.StatusNotFound)
		return
	}
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, r, pod, pod.name, pod.uid, options, forwardIdle, forwardCreate, portforward.SupportedProtocols)
}

// PortForward joins a stream with a port of the pod's processes.
func (w *worker) PortForward(ctx context.Context, name string, _ types.UID, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	address := w.addrOf(int(port))
	if address == "" {
		return fmt.Errorf("pod %s runs no process", name)
	}
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("port %d of pod %s: %w", port, name, err)
	}
	defer conn.Close()
	splice(conn, stream)
	return nil
}
