package aws

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// request is one call, taken apart from its protocol.
type request struct {
	n         int // number in the ledger
	id        string
	service   string
	action    string
	form      url.Values     // query protocols
	body      map[string]any // JSON protocols
	vars      map[string]string
	query     url.Values // of a REST call
	principal string
	step      string          // the step that made the call, by its user agent
	needs     []Authorization // what the call has to be allowed
	created   []string        // ids of resources that the call made
	deleted   []string
	jwks      []byte      // filled before the lock is taken, for AssumeRoleWithWebIdentity
	params    string      // fingerprint of what was asked, where a client token came with it
	raw       []byte      // body of an S3 call
	header    http.Header // of an S3 call
	doomed    *Fault      // a capacity fault that hit: what the call starts will fail
}

// ServeHTTP answers AWS calls, and pipectl's own endpoints under /_pipectl/.
func (c *Cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := c.answer(r)
	if out.drop {
		dropConnection(w)
		return
	}
	for k, v := range out.header {
		w.Header()[k] = v
	}
	w.WriteHeader(out.status)
	_, _ = w.Write(out.body) // a client that went away is its own business
}

// dropConnection resets the connection, so that the client cannot know whether the call was committed.
func dropConnection(w http.ResponseWriter) {
	if h, ok := w.(http.Hijacker); ok {
		if conn, _, err := h.Hijack(); err == nil {
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = conn.Close()
			return
		}
	}
	panic(http.ErrAbortHandler)
}

// RoundTripper answers in the caller's goroutine, without sockets: the transport for a testing/synctest bubble.
func (c *Cloud) RoundTripper() http.RoundTripper { return roundTripper{c} }

type roundTripper struct{ c *Cloud }

func (t roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	out := t.c.answer(in)
	if r.Body != nil {
		_ = r.Body.Close()
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if out.drop {
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", out.status, http.StatusText(out.status)), StatusCode: out.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: out.header,
		Body: io.NopCloser(bytes.NewReader(out.body)), ContentLength: int64(len(out.body)), Request: r,
	}, nil
}

// answer is the whole way of a call: parse, authenticate, faults, policy, operation, ledger.
func (c *Cloud) answer(r *http.Request) *response {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return &response{status: http.StatusBadRequest, header: http.Header{}}
	}
	if strings.HasPrefix(r.URL.Path, "/_pipectl/") {
		return c.extra(r, raw)
	}
	if r.Host == "checkip.amazonaws.com" { // not signed; in a bubble only: over loopback nobody asks for it
		return &response{status: http.StatusOK, header: http.Header{}, body: []byte(c.opt.ClientIP + "\n")}
	}
	if c.opt.Latency > 0 {
		time.Sleep(c.opt.Latency)
	}
	sig, sigErr := readSignature(r)
	req, err := parse(r, raw, sig)
	c.mu.Lock()
	c.seq++
	req.n, req.id, req.step = c.seq, c.uuid(), stepOf(r.UserAgent())
	c.mu.Unlock()
	if err == nil {
		err = sigErr
	}
	if err == nil && !(req.service == "sts" && req.action == "AssumeRoleWithWebIdentity") {
		var key *AccessKey
		if key, err = c.authenticate(sig, r, raw, req.service, 0); err == nil {
			req.principal = key.Principal
		}
	}
	if err != nil {
		return c.refuse(req, err)
	}
	return c.execute(req)
}

// execute runs an authenticated request, with faults and the ledger.
func (c *Cloud) execute(req *request) *response {
	o, known := operations[req.service][req.action]
	hit := c.fault(req)
	if hit != nil {
		switch hit.Kind {
		case "delay":
			time.Sleep(c.scaled(hit.Delay))
		case "reset":
			c.record(req, o, "", "reset")
			return &response{drop: true}
		case "capacity":
			if err := capacityError(req); err != nil {
				return c.refuse(req, err)
			}
			req.doomed = hit
		case "refuse":
			return c.refuse(req, fail(hit.Code, "%s", hit.Message))
		case "lost-response":
		default:
			return c.refuse(req, faultError(hit.Kind, req))
		}
	}
	if !known {
		return c.refuse(req, unknownAction(req))
	}
	if err := c.permit(req, o.write); err != nil {
		return c.refuse(req, err)
	}
	if o.prepare != nil {
		if err := o.prepare(c, req); err != nil {
			return c.refuse(req, err)
		}
	}
	out, err := c.commit(req, o)
	if err != nil {
		return c.refuse(req, err)
	}
	if out.drop {
		c.record(req, o, "", "killed")
		return out
	}
	killed := c.record(req, o, "", "")
	if killed || (hit != nil && hit.Kind == "lost-response") {
		return &response{drop: true}
	}
	return out
}

// commit runs the operation under the lock and renders the answer there, because results may alias state.
func (c *Cloud) commit(req *request, o operation) (*response, error) {
	c.mu.Lock()
	defer c.unlock()
	if c.opt.KillBefore && c.opt.KillAt > 0 && o.write && c.writes+1 == c.opt.KillAt {
		c.writes++
		c.tell(func() { c.kill() })
		return &response{drop: true}, nil
	}
	if err := require(req, o.need); err != nil {
		return nil, err
	}
	if req.service == "ec2" && req.form.Get("DryRun") == "true" {
		return nil, failStatus(412, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
	}
	result, err := o.run(c, req)
	if err != nil {
		return nil, err
	}
	return renderResult(req, result)
}

// refuse records and renders a failed call.
func (c *Cloud) refuse(req *request, err error) *response {
	var e *apiError
	if !errors.As(err, &e) {
		e = &apiError{code: "InternalFailure", status: 500, message: err.Error()}
	}
	c.record(req, operations[req.service][req.action], e.code, "")
	return renderError(req, e)
}

func (c *Cloud) kill() {
	if c.opt.Kill != nil {
		c.opt.Kill()
	}
}

// parse finds service, action and parameters.
func parse(r *http.Request, raw []byte, sig *signature) (*request, error) {
	req := &request{query: r.URL.Query(), form: url.Values{}, vars: map[string]string{}}
	if sig != nil {
		req.service = sig.service
	}
	if t := r.Header.Get("X-Amz-Target"); t != "" {
		prefix, action, _ := strings.Cut(t, ".")
		req.service, req.action = targets[prefix], action
		return req, parseBody(req, raw)
	}
	if req.service == "s3" {
		return req, routeS3(req, r, raw)
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") || req.query.Get("Action") != "" {
		form, err := url.ParseQuery(string(raw))
		if err != nil {
			return req, fail("MalformedQueryString", "The query string contains a syntax error")
		}
		for k, v := range req.query {
			form[k] = v
		}
		req.form, req.action = form, form.Get("Action")
		if s := versions[form.Get("Version")]; s != "" {
			req.service = s
		}
		return req, nil
	}
	if req.service == "" {
		req.service = serviceOfHost(r.Host)
	}
	if req.service == "eks" || req.service == "eks-auth" {
		routeEKS(req, r)
		return req, parseBody(req, raw)
	}
	req.action = r.Method + " " + r.URL.Path
	return req, nil
}

// stepOf finds the name of the step that pipectl puts into the user agent.
func stepOf(agent string) string {
	_, after, _ := strings.Cut(agent, "md/pipectl-step#")
	name, _, _ := strings.Cut(after, " ")
	return name
}

func parseBody(req *request, raw []byte) error {
	req.body = map[string]any{}
	if len(raw) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw, &req.body); err != nil {
		return fail("SerializationException", "the request body is not JSON: %v", err)
	}
	return nil
}

var (
	versions = map[string]string{"2016-11-15": "ec2", "2010-05-08": "iam", "2011-06-15": "sts", "2015-12-01": "elbv2", "2012-06-01": "elb"}
	targets  = map[string]string{"AmazonSSM": "ssm", "ServiceQuotasV20190624": "servicequotas", "Logs_20140328": "logs", "TrentService": "kms"}
)

func serviceOfHost(host string) string {
	name, _, _ := strings.Cut(host, ".")
	return name
}

// unknownAction says plainly that the emulator, not the client, lacks something.
func unknownAction(req *request) error {
	return fail("InvalidAction", "The action %s of service %q is not valid for this web service: the rehearsal does not emulate it", req.action, req.service)
}
