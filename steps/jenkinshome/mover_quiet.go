package jenkinshome

import (
	"context"
	"fmt"
	"strings"
	"time"

	"pipectl.dev/steps"
	"pipectl.dev/steps/jenkinshome/jenkins"
)

// quiet lets Jenkins start no more builds and waits for those that run.
func (c *cut) quiet(ctx context.Context) error {
	return c.with(ctx, func(j *jenkins.Client) error {
		if err := c.becomeQuiet(ctx, j); err != nil {
			return err
		}
		left, err := c.builds(ctx, j, c.args.Wait)
		if err != nil || len(left) == 0 {
			return err
		}
		switch c.args.Then {
		case "proceed":
			c.rec.Cut.Notes = append(c.rec.Cut.Notes, "stopped while builds ran: "+urls(left))
			return nil
		case "abort":
			return c.stopBuilds(ctx, j, left)
		}
		return &steps.Error{Code: "BuildsRunning", Category: steps.Timeout, Retryable: true,
			Message: fmt.Sprintf("builds still run after %s: %s", c.args.Wait, urls(left)),
			Hints:   []string{"raise `jenkins.builds.wait`, or set `jenkins.builds.then: abort`"}}
	})
}

func (c *cut) becomeQuiet(ctx context.Context, j *jenkins.Client) error {
	for try := 0; ; try++ {
		if err := j.QuietDown(ctx, "the home is moving to another volume (pipectl)"); err != nil {
			return err
		}
		quiet, err := j.Quieting(ctx)
		if err != nil || quiet {
			return err
		}
		if try == 10 {
			return &steps.Error{Code: "NotQuiet", Category: steps.Unhealthy, Message: "jenkins: quietDown was accepted, but it does not quiet down",
				Hints: []string{"see `Manage Jenkins > Prepare for shutdown`; a plugin may cancel it"}}
		}
		c.sleep(ctx, time.Second)
	}
}

// builds waits up to limit for builds to end and returns those that did not. A pipeline that is suspended survives the restart.
func (c *cut) builds(ctx context.Context, j *jenkins.Client, limit time.Duration) ([]jenkins.Build, error) {
	began, told := time.Now(), ""
	for {
		left, err := j.Running(ctx, c.args.Own)
		if err != nil {
			return nil, err
		}
		if len(left) == 0 {
			return nil, nil
		}
		if onlyLight(left) {
			if ok, err := j.Suspended(ctx); ok || err != nil {
				return nil, err
			}
		}
		if now := urls(left); now != told {
			told = now
			c.log.Info("waiting for builds", "builds", now)
		}
		if time.Since(began) >= limit {
			return left, nil
		}
		if err := c.aborted(ctx); err != nil {
			return nil, err
		}
		c.sleep(ctx, c.pause)
	}
}

func (c *cut) stopBuilds(ctx context.Context, j *jenkins.Client, left []jenkins.Build) error {
	for _, b := range left {
		if err := j.Stop(ctx, b); err != nil {
			return err
		}
	}
	still, err := c.builds(ctx, j, time.Minute)
	if err == nil && len(still) > 0 {
		err = &steps.Error{Code: "BuildsRunning", Category: steps.Timeout, Retryable: true, Message: "builds were aborted but do not end: " + urls(still),
			Hints: []string{"end them by hand, or set `jenkins.builds.then: proceed`"}}
	}
	return err
}

// aborted notices that somebody asked to turn back while we wait.
func (c *cut) aborted(ctx context.Context) error {
	at, err := c.kube.ReadRecord(ctx, c.rec.at.Namespace, c.rec.at.Name)
	if err == nil && at.Data[keyAbort] == "true" {
		return errAborted
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil // a look that fails is one that is missed
}

var errAborted = &steps.Error{Code: "Aborted", Category: steps.Interrupted, Message: "asked to turn back"}

func onlyLight(bs []jenkins.Build) bool {
	for _, b := range bs {
		if !b.Light {
			return false
		}
	}
	return true
}

func urls(bs []jenkins.Build) string {
	var s []string
	for _, b := range bs[:min(len(bs), 10)] {
		s = append(s, b.URL)
	}
	if len(bs) > 10 {
		s = append(s, fmt.Sprintf("and %d more", len(bs)-10))
	}
	return strings.Join(s, ", ")
}
