package kubelet

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// probeEvery is how often an unready container is asked: initial delays and long periods are for real machines.
const probeEvery = 200 * time.Millisecond

// probeClient trusts any certificate, as a kubelet does, and keeps no connection that would hide a restart.
var probeClient = &http.Client{
	Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
	Timeout:       2 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// askable tells whether a probe can be asked from here; commands in containers cannot.
func askable(p *v1.Probe) bool { return p != nil && (p.HTTPGet != nil || p.TCPSocket != nil) }

func hasProbe(c *v1.Container) bool { return askable(c.StartupProbe) || askable(c.ReadinessProbe) }

// probe turns the container ready when its startup and readiness probes succeed, and unready when the latter fails
// again. Liveness is not asked: a hung stand-in should be seen, not hidden by a restart.
func (w *worker) probe(ctx context.Context, c *v1.Container) {
	if !hasProbe(c) {
		return
	}
	if askable(c.StartupProbe) {
		for w.ask(ctx, c, c.StartupProbe) != nil {
			if !pause(ctx, probeEvery) {
				return
			}
		}
	}
	readiness := c.ReadinessProbe
	if !askable(readiness) {
		w.set(c.Name, func(s *containerState) { s.ready = true })
		return
	}
	failures := int32(0)
	for ready := false; ; {
		if w.ask(ctx, c, readiness) == nil {
			failures = 0
			if !ready && ctx.Err() == nil {
				ready = true
				w.set(c.Name, func(s *containerState) { s.ready = true })
			}
		} else if failures++; ready && failures >= max(1, readiness.FailureThreshold) && ctx.Err() == nil {
			ready = false
			w.set(c.Name, func(s *containerState) { s.ready = false })
		}
		wait := probeEvery
		if ready {
			wait = time.Duration(max(1, readiness.PeriodSeconds)) * time.Second
		}
		if !pause(ctx, wait) {
			return
		}
	}
}

func (w *worker) ask(ctx context.Context, c *v1.Container, p *v1.Probe) error {
	if p.TCPSocket != nil {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", w.addrOf(portNumber(c, p.TCPSocket.Port)))
		if err != nil {
			return err
		}
		return conn.Close()
	}
	scheme := "http"
	if p.HTTPGet.Scheme == v1.URISchemeHTTPS {
		scheme = "https"
	}
	url := scheme + "://" + w.addrOf(portNumber(c, p.HTTPGet.Port)) + p.HTTPGet.Path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	for _, h := range p.HTTPGet.HTTPHeaders {
		req.Header.Add(h.Name, h.Value)
	}
	resp, err := probeClient.Do(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

// portNumber resolves a port that may be named; 0 where the name is unknown.
func portNumber(c *v1.Container, port intstr.IntOrString) int {
	if port.Type == intstr.Int {
		return port.IntValue()
	}
	for _, p := range c.Ports {
		if p.Name == port.StrVal {
			return int(p.ContainerPort)
		}
	}
	return 0
}
