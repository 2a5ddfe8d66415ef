package kube

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"
)

// tokenSource keeps a bearer token and makes another one shortly before it expires.
type tokenSource struct {
	make func(context.Context) (string, time.Time, error)

	mu      sync.Mutex
	token   string
	expires time.Time
}

// early is how long before its end a token is no longer used: longer than clocks differ and a request takes.
const early = time.Minute

func (s *tokenSource) get(ctx context.Context, refused string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token != "" && s.token != refused && time.Now().Add(early).Before(s.expires) {
		return s.token, nil
	}
	token, expires, err := s.make(ctx)
	if err != nil {
		return "", err
	}
	s.token, s.expires = token, expires
	return token, nil
}

// tokenTransport adds the token to every request; one that is refused by 401 is sent once more with a fresh one.
type tokenTransport struct {
	next   http.RoundTripper
	source *tokenSource
}

func (t *tokenTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	token, err := t.source.get(req.Context(), "")
	if err != nil {
		return nil, err
	}
	resp, err := t.next.RoundTrip(authorized(req, token, req.Body))
	if err != nil || resp.StatusCode != http.StatusUnauthorized || (req.Body != nil && req.GetBody == nil) {
		return resp, err
	}
	fresh, err := t.source.get(req.Context(), token)
	if err != nil {
		return resp, nil //nolint:nilerr // the 401 says more than the failed refresh
	}
	body := req.Body
	if req.GetBody != nil {
		if body, err = req.GetBody(); err != nil {
			return resp, nil //nolint:nilerr // as above
		}
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return t.next.RoundTrip(authorized(req, fresh, body))
}

// WrappedRoundTripper lets client-go find the transport below, which it closes and upgrades.
func (t *tokenTransport) WrappedRoundTripper() http.RoundTripper { return t.next }

func authorized(req *http.Request, token string, body io.ReadCloser) *http.Request {
	r := req.Clone(req.Context())
	r.Body = body
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}
