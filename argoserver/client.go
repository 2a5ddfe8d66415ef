// Package argoserver is pipectl's way to Argo CD where there is no kubeconfig: the REST gateway of argocd-server, with a token.
//
// It must not know Argo CD's types (only the step sync-argocd does) or any step: Applications go in and out as JSON. It decides nothing
// and waits for nothing but the answer to a request.
package argoserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"pipectl.dev/steps"
)

// Options says where argocd-server is and how it is reached.
type Options struct {
	URL      string       // https://HOST[:PORT][/ROOTPATH]; http:// only with Insecure
	Token    steps.Secret // of an account with capability apiKey, a project role, or an SSO login
	CA       []byte       // PEM of the authorities to trust; empty: those of this machine
	Insecure bool         // do not check the certificate, or allow http://
	// Transport, if set, carries all requests instead of the network; CA and Insecure do not count then.
	Transport http.RoundTripper
}

// Client is one argocd-server. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	http  *http.Client
	token steps.Secret
}

// New makes a client; it does not connect.
func New(o Options) (*Client, error) {
	base, err := url.Parse(o.URL)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" {
		return nil, bad("ServerURL", "server.url: expected https://HOST[:PORT][/PATH], got "+o.URL, "name the address of argocd-server, as for `argocd login`")
	}
	if base.Scheme == "http" && !o.Insecure {
		return nil, bad("ServerURL", "server.url: is plain http: the token could be read on the way", "use https, or set `insecure: true` where nobody listens")
	}
	c := &Client{base: base, token: o.Token, http: &http.Client{Transport: o.Transport}}
	if o.Transport != nil {
		return c, nil
	}
	secure := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.Insecure} //nolint:gosec // only where the pipeline asks for it
	if len(o.CA) > 0 {
		secure.RootCAs = x509.NewCertPool()
		if !secure.RootCAs.AppendCertsFromPEM(o.CA) {
			return nil, bad("ServerCA", "server.ca: holds no certificate in PEM", "give the text of the authority's certificate (-----BEGIN CERTIFICATE-----), or its path as `caFile`")
		}
	}
	c.http.Transport = &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: secure, TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 64, IdleConnTimeout: 90 * time.Second, // a refresh holds its connection until it is done
	}
	return c, nil
}

func bad(code, message, hint string) error {
	return &steps.Error{Code: code, Category: steps.BadInput, Message: message, Hints: []string{hint}}
}

// String is the address, for people.
func (c *Client) String() string { return c.base.String() }

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// answerWithin bounds one request: the server waits for the controller and for Git, but a proxy on the way may swallow an answer for good,
// and nobody's deadline looks while a request is under way.
const answerWithin = 90 * time.Second

// do sends a request and reads its answer as JSON into out; body and out may be nil.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body, out any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, answerWithin, c.lost(method, path, fmt.Errorf("no answer within %s", answerWithin)))
	defer cancel()
	resp, err := c.send(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return c.unreachable(ctx, method, path, err)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return &steps.Error{Code: "ServerAnswer", Category: steps.Precondition, Message: fmt.Sprintf("argocd-server %s: %s %s: answered no JSON", c, method, path), Err: err,
			Hints: []string{"does `server.url` lead to argocd-server itself, its root path included, and not to a login page?"}}
	}
	return nil
}

// send returns an answer whose status is a success; the caller closes its body.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, body any) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("argocd-server: %s %s: %w", method, path, err)
		}
		content = bytes.NewReader(raw)
	}
	at := c.base.JoinPath(path)
	at.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, at.String(), content)
	if err != nil {
		return nil, fmt.Errorf("argocd-server: %s %s: %w", method, path, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "pipectl")
	if c.token.IsSet() {
		req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, method, path, err)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		defer resp.Body.Close()
		raw, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // what arrived of it is all there is to say
		return nil, c.refused(method, path, resp.StatusCode, raw)
	}
	return resp, nil
}

// unreachable says that the server did not answer. Running again is all one can do, unless its certificate is wrong.
func (c *Client) unreachable(ctx context.Context, method, path string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	e := c.lost(method, path, plain(err))
	var unverified *tls.CertificateVerificationError
	if errors.As(err, &unverified) {
		e.Code, e.Category, e.Retryable = "ServerCertificate", steps.Precondition, false
		e.Hints = []string{"give the authority that signed it as `server.ca` or `server.caFile`"}
	}
	return e
}

// lost is the error for an answer that did not come.
func (c *Client) lost(method, path string, why error) *steps.Error {
	return &steps.Error{Code: CodeUnreachable, Category: steps.Transient, Retryable: true, Message: fmt.Sprintf("argocd-server %s: %s %s", c, method, path), Err: why,
		Hints: []string{"is argocd-server reachable from here (ingress, VPN, proxy)?"}}
}

// plain drops the URL that net/http puts before its errors: ours names it already.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// Codes of errors that others tell apart.
const (
	CodeUnreachable = "ServerUnreachable"
	CodeConflict    = "Conflict"        // another operation came first
	CodeWindow      = "BlockedByWindow" // a sync window forbids it
	CodeForbidden   = "Forbidden"       // or the Application does not exist: the server tells nobody who may not know
	CodeNotFound    = "NotFound"
)

// gRPC's numbers, as the gateway passes them on.
const (
	grpcPermissionDenied   = 7
	grpcFailedPrecondition = 9
	grpcUnavailable        = 14
	grpcUnauthenticated    = 16
)

// refused turns an answer that is no success into an error with its kind.
func (c *Client) refused(method, path string, status int, raw []byte) error {
	var said struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Error   string `json:"error"`
	}
	if json.Unmarshal(raw, &said) != nil || said.Message == "" && said.Error == "" {
		said.Message = strings.TrimSpace(http.StatusText(status))
	}
	if said.Message == "" {
		said.Message = said.Error
	}
	e := &steps.Error{Message: fmt.Sprintf("argocd-server: %s %s: %s", method, path, said.Message)}
	switch {
	case strings.Contains(said.Message, "blocked by sync window"):
		e.Code, e.Category = CodeWindow, steps.Approval
	case strings.Contains(said.Message, "another operation is already in progress"):
		e.Code, e.Category, e.Retryable = CodeConflict, steps.Conflict, true
	case status == http.StatusUnauthorized, said.Code == grpcUnauthenticated:
		e.Code, e.Category = "Unauthorized", steps.Credentials
		e.Hints = []string{"is `server.token` that of this argocd-server, and not expired?"}
	case status == http.StatusForbidden, said.Code == grpcPermissionDenied:
		e.Code, e.Category = CodeForbidden, steps.Permission
		e.Hints = []string{"the token's role needs `applications, get` and `applications, sync` (argocd-rbac-cm, or the project's role); a name that does not exist is refused in the same words"}
	case status == http.StatusNotFound:
		e.Code, e.Category = CodeNotFound, steps.Precondition
	case said.Code == grpcFailedPrecondition:
		e.Code, e.Category = "Refused", steps.Precondition
	case status >= 500 && status != http.StatusNotImplemented, said.Code == grpcUnavailable, status == http.StatusTooManyRequests:
		e.Code, e.Category, e.Retryable = CodeUnreachable, steps.Transient, true
	default:
		e.Code, e.Category = "Refused", steps.BadInput
	}
	return e
}
