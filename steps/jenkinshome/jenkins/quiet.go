package jenkins

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// QuietDown asks Jenkins to start no more builds. Whether it does is to be asked by Quieting: the answer is a redirect in any case.
func (c *Client) QuietDown(ctx context.Context, message string) error {
	return c.post(ctx, "/quietDown", url.Values{"message": {message}})
}

// CancelQuietDown undoes QuietDown.
func (c *Client) CancelQuietDown(ctx context.Context) error {
	return c.post(ctx, "/cancelQuietDown", nil)
}

// Quieting reports whether Jenkins is quieting down or quiet.
func (c *Client) Quieting(ctx context.Context) (bool, error) {
	var a struct{ QuietingDown bool }
	err := c.get(ctx, "/api/json", url.Values{"tree": {"quietingDown,quietDownReason"}}, &a)
	return a.QuietingDown, err
}

// Build is a build that runs.
type Build struct {
	URL   string // relative to the controller, such as job/a/7/
	Light bool   // on no executor of its own: the outer part of a pipeline, which survives a clean stop
}

// Running lists the builds that run, each once, but for own, the URL of the build that we are part of ("" if of none).
func (c *Client) Running(ctx context.Context, own string) ([]Build, error) {
	type executor struct{ CurrentExecutable *struct{ URL string } }
	var a struct {
		Computer []struct{ Executors, OneOffExecutors []executor }
	}
	tree := "busyExecutors,computer[displayName,executors[currentExecutable[url]],oneOffExecutors[currentExecutable[url]]]"
	if err := c.get(ctx, "/computer/api/json", url.Values{"tree": {tree}}, &a); err != nil {
		return nil, err
	}
	var out []Build
	add := func(es []executor, light bool) {
		for _, e := range es {
			if e.CurrentExecutable == nil {
				continue
			}
			b := Build{URL: relative(e.CurrentExecutable.URL), Light: light}
			seen := slices.ContainsFunc(out, func(x Build) bool { return x.URL == b.URL })
			if !seen && b.URL != relative(own) {
				out = append(out, b)
			}
		}
	}
	for _, comp := range a.Computer { // heavy ones first: a pipeline's own part does not hide its step on an agent
		add(comp.Executors, false)
	}
	for _, comp := range a.Computer {
		add(comp.OneOffExecutors, true)
	}
	return out, nil
}

// relative drops what differs by the way a controller is reached: scheme, host and context path.
func relative(u string) string {
	if i := strings.Index(u, "/job/"); i >= 0 {
		return u[i+1:]
	}
	return u
}

// Suspended asks whether every running pipeline has come to a point where it survives a restart: Jenkins answers a blocking quietDown
// early when nothing stands against a restart, and late otherwise; either way it is a redirect, so only time tells.
func (c *Client) Suspended(ctx context.Context) (bool, error) {
	const limit = 4 * time.Second
	began := time.Now()
	err := c.post(ctx, "/quietDown", url.Values{"block": {"true"}, "timeout": {fmt.Sprint(limit.Milliseconds())}})
	if err != nil || time.Since(began) >= limit {
		return false, err
	}
	return c.Quieting(ctx) // somebody may have cancelled
}

// Stop aborts a build.
func (c *Client) Stop(ctx context.Context, b Build) error {
	return c.post(ctx, "/"+strings.TrimSuffix(b.URL, "/")+"/stop", nil)
}
