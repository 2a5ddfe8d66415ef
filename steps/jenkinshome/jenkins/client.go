// Package jenkins talks to a Jenkins controller over HTTP: is it up, what does it hold, let it become quiet.
//
// It is given a transport that reaches the controller, and must not know how. It never prints or keeps a token.
package jenkins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"pipectl.dev/steps"
)

// Client is one controller as one user. It is not safe for concurrent use.
type Client struct {
	http   *http.Client
	base   string // without a slash at the end
	user   string
	token  steps.Secret
	crumb  string // header field to send with a POST, once one was demanded
	crumbs string // its value
}

// New makes a client. path is the context path of the controller ("" or "/jenkins"); the host in URLs is a name only.
func New(transport http.RoundTripper, path, user string, token steps.Secret) *Client {
	jar, _ := cookiejar.New(nil) // fails never without options
	return &Client{
		http: &http.Client{Transport: transport, Jar: jar, Timeout: 2 * time.Minute,
			// A redirect says where a browser should look next, not that anything was done.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		base: strings.TrimSuffix("http://jenkins.invalid/"+strings.Trim(path, "/"), "/"), user: user, token: token,
	}
}

// Version asks the login page, as the probes of the Helm chart do. ready is false while Jenkins loads.
func (c *Client) Version(ctx context.Context) (version string, ready bool, err error) {
	res, err := c.do(ctx, http.MethodGet, "/login", nil)
	if err != nil {
		return "", false, err
	}
	defer drop(res)
	version = res.Header.Get("X-Jenkins")
	switch {
	case res.StatusCode == http.StatusServiceUnavailable:
		return version, false, nil
	case res.StatusCode >= 400:
		return version, false, fmt.Errorf("jenkins: /login: %s", res.Status)
	case version == "":
		return "", false, &steps.Error{Code: "NotJenkins", Category: steps.Precondition, Message: "jenkins: /login has no X-Jenkins header",
			Hints: []string{"is `jenkins.port` (and `jenkins.path`) that of the controller?"}}
	}
	return version, true, nil
}

// get decodes an answer of the JSON API.
func (c *Client) get(ctx context.Context, path string, query url.Values, into any) error {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	res, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer drop(res)
	if err := refused(res, path); err != nil {
		return err
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 256<<20)).Decode(into); err != nil {
		return fmt.Errorf("jenkins: %s: %w", strip(path), err)
	}
	return nil
}

// post does what a button does. A user with an API token needs no crumb; a password does, and the answer says so.
func (c *Client) post(ctx context.Context, path string, form url.Values) error {
	for try := 0; ; try++ {
		res, err := c.do(ctx, http.MethodPost, path, form)
		if err != nil {
			return err
		}
		again := res.StatusCode == http.StatusForbidden && try == 0 && wantsCrumb(res)
		err = refused(res, path)
		drop(res)
		if !again {
			return err
		}
		if err := c.fetchCrumb(ctx); err != nil {
			return err
		}
	}
}

func wantsCrumb(res *http.Response) bool {
	b, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10)) // what could not be read does not ask for a crumb
	return strings.Contains(strings.ToLower(string(b)), "crumb")
}

func (c *Client) fetchCrumb(ctx context.Context) error {
	var a struct{ Crumb, CrumbRequestField string }
	if err := c.get(ctx, "/crumbIssuer/api/json", nil, &a); err != nil {
		return err
	}
	if a.CrumbRequestField == "" {
		return errors.New("jenkins: /crumbIssuer/api/json: names no field")
	}
	c.crumb, c.crumbs = a.CrumbRequestField, a.Crumb
	return nil
}

func (c *Client) do(ctx context.Context, method, path string, form url.Values) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("jenkins: %w", err)
	}
	if c.token.IsSet() {
		req.SetBasicAuth(c.user, c.token.Reveal())
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if c.crumb != "" {
			req.Header.Set(c.crumb, c.crumbs)
		}
	}
	res, err := c.http.Do(req)
	if err != nil {
		var u *url.Error // its text repeats the URL, whose host means nothing
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, &steps.Error{Code: "JenkinsUnreachable", Category: steps.Transient, Retryable: true, Message: "jenkins: " + strip(path), Err: err}
	}
	return res, nil
}

// refused turns a status into an error that says what to change.
func refused(res *http.Response, path string) error {
	e := &steps.Error{Message: "jenkins: " + strip(path) + ": " + res.Status}
	switch code := res.StatusCode; {
	case code < 400:
		return nil
	case code == http.StatusUnauthorized:
		e.Code, e.Category = "JenkinsUnauthorized", steps.Credentials
		e.Hints = []string{"`jenkins.user` and `jenkins.token` must be a user and its API token (or password)"}
	case code == http.StatusForbidden:
		e.Code, e.Category = "JenkinsForbidden", steps.Permission
		e.Hints = []string{"the user of `jenkins.user` must be allowed Overall/Administer (quiet down needs Overall/Manage)"}
	case code == http.StatusServiceUnavailable:
		e.Code, e.Category, e.Retryable = "JenkinsLoading", steps.Transient, true
	default:
		e.Code, e.Category = "JenkinsError", steps.Unhealthy
	}
	return e
}

func strip(path string) string {
	p, _, _ := strings.Cut(path, "?")
	return p
}

// drop reads what is left, so that the connection can be used again.
func drop(res *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20))
	_ = res.Body.Close()
}
