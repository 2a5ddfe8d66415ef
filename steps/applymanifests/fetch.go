package applymanifests

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"pipectl.dev/steps"
)

// MirrorsEnv names the variable that sends downloads elsewhere: "prefix=replacement,..."; the longest prefix that fits wins.
const MirrorsEnv = "PIPECTL_MIRRORS"

const (
	fetchLimit   = 16 << 20 // bytes of one manifest
	fetchTimeout = 30 * time.Second
	fetchTries   = 3
)

// fetcher downloads manifests, each once per process, bounded in size, time and number of tries.
type fetcher struct {
	client  *http.Client
	mirrors string
	pause   time.Duration // before another try

	mu   sync.Mutex
	have map[string][]byte
}

func newFetcher() *fetcher {
	return &fetcher{
		client:  &http.Client{Timeout: fetchTimeout, CheckRedirect: redirect},
		mirrors: os.Getenv(MirrorsEnv),
		pause:   time.Second,
		have:    map[string][]byte{},
	}
}

// redirect follows a few steps, and never from TLS to plain text.
func redirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 5 {
		return fmt.Errorf("more than %d redirects", len(via)-1)
	}
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return fmt.Errorf("redirected from https to %s", req.URL.Scheme)
	}
	return nil
}

func (f *fetcher) get(ctx context.Context, url string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if raw, ok := f.have[url]; ok {
		return raw, nil
	}
	from := mirrored(url, f.mirrors)
	var raw []byte
	var err error
	for try := range fetchTries {
		if try > 0 {
			timer := time.NewTimer(f.pause << (try - 1))
			select {
			case <-ctx.Done():
				timer.Stop()
				return nil, context.Cause(ctx)
			case <-timer.C:
			}
		}
		var again bool
		if raw, again, err = f.once(ctx, from); !again {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	f.have[url] = raw
	return raw, nil
}

func (f *fetcher) once(ctx context.Context, url string) (raw []byte, again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, false, bad("fetch: %v", err)
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, ctx.Err() == nil, &steps.Error{Code: "FetchFailed", Category: steps.Transient, Retryable: true, Message: "fetch", Err: err,
			Hints: []string{"is the address reachable from here? " + MirrorsEnv + "=prefix=replacement takes it from elsewhere"}}
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err = io.ReadAll(io.LimitReader(resp.Body, fetchLimit+1))
	switch {
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return nil, true, &steps.Error{Code: "FetchFailed", Category: steps.Transient, Retryable: true, Message: "fetch: " + resp.Status}
	case resp.StatusCode != http.StatusOK:
		return nil, false, bad("fetch: %s", resp.Status)
	case err != nil:
		return nil, true, &steps.Error{Code: "FetchFailed", Category: steps.Transient, Retryable: true, Message: "fetch", Err: err}
	case len(raw) > fetchLimit:
		return nil, false, bad("fetch: more than %d MiB", fetchLimit>>20)
	}
	return raw, false, nil
}

// mirrored is the address to ask instead of url.
func mirrored(url, mirrors string) string {
	best, instead := "", ""
	for _, m := range strings.Split(mirrors, ",") {
		prefix, replacement, ok := strings.Cut(strings.TrimSpace(m), "=")
		if ok && strings.HasPrefix(url, prefix) && len(prefix) > len(best) {
			best, instead = prefix, replacement
		}
	}
	return instead + strings.TrimPrefix(url, best)
}
