// Package gitmirror lets an unmodified Git client fetch a public URL from a local repository: an HTTPS proxy that
// answers for the mirrored hosts itself, with certificates of the lab, over Git's own HTTP backend. It reaches no
// other host, and it only serves fetches.
package gitmirror

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cgi"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	"pipectl.dev/rehearsal/lab/pki"
)

// Mirror is one URL and the repository that stands for it.
type Mirror struct {
	Host string // of the URL, without a port
	Path string // of the URL, without ".git" and a slash at the end
	Dir  string // absolute
}

// Parse reads URL=DIR; the URL is https.
func Parse(pair string) (Mirror, error) {
	from, dir, ok := strings.Cut(pair, "=")
	if !ok {
		return Mirror{}, fmt.Errorf("git mirror %q: want URL=DIR", pair)
	}
	u, err := url.Parse(from)
	if err != nil {
		return Mirror{}, fmt.Errorf("git mirror: %w", err)
	}
	path := strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), ".git")
	if u.Scheme != "https" || u.Hostname() == "" || path == "" {
		return Mirror{}, fmt.Errorf("git mirror %q: want an https URL of a repository", from)
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return Mirror{}, fmt.Errorf("git mirror %q: %w", from, err)
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return Mirror{}, fmt.Errorf("git mirror %q: %s is no directory", from, dir)
	}
	return Mirror{Host: u.Hostname(), Path: path, Dir: dir}, nil
}

// Proxy serves mirrors until it is closed.
type Proxy struct {
	mirrors   []Mirror
	authority *pki.Authority
	server    *http.Server
	inner     *http.Server // answers inside of tunnels
	tunnels   *tunnels
	gitconfig string
	git       string

	mu    sync.Mutex
	certs map[string]*tls.Certificate
}

// Start serves mirrors on listener; gitconfig is a path that it may write.
func Start(listener net.Listener, mirrors []Mirror, authority *pki.Authority, gitconfig string) (*Proxy, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, fmt.Errorf("git mirror: %w", err)
	}
	// A mirrored repository may belong to another user.
	if err := os.WriteFile(gitconfig, []byte("[safe]\n\tdirectory = *\n"), 0o600); err != nil {
		return nil, err
	}
	p := &Proxy{
		mirrors: append([]Mirror(nil), mirrors...), authority: authority, gitconfig: gitconfig, git: git,
		tunnels: newTunnels(), certs: map[string]*tls.Certificate{},
	}
	// The longest path wins.
	sort.SliceStable(p.mirrors, func(i, j int) bool { return len(p.mirrors[i].Path) > len(p.mirrors[j].Path) })
	silent := log.New(io.Discard, "", 0)
	p.server = &http.Server{Handler: http.HandlerFunc(p.connect), ReadHeaderTimeout: 10 * time.Second, ErrorLog: silent}
	p.inner = &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second, ErrorLog: silent}
	go func() { _ = p.server.Serve(listener) }()
	go func() { _ = p.inner.Serve(p.tunnels) }()
	return p, nil
}

// Close ends the proxy and its tunnels.
func (p *Proxy) Close() {
	_ = p.server.Close()
	_ = p.inner.Close()
}

// connect opens a tunnel to a mirrored host, the other end of which is here.
func (p *Proxy) connect(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if r.Method != http.MethodConnect || err != nil || !p.has(host) {
		http.Error(w, r.Host+" is not mirrored; the lab reaches no other host", http.StatusForbidden)
		return
	}
	cert, err := p.certificate(host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		_ = conn.Close()
		return
	}
	p.tunnels.put(tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*cert}, NextProtos: []string{"http/1.1"}}))
}

func (p *Proxy) has(host string) bool {
	for _, m := range p.mirrors {
		if m.Host == host {
			return true
		}
	}
	return false
}

func (p *Proxy) certificate(host string) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cert := p.certs[host]; cert != nil {
		return cert, nil
	}
	pair, err := p.authority.Server(host)
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		return nil, err
	}
	p.certs[host] = &cert
	return &cert, nil
}

// ServeHTTP answers a Git client's requests inside of a tunnel.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mirror, root, ok := p.find(r.Host, r.URL.Path)
	if !ok || strings.Contains(r.URL.Path, "git-receive-pack") || r.URL.Query().Get("service") == "git-receive-pack" {
		http.NotFound(w, r)
		return
	}
	(&cgi.Handler{
		Path: p.git, Args: []string{"http-backend"}, Root: root, Dir: mirror.Dir, Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + mirror.Dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=" + p.gitconfig, "HOME=" + filepath.Dir(p.gitconfig)},
	}).ServeHTTP(w, r)
}

// find tells which mirror a request is for, and what of its path names the repository.
func (p *Proxy) find(host, path string) (m Mirror, root string, ok bool) {
	if bare, _, err := net.SplitHostPort(host); err == nil {
		host = bare
	}
	for _, m := range p.mirrors {
		for _, root := range []string{m.Path + ".git", m.Path} {
			if m.Host == host && strings.HasPrefix(path, root+"/") {
				return m, root, true
			}
		}
	}
	return Mirror{}, "", false
}

// tunnels hands hijacked connections to a server as if they had been accepted.
type tunnels struct {
	conns chan net.Conn
	ctx   context.Context
	end   context.CancelFunc
}

func newTunnels() *tunnels {
	ctx, end := context.WithCancel(context.Background())
	return &tunnels{conns: make(chan net.Conn), ctx: ctx, end: end}
}

func (t *tunnels) put(conn net.Conn) {
	select {
	case t.conns <- conn:
	case <-t.ctx.Done():
		_ = conn.Close()
	}
}

// Accept waits for the next tunnel.
func (t *tunnels) Accept() (net.Conn, error) {
	select {
	case conn := <-t.conns:
		return conn, nil
	case <-t.ctx.Done():
		return nil, errors.Join(net.ErrClosed, http.ErrServerClosed)
	}
}

// Close ends Accept.
func (t *tunnels) Close() error {
	t.end()
	return nil
}

// Addr is not a place anybody can dial.
func (t *tunnels) Addr() net.Addr { return &net.UnixAddr{Name: "tunnels", Net: "unix"} }
