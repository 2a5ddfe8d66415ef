package cluster

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"
)

// relay stands between the API server and a token reviewer, because an API server drops the query of a webhook's URL
// and the reviewer tells clusters apart by it.
type relay struct {
	url    string
	server *http.Server
}

// startRelay passes every request on to target, as it is.
func startRelay(target string) (*relay, error) {
	to, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("--token-webhook: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("--token-webhook: %w", err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL, r.Out.Host = to, to.Host
	}}
	server := &http.Server{Handler: proxy, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	return &relay{url: "http://" + listener.Addr().String() + "/", server: server}, nil
}

func (r *relay) close() { _ = r.server.Close() }
